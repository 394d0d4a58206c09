// The embedded store by TLS, with the files and commands that the operator gives it.
import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type Certificate, createAuthority, issueCertificate } from '../../common/certificates.ts';
import type { StoreConfig } from '../../common/config.ts';
import { delay } from '../../common/time.ts';
import { readTlsMaterial, SIDECAR_IDENTITY, STORE_IDENTITY, storeConnection } from '../../common/tls.ts';
import { clusterConfig, TLS_FOLDER } from '../../operator/resources/cluster-config.ts';
import { PRIMARY_NAME } from '../../operator/resources/redis.ts';
import { cluster as fixture } from '../../operator/testing/fixtures.ts';
import { asked, certificateAt, primaryAt } from '../../sidecar/member/local.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { freePort, TestRedis, until } from '../../sidecar/testing/redis.ts';
import { HOST, heldThrough, Member } from './store-member.ts';

/** Longer than users have it: other tests keep the machine busy, and a failover takes as long as it takes. */
const LEASE_MS = 20_000;
const FAILOVER_MS = 30_000;
/** They connect anew each half second at least. */
const TRIES_MS = 2000;
const PASSWORD = 'opensesame';
const embedded = fixture({ state: { embedded: { replicas: 3, storage: '1Gi', tls: 'Required' } } });

const ends: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Puts certificates where a mounted Secret has them; the authority last, which is the last that is looked for. */
async function mount(folder: string, authority: Certificate, identity: string): Promise<void> {
  const { certificate, key } = await issueCertificate(authority, [identity], 1);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'tls.key'), key);
  writeFileSync(join(folder, 'tls.crt'), certificate);
  writeFileSync(join(folder, 'ca.crt'), authority.certificate);
}

const connection = (folder: string): ConnectionOptions => storeConnection(readTlsMaterial(folder));

/** The store as sidecars are told of it, with their certificate in this folder. */
function storeOf(addresses: string[], folder: string): StoreConfig {
  const { tls, ...store } = clusterConfig(embedded).store;
  const here = Object.entries(tls ?? {}).map(([name, value]) => [name, value.replace(TLS_FOLDER, folder)]);
  return { ...store, addresses, tls: Object.fromEntries(here) };
}

/** Three members that have found each other, and two file servers. */
async function start() {
  const root = mkdtempSync(join(tmpdir(), 'holdfast-store-tls-'));
  ends.push(() => rmSync(root, { recursive: true, force: true }));
  const sidecars = join(root, 'sidecars');
  const authority = await createAuthority('cluster', 1);
  await mount(sidecars, authority, SIDECAR_IDENTITY);
  const members: Member[] = [];
  for (let i = 0; i < 3; i++) members.push(new Member(embedded, root, i, await freePort(), await freePort(), members));
  ends.push(() => Promise.all(members.map((member) => member.kill())));
  for (const member of members) {
    member.mount({ password: PASSWORD, accepted: [PASSWORD] });
    await mount(member.tlsDir, authority, STORE_IDENTITY);
  }
  await Promise.all(members.map((member) => member.up(false)));
  const store = new Store(members, sidecars);
  await until(async () => (await store.online(members[0] as Member)) === 2, 60_000);
  for (const member of members) member.watch();
  await store.settled();
  const addresses = members.map(({ sentinelPort }) => `${HOST}:${sentinelPort}`);
  const config = storeOf(addresses, sidecars);
  const files = await TestCluster.start(2, LEASE_MS, { config, password: () => PASSWORD });
  ends.push(() => files.stop());
  await files.pod(0).server.session(1n);
  await files.pod(1).server.session(2n);
  return { root, authority, members, store, files, sidecars };
}

/** Asked as a sidecar would. */
class Store {
  readonly #members: readonly Member[];
  readonly #folder: string;

  constructor(members: readonly Member[], folder: string) {
    this.#members = members;
    this.#folder = folder;
  }

