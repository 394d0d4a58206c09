import { expect, test } from '@jest/globals';
import { Durability, OpenRecord } from '../../proto/generated/handles.ts';
import { shardOfId } from '../table/keys.ts';
import { Orphans } from './orphans.ts';

const DEAD = 'uid/0@7';
const record = (openId: bigint, durability: Durability = Durability.PERSISTENT) =>
  OpenRecord.create({ openId, durability });
const ids = (orphans: Orphans, shard?: number) => orphans.of(DEAD, shard).map(({ openId }) => openId);
/** Two opens of one shard, and one of another. */
const [first, same, other] = [
  (7n << 36n) | (5n << 30n) | 1n,
  (7n << 36n) | (5n << 30n) | 2n,
  (7n << 36n) | (6n << 30n) | 1n,
] as const;

test('durable opens are kept, once each', () => {
  const orphans = new Orphans();
  orphans.keep(DEAD, [record(first), record(first), record(same), record(other, Durability.NOT_DURABLE)]);
  expect(orphans.count).toBe(2);
  expect([first, same, other].map((id) => orphans.has(DEAD, id))).toEqual([true, true, false]);
  expect(orphans.has('uid/0@8', first)).toBe(false);
});

test("what does not wait any more in a shard is forgotten, another shard's is not", () => {
  const orphans = new Orphans();
  orphans.keep(
    DEAD,
    [first, same, other].map((id) => record(id)),
  );
  const shard = shardOfId(first);
  expect(orphans.shardsOf(DEAD).sort()).toEqual([shard, shardOfId(other)].sort());
  orphans.retain(DEAD, shard, new Set([same, other]));
  expect(ids(orphans, shard)).toEqual([same]);
  expect(ids(orphans).sort()).toEqual([same, other].sort());
  orphans.retain(DEAD, shard, new Set());
  expect(orphans.shardsOf(DEAD)).toEqual([shardOfId(other)]);
  orphans.retain(DEAD, shardOfId(other), new Set());
  expect(orphans.owners).toEqual([]);
  expect(ids(orphans)).toEqual([]);
});
