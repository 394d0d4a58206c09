import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createAuthority, issueCertificate } from '../../common/certificates.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { TestCluster, type TestStore } from '../../sidecar/testing/cluster.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';
import { ClusterSet, SentinelSet } from '../../sidecar/testing/redis-sets.ts';

const LEASE_MS = 1500;
const ALWAYS = { mode: 'Always' } as const;
/** What the user of the store has to be allowed, as the documentation and the message say it. */
const NEEDED = '+@all -@dangerous +info +client|kill +config|get';
const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Two pods whose state is there. */
async function pods(store: TestStore): Promise<TestCluster> {
  const cluster = await TestCluster.start(2, LEASE_MS, store);
  ends.push(() => cluster.stop());
  await cluster.pod(0).server.session(1n);
  await cluster.pod(1).server.session(2n);
  return cluster;
}

/** Opens conflict, locks hold, handles move: through one Redis as through any. */
async function expectWorks(cluster: TestCluster, prefix: string): Promise<void> {
  const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
  // Files enough to lie in many shards.
  for (let i = 0; i < 12; i++) {
    const name = `${prefix}-${i}`;
    const { record, outcome } = await one.open(name, { shareAccess: 1 });
    expect(outcome).toBe(Outcome.GRANTED);
    expect((await one.lock(record, 0, 10)).outcome).toBe(Outcome.GRANTED);
    expect((await two.open(name)).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
    const next = await two.open(name);
    expect(next.outcome).toBe(Outcome.GRANTED);
    await two.close(next.record);
  }
}

async function expectMoves(cluster: TestCluster, name: string): Promise<void> {
  const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
  const { record } = await one.open(name);
  await one.lock(record, 0, 10);
  one.kill();
  expect(await two.reclaim(record)).toMatchObject({
    outcome: Outcome.GRANTED,
    record: { locks: [{ offset: 0n, length: 10n }] },
  });
}

describe('a Redis with Sentinels', () => {
  test('is found through them, and after a failover all goes on at the new primary', async () => {
    const set = await SentinelSet.start(1);
    ends.push(() => set.stop());
    const cluster = await pods({
      config: { mode: 'Sentinel', addresses: set.sentinels, masterName: set.masterName, durability: ALWAYS },
      password: () => set.password,
    });
    await expectWorks(cluster, 'before');
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 1 });
    await one.lock(record, 0, 10);

    await set.failOver();

    expect((await two.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
    await expectWorks(cluster, 'after');
    await expectMoves(cluster, 'moved');
  }, 60_000);

  test('whose failover lost the last writes: what was granted meanwhile is put back, what was closed stays closed', async () => {
    const set = await SentinelSet.start(1);
    ends.push(() => set.stop());
    const cluster = await pods({
      config: { mode: 'Sentinel', addresses: set.sentinels, masterName: set.masterName, durability: ALWAYS },
      password: () => set.password,
    });
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const closed = await one.open('closed', { shareAccess: 0 });
    const [replica] = await set.replicas();
    await set.cutReplication(replica as TestRedis);

    const lost = await one.open('lost', { shareAccess: 1 });
    expect((await one.lock(lost.record, 0, 10)).outcome).toBe(Outcome.GRANTED);
    expect((await one.close(closed.record)).outcome).toBe(Outcome.GRANTED);
    await set.failOver();

    expect((await two.open('lost')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.lock(lost.record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await two.reclaim(closed.record)).outcome).not.toBe(Outcome.GRANTED);
    await until(async () => (await two.open('closed', { shareAccess: 0 })).outcome === Outcome.GRANTED, 10_000);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
  }, 60_000);
});

describe('a Redis Cluster of three masters', () => {
  test('holds the shards; a master that is killed and comes back is put right, with its data and without', async () => {
    const set = await ClusterSet.start(3);
    ends.push(() => set.stop());
    const config = { mode: 'Cluster' as const, addresses: set.addresses.slice(0, 2), durability: ALWAYS };
    // A lease runs out before a master comes back: where the servers are listed, this may not be one that loses its data.
    const cluster = await pods({ config, clusterId: await set.idAt(set.members[2] as TestRedis) });
    await expectWorks(cluster, 'before');
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const kept = await Promise.all(Array.from({ length: 12 }, (_, i) => one.open(`kept-${i}`, { shareAccess: 1 })));
    for (const { record } of kept) expect((await one.lock(record, 0, 10)).outcome).toBe(Outcome.GRANTED);

    for (const back of ['with', 'without'] as const) {
      const master = set.members[back === 'with' ? 0 : 1] as TestRedis;
      if (back === 'without') await master.restartEmpty();
      else {
        await master.kill();
        await master.up();
      }
      await set.settled();
      for (const [i, { record }] of kept.entries()) {
        expect((await two.open(`kept-${i}`)).outcome).toBe(Outcome.SHARING_VIOLATION);
        expect((await one.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
      }
      expect([one.fenced, two.fenced]).toEqual([false, false]);
    }
    await expectWorks(cluster, 'after');
    await expectMoves(cluster, 'moved');
  }, 90_000);
});

describe('a Redis that wants TLS and a user', () => {
  /** A server that asks its clients for certificates, and lets one user do no more than is needed. */
  async function secured() {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-redis-tls-'));
    ends.push(() => rmSync(folder, { recursive: true, force: true }));
    const authority = await createAuthority('redis', 1);
    const path = (name: string) => join(folder, name);
    writeFileSync(path('ca.crt'), authority.certificate);
    for (const name of ['redis.test', 'client.test']) {
      const issued = await issueCertificate(authority, [name], 1);
      writeFileSync(path(`${name}.crt`), issued.certificate);
      writeFileSync(path(`${name}.key`), issued.key);
    }
    const settings = [
      ...['--tls-cert-file', path('redis.test.crt'), '--tls-key-file', path('redis.test.key')],
      ...['--tls-ca-cert-file', path('ca.crt'), '--requirepass', 'of the administrator'],
      ...['--user', 'holdfast', 'on', '>first', '~hf:*', ...NEEDED.split(' ')],
      ...['--user', 'narrow', 'on', '>narrow', '~hf:*', ...NEEDED.replace('+client|kill ', '').split(' ')],
    ];
    const files = { ca: authority.certificate, servername: 'redis.test' };
    const own = await issueCertificate(authority, ['client.test'], 1);
    const admin = { password: 'of the administrator', tls: { ...files, cert: own.certificate, key: own.key } };
    const redis = await TestRedis.start({ settings, tls: true, admin });
    ends.push(() => redis.stop());
    const tls = { caFile: path('ca.crt'), certFile: path('client.test.crt'), keyFile: path('client.test.key') };
    const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: ALWAYS };
    return { redis, path, config: { ...config, username: 'holdfast', tls: { ...tls, serverName: 'redis.test' } } };
  }

  test('is used with certificates on both sides and a user who may do no more than needed', async () => {
    const { config } = await secured();
    await expectWorks(await pods({ config, password: () => 'first' }), 'secured');
  }, 30_000);

  test('lets its password be changed while everything runs: no handle is lost', async () => {
    const { redis, config } = await secured();
    let password = 'first';
    const cluster = await pods({ config, password: () => password });
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 1 });

    await redis.admin.call('acl', 'setuser', 'holdfast', 'resetpass', '>second');
    password = 'second';
    await redis.admin.call('client', 'kill', 'user', 'holdfast');

    expect((await two.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
  }, 30_000);

  test('says which permission a user lacks', async () => {
    const { config } = await secured();
    const cluster = await TestCluster.start(0, LEASE_MS, {
      config: { ...config, username: 'narrow' },
      password: () => 'narrow',
    });
    ends.push(() => cluster.stop());
    const pod = cluster.newPod();
    await pod.startSidecar();
    await until(async () => (await cluster.storeMessage(pod)).includes('"narrow"'));
    expect(await cluster.storeMessage(pod)).toContain('give it: ~hf:* +@all -@dangerous');
  }, 30_000);
});

describe('durability Replicated', () => {
  test('answers when the replicas have it, refuses while they are missing, and goes on when they are back', async () => {
    const primary = await TestRedis.start();
    ends.push(() => primary.stop());
    const settings = ['--replicaof', `127.0.0.1 ${primary.port}`, '--repl-diskless-sync-delay', '0'];
    const replica = await TestRedis.start({ settings });
    ends.push(() => replica.stop());
    const linked = async () => (await primary.admin.info('replication')).includes('state=online');
    await until(linked, 10_000);
    const cluster = await pods({
      config: {
        mode: 'Standalone',
        addresses: [primary.address],
        durability: { mode: 'Replicated', replicas: 1 },
      },
    });
    await expectWorks(cluster, 'replicated');
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 1 });
    const stored = await replica.admin.keys('hf:*file:*');
    expect(stored.length).toBeGreaterThan(0);

    replica.pause();
    const during = await one.open('asked-meanwhile', { shareAccess: 0 });
    expect(during.outcome).toBe(Outcome.STORE_UNAVAILABLE);
    // Renewals are decisions like others: nobody serves on what only one Redis knows.
    await until(() => !one.mayServe && !two.mayServe, 3 * LEASE_MS);
    expect(await cluster.storeMessage(cluster.pod(0))).toContain('fewer than 1 replicas');
    replica.resume();
    await until(() => one.mayServe && two.mayServe, 10_000);

    // What was decided and not answered has been taken back.
    await until(async () => (await two.open('asked-meanwhile')).outcome === Outcome.GRANTED, 10_000);
    expect((await two.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
  }, 60_000);
});
