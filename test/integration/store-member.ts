import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { expect } from '@jest/globals';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { readSecret } from '../../operator/resources/certificates.ts';
import { PRIMARY_NAME, REDIS_TLS_FOLDER, redisSecret, speaksTls } from '../../operator/resources/redis.ts';
import type { StorePassword } from '../../operator/resources/store-password.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { roleAt } from '../../sidecar/member/local.ts';
import type { TestCluster } from '../../sidecar/testing/cluster.ts';
import { freePort, until } from '../../sidecar/testing/redis.ts';

export const MAIN = new URL('../../sidecar/member/main.ts', import.meta.url).pathname;
export const HOST = '127.0.0.1';

/** One pod of the embedded store as the operator makes it: keeper, Redis and Sentinel, with the files and commands that it says. */
export class Member {
  readonly folder: string;
  readonly tlsDir: string;
  readonly port: number;
  readonly sentinelPort: number;
  #health = '';
  readonly #ordinal: number;
  readonly #settings: string;
  readonly #store: readonly Member[];
  readonly #cluster: FileServerCluster;
  #processes: ChildProcess[] = [];

  /**
   * @param cluster whose store it is; where that speaks TLS, the certificates are put into `tlsDir` before it starts
   * @param store all of them, this one too once it is made
   */
  constructor(
    cluster: FileServerCluster,
    root: string,
    ordinal: number,
    port: number,
    sentinelPort: number,
    store: readonly Member[],
  ) {
    this.#cluster = cluster;
    this.#store = store;
    this.#ordinal = ordinal;
    this.port = port;
    this.sentinelPort = sentinelPort;
    this.folder = join(root, `data-${ordinal}`);
    this.#settings = join(root, `settings-${ordinal}`);
    this.tlsDir = join(root, `tls-${ordinal}`);
    for (const folder of [this.folder, this.#settings, this.tlsDir]) mkdirSync(folder);
  }

  /** The Secret, as kubelet puts it into the pod. */
  mount(store: StorePassword): void {
    const secret = redisSecret(this.#cluster, store);
    for (const key of ['redis.conf', 'sentinel.conf', 'password', 'accepted']) {
      // The pod's own folders.
      const text = (readSecret(secret, key) ?? '')
        .replace('dir /data', `dir ${this.folder}`)
        .replaceAll(REDIS_TLS_FOLDER, this.tlsDir);
      writeFileSync(join(this.#settings, key), text.replace('bind * -::*', `bind ${HOST}`));
    }
  }

  get #about(): string[] {
    const list = this.#store.map(({ port, sentinelPort }) => `${HOST}:${port}/${sentinelPort}`).join();
    const known = ['--name', PRIMARY_NAME, '--members', list, '--pod', `media-redis-${this.#ordinal}`];
    return speaksTls(this.#cluster) ? [...known, '--tls-dir', this.tlsDir] : known;
  }

  /** The pod starts: the keeper first, the others when its files are there. */
  async up(withSentinel = true): Promise<void> {
    this.#health = `${HOST}:${await freePort()}`;
    const files = join(this.folder, 'conf');
    const keep = [MAIN, 'keep', ...this.#about, '--settings-dir', this.#settings, '--folder', files];
    this.#start(process.execPath, [...keep, '--health', this.#health]);
    await until(async () => (await this.readiness()) === 'ok', 30_000);
    this.#start('redis-server', [join(files, 'redis.conf')]);
    if (withSentinel) this.watch();
  }

  /** What the keeper answers whoever asks whether this pod is ready; '' while nobody answers. */
  async readiness(): Promise<string> {
    const answer = await fetch(`http://${this.#health}/readyz`).catch(() => undefined);
    return (await answer?.text())?.trim() ?? '';
  }

  /** Its pod is deleted: of its containers the Sentinel is told to end at once, and Redis when the hook is over. */
  async endSentinel(): Promise<void> {
    const sentinel = this.#processes.find(({ spawnargs }) => spawnargs.includes('--sentinel'));
    if (!sentinel) throw new Error('it has no Sentinel');
    this.#processes = this.#processes.filter((child) => child !== sentinel);
    const ended = new Promise((resolve) => sentinel.once('exit', resolve));
    sentinel.kill('SIGTERM');
    await ended;
  }

  /** Its Sentinel is not heard, as by a network that does not know a new pod yet, or heard again. */
  silence(isSilent: boolean): void {
    const sentinels = this.#processes.filter(({ spawnargs }) => spawnargs.includes('--sentinel'));
    for (const sentinel of sentinels) sentinel.kill(isSilent ? 'SIGSTOP' : 'SIGCONT');
  }

  /** Its Sentinel starts, and again whenever it ends by itself. */
  watch(): void {
    const sentinel = this.#start('redis-server', [join(this.folder, 'conf/sentinel.conf'), '--sentinel']);
    sentinel.once('exit', () => {
      if (!this.#processes.includes(sentinel)) return;
      this.#processes = this.#processes.filter((child) => child !== sentinel);
      this.watch();
    });
  }

  #start(command: string, args: string[]): ChildProcess {
    const child = spawn(command, args, { stdio: process.env.SHOW_LOGS ? 'inherit' : 'ignore' });
    this.#processes.push(child);
    return child;
  }

  /** The pod's node is lost. */
  async kill(): Promise<void> {
    const processes = this.#processes.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    this.#processes = [];
    const ended = processes.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of processes) child.kill('SIGKILL');
    await Promise.all(ended);
  }

  /** What the preStop hook does. */
  async handOver(): Promise<void> {
    const child = spawn(process.execPath, [MAIN, 'hand-over', ...this.#about, '--settings-dir', this.#settings], {
      stdio: 'ignore',
    });
    await new Promise((resolve) => child.once('exit', resolve));
  }

  role(passwords: readonly string[], tls?: ConnectionOptions): Promise<string | undefined> {
    return roleAt({ host: HOST, port: this.port, tls }, passwords);
  }

  wipe(): void {
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder);
  }
}

/** Opened before something happens; held, and in the way of others, afterwards. */
export async function heldThrough(
  files: TestCluster,
  leaseMs: number,
  name: string,
  what: () => Promise<void>,
): Promise<void> {
  const [one, two] = [files.pod(0).server, files.pod(1).server];
  const { record, outcome } = await one.open(name, { shareAccess: 1 });
  expect(outcome).toBe(Outcome.GRANTED);
  expect((await one.lock(record, 0, 10)).outcome).toBe(Outcome.GRANTED);
  await what();
  let second = await two.open(name);
  await until(async () => {
    if (second.outcome !== Outcome.STORE_UNAVAILABLE) return true; // nothing is granted until a replica has the new primary's data
    second = await two.open(name);
    return false;
  }, leaseMs);
  expect(second.outcome).toBe(Outcome.SHARING_VIOLATION);
  expect((await one.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
  expect([one.fenced, two.fenced]).toEqual([false, false]);
  expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
  expect((await two.open(name)).outcome).toBe(Outcome.GRANTED);
}
