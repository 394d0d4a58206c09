// The report of `holdfast write-through`: what was acknowledged and when, for verify-blocks, the demo and the benchmarks.

export interface Pause {
  /** Milliseconds since the writer's start at which the last write before it was acknowledged. */
  atMs: number;
  /** How long nothing was acknowledged on the handle. */
  ms: number;
}

export interface HandleReport {
  index: number;
  /** Within the share, with slashes. */
  path: string;
  durability: string;
  ackedBlocks: number;
  /** For each slot the sequence number of the last acknowledged block, 0 for none. */
  lastAcked: number[];
  /** Writes that were sent and neither acknowledged nor overwritten by an acknowledged one: they may be on the volume or not. */
  unsettled: { sequence: number; slot: number }[];
  /** Times of all acknowledgements: LEB128 varints of the differences in 0.1 ms, from the writer's start, base64. */
  ackTimes: string;
  /** The same counted: acknowledgements in each `bucketMs`. */
  acknowledged: number[];
  /** Gaps of at least `pauseThresholdMs`. */
  pauses: Pause[];
  maxPauseMs: number;
  /** What the caller of the library was told. */
  errors: { atMs: number; code: string; message: string }[];
}

export interface WriterReport {
  version: 1;
  writer: string;
  share: string;
  blockBytes: number;
  slots: number;
  bucketMs: number;
  pauseThresholdMs: number;
  /** Wall clock, to lay several writers and events side by side. */
  startedAt: string;
  /** CLOCK_MONOTONIC at the start, nanoseconds, the same on one machine. */
  startedMonotonicNs: string;
  elapsedMs: number;
  ackedBlocks: number;
  maxPauseMs: number;
  callerErrors: number;
  failovers: {
    atMs: number;
    from: string;
    to: string;
    durationMs: number;
    connectedMs: number;
    reclaimed: number;
    lost: number;
  }[];
  handles: HandleReport[];
}

/** A line of `--progress json`, of one a second. Sums are since the writer's start. */
export interface WriterProgress {
  elapsedMs: number;
  handles: number;
  ackedBlocks: number;
  maxPauseMs: number;
  callerErrors: number;
  failovers: number;
  /** Handles that failovers found again. */
  reclaimed: number;
  /** The server; null while there is none. */
  address: string | null;
  /**
   * Each handle: its blocks, and the longest gap between two acknowledgements of those that ended since the line before, or that goes on.
   * A gap counts from its beginning, also when lines before have told of it.
   */
  perHandle: { ackedBlocks: number; pauseMs: number }[];
}

/** Gathers times as varints of their differences. */
export class TimeLine {
  #bytes = Buffer.alloc(4096);
  #length = 0;
  #lastTicks = 0;

  /** `ms` since the start; must not go back. */
  add(ms: number): void {
    const ticks = Math.round(ms * 10);
    let rest = Math.max(0, ticks - this.#lastTicks);
    this.#lastTicks = ticks;
    if (this.#length + 8 > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], this.#bytes.length * 2);
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  toString(): string {
    return this.#bytes.toString('base64', 0, this.#length);
  }
}

/** Milliseconds since the writer's start of every acknowledgement, out of a report's `ackTimes`. */
export function decodeTimeLine(text: string): number[] {
  const times: number[] = [];
  let ticks = 0;
  let value = 0;
  let factor = 1;
  for (const byte of Buffer.from(text, 'base64')) {
    value += (byte & 0x7f) * factor;
    factor *= 0x80;
    if (byte >= 0x80) continue;
    ticks += value;
    times.push(ticks / 10);
    value = 0;
    factor = 1;
  }
  return times;
}
