import { describe, expect, test } from '@jest/globals';
import { OpenRecord } from '../../proto/generated/handles.ts';
import { RECORD_BATCH } from '../constants.ts';
import { next } from './telling.ts';

const source = { serverId: 'one/0', epoch: 3n };
const trace = { endpoint: 'http://collector', traceId: 'a', parentSpanId: 'b' };
const word = (count: number, fields = {}) => ({ source, opens: opens(count), trace: undefined, ...fields });
let ids = 0n;
const opens = (count: number) => Array.from({ length: count }, () => OpenRecord.create({ openId: ++ids }));

/** How many opens each call would tell of. */
function calls(words: ReturnType<typeof word>[]): number[] {
  const sizes: number[] = [];
  for (let one = next(words); one; one = next(words)) sizes.push(one.opens.length);
  return sizes;
}

describe('what a target is told in one call', () => {
  test('is all that waits, of however many sessions', () => {
    expect(calls([word(1), word(2), word(3)])).toEqual([6]);
  });

  test('is bounded, and the rest follows in its order', () => {
    const words = [word(RECORD_BATCH - 1), word(RECORD_BATCH + 3)];
    const all = words.flatMap((one) => one.opens.map(({ openId }) => openId));
    const told: bigint[] = [];
    for (let one = next(words); one; one = next(words)) {
      expect(one.opens.length).toBeLessThanOrEqual(RECORD_BATCH);
      told.push(...one.opens.map(({ openId }) => openId));
    }
    expect(told).toEqual(all);
  });

  test('is of one source, and of one session where its span is wanted', () => {
    const other = { serverId: 'one/1', epoch: 4n };
    expect(calls([word(1), word(2, { source: other }), word(3, { source: other })])).toEqual([1, 5]);
    expect(calls([word(1, { trace }), word(2, { trace }), word(3), word(4)])).toEqual([1, 2, 7]);
    expect(calls([word(1), word(2, { trace })])).toEqual([1, 2]);
  });

  test('is nothing when nothing waits', () => {
    expect(next([])).toBeUndefined();
  });
});
