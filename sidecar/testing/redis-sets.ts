import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort, TestRedis, until } from './redis.ts';

const PASSWORD = 'of the set';
const MASTER_NAME = 'holdfast';
/** How long a primary may be silent before the Sentinels replace it. */
const DOWN_AFTER_MS = 1000;
const SETTLED_MS = 30_000;
const SLOTS = 16_384;
/** Redis Cluster talks to itself on the port plus this. */
const BUS = 10_000;

/** A primary, replicas and three Sentinels, with a password. */
export class SentinelSet {
  readonly password = PASSWORD;
  readonly masterName = MASTER_NAME;
  readonly members: TestRedis[] = [];
  readonly sentinels: string[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-sentinel-'));
  readonly #processes: ChildProcess[] = [];
  readonly #clients: Redis[] = [];

  static async start(replicas: number): Promise<SentinelSet> {
    const set = new SentinelSet();
    for (let i = 0; i <= replicas; i++) {
      const settings = ['--requirepass', PASSWORD, '--masterauth', PASSWORD, '--repl-diskless-sync-delay', '0'];
      const primary = set.members[0];
      if (primary) settings.push('--replicaof', `127.0.0.1 ${primary.port}`);
      set.members.push(await TestRedis.start({ settings, admin: { password: PASSWORD } }));
    }
    await set.#linked(replicas);
    for (let i = 0; i < 3; i++) await set.#sentinel(i);
    const ready = () => Promise.all(set.#clients.map((client) => set.#knowsAll(client, replicas)));
    await until(async () => (await ready()).every((knows) => knows), SETTLED_MS);
    return set;
  }

  /** The one that the Sentinels name. */
  async primary(): Promise<TestRedis> {
    const answer = await this.#clients[0]?.call('sentinel', 'get-master-addr-by-name', MASTER_NAME);
    const port = Array.isArray(answer) ? String(answer[1]) : '';
    const found = this.members.find((member) => String(member.port) === port);
    if (!found) throw new Error(`the Sentinels name a primary at port ${port}`);
    return found;
  }

  async replicas(): Promise<TestRedis[]> {
    const primary = await this.primary();
    return this.members.filter((member) => member !== primary);
  }

  /** What the primary writes from now on does not reach this replica. */
  async cutReplication(replica: TestRedis): Promise<void> {
    await replica.admin.config('SET', 'masterauth', 'not the password');
    await replica.admin.call('client', 'kill', 'type', 'master');
  }

  async mendReplication(replica: TestRedis): Promise<void> {
    await replica.admin.config('SET', 'masterauth', PASSWORD);
  }

  /** Kills the primary and waits for another. */
  async failOver(): Promise<void> {
    const before = await this.primary();
    await before.kill();
    await until(async () => (await this.primary()) !== before, SETTLED_MS);
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    for (const process of this.#processes) process.kill('SIGKILL');
    for (const member of this.members) await member.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #linked(replicas: number): Promise<void> {
    await until(async () => {
      const info = (await this.members[0]?.admin.info('replication')) ?? '';
      return (info.match(/state=online/g) ?? []).length === replicas;
    }, SETTLED_MS);
  }

  async #sentinel(index: number): Promise<void> {
    const port = await freePort();
    const file = join(this.#folder, `sentinel-${index}.conf`);
    const about = (what: string, value: string | number) => `sentinel ${what} ${MASTER_NAME} ${value}`;
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${this.#folder}`,
      'loglevel warning',
      about('monitor', `127.0.0.1 ${this.members[0]?.port} 2`),
      about('auth-pass', `"${PASSWORD}"`),
      about('down-after-milliseconds', DOWN_AFTER_MS),
      about('failover-timeout', 5 * DOWN_AFTER_MS),
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    this.#processes.push(spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' }));
    this.sentinels.push(`127.0.0.1:${port}`);
    const client = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50, maxRetriesPerRequest: null });
    client.on('error', () => {});
    this.#clients.push(client);
  }

  async #knowsAll(client: Redis, replicas: number): Promise<boolean> {
    const flat = (await client.call('sentinel', 'master', MASTER_NAME)) as string[];
    const field = (name: string) => flat[flat.indexOf(name) + 1];
    return field('num-slaves') === String(replicas) && field('num-other-sentinels') === '2';
  }
}

/** A Redis Cluster of masters, and no replicas. */
export class ClusterSet {
  readonly members: TestRedis[] = [];

  static async start(masters: number): Promise<ClusterSet> {
    const set = new ClusterSet();
    for (let i = 0; i < masters; i++) {
      const settings = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
      set.members.push(new TestRedis(await clusterPort(), { settings }));
    }
    const each = Math.ceil(SLOTS / masters);
    for (const [i, member] of set.members.entries()) {
      await member.up();
      const last = Math.min((i + 1) * each, SLOTS) - 1;
      await member.admin.call('cluster', 'addslotsrange', i * each, last);
      await member.admin.call('cluster', 'meet', '127.0.0.1', set.members[0]?.port ?? 0);
    }
    await set.settled();
    return set;
  }

  get addresses(): string[] {
    return this.members.map((member) => member.address);
  }

  /** A cluster id whose own keys (not those of its shards) lie at this member. */
  async idAt(member: TestRedis): Promise<string> {
    const each = Math.ceil(SLOTS / this.members.length);
    for (let i = 0; ; i++) {
      const id = `test-${process.pid}-${i}`;
      const slot = Number(await member.admin.call('cluster', 'keyslot', `hf:{${id}}:servers`));
      if (this.members[Math.floor(slot / each)] === member) return id;
    }
  }

  /** All members know of all slots. */
  async settled(): Promise<void> {
    const isSettled = async (member: TestRedis) => {
      const info = String(await member.admin.call('cluster', 'info'));
      return info.includes('cluster_state:ok') && info.includes(`cluster_size:${this.members.length}`);
    };
    await until(async () => (await Promise.all(this.members.map(isSettled))).every((settled) => settled), SETTLED_MS);
  }

  async stop(): Promise<void> {
    for (const member of this.members) await member.stop();
  }
}

/** A port whose companion for the bus is a port too. */
async function clusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port + BUS < 65_536) return port;
  }
}
