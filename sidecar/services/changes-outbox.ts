import { delay } from '../../common/time.ts';
import type { Change } from '../../proto/generated/handles.ts';

/** Changes that wait for one peer; more are lost, and it is told so. */
const MAX_WAITING = 2000;
/** In one message. */
const MAX_BATCH = 500;
const RETRY_MS = 500;

export interface OutboxOptions {
  /** Between a message that was not taken and the next, ms. */
  retryMs?: number;
  /** Rejects when the peer did not take it, as far as is known. */
  send(changes: Change[], lost: boolean): Promise<void>;
  failed(error: unknown): void;
}

/**
 * What is to be told to one peer, in order, one message at a time: what comes meanwhile is the next one. A message that was not
 * taken is not repeated, for it may have been: the next says that changes are missing.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  #waiting: Change[] = [];
  #lost = false;
  #isSending = false;
  readonly #watchers: (() => void)[] = [];
  #isEnded = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  push(changes: readonly Change[], lost: boolean): void {
    if (this.#isEnded || (changes.length === 0 && !lost)) return;
    if (lost) this.#lost = true;
    // Who has to look for themselves needs no list.
    if (this.#lost) {
      this.#waiting = [];
    } else if (this.#waiting.length + changes.length > MAX_WAITING) {
      this.#waiting = [];
      this.#lost = true;
    } else {
      for (const change of changes) this.#waiting.push(change);
    }
    if (!this.#isSending) void this.#send();
  }

  /** Nothing is sent any more. */
  end(): void {
    this.#isEnded = true;
  }

  /** Resolves when nothing waits or is on its way, or after that time. */
  emptied(timeoutMs: number): Promise<void> | undefined {
    if (!this.#isSending) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#watchers.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async #send(): Promise<void> {
    this.#isSending = true;
    while (!this.#isEnded && (this.#waiting.length > 0 || this.#lost)) {
      const changes = this.#waiting.splice(0, MAX_BATCH);
      const lost = this.#lost;
      this.#lost = false;
      try {
        await this.#options.send(changes, lost);
      } catch (error) {
        this.#options.failed(error);
        this.#lost = true;
        this.#waiting = [];
        // A peer that is gone ends this; one that lives has to hear that it missed something, also where nothing else happens.
        await delay(this.#options.retryMs ?? RETRY_MS);
      }
    }
    this.#isSending = false;
    for (const wake of this.#watchers.splice(0)) wake();
  }
}
