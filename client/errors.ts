import { statusName } from '../smb/status.ts';

/** Codes of failures that have no NTSTATUS of a server. */
export type ClientErrorCode =
  | 'ABORTED'
  | 'BAD_ADDRESS'
  | 'CLIENT_CLOSED'
  | 'CONNECTION_LOST'
  | 'CONNECT_FAILED'
  | 'HANDLE_CLOSED'
  | 'HANDLE_LOST'
  | 'NEGOTIATION_REFUSED'
  | 'PROTOCOL_VIOLATION'
  | 'TIMED_OUT';

/**
 * What every failed operation of the client throws. `code` is the name of the server's status (`STATUS_ACCESS_DENIED`) or
 * one of ClientErrorCode; `status` is the NTSTATUS where a server gave one.
 */
export class SmbError extends Error {
  readonly code: string;
  readonly status: number | undefined;

  constructor(code: ClientErrorCode | string, message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SmbError';
    this.code = code;
    this.status = options.status;
  }

  /** The error for a status that a server answered. `what` says what was tried and on what. */
  static fromStatus(status: number, what: string): SmbError {
    const name = statusName(status);
    return new SmbError(name, `${what}: ${name}`, { status });
  }
}

/** The reason of an aborted signal as SmbError. */
export function abortedError(signal: AbortSignal, what: string): SmbError {
  const reason: unknown = signal.reason;
  if (reason instanceof SmbError) return reason;
  // Not `instanceof Error`: AbortSignal.timeout's reason is a DOMException, whose class may be another realm's.
  const timedOut = (reason as { name?: unknown } | undefined)?.name === 'TimeoutError';
  return new SmbError(timedOut ? 'TIMED_OUT' : 'ABORTED', `${what} was ${timedOut ? 'not done in time' : 'aborted'}`, {
    cause: reason,
  });
}

/** Whether the connection, not the operation, has failed: worth another connection. */
export function isConnectionLoss(thrown: unknown): boolean {
  return thrown instanceof SmbError && (thrown.code === 'CONNECTION_LOST' || thrown.code === 'PROTOCOL_VIOLATION');
}
