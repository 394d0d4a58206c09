// What counts of a store that went back in time, step by step: the registry, the scripts and the lease, without the rest of a sidecar.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createLogger } from '../../common/logging.ts';
import type { Delivery } from '../../sidecar/breaks/delivery.ts';
import type { Fencer } from '../../sidecar/fencing/fencer.ts';
import { Lease } from '../../sidecar/fencing/lease.ts';
import { Orphans } from '../../sidecar/fencing/orphans.ts';
import { Registry } from '../../sidecar/fencing/registry.ts';
import { createSidecarMetrics } from '../../sidecar/metrics.ts';
import { ClusterView } from '../../sidecar/services/cluster.ts';
import { Member } from '../../sidecar/services/member.ts';
import { type Identity, Keys, OpenIds } from '../../sidecar/table/keys.ts';
import { Store } from '../../sidecar/table/store.ts';
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
    orphans: new Orphans(),
    log: createLogger('test'),
    metrics: createSidecarMetrics(),
    leaseDurationMs: LEASE_MS,
    isOpenedStore: (id, generation) => id === opened() && generation === '1',
    fenceSilent: false,
  });
}

const registered = async (serverId: string): Promise<Identity> => ({
  serverId,
  epoch: (await registry.register(serverId, {})).epoch,
});

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

describe('a new epoch', () => {
  test('is above all that the sidecar knows of, where the store has lost them', async () => {
    const before = [await registered('a'), await registered('b')].map(({ epoch }) => epoch);
    await redis.restartEmpty();
    await until(() => registry.list().then(
      () => true,
      () => false,
    ), 20_000);
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
