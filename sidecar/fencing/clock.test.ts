import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { OpenRecord } from '../../proto/generated/handles.ts';
import { createSidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Endings } from '../services/endings.ts';
import { OpenIds, parseIdentity } from '../table/keys.ts';
import type { Table } from '../table/table.ts';
import { until } from '../testing/redis.ts';
import { Clock } from './clock.ts';
import { Orphans } from './orphans.ts';

const SHARD = 5;
const PATIENCE_MS = 20_000;
const ids = new OpenIds(1, 0);

/** Orphans in the table, by identity, and the clock of a sidecar to which no tick ever falls: another raises them all. */
let stored: Map<string, OpenRecord[]>;
let kept: Orphans;
let clock: Clock;
let looks: number;
beforeEach(() => {
  stored = new Map();
  kept = new Orphans();
  looks = 0;
  const records = () => [...stored.values()].flat();
  const table = {
    store: { open: true },
    tick: () => new Promise(() => {}),
    again: async () => {},
    asLeft: async <T>(shard: number, look: () => Promise<T>) => {
      const found = await look();
      if (shard === SHARD) looks++;
      return found;
    },
    orphaned: async (shard: number) => (shard === SHARD ? [...stored.keys()] : []),
    async *owned(shard: number, identity: string) {
      if (shard === SHARD) yield (stored.get(identity) ?? []).map(({ openId, fileId }) => ({ openId, fileId }));
    },
    find: async (_me: unknown, _fileId: unknown, _guids: unknown, openId: bigint) => ({
      record: records().find((record) => record.openId === openId),
    }),
  } as unknown as Table;
  const cluster = { anyMember: () => ({ identity: { serverId: 'me', epoch: 9 } }) } as unknown as ClusterView;
  const endings = { expire: async () => 5 } as unknown as Endings;
  clock = new Clock(table, cluster, endings, kept, pino({ level: 'silent' }), createSidecarMetrics());
});
afterEach(() => clock.stop());

function orphan(identity: string): bigint {
  const { serverId, epoch } = parseIdentity(identity) ?? { serverId: '', epoch: 0 };
  const openId = ids.next(SHARD) ?? 0n;
  const fileId = Buffer.from('file');
  const record = OpenRecord.create({ openId, fileId, durability: 2, owner: { serverId, epoch: BigInt(epoch) } });
  stored.set(identity, [...(stored.get(identity) ?? []), record]);
  return openId;
}

test('a sidecar that was started anew looks after the orphans that there are', async () => {
  const openId = orphan('dead@1');
  clock.start();
  await until(() => kept.has('dead@1', openId), PATIENCE_MS);
  expect(kept.count).toBe(1);
});

test('who fences a custodian looks after what that one did', async () => {
  clock.start();
  await until(() => looks > 0, PATIENCE_MS);
  const openId = orphan('dead@1');
  orphan('custodian@2');
  clock.fenced('custodian@2');
  await until(() => kept.has('dead@1', openId), PATIENCE_MS);
});
