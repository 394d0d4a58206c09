/** Acts when what this turn of the event loop sends is on its way: that leaves in setImmediate, so after two of them. */
export function whenSent(act: () => void): void {
  setImmediate(() => setImmediate(act));
}

/**
 * Does things in the order in which they come, at most so many in one turn of the event loop; the rest when what these have sent is on
 * its way. Processes that pass work on to each other would otherwise all wait for the slowest: each would do everything that has
 * come before the next one gets anything.
 */
export class Portions<T> {
  readonly #most: number;
  readonly #act: (item: T) => void;
  #waiting: T[] = [];
  #isDue = false;

  /** @param act must not throw */
  constructor(most: number, act: (item: T) => void) {
    this.#most = most;
    this.#act = act;
  }

  push(items: readonly T[]): void {
    for (const item of items) this.#waiting.push(item);
    if (!this.#isDue) this.#next();
  }

  clear(): void {
    this.#waiting = [];
  }

  #next(): void {
    this.#isDue = false;
    const portion = this.#waiting.splice(0, this.#most);
    if (this.#waiting.length > 0) {
      this.#isDue = true;
      whenSent(() => this.#next());
    }
    for (const item of portion) this.#act(item);
  }
}
