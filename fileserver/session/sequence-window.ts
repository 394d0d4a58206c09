/** The most credits that one connection may hold at once. */
export const MAX_CREDITS = 512;
/** Before somebody has logged on there is nothing to do at once. */
export const MAX_CREDITS_BEFORE_LOGON = 16;
/** Span of message ids that may be outstanding; a client that leaves ids unused gets no new ones beyond it. */
const SPAN = 8192;

/**
 * Connection.CommandSequenceWindow (MS-SMB2 3.3.1.1): the message ids that the client may use, each once. It begins with id 0, and
 * grows by the credits that are granted.
 */
export class SequenceWindow {
  /** Lowest id not used yet, and one above the highest that was granted. */
  #low = 0;
  #high = 1;
  /** Of [low, high): used already. Indexed by id modulo SPAN. */
  readonly #used = new Uint8Array(SPAN);
  #available = 1;

  /** Credits that the client holds. */
  get available(): number {
    return this.#available;
  }

  /** Uses `charge` ids from `messageId` on. False: they are not (any more, or yet) the client's to use (3.3.5.2.3). */
  take(messageId: number, charge: number): boolean {
    const end = messageId + charge;
    if (messageId < this.#low || end > this.#high) return false;
    for (let id = messageId; id < end; id++) if (this.#used[id % SPAN] === 1) return false;
    for (let id = messageId; id < end; id++) this.#used[id % SPAN] = 1;
    this.#available -= charge;
    while (this.#low < this.#high && this.#used[this.#low % SPAN] === 1) {
      this.#used[this.#low % SPAN] = 0;
      this.#low++;
    }
    return true;
  }

  /**
   * Grants credits (3.3.1.2): what was asked for, at least one, unless the client would hold more than `most`.
   * @returns how many were granted; 0 only while the client holds others
   */
  grant(requested: number, most: number): number {
    const room = Math.min(most - this.#available, SPAN - (this.#high - this.#low));
    const least = this.#available === 0 ? 1 : 0;
    const granted = Math.max(least, Math.min(Math.max(requested, 1), room));
    this.#high += granted;
    this.#available += granted;
    return granted;
  }
}
