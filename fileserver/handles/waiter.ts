/** Who waits for a decision: told when it takes long, and able to give up. A Request of session/request.ts is one. */
export interface Waiter {
  /** The decision waits for somebody (a break, a lock, a client that may come back): answer the client with STATUS_PENDING. */
  goAsync(): void;
  /** Looked at only when the decision waits; its abort cancels the request in the sidecar, whose reply then is CANCELLED. */
  readonly signal: AbortSignal;
  /** Epoch of the identity that it was begun under: another is not asked on its behalf. Undefined: it may be whichever there is. */
  readonly epoch?: bigint | undefined;
}
