// The store is out of everybody's reach: servers go on while all promise not to fence one another, and stop when one does not.
import { afterEach, expect, test } from '@jest/globals';
import { Outcome } from '../../proto/generated/handles.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';

/** Long enough for a machine that has more to do than this. */
const LEASE_MS = 3000;
let cluster: TestCluster;
let redis: TestRedis;
afterEach(async () => {
  await cluster.stop();
  await redis.stop();
});

/** Pods whose servers have heard of each other, and may go on without the store for so long. */
async function pods(count: number, maxExtensionMs: number): Promise<void> {
  redis = await TestRedis.start();
  const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
  cluster = await TestCluster.start(count, LEASE_MS, { config, maxExtensionMs });
  for (const [i, pod] of cluster.pods.entries()) await pod.server.session(BigInt(i + 1));
  const members = () =>
    cluster.pods.flatMap(({ sidecar }) => [...(sidecar?.components.cluster.members.values() ?? [])]);
  await until(() => members().every((member) => member.mayBeExtended && member.peers.length === count - 1), 40_000);
}

const servers = () => cluster.pods.map(({ server }) => server);
const passed = (ms: number) => {
  const untilMs = performance.now() + ms;
  return () => performance.now() > untilMs;
};

test('all promise: everybody serves for longer than a lease, and goes on under its epoch when the store is back', async () => {
  await pods(3, 20_000);
  const [one] = servers();
  const { record } = (await one?.open('goes-on', { shareAccess: 1 })) ?? {};
  const epochs = servers().map(({ epoch }) => epoch);
  redis.pause();
  const isOver = passed(2 * LEASE_MS);
  let stopped = 0;
  await until(() => {
    if (!servers().every(({ mayServe }) => mayServe)) stopped++;
    return isOver();
  }, 4 * LEASE_MS);
  expect(stopped).toBe(0);
  redis.resume();
  const settled = passed(1.5 * LEASE_MS);
  await until(settled, 3 * LEASE_MS);
  expect(servers().map(({ fenced }) => fenced)).toEqual([false, false, false]);
  expect(servers().map(({ epoch }) => epoch)).toEqual(epochs);
  if (!record) throw new Error('no record');
  expect((await one?.close(record))?.outcome).toBe(Outcome.GRANTED);
}, 90_000);

test('one peer cannot be asked: everybody stops at the deadline', async () => {
  await pods(3, 20_000);
  const [one, two] = servers();
  cluster.pod(2).sidecar?.halt();
  redis.pause();
  const beganMs = performance.now();
  await until(() => one?.mayServe === false && two?.mayServe === false, 3 * LEASE_MS);
  expect(performance.now() - beganMs).toBeLessThan(LEASE_MS + 1000);
  redis.resume();
}, 90_000);

test('all promises together last no longer than the configuration says', async () => {
  await pods(2, LEASE_MS);
  redis.pause();
  const beganMs = performance.now();
  await until(() => servers().every(({ mayServe }) => !mayServe), 5 * LEASE_MS);
  const lastedMs = performance.now() - beganMs;
  expect(lastedMs).toBeGreaterThan(1.5 * LEASE_MS);
  expect(lastedMs).toBeLessThan(2 * LEASE_MS + 500);
  redis.resume();
}, 90_000);
