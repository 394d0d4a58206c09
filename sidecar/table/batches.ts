import { type Answer, type Call, Packer, packCall, unpack } from './packed.ts';

/** The first number of an answer within a batch that says: the script failed, and how. */
const FAILED = 106;
/** Decisions in one call, by their weight: enough to share its cost, few enough that Redis serves others in between. */
const MOST_IN_BATCH = 32;

/** A decision; `done` is called once: with the answer, or with why there is none. */
export interface BatchedCall extends Call {
  done(answer: Answer | undefined, error?: unknown): void;
}

/** Gathers the decisions that one turn of the event loop asks for into calls of batch.lua. */
export class Batches {
  readonly #send: (packed: Buffer) => Promise<unknown>;
  readonly #packer = new Packer();
  #waiting: BatchedCall[] = [];
  #weight = 0;

  /** @param send makes one call of batch.lua */
  constructor(send: (packed: Buffer) => Promise<unknown>) {
    this.#send = send;
  }

  /** @param weight as how many decisions this one counts */
  add(call: BatchedCall, weight = 1): void {
    if (this.#waiting.length > 0 && this.#weight + weight > MOST_IN_BATCH) this.flush();
    if (this.#waiting.length === 0) process.nextTick(() => this.flush());
    packCall(this.#packer, call);
    this.#waiting.push(call);
    this.#weight += weight;
    if (this.#weight >= MOST_IN_BATCH) this.flush();
  }

  /** Sends what there is. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const asked = this.#waiting;
    this.#waiting = [];
    this.#weight = 0;
    this.#send(this.#packer.take()).then(
      (packed) => answer(asked, packed),
      (error: unknown) => {
        for (const call of asked) call.done(undefined, error);
      },
    );
  }
}

function answer(asked: readonly BatchedCall[], packed: unknown): void {
  let answers: Answer;
  try {
    answers = unpack(packed as Buffer);
  } catch (error) {
    for (const call of asked) call.done(undefined, error);
    return;
  }
  for (let i = 0; i < asked.length; i++) {
    const one = answers[i];
    if (!Array.isArray(one))
      asked[i]?.done(undefined, new Error('a batch of decisions was answered with something else'));
    else if (one[0] === FAILED) asked[i]?.done(undefined, new Error(String(one[1])));
    else asked[i]?.done(one);
  }
}
