// A store that could lose what it was told is refused, with what to set; nothing is started anew when it was set.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { StoreConfig } from '../../common/config.ts';
import { createLogger } from '../../common/logging.ts';
import type { StatusReply } from '../../proto/generated/control.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { createSidecarMetrics } from '../../sidecar/metrics.ts';
import { Store } from '../../sidecar/table/store.ts';
import { checkRedis } from '../../sidecar/table/store-checks.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';
import { SilentProxy } from '../../sidecar/testing/silent-proxy.ts';

describe('a store', () => {
  let redis: TestRedis;
  let connection: Redis;
  beforeAll(async () => {
    redis = await TestRedis.start();
    connection = new Redis({ host: '127.0.0.1', port: redis.port });
  }, 20_000);
  afterAll(async () => {
    connection.disconnect();
    await redis.stop();
  });
  beforeEach(async () => {
    await connection.config('SET', 'maxmemory-policy', 'noeviction', 'appendonly', 'yes', 'appendfsync', 'always');
  });

  const check = (durability: StoreConfig['durability'] = { mode: 'Always' }) =>
    checkRedis(connection, { mode: 'Standalone', addresses: [redis.address], durability });

  test('that keeps what it is told is taken', async () => {
    expect((await check()).runId).toMatch(/^[0-9a-f]{40}$/);
  });

  test('that may throw keys away is refused', async () => {
    await connection.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await expect(check()).rejects.toThrow(/maxmemory-policy allkeys-lru.*set maxmemory-policy noeviction/);
  });

  test('that keeps nothing on its disk is refused', async () => {
    await connection.config('SET', 'appendonly', 'no');
    await expect(check()).rejects.toThrow(/set appendonly yes/);
    await expect(check({ mode: 'EverySecond' })).rejects.toThrow(/set appendonly yes/);
  });

  test('that answers before its disk has it is taken only where a second may be lost', async () => {
    await connection.config('SET', 'appendfsync', 'everysec');
    await expect(check()).rejects.toThrow(/appendfsync everysec.*set appendfsync always/);
    await check({ mode: 'EverySecond' });
    await connection.config('SET', 'appendfsync', 'no');
    await expect(check({ mode: 'EverySecond' })).rejects.toThrow(/set appendfsync everysec/);
  });

  test('with fewer replicas than have to hold each decision is refused', async () => {
    await expect(check({ mode: 'Replicated', replicas: 1 })).rejects.toThrow(/0 replicas.*asks for 1/);
  });

  test('that is a replica itself is refused', async () => {
    await connection.replicaof('127.0.0.1', '1');
    try {
      await expect(check()).rejects.toThrow(/is a replica; name the primary/);
    } finally {
      await connection.replicaof('NO', 'ONE');
    }
  });
});

describe('a sidecar whose store is refused', () => {
  test('says why, decides nothing, and goes on when it was mended', async () => {
    const cluster = await TestCluster.start(1);
    const pod = cluster.pod(0);
    const admin = new Redis({ host: '127.0.0.1', port: cluster.redis.port });
    try {
      const control = cluster.control(pod);
      const status = () =>
        new Promise<StatusReply>((resolve, reject) =>
          control.getStatus({}, (error, reply) => (error ? reject(error) : resolve(reply))),
        );
      await cluster.redis.kill();
      await cluster.redis.up('--maxmemory-policy', 'allkeys-lru');
      await until(async () => (await status()).storeMessage.includes('noeviction'));
      expect(await status()).toMatchObject({ storeReachable: false, storeRefusal: 'STORE_EVICTION' });
      const asked = pod.server.session(1n);

      await admin.config('SET', 'maxmemory-policy', 'noeviction');
      expect(await asked).toBe(Outcome.GRANTED);
      expect(await status()).toMatchObject({ storeReachable: true, storeMessage: '', storeRefusal: '' });
    } finally {
      admin.disconnect();
      await cluster.stop();
    }
  }, 30_000);
});

/** Connections of sidecars by name: their ids, and the ports that Redis sees. */
async function connectionsOf(redis: TestRedis, name: string): Promise<{ id: string; port: number }[]> {
  const lines = String(await redis.admin.client('LIST')).split('\n');
  return lines
    .filter((line) => line.split(' ').includes(`name=${name}`))
    .map((line) => ({ id: /\bid=(\d+)/.exec(line)?.[1] ?? '', port: Number(/\baddr=\S*:(\d+)/.exec(line)?.[1]) }));
}

describe('a connection to the store that says nothing, while another works', () => {
  let redis: TestRedis;
  let proxy: SilentProxy;
  let config: StoreConfig;
  beforeEach(async () => {
    redis = await TestRedis.start();
    proxy = await SilentProxy.to(redis.port);
    config = { mode: 'Standalone', addresses: [proxy.address], durability: { mode: 'Always' } };
  }, 20_000);
  afterEach(async () => {
    await proxy.stop();
    await redis.stop();
  });

  test('because its handshake never came to an end: it is made anew, and what waited is decided', async () => {
    const cluster = await TestCluster.start(1, 1500, { config });
    try {
      const { server } = cluster.pod(0);
      await server.session(1n);
      const [data] = await connectionsOf(redis, 'holdfast-sidecar');
      proxy.muteNext();
      await redis.admin.client('KILL', 'ID', data?.id ?? '');
      await until(() => proxy.muteFromStart === 1, 30_000);
      await until(async () => (await server.open('afterwards')).outcome === Outcome.GRANTED, 60_000);
    } finally {
      await cluster.stop();
    }
  }, 120_000);

  test('because it is to be made anew just while it is being made: that does not end it', async () => {
    const store = new Store(config, () => undefined, createLogger('test'), createSidecarMetrics());
    try {
      await store.data.set('some', 'thing');
      const [before] = await connectionsOf(redis, 'holdfast-sidecar');
      const ended = new Promise((resolve) => store.data.once('end', resolve));
      store.data.once('connecting', () => store.data.disconnect(true));
      await redis.admin.client('KILL', 'ID', before?.id ?? '');
      await ended;
      await until(async () => (await store.data.get('some').catch(() => undefined)) === 'thing', 60_000);
    } finally {
      store.end();
    }
  }, 90_000);

  test('in the middle of its work: it is made anew', async () => {
    const store = new Store(config, () => undefined, createLogger('test'), createSidecarMetrics(), undefined, 300);
    try {
      await store.data.set('some', 'thing');
      const [before] = await connectionsOf(redis, 'holdfast-sidecar');
      proxy.mute(before?.port ?? 0);
      const isThere = async () => (await store.data.get('some').catch(() => undefined)) === 'thing';
      await until(isThere, 60_000);
      const after = await connectionsOf(redis, 'holdfast-sidecar');
      expect(after.at(-1)?.id).not.toBe(before?.id);
    } finally {
      store.end();
    }
  }, 90_000);
});
