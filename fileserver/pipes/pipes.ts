import type { Reply, Request } from '../session/request.ts';

/**
 * Named pipes of IPC$ (srvsvc, wkssvc). The dispatcher sends every request on an IPC$ tree connect here by itself: the handlers
 * in fileserver/commands/ see requests on folders only.
 */
export interface Pipes {
  handle(request: Request): Reply | Promise<Reply>;
}
