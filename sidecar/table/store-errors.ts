import { HoldfastError } from '../../common/errors.ts';

/** Redis did not answer in the time that the caller could wait. The decision may still be made: see `onLate`. */
export class StoreUnavailableError extends HoldfastError {
  constructor(script: string, reason: string) {
    super('STORE_UNAVAILABLE', `the store did not decide "${script}" in time: ${reason}`);
  }
}

/** Redis is out of memory: what makes the table grow is refused. */
export class StoreFullError extends HoldfastError {
  constructor(message: string) {
    super('STORE_FULL', message);
  }
}

/** Redis answers, and lets nobody in with this password (or with none). */
export function isLogonRefused(reason: string): boolean {
  return /NOAUTH|WRONGPASS/.test(reason);
}

/** The TLS handshake fails: a certificate is not accepted, by us or by the other side, or the other side speaks no TLS. */
export function isTlsRefused(reason: string): boolean {
  return /certificate|altnames|self[- ]signed|SSL routines|tlsv1 alert|secure TLS connection/i.test(reason);
}

/** An error for people: ioredis' own words for a connection that is down name an option of this program's, which nobody who runs it can set. */
export function toldPlainly(error: unknown): unknown {
  const isDown = error instanceof Error && error.name === 'MaxRetriesPerRequestError';
  return isDown ? new Error('the connection to Redis is down') : error;
}

/** What is worth another try: the command was not carried out, or nobody knows whether it was. */
export function isConnectionError(reason: string): boolean {
  return /connection|max retries|pipeline|ECONN|EPIPE|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|socket|sentinel|LOADING|MASTERDOWN|CLUSTERDOWN|Stream isn't writeable|TRYAGAIN|MOVED|ASK |redirections|slots cache|None of startup nodes|NOAUTH|WRONGPASS/i.test(
    reason,
  );
}
