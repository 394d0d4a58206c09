import { delay } from '../../common/time.ts';
import { RETRY_MAX_MS, RETRY_MIN_MS } from './constants.ts';

/** Pauses that double, with jitter. */
export class Backoff {
  #nextMs: number;
  readonly #maxMs: number;

  constructor(minMs = RETRY_MIN_MS, maxMs = RETRY_MAX_MS) {
    this.#nextMs = minMs;
    this.#maxMs = maxMs;
  }

  async wait(signal?: AbortSignal): Promise<void> {
    const ms = this.#nextMs * (0.5 + Math.random() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, this.#maxMs);
    await delay(ms, signal);
  }
}
