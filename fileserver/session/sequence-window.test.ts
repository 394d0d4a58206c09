import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MAX_CREDITS, SequenceWindow } from './sequence-window.ts';

describe('the command sequence window', () => {
  test('begins with id 0 alone', () => {
    const window = new SequenceWindow();
    expect(window.take(1, 1)).toBe(false);
    expect(window.take(0, 1)).toBe(true);
    expect(window.take(0, 1)).toBe(false);
  });

  test('a charge of several takes several ids', () => {
    const window = new SequenceWindow();
    window.take(0, 1);
    window.grant(8, MAX_CREDITS);
    expect(window.take(1, 8)).toBe(true);
    expect(window.take(8, 1)).toBe(false);
    expect(window.available).toBe(0);
  });

  test('grants at least one to a client that has none, and never more than allowed', () => {
    const window = new SequenceWindow();
    window.take(0, 1);
    expect(window.grant(0, MAX_CREDITS)).toBe(1);
    expect(window.grant(60_000, MAX_CREDITS)).toBe(MAX_CREDITS - 1);
    expect(window.grant(10, MAX_CREDITS)).toBe(0);
  });

  test('a client that leaves an id unused cannot stretch the window without end', () => {
    const window = new SequenceWindow();
    window.take(0, 1);
    window.grant(512, MAX_CREDITS);
    let id = 2; // 1 stays unused
    while (id < 3 * MAX_CREDITS && window.take(id, 1)) {
      id++;
      window.grant(1, MAX_CREDITS);
    }
    expect(id).toBeLessThan(3 * MAX_CREDITS);
    expect(window.take(1, 1)).toBe(true);
  });

  test('no id is taken twice, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 1, max: 4 }), fc.nat(8))), (steps) => {
        const window = new SequenceWindow();
        const taken = new Set<number>();
        for (const [id, charge, wanted] of steps) {
          if (window.take(id, charge)) {
            for (let one = id; one < id + charge; one++) {
              expect(taken.has(one)).toBe(false);
              taken.add(one);
            }
          }
          window.grant(wanted, 16);
          expect(window.available).toBeLessThanOrEqual(16);
        }
      }),
    );
  });
});
