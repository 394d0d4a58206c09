import { describe, expect, test } from '@jest/globals';
import { OpenRecord } from '../../proto/generated/handles.ts';
import { TransferredRequest } from '../../proto/generated/peer.ts';
import { MAX_MESSAGE_BYTES, TOLD_AT_ONCE } from '../constants.ts';
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
    const words = [word(TOLD_AT_ONCE - 1), word(TOLD_AT_ONCE + 3)];
    const all = words.flatMap((one) => one.opens.map(({ openId }) => openId));
    const told: bigint[] = [];
    for (let one = next(words); one; one = next(words)) {
      expect(one.opens.length).toBeLessThanOrEqual(TOLD_AT_ONCE);
      told.push(...one.opens.map(({ openId }) => openId));
    }
    expect(told).toEqual(all);
  });

  test('fits into a message, however long the paths are', () => {
    const path = 'ä'.repeat(30_000);
    const words = [word(300)];
    for (const open of words[0]?.opens ?? []) open.path = path;
    let told = 0;
    for (let one = next(words); one; one = next(words)) {
      const request = { migrationId: 'm', targetServerId: 'two/0', ...one };
      expect(TransferredRequest.encode(TransferredRequest.create(request)).finish().length).toBeLessThan(
        MAX_MESSAGE_BYTES,
      );
      told += one.opens.length;
    }
    expect(told).toBe(300);
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
