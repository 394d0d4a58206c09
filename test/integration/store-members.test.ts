import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { delay } from '../../common/time.ts';
import { readSecret } from '../../operator/resources/certificates.ts';
import { embeddedDurability, PRIMARY_NAME, redisSecret } from '../../operator/resources/redis.ts';
import type { StorePassword } from '../../operator/resources/store-password.ts';
import { cluster as fixture } from '../../operator/testing/fixtures.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { asked, primaryAt } from '../../sidecar/member/local.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { freePort, until } from '../../sidecar/testing/redis.ts';
import { HOST, heldThrough, MAIN, Member } from './store-member.ts';

/** Longer than users have it: here other tests keep the machine busy, and a failover takes as long as it takes. */
const LEASE_MS = 20_000;
/** Detection (1.5 s), election, and what a busy machine adds. */
const FAILOVER_MS = 30_000;
/** Sentinels let an old primary say that it is one for so long, before they have it follow the new one. */
const DEMOTED_AFTER_MS = 8000;
const embedded = fixture({ state: { embedded: { replicas: 3, storage: '1Gi' } } });

const root = mkdtempSync(join(tmpdir(), 'holdfast-members-'));
const members: Member[] = [];
const passwords = ['first', 'second'];
let shown = 'first';
let files: TestCluster;

/** Whom a Sentinel that lives names. */
async function primary(): Promise<Member> {
  for (const { sentinelPort } of members) {
    const found = await primaryAt({ host: HOST, port: sentinelPort }, PRIMARY_NAME, passwords);
    const member = members.find(({ port }) => port === found?.port);
    if (member) return member;
  }
  throw new Error('no Sentinel names a primary');
}

/** Replicas that have all that this member has. */
async function online(member: Member | undefined): Promise<number> {
  const info = await asked({ host: HOST, port: member?.port ?? 0 }, passwords, (redis) => redis.info('replication'));
  return (info?.match(/state=online/g) ?? []).length;
}

/** One primary, two replicas that have all it has, and Sentinels that know of all. */
async function settled(): Promise<void> {
  await until(async () => {
    const now = await primary().catch(() => undefined);
    const known = await Promise.all(
      members.map(({ sentinelPort }) =>
        asked({ host: HOST, port: sentinelPort }, passwords, async (sentinel) => {
          const flat = (await sentinel.call('SENTINEL', 'MASTER', PRIMARY_NAME)) as string[];
          const field = (key: string) => flat[flat.indexOf(key) + 1];
          return [field('num-slaves'), field('num-other-sentinels'), field('port')].join();
        }),
      ),
    );
    return (await online(now)) === 2 && known.every((each) => each === `2,2,${now?.port}`);
  }, 60_000);
}

beforeAll(async () => {
  for (let i = 0; i < 3; i++) members.push(new Member(embedded, root, i, await freePort(), await freePort(), members));
  for (const member of members) member.mount({ password: 'first', accepted: ['first'] });
  // Sentinels look for new replicas every 10 s: these find all at once.
  await Promise.all(members.map((member) => member.up(false)));
  await until(async () => (await online(members[0])) === 2, 30_000);
  for (const member of members) member.watch();
  await settled();
  files = await TestCluster.start(2, LEASE_MS, {
    config: {
      mode: 'Sentinel',
      addresses: members.map(({ sentinelPort }) => `${HOST}:${sentinelPort}`),
      masterName: PRIMARY_NAME,
      durability: embeddedDurability(embedded) as { mode: 'Replicated'; replicas: number },
    },
    password: () => shown,
  });
  await files.pod(0).server.session(1n);
  await files.pod(1).server.session(2n);
}, 120_000);

afterAll(async () => {
  await files?.stop();
  await Promise.all(members.map((member) => member.kill()));
  rmSync(root, { recursive: true, force: true });
});

/** Half a minute more: `make test-store`. */
const long = process.env.STORE_MEMBERS ? test : test.skip;

