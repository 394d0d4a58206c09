import { randomInt } from 'node:crypto';

/** Random numbers from a seed (mulberry32), so that a schedule can be repeated. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)] as T;
  }
}

/** The seed to repeat (SEED=n), or SCHEDULES=n new ones (default 1). They stand in the names of the tests. */
export function seeds(): number[] {
  if (process.env.SEED) return [Number(process.env.SEED)];
  return Array.from({ length: Number(process.env.SCHEDULES ?? 1) }, () => randomInt(1, 1_000_000));
}
