/**
 * Open.ChannelSequence and the counts of requests that go with it (MS-SMB2 3.3.1.10, 3.3.5.2.10): after a client has lost a channel it
 * raises the sequence, and what it sent before must not overtake what it repeats.
 */
export class ChannelSequence {
  #current: number;
  /** Counts the changes of #current, so that a request that ends knows under which sequence it began. */
  #generation = 0;
  /** Open.OutstandingRequestCount: requests of the current sequence. */
  #outstanding = 0;
  /** Open.OutstandingPreRequestCount: requests of sequences before it. */
  #outstandingBefore = 0;

  /** @param initial ChannelSequence of the CREATE, 16 bits */
  constructor(initial: number) {
    this.#current = initial;
  }

  /** Takes notice of a request. False: it comes from before a failover, or repeats one that may still be under way. */
  admits(sequence: number, isReplay: boolean): boolean {
    const ahead = (sequence - this.#current) & 0xffff;
    if (ahead > 0x7fff) return false;
    if (ahead > 0) {
      this.#outstandingBefore += this.#outstanding;
      this.#outstanding = 0;
      this.#current = sequence;
      this.#generation++;
    }
    return !(isReplay && this.#outstandingBefore > 0);
  }

  /** A request that was admitted is under way from now on. @returns what `end` wants */
  begin(): number {
    this.#outstanding++;
    return this.#generation;
  }

  end(generation: number): void {
    if (generation === this.#generation) this.#outstanding--;
    else this.#outstandingBefore--;
  }
}