describe('an embedded store of three', () => {
  test('starts with the first as primary, and no password in the arguments of anybody', async () => {
    expect(await members[0]?.role(passwords)).toBe('master');
    expect(await Promise.all(members.slice(1).map((member) => member.role(passwords)))).toEqual(['slave', 'slave']);
    expect(
      await asked({ host: HOST, port: members[0]?.port ?? 0 }, ['wrong'], (redis) => redis.ping()),
    ).toBeUndefined();
  });

  test('is asked for its replicas every second by each Sentinel, which promotes none that it has not heard of', async () => {
    for (const { sentinelPort } of members) {
      await until(async () => {
        const told = await asked({ host: HOST, port: sentinelPort }, passwords, (sentinel) =>
          sentinel.call('SENTINEL', 'DEBUG'),
        );
        const flat = (told as string[] | undefined) ?? [];
        return flat[flat.findIndex((name) => /^info-period$/i.test(name)) + 1] === '1000';
      }, 30_000);
    }
  }, 60_000);

  test('loses the node of its primary: another takes over before a lease ends, nothing is lost, and the old one comes back as a replica', async () => {
    const lost = await primary();
    await heldThrough(files, LEASE_MS, 'node', async () => {
      await lost.kill();
      await until(async () => (await primary()) !== lost, FAILOVER_MS);
    });
    const next = await primary();
    await lost.up();
    await settled();
    expect([await lost.role(passwords), await next.role(passwords)]).toEqual(['slave', 'master']);
  }, 120_000);

  test('the first, whose volume is lost and whom the network lets hear nobody yet, does not begin a store of its own', async () => {
    await settled();
    const [first, ...others] = members as [Member, Member, Member];
    await first.kill();
    first.wipe();
    await until(async () => (await primary()) !== first, FAILOVER_MS);
    for (const other of others) other.silence(true);
    const isUp = first.up();
    await delay(3000);
    for (const other of others) other.silence(false);
    await isUp;
    await until(async () => (await first.role(passwords)) !== undefined, 10_000);
    expect(await first.role(passwords)).toBe('slave');
    await settled();
  }, 120_000);

  test('a replica that no Sentinel knows follows the primary that they name', async () => {
    await settled();
    const now = await primary();
    const stray = members.find((member) => member !== now) as Member;
    const nobody = await freePort();
    await asked({ host: HOST, port: stray.port }, passwords, (redis) => redis.call('REPLICAOF', HOST, nobody));
    // What they know of replicas they have from the primary.
    for (const { sentinelPort } of members) {
      await asked({ host: HOST, port: sentinelPort }, passwords, (redis) => redis.call('SENTINEL', 'RESET', '*'));
    }
    expect(await online(now)).toBe(1);
    await until(async () => (await online(now)) === 2, 60_000);
    await settled();
    expect(await primary()).toBe(now);
  }, 120_000);

  long(
    'a member whose volume is lost comes back empty as a replica, though it is the first',
    async () => {
      const first = members[0] as Member;
      await heldThrough(files, LEASE_MS, 'volume', async () => {
        await first.kill();
        first.wipe();
        // It never was primary for a moment: an empty one that somebody believes would be a loss of all.
        let wasPrimary = false;
        await first.up();
        await until(async () => {
          const role = await first.role(passwords);
          wasPrimary ||= role === 'master';
          return role === 'slave';
        }, 30_000);
        expect(wasPrimary).toBe(false);
        await settled();
      });
    },
    120_000,
  );

  test('a member that has not what the primary has, or no Sentinel, is not ready: nobody may count on it when another one ends', async () => {
    const now = await primary();
    const replica = members.find((member) => member !== now) as Member;
    await until(async () => (await replica.readiness()) === 'ok', 30_000);
    await asked({ host: HOST, port: replica.port }, passwords, async (redis) =>
      redis.call('REPLICAOF', HOST, String(await freePort())),
    );
    await until(async () => (await replica.readiness()) === 'Redis has not what the primary has yet', 30_000);
    await until(async () => (await replica.readiness()) === 'ok', 60_000); // its keeper or a Sentinel leads it back
    await replica.endSentinel();
    await until(async () => (await replica.readiness()) === 'Sentinel does not answer', 30_000);
    replica.watch();
    await until(async () => (await replica.readiness()) === 'ok', 30_000);
    await settled();
  }, 180_000);

  test('the primary hands over before it ends, though its own Sentinel is gone, and nothing that it granted is lost', async () => {
    const before = await primary();
    let tookMs = 0;
    let acked = 0;
    let over = false;
    // What two of three have: a counter, as fast as it is answered.
    const writes = (async () => {
      while (!over) {
        await asked({ host: HOST, port: before.port }, passwords, async (redis) => {
          for (let i = acked + 1; !over; i++) {
            await redis.set('counter', i);
            if (Number(await redis.wait(1, 500)) >= 1) acked = i;
          }
        });
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    await until(async () => acked > 10, 30_000);
    await heldThrough(files, LEASE_MS, 'handover', async () => {
      await before.endSentinel();
      const begun = performance.now();
      await before.handOver();
      tookMs = performance.now() - begun;
      expect(await before.role(passwords)).toBe('slave');
    });
    over = true;
    await writes;
    const now = await primary();
    const kept = await asked({ host: HOST, port: now.port }, passwords, (redis) => redis.get('counter'));
    expect(Number(kept)).toBeGreaterThanOrEqual(acked);
    expect(tookMs).toBeLessThan(DEMOTED_AFTER_MS);
    before.watch();
    await settled();
    expect(await primary()).not.toBe(before);
  }, 120_000);

  test('Sentinels that know of no replica fit to take over are asked again before it ends', async () => {
    const before = await primary();
    const replicas = members.filter((member) => member !== before);
    const priority = (value: number) =>
      Promise.all(
        replicas.map(({ port }) =>
          asked({ host: HOST, port }, passwords, (redis) => redis.config('SET', 'replica-priority', value)),
        ),
      );
    const refuses = async ({ sentinelPort }: Member) => {
      const known = await asked({ host: HOST, port: sentinelPort }, passwords, (sentinel) =>
        sentinel.call('SENTINEL', 'REPLICAS', PRIMARY_NAME),
      );
      const lists = (known ?? []) as string[][];
      return lists.length === 2 && lists.every((flat) => flat[flat.indexOf('slave-priority') + 1] === '0');
    };
    await priority(0);
    await until(async () => (await Promise.all(members.map(refuses))).every(Boolean), 30_000);
    const handedOver = before.handOver();
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(await before.role(passwords)).toBe('master');
    await priority(100);
    await handedOver;
    expect(await before.role(passwords)).toBe('slave');
    await settled();
  }, 120_000);

  long(
    'all of them at once: they go on as they were',
    async () => {
      const before = await primary();
      await heldThrough(files, LEASE_MS, 'all', async () => {
        await Promise.all(members.map((member) => member.kill()));
        await Promise.all(members.map((member) => member.up()));
        await settled();
        await until(async () => {
          const probe = await files.pod(1).server.open('probe');
          return probe.outcome === Outcome.GRANTED;
        }, 30_000);
      });
      expect(await primary()).toBe(before);
    },
    120_000,
  );

  test('another password, step by step, while handles are held; the old one is worth nothing afterwards', async () => {
    const takes = async (password: string) => {
      const ports = members.flatMap(({ port, sentinelPort }) => [port, sentinelPort]);
      const answers = await Promise.all(
        ports.map((port) => asked({ host: HOST, port }, [password], (redis) => redis.call('PING'))),
      );
      return answers.filter((answer) => answer === 'PONG').length;
    };
    await heldThrough(files, LEASE_MS, 'password', async () => {
      for (const member of members) member.mount({ password: 'first', accepted: ['first', 'second'], next: 'second' });
      await until(async () => (await takes('second')) === 6, 30_000);
      expect(await takes('first')).toBe(6);
      shown = 'second';
      for (const member of members) member.mount({ password: 'second', accepted: ['second', 'first'] });
      const masterauth = () =>
        Promise.all(members.map(({ folder }) => readFileSync(join(folder, 'conf/redis.conf'), 'utf8')));
      await until(async () => (await masterauth()).every((text) => /^masterauth "?second"?$/m.test(text)), 30_000);
      for (const member of members) member.mount({ password: 'second', accepted: ['second'] });
      await until(async () => (await takes('first')) === 0, 30_000);
    });
    expect(await takes('second')).toBe(6);
    if (process.env.STORE_MEMBERS) {
      // and then: a failover and a new replica work with it
      const lost = await primary();
      await heldThrough(files, LEASE_MS, 'password-failover', async () => {
        await lost.kill();
        await until(async () => (await primary()) !== lost, FAILOVER_MS);
      });
      await lost.up();
      await settled();
    }
    for (const { folder } of members) {
      for (const name of ['redis.conf', 'sentinel.conf']) {
        expect(readFileSync(join(folder, 'conf', name), 'utf8')).not.toContain('first');
      }
    }
    expect(existsSync(join(root, 'data-0', 'conf', 'redis.conf.next'))).toBe(false);
  }, 180_000);
});

describe('an embedded store of three that is a second old', () => {
  test('loses its primary before any Sentinel spoke to it: the one with a copy takes over, not the one without', async () => {
    const young = mkdtempSync(join(tmpdir(), 'holdfast-young-'));
    const store: Member[] = [];
    for (let i = 0; i < 3; i++) store.push(new Member(embedded, young, i, await freePort(), await freePort(), store));
    for (const member of store) member.mount({ password: 'first', accepted: ['first'] });
    const [first, copy, empty] = store as [Member, Member, Member];
    const ask = <T>({ port }: Member, what: (redis: Redis) => Promise<T>) =>
      asked({ host: HOST, port }, passwords, what);
    const mayLead = (member: Member) =>
      ask(member, async (redis) => (await redis.config('GET', 'replica-priority')) as string[]);
    try {
      await first.up(false);
      await copy.up(false);
      await until(async () => (await mayLead(copy))?.[1] === '100', 60_000);
      await until(async () => (await ask(first, (redis) => redis.call('SET', 'granted', '1'))) === 'OK', 60_000);
      await until(async () => (await ask(copy, (redis) => redis.call('GET', 'granted'))) === '1', 60_000);
      await first.kill();
      // A Sentinel that starts asks the primary who else there is; this one answers nobody any more.
      await empty.up();
      await until(async () => (await mayLead(empty))?.[1] === '0', 60_000);
      copy.watch();
      await until(async () => (await copy.role(passwords)) === 'master', 60_000);
      await until(async () => (await ask(empty, (redis) => redis.call('GET', 'granted'))) === '1', 60_000);
      await until(async () => (await mayLead(empty))?.[1] === '100', 60_000);
      await first.up();
      await until(async () => (await online(copy)) === 2, 60_000);
    } finally {
      await Promise.all(store.map((member) => member.kill()));
      rmSync(young, { recursive: true, force: true });
    }
  }, 240_000);
});

describe('an embedded store of one', () => {
  test('takes another password from its Secret while it runs, and keeps both files of it out of its volume', async () => {
    const single = fixture();
    const port = await freePort();
    const [data, settings] = [join(root, 'single'), join(root, 'single-settings')];
    mkdirSync(data);
    mkdirSync(settings);
    const mount = (store: StorePassword) => {
      const secret = redisSecret(single, store);
      for (const key of ['redis.conf', 'password', 'accepted']) {
        const text = (readSecret(secret, key) ?? '')
          .replace('dir /data', `dir ${data}`)
          .replace('port 6379', `port ${port}`);
        writeFileSync(join(settings, key), text.replace('bind * -::*', `bind ${HOST}`));
      }
    };
    mount({ password: 'first', accepted: ['first'] });
    const health = `${HOST}:${await freePort()}`;
    const about = ['--members', `${HOST}:${port}`, '--pod', 'media-redis-0', '--settings-dir', settings];
    const processes = [
      spawn('redis-server', [join(settings, 'redis.conf')], { stdio: 'ignore' }),
      spawn(process.execPath, [MAIN, 'keep', ...about, '--health', health], { stdio: 'ignore' }),
    ];
    const takes = (password: string) => asked({ host: HOST, port }, [password], (redis) => redis.ping());
    try {
      await until(async () => (await takes('first')) === 'PONG', 30_000);
      expect(await takes('second')).toBeUndefined();
      const info = ['info', 'memory', '--port', String(port), '--settings-dir', settings];
      expect(execFileSync(process.execPath, [MAIN, ...info], { encoding: 'utf8' })).toMatch(
        /^maxmemory_policy:noeviction\r?$/m,
      );
      mount({ password: 'first', accepted: ['first', 'second'], next: 'second' });
      await until(async () => (await takes('second')) === 'PONG', 30_000);
      mount({ password: 'second', accepted: ['second'] });
      await until(async () => (await takes('first')) === undefined, 30_000);
      expect(await takes('second')).toBe('PONG');
      expect(existsSync(join(data, 'conf'))).toBe(false);
    } finally {
      const ended = processes.map((child) => new Promise((resolve) => child.once('exit', resolve)));
      for (const child of processes) child.kill('SIGKILL');
      await Promise.all(ended);
    }
  }, 60_000);
});
