import { monotonicMs } from '../../common/time.ts';
import { shardOfId } from '../table/keys.ts';

interface End {
  fileId: Uint8Array;
  atMs: number;
}

/**
 * Opens that ended here and that others may still keep: a server that had them before, or a custodian, which hears of it within seconds.
 * Should the store lose its data until then they would put them back, and nobody waits for them (invariant 3: what was closed is never
 * reclaimable). An id is never given twice, so what ended once has ended for good.
 */
export class Ended {
  readonly #ends = new Map<bigint, End>();
  readonly #keptMs: number;

  /** @param keptMs how long others may keep an open without hearing that it ended: as long as a persistent one waits */
  constructor(keptMs: number) {
    this.#keptMs = keptMs;
  }

  get count(): number {
    return this.#ends.size;
  }

  note(openId: bigint, fileId: Uint8Array, nowMs = monotonicMs()): void {
    this.#ends.set(openId, { fileId, atMs: nowMs });
    for (const [oldest, { atMs }] of this.#ends) {
      if (nowMs - atMs <= this.#keptMs) break;
      this.#ends.delete(oldest);
    }
  }

  /** Those of some shards. */
  of(shards: ReadonlySet<number>): { openId: bigint; fileId: Uint8Array }[] {
    return [...this.#ends].flatMap(([openId, { fileId }]) =>
      shards.has(shardOfId(openId)) ? [{ openId, fileId }] : [],
    );
  }
}
