/** The server was fenced, or could not learn in time whether it was: what waited for the gate must do nothing any more. */
export class FencedError extends Error {
  readonly code = 'FENCED';

  constructor(message = 'this server was fenced, or past its deadline for too long') {
    super(message);
    this.name = 'FencedError';
  }
}

/**
 * Self-fencing (docs/decisions/0002): the server may change the volume and answer clients only until the deadline of its
 * last successful renewal. Checked last, right before each system call that changes the volume and before each answer:
 *
 *     if (!deadline.mayServe()) await deadline.reopened();
 */
export interface DeadlineGate {
  /** Whether the deadline is still ahead. Some 50 ns; no allocation. */
  mayServe(): boolean;
  /**
   * Resolves when mayServe() is true (again): a renewal under the same epoch proves that nobody fenced this server.
   * Rejects with FencedError when it was fenced, or when the wait is over; then nothing may be changed or answered any more.
   */
  reopened(): Promise<void>;
}
