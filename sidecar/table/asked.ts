import type { Answer, Arguments, Call, CallKeys } from './packed.ts';
import type { ScriptName } from './scripts.ts';

export interface RunOptions {
  /** How long the caller waits, ms. */
  waitMs: number;
  /** Called when the answer comes after the caller had been told STORE_UNAVAILABLE. */
  onLate?: (answer: Answer) => void;
  /** Index of the argument that becomes '1' when the call is repeated after a lost answer. */
  repeatedAt?: number;
  /** A key that is set ahead of each attempt. */
  hint?: { key: string; value: Buffer } | undefined;
  /** A key to remove once the script has granted. */
  forget?: string | undefined;
  /** As how many decisions it counts where it shares a call with others; unset: one. */
  weight?: number;
  /** Runs although the shards are closed (fencing, putting back). */
  whileClosed?: boolean;
}

/** A decision that was asked of the store, and who waits for it: no longer than `untilMs`. */
export class Asked implements Call {
  readonly script: ScriptName;
  readonly keys: CallKeys;
  readonly args: Arguments;
  readonly options: RunOptions;
  readonly untilMs: number;
  /** When it was sent with others of its turn, performance.now(). */
  readonly beganMs = performance.now();
  /** Among all that were asked. */
  readonly place: number;
  readonly answer: Promise<Answer>;
  /** Whoever asked was told that it could not be decided in time. */
  isGivenUp = false;
  /** It may have been carried out. */
  wasSent = false;
  readonly #taken: (asked: Asked, answer: Answer | undefined, error: unknown) => void;
  #resolve!: (answer: Answer) => void;
  #reject!: (error: unknown) => void;

  /** @param taken called with what became of it in the call that it shares with others */
  constructor(
    script: ScriptName,
    keys: CallKeys,
    args: Arguments,
    options: RunOptions,
    { untilMs, place }: { untilMs: number; place: number },
    taken: (asked: Asked, answer: Answer | undefined, error: unknown) => void,
  ) {
    this.script = script;
    this.keys = keys;
    this.args = args;
    this.options = options;
    this.untilMs = untilMs;
    this.place = place;
    this.#taken = taken;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get hint(): RunOptions['hint'] {
    return this.options.hint;
  }

  get forget(): string | undefined {
    return this.options.forget;
  }

  done(answer: Answer | undefined, error?: unknown): void {
    this.#taken(this, answer, error);
  }

  decided(answer: Answer): void {
    if (!this.isGivenUp) this.#resolve(answer);
    else this.options.onLate?.(answer);
  }

  failed(error: unknown): void {
    if (!this.isGivenUp) this.#reject(error);
  }

  giveUp(error: unknown): void {
    this.isGivenUp = true;
    this.#reject(error);
  }
}
