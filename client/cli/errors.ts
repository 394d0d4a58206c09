/** Exit codes of the commands. */
export const ExitCode = {
  OK: 0,
  /** The operation failed, or blocks were lost. */
  FAILED: 1,
  /** Wrong use: an option, an address, a file that cannot be read. */
  USAGE: 2,
  /** No server could be reached, or the logon was refused. */
  NOT_CONNECTED: 3,
} as const;

/** The command was used wrongly; the message says how it is done right. */
export class UsageError extends Error {
  readonly code = 'USAGE';
}
