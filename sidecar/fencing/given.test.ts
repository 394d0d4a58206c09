import { expect, test } from '@jest/globals';
import { OpenRecord } from '../../proto/generated/handles.ts';
import { shardOfId } from '../table/keys.ts';
import { Given } from './given.ts';

const ONE = 'one/0@7';
const TWO = 'two/0@8';
const record = (openId: bigint, ownershipVersion = 2n) => OpenRecord.create({ openId, ownershipVersion });
const ids = (opens: OpenRecord[]) => opens.map(({ openId }) => openId);
/** Opens of two shards. */
const [here, there] = [(7n << 36n) | (5n << 30n) | 1n, (7n << 36n) | (6n << 30n) | 1n] as const;

test('what was given is remembered by its new owner and by shard, until it has arrived', () => {
  const given = new Given();
  given.add(ONE, [record(here)]);
  given.add(TWO, [record(there)]);
  expect(given.owners).toEqual([ONE, TWO]);
  expect(ids(given.inShards(new Set([shardOfId(there)])))).toEqual([there]);
  given.arrived(TWO, [record(here)]); // another's
  given.arrived(ONE, [record(here)]);
  expect([given.count, given.owners]).toEqual([1, [TWO]]);
});

test('word of what has arrived says nothing of an open that was given once more since', () => {
  const given = new Given();
  given.add(ONE, [record(here, 2n)]);
  given.add(ONE, [record(here, 4n)]);
  given.arrived(ONE, [record(here, 2n)]);
  expect(given.count).toBe(1);
  given.arrived(ONE, [record(here, 4n)]);
  expect(given.count).toBe(0);
});

test('who reminds is woken when there is something to remember again, and by nothing', () => {
  const given = new Given();
  let woken = 0;
  given.onFirst = () => woken++;
  given.add(ONE, []);
  expect(woken).toBe(0);
  given.add(ONE, [record(here)]);
  given.add(TWO, [record(there)]);
  given.arrived(ONE, [record(here)]);
  expect(woken).toBe(1);
  given.arrived(TWO, [record(there)]);
  given.add(ONE, [record(here)]);
  expect([woken, given.owners]).toEqual([2, [ONE]]);
});
