import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { monotonicMs } from '../../common/time.ts';
import { ApiError, isConflict, isNamespaceEnding, UnreachableError } from './api.ts';
import { WorkQueue } from './queue.ts';

/** What a reconciliation asks for: nothing, or to be called again after a while whatever happens. */
export interface ReconcileResult {
  requeueAfterMs?: number;
}

/** Brings the world nearer to what the object of that key asks for. Throws to be called again later. */
export type Reconcile = (key: string, signal: AbortSignal) => Promise<ReconcileResult | undefined>;

/** Told about every reconciliation, for metrics. */
export type ReconcileObserver = (result: 'ok' | 'conflict' | 'error', seconds: number) => void;

const AWAY_RETRY_MS = 5000;

export interface ControllerOptions {
  name: string;
  /** How many keys are worked on side by side. */
  workers: number;
  log: Logger;
  observe?: ReconcileObserver;
}

/** Takes keys from its queue and reconciles them: again with backoff when that fails, later when it asks for it. */
export class Controller {
  readonly queue = new WorkQueue();
  readonly #reconcile: Reconcile;
  readonly #options: ControllerOptions;

  constructor(reconcile: Reconcile, options: ControllerOptions) {
    this.#reconcile = reconcile;
    this.#options = options;
  }

  /** Works until the signal is aborted; resolves when the reconciliations under way have ended. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.queue.close(), { once: true });
    if (signal.aborted) this.queue.close();
    await Promise.all(Array.from({ length: this.#options.workers }, () => this.#work(signal)));
  }

  async #work(signal: AbortSignal): Promise<void> {
    for (;;) {
      const key = await this.queue.take();
      if (key === undefined) return;
      try {
        await this.#once(key, signal);
      } finally {
        this.queue.done(key);
      }
    }
  }

  async #once(key: string, signal: AbortSignal): Promise<void> {
    const { log, name, observe } = this.#options;
    const beganMs = monotonicMs();
    const seconds = () => (monotonicMs() - beganMs) / 1000;
    try {
      const result = await this.#reconcile(key, signal);
      this.queue.forget(key);
      if (result?.requeueAfterMs !== undefined) this.queue.addAfter(key, result.requeueAfterMs);
      observe?.('ok', seconds());
    } catch (error) {
      if (signal.aborted) return;
      const retryMs = this.queue.addRateLimited(key, boundsOf(error));
      if (isConflict(error) || isNamespaceEnding(error)) {
        log.debug({ controller: name, key, retryMs, reason: reasonOf(error) }, 'the object changed meanwhile');
        observe?.('conflict', seconds());
      } else {
        log.warn({ controller: name, key, retryMs, err: error }, 'reconciliation failed');
        observe?.('error', seconds());
      }
    }
  }
}

/** An API server that is away is tried often, so that work goes on when it is back; one that asks to be left alone is. */
function boundsOf(error: unknown): { leastMs?: number; mostMs?: number } {
  if (error instanceof UnreachableError) return { mostMs: AWAY_RETRY_MS };
  return error instanceof ApiError && error.retryAfterMs !== undefined ? { leastMs: error.retryAfterMs } : {};
}
