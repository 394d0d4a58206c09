/** What keeps memory between two requests, and can do without. */
export interface Keeper {
  /** Bytes of memory that it keeps now. */
  readonly keptBytes: number;
  forget(): void;
}

/** What listings of this process may keep between their requests, bytes: some, not all 12,288 opens at once (docs/limits.md). */
const MAX_KEPT = 8 * 1024 * 1024;

/** Bounds what is kept by all together: who was not asked for the longest time forgets first. */
export class KeptChunks {
  readonly #most: number;
  readonly #keepers = new Map<Keeper, number>();
  #bytes = 0;

  constructor(most = MAX_KEPT) {
    this.#most = most;
  }

  /** Bytes of memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** It waits for its next request. */
  keep(keeper: Keeper): void {
    this.release(keeper);
    const { keptBytes } = keeper;
    if (keptBytes === 0) return;
    this.#keepers.set(keeper, keptBytes);
    this.#bytes += keptBytes;
    for (const [oldest] of this.#keepers) {
      if (this.#bytes <= this.#most) return;
      this.release(oldest);
      oldest.forget();
    }
  }

  /** It is in use, or at its end. */
  release(keeper: Keeper): void {
    this.#bytes -= this.#keepers.get(keeper) ?? 0;
    this.#keepers.delete(keeper);
  }
}

/** Of this process. */
export const keptChunks = new KeptChunks();
