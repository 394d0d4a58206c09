import { monotonicMs } from '../../common/time.ts';

const BASE_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 60_000;

/**
 * Keys that wait for work. A key is in it at most once, is worked on by at most one worker at a time (added meanwhile, it comes
 * again afterwards), and waits longer after each failure in a row.
 */
export class WorkQueue {
  readonly #ready = new Set<string>();
  readonly #active = new Set<string>();
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, { dueMs: number; timer: NodeJS.Timeout }>();
  readonly #failures = new Map<string, number>();
  readonly #waiters: ((key: string | undefined) => void)[] = [];
  #closed = false;

  /** Keys ready to be worked on. */
  get depth(): number {
    return this.#ready.size;
  }

  add(key: string): void {
    if (this.#closed) return;
    this.#cancelDelay(key);
    if (this.#active.has(key)) {
      this.#again.add(key);
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter) {
      this.#active.add(key);
      waiter(key);
    } else {
      this.#ready.add(key);
    }
  }

  /** Adds it after a while, or earlier if it is already due earlier. */
  addAfter(key: string, ms: number): void {
    if (this.#closed || this.#ready.has(key) || this.#again.has(key)) return;
    const dueMs = monotonicMs() + ms;
    const before = this.#delayed.get(key);
    if (before && before.dueMs <= dueMs) return;
    this.#cancelDelay(key);
    this.#delayed.set(key, { dueMs, timer: setTimeout(() => this.add(key), ms) });
  }

  /**
   * Adds it after a delay that doubles with each failure since the last forget().
   * @param bounds the least and the longest delay in milliseconds
   * @returns the delay in milliseconds
   */
  addRateLimited(key: string, { leastMs = 0, mostMs = MAX_BACKOFF_MS } = {}): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const ms = Math.max(leastMs, Math.min(BASE_BACKOFF_MS * 2 ** failures, mostMs));
    this.addAfter(key, ms);
    return ms;
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The next key, when there is one; undefined when the queue was closed. Call done(key) afterwards. */
  take(): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    for (const key of this.#ready) {
      this.#ready.delete(key);
      this.#active.add(key);
      return Promise.resolve(key);
    }
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  done(key: string): void {
    this.#active.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#delayed.values()) clearTimeout(timer);
    this.#delayed.clear();
    this.#ready.clear();
    for (const waiter of this.#waiters.splice(0)) waiter(undefined);
  }

  #cancelDelay(key: string): void {
    const delayed = this.#delayed.get(key);
    if (!delayed) return;
    clearTimeout(delayed.timer);
    this.#delayed.delete(key);
  }
}
