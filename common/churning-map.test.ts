import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ChurningMap } from './churning-map.ts';

const key = fc.nat(5);
const step = fc.oneof(
  fc.record({ do: fc.constant('set' as const), key, value: fc.nat(9) }),
  fc.record({ do: fc.constantFrom('delete' as const, 'take' as const), key }),
  fc.record({ do: fc.constant('clear' as const) }),
);

describe('a map for what comes and goes', () => {
  test('is a Map', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const churning = new ChurningMap<number, number>();
        const plain = new Map<number, number>();
        for (const one of steps) {
          if (one.do === 'set') {
            churning.set(one.key, one.value);
            plain.set(one.key, one.value);
          } else if (one.do === 'delete') {
            expect(churning.delete(one.key)).toBe(plain.delete(one.key));
          } else if (one.do === 'take') {
            expect(churning.take(one.key)).toBe(plain.get(one.key));
            plain.delete(one.key);
          } else {
            churning.clear();
            plain.clear();
          }
          expect([...churning]).toEqual([...plain]);
          expect([...churning.keys()]).toEqual([...plain.keys()]);
          expect([...churning.values()]).toEqual([...plain.values()]);
          expect(churning.size).toBe(plain.size);
          for (let i = 0; i < 6; i++) expect([churning.has(i), churning.get(i)]).toEqual([plain.has(i), plain.get(i)]);
        }
      }),
    );
  });

  test('shows who looks through it those that come meanwhile, and none that went', () => {
    const map = new ChurningMap<number, string>().set(1, 'one').set(2, 'two').set(3, 'three');
    const seen: string[] = [];
    for (const value of map.values()) {
      seen.push(value);
      map.delete(2);
      if (seen.length === 1) map.set(4, 'four');
    }
    expect(seen).toEqual(['one', 'three', 'four']);
  });

  test('lets what has left it be collected young', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (how?: { type: 'minor' | 'major' }) => void;
    const map = new ChurningMap<number, { content: number[] }>();
    // Tables that it has left, in the old generation.
    for (let i = 0; i < 10_000; i++) map.set(i, { content: [i] });
    for (let i = 0; i < 10_000; i++) map.delete(i);
    collect({ type: 'major' });
    const before = oldBytes();
    for (let i = 0; i < 10_000; i++) {
      map.set(i, { content: new Array<number>(100).fill(i) });
      map.delete(i - 50);
      if (i % 1000 === 999) collect({ type: 'minor' });
    }
    collect({ type: 'minor' });
    expect(oldBytes() - before).toBeLessThan(2_000_000); // of eight million bytes that went through it
    expect(map.size).toBe(50);
  });
});

function oldBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')?.space_used_size ?? 0;
}
