// What counts of a store that went back in time, step by step: the registry, the scripts and the lease, without the rest of a sidecar.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { createLogger } from '../../common/logging.ts';
import { monotonicNs } from '../../common/time.ts';
import { Durability, OpenState, Outcome } from '../../proto/generated/handles.ts';
import type { Delivery } from '../../sidecar/breaks/delivery.ts';
import { SHARDS } from '../../sidecar/constants.ts';
import { Ended } from '../../sidecar/fencing/ended.ts';
import type { Fencer } from '../../sidecar/fencing/fencer.ts';
import { Forgetting } from '../../sidecar/fencing/forgetting.ts';
import { Given } from '../../sidecar/fencing/given.ts';
import { Lease } from '../../sidecar/fencing/lease.ts';
import { Orphans } from '../../sidecar/fencing/orphans.ts';
import type { Possession } from '../../sidecar/fencing/possession.ts';
import type { Promises } from '../../sidecar/fencing/promises.ts';
import { Reconciler } from '../../sidecar/fencing/reconciler.ts';
import { Registry } from '../../sidecar/fencing/registry.ts';
import { Settling } from '../../sidecar/fencing/settling.ts';
import { createSidecarMetrics } from '../../sidecar/metrics.ts';
import { ClusterView } from '../../sidecar/services/cluster.ts';
import { Member } from '../../sidecar/services/member.ts';
import { type Identity, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import { Store } from '../../sidecar/table/store.ts';
import { StoreUnavailableError } from '../../sidecar/table/store-errors.ts';
import { Table } from '../../sidecar/table/table.ts';
import { sampleRecord } from '../../sidecar/testing/file-server.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';

const PAST_NS = 1n;
/** So long that nothing here depends on how fast the machine is. */
const LEASE_MS = 600_000;

let redis: TestRedis;
let store: Store;
let keys: Keys;
let registry: Registry;

beforeEach(async () => {
  redis = await TestRedis.start();
  const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
  store = new Store(config, () => undefined, createLogger('test'), createSidecarMetrics());
  keys = new Keys('back');
  registry = new Registry(store, keys);
  await store.data.set(keys.generation, '1');
}, 20_000);
afterEach(async () => {
  store.end();
  await redis.stop();
});

/** One that nobody else is asked about, nor hears of. */
function newReconciler(
  cluster: ClusterView,
  table: Table,
  leaseDurationMs: number,
  persistentTimeoutMs = LEASE_MS,
): Reconciler {
  const log = createLogger('test');
  return new Reconciler({
    ...{ store, keys, table, registry, cluster, log, leaseDurationMs, persistentTimeoutMs, newStore: false },
    ...{ orphans: new Orphans(), ended: new Ended(1000), given: new Given(), metrics: createSidecarMetrics() },
    maxExtensionMs: 0,
    config: { mode: 'Standalone', addresses: [redis.address], durability: { mode: 'Always' } },
    possession: { refusal: async () => undefined } as unknown as Possession,
    settling: new Settling(table, log),
    place: { address: '', pod: '', node: '' },
    isAskedByAll: () => true,
    hasPromisedNothing: () => true,
    fenced: () => {},
    opened: () => {},
  });
}

/** What it gives once it can: a replica needs a moment to come. */
async function eventual<T>(ask: () => Promise<T>): Promise<T> {
  let answer: T | undefined;
  const isThere = async () => {
    answer = await ask().catch(() => undefined);
    return answer !== undefined;
  };
  await until(isThere, 30_000);
  return answer as T;
}

const runId = async () => (await store.whereabouts(keys.stores())).runIds[0] ?? '';

/** The data is what it was when the copy was made, in another Redis process. */
async function goBackTo(copy: string): Promise<void> {
  await redis.restore(copy);
  await until(async () => (await registry.list().catch(() => [])).length > 0, 20_000);
}

function memberOf(identity: Identity): Member {
  const member = new Member('0', identity, '/dev/null', new OpenIds(identity.epoch, 0), '127.0.0.1:445');
  member.deadlineNs = PAST_NS;
  return member;
}

/** A lease of one member. @param opened the Redis process whose shards are open here */
function leaseOf(member: Member, opened: () => string): Lease {
  const cluster = new ClusterView();
  cluster.members.set(member.worker, member);
  return new Lease({
    registry,
    store,
    cluster,
    delivery: {} as Delivery,
    fencer: {} as Fencer,
    promises: {} as Promises,
    maxExtensionMs: 0,
    orphans: new Orphans(),
    forgetting: new Forgetting({ registry, table: new Table(store, keys, 1000), cluster, log: createLogger('test') }),
    log: createLogger('test'),
    metrics: createSidecarMetrics(),
    leaseDurationMs: LEASE_MS,
    storeKnows: (_member, id, generation) => id === opened() && generation === '1',
    fenceSilent: false,
  });
}

/** While the shards are open, in the Redis process that answers now; afterwards they wait for state again. */
async function registered(serverId: string): Promise<Identity> {
  const id = await runId();
  await store.data.set(keys.opened, `${id}:1`);
  registry.serveWith(`${id}:1`, [id]);
  store.openWith(await store.load(new Array(SHARDS).fill(id), '1'));
  const { epoch } = await registry.register(serverId, {});
  store.close();
  await store.data.del(keys.opened);
  return { serverId, epoch };
}

describe('a renewal', () => {
  test('past the deadline does not count in a store that has forgotten that the server was fenced', async () => {
    const a = await registered('a');
    const copy = redis.backUp();
    expect(await registry.beginFencing(a, -1, 'b', true)).toMatchObject({ began: true });
    await goBackTo(copy);

    const member = memberOf(a);
    let opened = 'the one that this copy was made of';
    const lease = leaseOf(member, () => opened);
    expect(await lease.renew(member)).toBe(false);
    expect(member.deadlineNs).toBe(PAST_NS);
    expect(member.over).toBe(false);

    // All that others remember is back, and nobody has said that it was fenced.
    opened = await runId();
    expect(await lease.renew(member)).toBe(true);
    expect(member.deadlineNs).toBeGreaterThan(PAST_NS);
  }, 30_000);

  test('past the deadline counts where the store is the one that was in use', async () => {
    const member = memberOf(await registered('a'));
    const opened = await runId();
    expect(await leaseOf(member, () => opened).renew(member)).toBe(true);
    expect(member.deadlineNs).toBeGreaterThan(PAST_NS);
    // Another life of the data began: what was in use is not any more.
    await store.data.set(keys.generation, '2');
    member.deadlineNs = PAST_NS;
    expect(await leaseOf(member, () => opened).renew(member)).toBe(false);
    expect(member.deadlineNs).toBe(PAST_NS);
  }, 30_000);

  test('that a store from before the last registration refuses fences nobody', async () => {
    await registered('a');
    const copy = redis.backUp();
    const member = memberOf(await registered('a'));
    await goBackTo(copy);
    expect(await leaseOf(member, () => '').renew(member)).toBe(false);
    expect(member.over).toBe(false);
  }, 30_000);
});

describe('a store is not said to have gone back in time', () => {
  test('by what the next answer says, which came in the same moment', async () => {
    const a = await registered('a');
    await registry.list();
    // All three go to the store together, in this order.
    const lost = registry.contradiction(false);
    const renewed = registry.renew(a, { counter: 7 });
    await new Promise<void>((resolve) => process.nextTick(resolve));
    const next = registry.list();
    expect(await lost).toBeUndefined();
    expect((await renewed).valid).toBe(true);
    expect(await next).toMatchObject([{ counter: 7 }]);
    // What was seen is compared all the same.
    await redis.admin.hdel(keys.servers, 'a');
    expect(await registry.contradiction(false)).toContain('does not know the server a');
  }, 30_000);

  test('by a server that was fenced and forgotten while nobody looked', async () => {
    const watching = new Registry(store, keys);
    const [a, b] = [await registered('a'), await registered('b')];
    await watching.list();
    await registry.beginFencing(a, -1, 'b', false);
    await registry.endFencing(a);
    await registry.forget(a);
    expect(await watching.contradiction(false)).toBeUndefined();
    await redis.admin.hdel(keys.servers, b.serverId);
    expect(await watching.contradiction(false)).toContain('does not know the server b');
  }, 30_000);

  test('by what no replica had when its primary was lost', async () => {
    await redis.admin.config('SET', 'repl-diskless-sync-delay', '0');
    const settings = ['--replicaof', `127.0.0.1 ${redis.port}`];
    const replica = await TestRedis.start({ settings });
    const durability = { mode: 'Replicated' as const, replicas: 1 };
    const config = { mode: 'Standalone' as const, addresses: [redis.address], durability };
    const replicated = new Store(config, () => undefined, createLogger('test'), createSidecarMetrics());
    try {
      const watching = new Registry(replicated, keys);
      const a = await registered('a');
      await replicated.load(new Array(SHARDS).fill(await runId()), '1');
      const before = await eventual(() => watching.look());
      const contradicted = () => watching.witness.contradicts(before, 0, false);
      expect(before).toMatchObject([{ counter: 0 }]);
      expect(contradicted()).toBeUndefined();
      await watching.renew(a, { counter: 1 });
      const settled = await watching.look();
      expect(contradicted()).toContain('renewal 0');
      await replica.kill();
      await expect(watching.renew(a, { counter: 7 })).rejects.toThrow(StoreUnavailableError);
      await expect(watching.look()).rejects.toThrow(StoreUnavailableError);
      expect(await watching.list()).toMatchObject([{ counter: 7 }]);
      // A replica that takes its place has none of that, and has lost nothing that was answered.
      expect(watching.witness.contradicts(settled, 0, false)).toBeUndefined();
    } finally {
      replicated.end();
      await replica.stop();
    }
  }, 90_000);

  test('by who served in a life of the data before the one that others have begun', async () => {
    const waitMs = 300;
    const reconciler = newReconciler(new ClusterView(), new Table(store, keys, 5000), waitMs, 1000);
    try {
      reconciler.reconcile();
      await until(() => store.open, 30_000);
      // It served in the life before, and was left out of the one that came after it.
      await registry.register('lost', {});
      expect(await registry.list()).toHaveLength(1);
      const other = 'another Redis process:2';
      await store.data.del(keys.servers);
      await Promise.all(keys.stores().map((key) => store.data.set(key, other)));
      await store.data.set(keys.generation, '2');
      store.close();
      await until(() => store.open, 60_000);
      expect(await store.data.get(keys.generation)).toBe('2');
    } finally {
      reconciler.stop();
    }
  }, 120_000);
});

test('what was not put back of a server that was late is not its own any more, whatever the store has left of it', async () => {
  const cluster = new ClusterView();
  const table = new Table(store, keys, 5000);
  const reconciler = newReconciler(cluster, table, 300);
  try {
    reconciler.reconcile();
    await until(() => store.open, 30_000);
    const { epoch } = await registry.register('a', {});
    const member = memberOf({ serverId: 'a', epoch });
    cluster.members.set(member.worker, member);
    await Promise.all(keys.stores().map((_, shard) => table.fence(shard, member.identity, 'enter', 'alive')));
    const fields = { durability: Durability.NOT_DURABLE, createGuid: Buffer.alloc(0) };
    const shard = shardOf(Buffer.from('volume:late'));
    const asked = sampleRecord('late', { openId: member.ids.next(shard) ?? 0n, ...fields });
    const how = { truncates: false, again: false, guidAgain: false, mayBeFleeting: true };
    const { record } = await table.open(member.identity, asked, how);
    if (!record) throw new Error('it was not granted');
    member.add(record, 0);
    // What has its record in another life is void (decision 27); that it is the server's stands there.
    member.deadlineNs = monotonicNs();
    await store.data.set(keys.generation, '2');
    store.close();
    await until(() => store.open, 30_000);
    expect(await store.data.get(keys.opened)).toMatch(/:2$/);
    await until(() => !member.opens.has(record.openId));
  } finally {
    reconciler.stop();
  }
}, 90_000);

describe('what is put back', () => {
  const LIFE = 'another life of the data';
  const back = { serverId: 'a', epoch: 3 };

  test('has to come before the shards are opened: a server is too late then', async () => {
    expect(await registry.restore(back, { state: 'active', reconciled: '' }, LIFE)).toBe(0);
    expect(await registry.mayOpen(LIFE, '1')).toBe(false); // its opens are missing
    await registry.set(back, { reconciled: LIFE });
    expect(await registry.mayOpen(LIFE, 'another')).toBe(false);
    expect(await registry.mayOpen(LIFE, '1')).toBe(true);
    const late = registry.restore({ serverId: 'b', epoch: 4 }, { state: 'active', reconciled: '' }, LIFE);
    await expect(late).rejects.toThrow(StoreUnavailableError);
    const fenced = registry.restore(back, { state: 'fenced', reconciled: '' }, LIFE);
    await expect(fenced).rejects.toThrow(StoreUnavailableError);
    expect(await registry.list()).toMatchObject([{ ...back, state: 'active' }]);
    // Into the next life it is put back as ever.
    expect(await registry.restore({ serverId: 'b', epoch: 4 }, { state: 'active' }, 'the next')).toBe(0);
  }, 30_000);

  test('is refused by a shard that was opened meanwhile', async () => {
    const table = new Table(store, keys, 60_000);
    const life = `${await runId()}:1`;
    await store.load(new Array(SHARDS).fill(await runId()), '1');
    const record = sampleRecord('file', { openId: new OpenIds(3, 0).next(shardOf(Buffer.from('volume:file'))) ?? 0n });
    const shard = shardOf(record.fileId);
    await table.fence(shard, back, 'enter', 'alive');
    const puttingBack = () => table.restore(back, record, 0, 0n, { isStale: true });

    await store.data.set(keys.store(shard), life);
    await expect(puttingBack()).rejects.toThrow(StoreUnavailableError);
    await expect(table.forgetClosed(back, record.fileId, record.openId)).rejects.toThrow(StoreUnavailableError);
    await store.data.set(keys.store(shard), '-');
    expect(await puttingBack()).toBe(Outcome.GRANTED);
    expect(await table.forgetClosed(back, record.fileId, record.openId)).toBe(Outcome.GRANTED);
  }, 30_000);

  test.each([
    ['before', [undefined, back]],
    ['after', [back, undefined]],
  ] as const)(
    "by an open's owner counts, also where who gave it away puts it back %s",
    async (_when, order) => {
      const table = new Table(store, keys, 60_000);
      await store.load(new Array(SHARDS).fill(await runId()), '1');
      const record = sampleRecord('file', {
        openId: new OpenIds(3, 0).next(shardOf(Buffer.from('volume:file'))) ?? 0n,
      });
      const shard = shardOf(record.fileId);
      await table.fence(shard, back, 'enter', 'alive');
      await store.data.set(keys.store(shard), '-');
      for (const who of order) {
        const state = who ? OpenState.DISCONNECTED : OpenState.RELEASED;
        expect(await table.restore(who, { ...record, state }, 0, 0n, { isStale: true })).toBe(Outcome.GRANTED);
      }
      const owned = async (by: string) => (await store.data.smembersBuffer(keys.own(shard, by))).length;
      expect([await owned('a@3'), await owned('-')]).toEqual([1, 0]);
    },
    30_000,
  );
});

describe('a new epoch', () => {
  test('is above all that the sidecar knows of, where the store has lost them', async () => {
    const before = [await registered('a'), await registered('b')].map(({ epoch }) => epoch);
    await redis.restartEmpty();
    await until(
      () =>
        registry.list().then(
          () => true,
          () => false,
        ),
      20_000,
    );
    const { epoch } = await registered('a');
    expect(epoch).toBeGreaterThan(Math.max(...before) + 4096);
    // Where nothing is lost it is the next one.
    expect((await registered('b')).epoch).toBe(epoch + 1);
  }, 30_000);

  test('is above the one that a file server had with a sidecar which was started anew', async () => {
    registry.saw(70_000);
    expect((await registered('a')).epoch).toBeGreaterThan(70_000 + 4096);
  }, 30_000);
});

test('what a sidecar that died had on its way to the store is done or dead before its successor decides anything', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-connections-'));
  const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
  const started = () => {
    const file = join(folder, 'connections.json');
    return new Store(config, () => undefined, createLogger('test'), createSidecarMetrics(), file);
  };
  const connections = async () => String(await redis.admin.client('LIST')).match(/(?<=\bid=)\d+/g) ?? [];
  const one = started();
  await one.check();
  // Renewals, registrations and fencing have a connection of their own.
  const ids = await Promise.all([one.data, one.lease].map(async (each) => String(await (each as Redis).client('ID'))));
  expect(await connections()).toEqual(expect.arrayContaining(ids));
  const two = started();
  await two.check();
  const left: readonly string[] = await connections();
  expect(ids.filter((id) => left.includes(id))).toEqual([]);
  one.end();
  two.end();
  rmSync(folder, { recursive: true });
}, 30_000);
