import { ChurningMap } from '../../common/churning-map.ts';
import { abortedError, SmbError } from '../errors.ts';
import { SWEEP_INTERVAL_MS } from './constants.ts';

/** The time limit of one operation, and its caller's own signal, as one signal. */
export class Deadline {
  readonly endsAtMs: number;
  /** Among those of its client. */
  readonly place: number;
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #onOuter: (() => void) | undefined;

  constructor(endsAtMs: number, outer: AbortSignal | undefined, place: number) {
    this.endsAtMs = endsAtMs;
    this.place = place;
    if (!outer) return;
    this.#outer = outer;
    this.#onOuter = () => this.#controller.abort(abortedError(outer, 'the operation'));
    if (outer.aborted) this.#onOuter();
    else outer.addEventListener('abort', this.#onOuter, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  expire(error: SmbError): void {
    this.#controller.abort(error);
  }

  release(): void {
    if (this.#onOuter) this.#outer?.removeEventListener('abort', this.#onOuter);
  }
}

/**
 * The deadlines of all operations of a client. One timer serves them all, as a timer an operation would cost more than the
 * operation: all have the same length, so they end in the order in which they began.
 */
export class Deadlines {
  readonly #timeoutMs: number;
  readonly #running = new ChurningMap<number, Deadline>();
  #begun = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  start(outer: AbortSignal | undefined): Deadline {
    const deadline = new Deadline(performance.now() + this.#timeoutMs, outer, this.#begun++);
    this.#running.set(deadline.place, deadline);
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS);
    return deadline;
  }

  end(deadline: Deadline): void {
    deadline.release();
    this.#running.delete(deadline.place);
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const deadline of this.#running.values()) {
      if (deadline.endsAtMs > nowMs) break;
      this.#running.delete(deadline.place);
      deadline.expire(new SmbError('TIMED_OUT', `the operation was not done within ${this.#timeoutMs} ms`));
    }
    if (this.#running.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}

/** Waits for `promise` or the end of `signal`, whichever comes first; rejects with the signal's reason then. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
