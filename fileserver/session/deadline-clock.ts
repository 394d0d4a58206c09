import { type DeadlineGate, FencedError } from './deadline-gate.ts';

/** How long requests are held past the deadline for a renewal, before the server gives its opens up. */
export const HOLD_PAST_DEADLINE_MS = 30_000;
/** How many operations may wait for the gate: more than clients have credits for in one burst is no burst. */
const MAX_WAITING = 65_536;

/** What becomes of the gate, for who has to act on it. */
export interface DeadlineListener {
  /** The deadline passed without a renewal: take nothing more from clients, answer nothing. */
  closed(): void;
  /** Renewed under the same epoch: go on. */
  reopened(): void;
  /** Nothing came for HOLD_PAST_DEADLINE_MS: give the opens up and take a new epoch. */
  expired(): void;
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

/**
 * The deadline of this server on CLOCK_MONOTONIC, as the sidecar renews it. Closed until the first renewal.
 * `performance.now()` runs on the same clock as `process.hrtime` and costs no bigint.
 */
export class DeadlineClock implements DeadlineGate {
  readonly #listener: DeadlineListener;
  readonly #holdMs: number;
  /** hrtime in ms minus performance.now(), constant for the life of the process. */
  readonly #offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();
  /** On the scale of performance.now(); -Infinity: never renewed, or fenced. */
  #deadlineMs = Number.NEGATIVE_INFINITY;
  #isHolding = false;
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** How often the deadline passed; a metric. */
  timesClosed = 0;

  constructor(listener: DeadlineListener, holdMs = HOLD_PAST_DEADLINE_MS) {
    this.#listener = listener;
    this.#holdMs = holdMs;
  }

  mayServe(): boolean {
    return performance.now() < this.#deadlineMs;
  }

  reopened(): Promise<void> {
    if (this.mayServe()) return Promise.resolve();
    if (this.#deadlineMs === Number.NEGATIVE_INFINITY || this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(new FencedError());
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Milliseconds until the deadline; negative past it. */
  remainingMs(): number {
    return this.#deadlineMs - performance.now();
  }

  /** @param deadlineNs absolute, CLOCK_MONOTONIC; an earlier one than before changes nothing */
  renew(deadlineNs: bigint): void {
    const deadlineMs = Number(deadlineNs) / 1e6 - this.#offsetMs;
    if (deadlineMs <= this.#deadlineMs) return;
    this.#deadlineMs = deadlineMs;
    if (!this.mayServe()) {
      this.#passed();
      return;
    }
    this.#arm(deadlineMs - performance.now());
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.resolve();
    if (this.#isHolding) {
      this.#isHolding = false;
      this.#listener.reopened();
    }
  }

  /** Fenced: nothing may be served under this epoch any more. A later renew opens the gate for the next one. */
  fence(): void {
    clearTimeout(this.#timer);
    this.#deadlineMs = Number.NEGATIVE_INFINITY;
    this.#isHolding = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.reject(new FencedError());
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#check(), Math.max(1, Math.ceil(ms)));
    this.#timer.unref();
  }

  #check(): void {
    const left = this.remainingMs();
    if (left > 0) this.#arm(left);
    else this.#passed();
  }

  #passed(): void {
    if (!this.#isHolding) {
      this.#isHolding = true;
      this.timesClosed++;
      this.#listener.closed();
    }
    const heldMs = -this.remainingMs();
    if (heldMs >= this.#holdMs) {
      this.#listener.expired();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#passed(), Math.ceil(this.#holdMs - heldMs));
    this.#timer.unref();
  }
}
