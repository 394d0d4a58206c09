// CHANGE_NOTIFY (MS-SMB2 3.3.5.19).
import { Status } from '../../smb/status.ts';
import { type Reply, statusReply } from '../session/request.ts';

/** The object store has no change notifications yet: 3.3.5.19 names this status, and clients then look for themselves. */
export function changeNotify(): Reply {
  return statusReply(Status.NOT_SUPPORTED);
}
