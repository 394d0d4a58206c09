/**
 * Opens with a change that had not returned when their session was quiesced (handoff.md, step 4). The file server names them in its answer
 * to Quiesce, and says of each when its change has returned: that may arrive before anybody has looked at the answer.
 */
export class UnfinishedChanges {
  readonly #waiting = new Map<bigint, (() => void)[]>();
  /** Returned, and nobody has asked yet. */
  readonly #returned = new Set<bigint>();

  /** Whether somebody waits for a change of this open. */
  has(openId: bigint): boolean {
    return this.#waiting.has(openId);
  }

  /** Their session is about to be quiesced: what was said of an earlier time counts no more. */
  expect(openIds: Iterable<bigint>): void {
    for (const openId of openIds) this.#returned.delete(openId);
  }

  /** The file server says that the change has returned, or its open is gone. */
  returned(openId: bigint): void {
    const waiting = this.#waiting.get(openId);
    this.#waiting.delete(openId);
    if (!waiting) this.#returned.add(openId);
    for (const wake of waiting ?? []) wake();
  }

  /** Resolves when the change has returned. */
  async whenReturned(openId: bigint): Promise<void> {
    if (this.#returned.delete(openId)) return;
    await new Promise<void>((resolve) => {
      const waiting = this.#waiting.get(openId);
      if (waiting) waiting.push(resolve);
      else this.#waiting.set(openId, [resolve]);
    });
  }

  /** The open is not this server's any more. */
  forget(openId: bigint): void {
    this.#returned.delete(openId);
  }
}
