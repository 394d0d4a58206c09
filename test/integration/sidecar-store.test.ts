// A store that could lose what it was told is refused, with what to set; nothing is started anew when it was set.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { StoreConfig } from '../../common/config.ts';
import type { StatusReply } from '../../proto/generated/control.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { checkRedis } from '../../sidecar/table/store-checks.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';

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
      expect((await status()).storeReachable).toBe(false);
      const asked = pod.server.session(1n);

      await admin.config('SET', 'maxmemory-policy', 'noeviction');
      expect(await asked).toBe(Outcome.GRANTED);
      expect(await status()).toMatchObject({ storeReachable: true, storeMessage: '' });
    } finally {
      admin.disconnect();
      await cluster.stop();
    }
  }, 30_000);
});
