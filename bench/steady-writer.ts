import { closeSync, openSync, readSync } from 'node:fs';
import type { File } from '../client/index.ts';

const BLOCK_BYTES = 4096;
const BLOCKS = 1024;

/** Writes tagged 4 KiB blocks one after another, each when the one before was acknowledged, round and round in a file. */
export class SteadyWriter {
  readonly #file: File;
  /** When each acknowledgement came, performance.now(). */
  readonly acknowledgedMs: number[] = [];
  readonly errors: unknown[] = [];
  /** Serial of the last acknowledged write of each block. */
  readonly #acknowledged = new Float64Array(BLOCKS);
  #running = true;
  readonly #ended: Promise<void>;
  readonly #waiting: { count: number; wake: () => void }[] = [];

  constructor(file: File) {
    this.#file = file;
    this.#ended = this.#write();
  }

  async #write(): Promise<void> {
    const block = Buffer.alloc(BLOCK_BYTES);
    for (let serial = 1; this.#running; serial++) {
      const index = serial % BLOCKS;
      for (let at = 0; at < BLOCK_BYTES; at += 512) block.writeDoubleLE(serial, at);
      try {
        await this.#file.write(index * BLOCK_BYTES, block);
      } catch (error) {
        this.errors.push(error);
        if (this.errors.length > 10) this.#running = false;
        continue;
      }
      this.acknowledgedMs.push(performance.now());
      this.#acknowledged[index] = serial;
      for (let i = this.#waiting.length - 1; i >= 0; i--) {
        const waiting = this.#waiting[i];
        if (!waiting || this.acknowledgedMs.length < waiting.count) continue;
        this.#waiting.splice(i, 1);
        waiting.wake();
      }
    }
  }

  /** Resolves when so many more writes are acknowledged. */
  more(count: number): Promise<void> {
    return new Promise((wake) => this.#waiting.push({ count: this.acknowledgedMs.length + count, wake }));
  }

  /** The longest time without an acknowledgement that ended after `sinceMs`, of which what lies before `sinceMs` does not count. */
  longestGapSince(sinceMs: number): number {
    let longestMs = 0;
    for (let i = this.acknowledgedMs.length - 1; i >= 0; i--) {
      const endMs = this.acknowledgedMs[i] ?? 0;
      if (endMs <= sinceMs) break;
      longestMs = Math.max(longestMs, endMs - Math.max(this.acknowledgedMs[i - 1] ?? sinceMs, sinceMs));
    }
    return longestMs;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#ended;
  }

  /** Reads the file from the volume: how many blocks are torn, or older than what was acknowledged. */
  lostBlocks(path: string): number {
    const fd = openSync(path, 'r');
    const block = Buffer.alloc(BLOCK_BYTES);
    let lost = 0;
    try {
      for (let index = 0; index < BLOCKS; index++) {
        const expected = this.#acknowledged[index] ?? 0;
        if (expected === 0) continue;
        const length = readSync(fd, block, 0, BLOCK_BYTES, index * BLOCK_BYTES);
        let intact = length === BLOCK_BYTES;
        for (let at = 0; intact && at < BLOCK_BYTES; at += 512) intact = block.readDoubleLE(at) === expected;
        if (!intact) lost++;
      }
    } finally {
      closeSync(fd);
    }
    return lost;
  }
}
