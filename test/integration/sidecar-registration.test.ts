// A file server registers, and nobody answers it in time.
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { createLogger } from '../../common/logging.ts';
import type { ChangeCommands, SidecarCommands } from '../../fileserver/handles/commands.ts';
import { lockForLife } from '../../fileserver/handles/lock-file.ts';
import { HandlesStream } from '../../fileserver/handles/stream.ts';
import type { ServerIdentity } from '../../proto/generated/handles.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';
import { SlowProxy } from '../../sidecar/testing/slow-proxy.ts';

/** So long that nothing here depends on how fast the machine is. */
const LEASE_MS = 600_000;
const PATIENCE_MS = 20_000;
/** A registration asks the store more than once: it takes longer than its file server waits, each time. */
const STORE_DELAY_MS = 250;
const HELLO_WITHIN_MS = 400;
const redises: TestRedis[] = [];
const proxies: SlowProxy[] = [];
let cluster: TestCluster;
afterEach(async () => {
  await cluster.stop();
  for (const proxy of proxies.splice(0)) await proxy.stop();
  for (const redis of redises.splice(0)) await redis.stop();
});

/** A pod with a sidecar whose store is open, and slow from now on. */
async function onSlowStore(): Promise<TestPod> {
  const redis = await TestRedis.start();
  redises.push(redis);
  const store = await SlowProxy.to(redis.port);
  proxies.push(store);
  cluster = await TestCluster.start(0, LEASE_MS, {
    config: { mode: 'Standalone', addresses: [store.address], durability: { mode: 'Always' } },
  });
  const pod = cluster.newPod();
  await pod.startSidecar();
  await until(async () => (await cluster.storeMessage(pod)) === '', PATIENCE_MS);
  store.delayMs = STORE_DELAY_MS;
  return pod;
}

test('a file server that says Hello again before the store has answered registers all the same', async () => {
  const pod = await onSlowStore();
  const lockPath = join(pod.runDir, 'fileserver-0.lock');
  await lockForLife(lockPath);
  const identities: ServerIdentity[] = [];
  const stream = new HandlesStream({
    socketPath: join(pod.runDir, 'sidecar.sock'),
    worker: '0',
    lockPath,
    smbAddress: '127.0.0.1:445',
    helloTimeoutMs: { first: HELLO_WITHIN_MS, most: HELLO_WITHIN_MS },
    log: createLogger('fileserver'),
    commands: {} as SidecarCommands & ChangeCommands,
    records: () => [],
    lockState: () => undefined,
    troubles: () => [],
    registered: ({ identity }) => identities.push(identity),
    renewed: () => {},
    fenced: () => Promise.resolve(),
  });
  try {
    stream.start();
    await until(() => identities.length > 0, PATIENCE_MS);
    expect(identities).toEqual([{ serverId: 'uid-pod-0/0', epoch: 1n }]);
    expect(pod.sidecar?.components.cluster.memberOf('uid-pod-0/0')?.identity.epoch).toBe(1);
  } finally {
    stream.stop();
  }
}, 60_000);

test('a Hello that is said again gets the same identity, and the next one another', async () => {
  const pod = await onSlowStore();
  const { server } = pod;
  server.attempt = Buffer.alloc(16, 1);
  const givenUp = server.start();
  givenUp.catch(() => {});
  const again = new TestFileServer(pod.runDir);
  again.attempt = server.attempt;
  expect((await again.start(undefined, 0, false)).identity?.epoch).toBe(1n);
  again.detach();
  // Its answer was lost after it was registered.
  expect((await again.start(undefined, 0, false)).identity?.epoch).toBe(1n);
  again.detach();
  again.attempt = Buffer.alloc(16, 2);
  expect((await again.start(undefined, 0, false)).identity?.epoch).toBe(2n);
  again.detach();
}, 60_000);

test('a file server that dies while it is registered is fenced', async () => {
  const pod = await onSlowStore();
  const components = pod.sidecar?.components;
  const key = components?.table.keys.servers ?? '';
  const servers = redises[0]?.admin; // past the proxy
  pod.server.start().catch(() => {});
  await until(async () => (await servers?.exists(key)) === 1, PATIENCE_MS);
  pod.server.kill();
  expect(components?.cluster.memberOf('uid-pod-0/0')).toBe(undefined); // the store was not heard yet
  await until(
    async () => (await components?.registry.list())?.some(({ state }) => state === 'fenced') === true,
    PATIENCE_MS,
  );
}, 60_000);
