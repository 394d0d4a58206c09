/** The most credits that one connection may hold at once. */
export const MAX_CREDITS = 8192;
/** Before somebody has logged on there is nothing to do at once. */
export const MAX_CREDITS_BEFORE_LOGON = 16;
/** Span of message ids that may be outstanding; a client that leaves ids unused gets no new ones beyond it. */
const SPAN = 2 * MAX_CREDITS;

/**
 * Connection.CommandSequenceWindow (MS-SMB2 3.3.1.1): the message ids that the client may use, each once. It begins with id 0, and
 * grows by the credits that are granted.
 */
export class SequenceWindow {
  /** Lowest id not used yet, and one above the highest that was granted. */
  #low = 0;
  #high = 1;
  /** Of [low, high): used already. One bit an id, by id modulo SPAN. */
  readonly #used = new Uint8Array(SPAN / 8);
  #available = 1;

  /** Credits that the client holds. */
  get available(): number {
    return this.#available;
  }

  /** Uses `charge` ids from `messageId` on. False: they are not (any more, or yet) the client's to use (3.3.5.2.3). */
  take(messageId: number, charge: number): boolean {
    const end = messageId + charge;
    if (messageId < this.#low || end > this.#high) return false;
    for (let id = messageId; id < end; id++) if (this.#isUsed(id)) return false;
    for (let id = messageId; id < end; id++) this.#flip(id);
    this.#available -= charge;
    while (this.#low < this.#high && this.#isUsed(this.#low)) this.#flip(this.#low++);
    return true;
  }

  #isUsed(id: number): boolean {
    const bit = id % SPAN;
    return ((this.#used[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  #flip(id: number): void {
    const bit = id % SPAN;
    this.#used[bit >>> 3] = (this.#used[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
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
