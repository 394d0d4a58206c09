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

/**
 * `count` seeds, or SCHEDULES=n of them where that is set: from SEED=n on, to repeat what it began, or from a new one. Each stands in
 * what is said of its schedule.
 * @param from where they begin when neither is set; undefined: at a new one
 */
export function seeds(count: number, from?: number): number[] {
  const { SEED, SCHEDULES } = process.env;
  const others = randomInt(1, 1_000_000_000);
  const first = SEED ? Number(SEED) : SCHEDULES ? others : (from ?? others);
  const many = SCHEDULES ? Number(SCHEDULES) : SEED ? 1 : count;
  return Array.from({ length: many }, (_, i) => first + i);
}
