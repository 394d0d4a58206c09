import { Status } from '../../smb/status.ts';
import { StatusError } from '../session/request.ts';
import type { Session, TreeConnect } from '../session/session.ts';
import type { Asker } from './rights.ts';

/** Who asks, of a request or an open. Throws StatusError when nobody is logged on, or the open has no client. */
export function askerOf({ session, tree }: { session: Session | undefined; tree: TreeConnect | undefined }): Asker {
  if (!session?.user || !tree) throw new StatusError(Status.USER_SESSION_DELETED);
  return { token: session.user.token, shareAccess: tree.maximalAccess };
}