  at(port: number) {
    return { host: HOST, port, tls: connection(this.#folder) };
  }

  get ports(): number[] {
    return this.#members.flatMap(({ port, sentinelPort }) => [port, sentinelPort]);
  }

  async online({ port }: Member): Promise<number> {
    const info = await asked(this.at(port), [PASSWORD], (redis) => redis.info('replication'));
    return (info?.match(/state=online/g) ?? []).length;
  }

  async primary(): Promise<Member> {
    for (const { sentinelPort } of this.#members) {
      const found = await primaryAt(this.at(sentinelPort), PRIMARY_NAME, [PASSWORD]);
      const member = this.#members.find(({ port }) => port === found?.port);
      if (member) return member;
    }
    throw new Error('no Sentinel names a primary');
  }

  async settled(): Promise<void> {
    await until(async () => {
      const now = await this.primary().catch(() => undefined);
      const known = await Promise.all(
        this.#members.map(({ sentinelPort }) =>
          asked(this.at(sentinelPort), [PASSWORD], async (sentinel) => {
            const flat = (await sentinel.call('SENTINEL', 'MASTER', PRIMARY_NAME)) as string[];
            const field = (key: string) => flat[flat.indexOf(key) + 1];
            return [field('num-slaves'), field('num-other-sentinels'), field('port'), field('flags')].join();
          }),
        ),
      );
      return (
        now !== undefined && known.every((each) => each === `2,2,${now.port},master`) && (await this.online(now)) === 2
      );
    }, 60_000);
  }
}

describe('an embedded store of three that speaks TLS', () => {
  test('lets in who has a certificate of its authority, fails over, and takes new certificates while handles are held', async () => {
    const { root, authority, members, store, files } = await start();

    // Redis and Sentinels alike: not in the clear, not without a certificate, not with another cluster's; nor with one and no password.
    const stranger = join(root, 'stranger');
    await mount(stranger, await createAuthority('another cluster', 1), SIDECAR_IDENTITY);
    const { cert: _cert, key: _key, ...nameless } = store.at(0).tls;
    const foreign = { ...connection(stranger), ca: authority.certificate };
    for (const port of store.ports) {
      const ping = (tls: ConnectionOptions | undefined, password = PASSWORD) =>
        asked({ host: HOST, port, tls }, [password], (redis) => redis.call('PING'));
      expect(await ping(store.at(port).tls)).toBe('PONG');
      for (const tls of [undefined, nameless, foreign]) expect(await ping(tls)).toBeUndefined();
      expect(await ping(store.at(port).tls, 'wrong')).toBeUndefined();
      // And nobody takes one of them for a member of another cluster's store.
      expect(await certificateAt({ host: HOST, port, tls: connection(stranger) })).toBeUndefined();
    }

    await heldThrough(files, LEASE_MS, 'failover', async () => {
      const lost = await store.primary();
      await lost.kill();
      await until(async () => (await store.primary()) !== lost, FAILOVER_MS);
      await lost.up();
      await store.settled();
    });

    const clients = async () => {
      const list = await asked(store.at((await store.primary()).port), [PASSWORD], (redis) => redis.client('LIST'));
      return [...String(list).matchAll(/^id=(\d+).* name=holdfast-sidecar/gm)].map(([, id]) => id).sort();
    };
    await heldThrough(files, LEASE_MS, 'rotation', async () => {
      const before = await clients();
      expect(before.length).toBeGreaterThan(0);
      for (const { tlsDir } of members) await mount(tlsDir, authority, STORE_IDENTITY);
      for (const { tlsDir, port, sentinelPort } of members) {
        const wanted = new X509Certificate(readFileSync(join(tlsDir, 'tls.crt'))).raw;
        for (const each of [port, sentinelPort]) {
          await until(async () => (await certificateAt(store.at(each)))?.equals(wanted) ?? false, 60_000);
        }
      }
      await store.settled();
      // One or another may have been silent for too long on a busy machine; Redis has ended none.
      const after = await clients();
      expect(before.filter((id) => after.includes(id))).not.toEqual([]);
    });
    await heldThrough(files, LEASE_MS, 'failover-after', async () => {
      const lost = await store.primary();
      await lost.handOver();
      await until(async () => (await store.primary()) !== lost, FAILOVER_MS);
      await store.settled();
    });
  }, 300_000);
});

describe('sidecars of a store that speaks TLS', () => {
  /** A Redis as the operator sets one up, with this certificate. */
  async function single(root: string): Promise<TestRedis> {
    const folder = join(root, 'store');
    const files = [
      ['--tls-cert-file', 'tls.crt'],
      ['--tls-key-file', 'tls.key'],
      ['--tls-ca-cert-file', 'ca.crt'],
    ].flatMap(([setting, name]) => [setting as string, join(folder, name as string)]);
    const admin = { password: PASSWORD, tls: { ...connection(join(root, 'sidecars')), rejectUnauthorized: false } };
    const redis = await TestRedis.start({ settings: [...files, '--requirepass', PASSWORD], tls: true, admin });
    ends.push(() => redis.stop());
    return redis;
  }

  const folder = () => {
    const root = mkdtempSync(join(tmpdir(), 'holdfast-store-tls-'));
    ends.push(() => rmSync(root, { recursive: true, force: true }));
    return root;
  };

  const standalone = (redis: TestRedis, root: string): StoreConfig => {
    const { masterName: _none, ...config } = storeOf([redis.address], join(root, 'sidecars'));
    return { ...config, mode: 'Standalone', durability: { mode: 'Always' } };
  };

  /** Has it show what lies in the folder now. */
  async function showAnew(redis: TestRedis, root: string): Promise<void> {
    const paths = ['tls-cert-file', 'tls.crt', 'tls-key-file', 'tls.key', 'tls-ca-cert-file', 'ca.crt'];
    const files = paths.map((each, i) => (i % 2 === 0 ? each : join(root, 'store', each)));
    await redis.admin.call('CONFIG', 'SET', ...files);
  }

  test.each([
    ["another cluster's", 'another', STORE_IDENTITY],
    ["a sidecar's", 'own', SIDECAR_IDENTITY],
  ])(
    'say nothing to one that shows %s certificate, and speak to it once it shows its own',
    async (_whose, which, identity) => {
      const root = folder();
      const own = await createAuthority('cluster', 1);
      await mount(join(root, 'sidecars'), own, SIDECAR_IDENTITY);
      await mount(join(root, 'store'), which === 'own' ? own : await createAuthority('another', 1), identity);
      // It would let them in: they have to refuse by themselves.
      writeFileSync(join(root, 'store', 'ca.crt'), own.certificate);
      const redis = await single(root);
      const files = await TestCluster.start(0, LEASE_MS, { config: standalone(redis, root), password: () => PASSWORD });
      ends.push(() => files.stop());
      const pod = files.newPod();
      await pod.startSidecar();
      await delay(TRIES_MS);
      expect(await files.storeMessage(pod)).toMatch(
        /do not accept each other's certificates \(.*(unable to verify|altnames)/i,
      );
      expect(await redis.admin.call('CLIENT', 'LIST')).not.toMatch(/name=holdfast/);
      expect(await redis.admin.dbsize()).toBe(0);

      await mount(join(root, 'store'), own, STORE_IDENTITY);
      await showAnew(redis, root);
      await until(async () => (await files.storeMessage(pod)) === '', 30_000);
      expect(await redis.admin.dbsize()).toBeGreaterThan(0);
    },
    60_000,
  );

  test('read their own certificate anew: with another authority on both sides handles are held', async () => {
    const root = folder();
    const own = await createAuthority('cluster', 1);
    await mount(join(root, 'sidecars'), own, SIDECAR_IDENTITY);
    await mount(join(root, 'store'), own, STORE_IDENTITY);
    const redis = await single(root);
    const files = await TestCluster.start(2, LEASE_MS, { config: standalone(redis, root), password: () => PASSWORD });
    ends.push(() => files.stop());
    await files.pod(0).server.session(1n);
    await files.pod(1).server.session(2n);
    await heldThrough(files, LEASE_MS, 'renewed', async () => {
      const next = await createAuthority('cluster', 1);
      await mount(join(root, 'sidecars'), next, SIDECAR_IDENTITY);
      await mount(join(root, 'store'), next, STORE_IDENTITY);
      await showAnew(redis, root);
      await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    });
  }, 60_000);
});
