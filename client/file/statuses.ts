import { Status } from '../../smb/status.ts';

/** What the client does about a status on its own, before the caller hears of it. */
export type Reaction =
  /** The answer is the answer. */
  | 'deliver'
  /** The server can't do it now: the same request again, after a pause. */
  | 'retry'
  /** The session or the tree connect is gone: fail over. */
  | 'reconnect';

const RETRY: ReadonlySet<number> = new Set([Status.FILE_NOT_AVAILABLE, Status.SERVER_UNAVAILABLE]);

const RECONNECT: ReadonlySet<number> = new Set([
  Status.NETWORK_SESSION_EXPIRED,
  Status.USER_SESSION_DELETED,
  Status.NETWORK_NAME_DELETED,
  Status.CONNECTION_DISCONNECTED,
  Status.CONNECTION_RESET,
  Status.CONNECTION_ABORTED,
  Status.VOLUME_DISMOUNTED,
  Status.SHARE_UNAVAILABLE,
]);

export function reactionTo(status: number): Reaction {
  if (status === Status.SUCCESS) return 'deliver';
  if (RETRY.has(status)) return 'retry';
  if (RECONNECT.has(status)) return 'reconnect';
  return 'deliver';
}

/** Statuses of a logon or tree connect that another server, or the same one later, will not answer otherwise. */
const REFUSALS: ReadonlySet<string> = new Set([
  'STATUS_LOGON_FAILURE',
  'STATUS_ACCESS_DENIED',
  'STATUS_ACCOUNT_DISABLED',
  'STATUS_ACCOUNT_LOCKED_OUT',
  'STATUS_ACCOUNT_EXPIRED',
  'STATUS_ACCOUNT_RESTRICTION',
  'STATUS_PASSWORD_EXPIRED',
  'STATUS_PASSWORD_MUST_CHANGE',
  'STATUS_NO_SUCH_USER',
  'STATUS_WRONG_PASSWORD',
  'STATUS_BAD_NETWORK_NAME',
  'NEGOTIATION_REFUSED',
]);

/** Whether a failure to log on or to connect the share is the last word. */
export function isRefusal(thrown: unknown): boolean {
  return REFUSALS.has((thrown as { code?: string } | undefined)?.code ?? '');
}
