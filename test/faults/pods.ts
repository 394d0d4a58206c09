import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientOptions } from '../../client/index.ts';
import { createAuthority, issueCertificate } from '../../common/certificates.ts';
import { type ClusterConfig, checkClusterConfig } from '../../common/config.ts';
import { SIDECAR_IDENTITY } from '../../common/tls.ts';
import { eventually, run } from '../cluster/shell.ts';
import { type LogLine, PASSWORD, partProgram, USER } from '../serving.ts';
import { SidecarControl } from '../sidecar-control.ts';
import { KeptProcess } from './kept-process.ts';
import type { Network, PodNetwork, Wire } from './network.ts';
import { RawClient, type RawOptions } from './raw-client.ts';
import { SHARE, SOON_MS } from './stage.ts';
import { whyNot } from './why-not.ts';

export type Part = 'fileserver' | 'sidecar';
export const WRITE_SETTLE_MS = 200;
const SMB_PORT = 445;
const SIDECAR_PORT = 7445;
const METRICS_PORT = 9445;
/** What is kept of the logs for whoever has to find out what happened. */
const MOST_LOG_LINES = 20_000;
const POLL_MS = 20;
/** Parts that are killed are started again all the time: they compile once. */
const COMPILED = join(import.meta.dirname, '../../node_modules/.cache/holdfast-parts');
/** Processes that start side by side on a machine that is busy with other things. */
const STARTED_WITHIN_MS = 120_000;

export interface PodsOptions {
  leaseMs: number;
  /** Gives every pod its own mount of a folder; by default all share one folder. */
  mounts?: { of: string; at: (pod: number) => string };
  persistentTimeoutMs?: number;
  fencing?: ClusterConfig['volumes'][number]['fencing'];
  coherent?: boolean;
  /** What a pod's file server takes on at once, where that is not the default. */
  limits?: (pod: number) => ClusterConfig['limits'];
  /** Of every file server and sidecar. */
  env?: NodeJS.ProcessEnv;
  storeEnv?: NodeJS.ProcessEnv;
  /** Two stores side by side in one network need two ports. */
  storePort?: number;
}

/** One pod: a file server with its sidecar, in a network namespace of its own. */
export class Pod {
  readonly name: string;
  readonly network: PodNetwork;
  readonly parts: Record<Part, KeptProcess>;

  constructor(name: string, network: PodNetwork, parts: Record<Part, KeptProcess>) {
    this.name = name;
    this.network = network;
    this.parts = parts;
  }

  /** Where clients reach it. */
  get address(): string {
    return `${this.network.address('clients')}:${SMB_PORT}`;
  }

  get sidecarAddress(): string {
    return `${this.network.address('peers')}:${SIDECAR_PORT}`;
  }

  kill(...parts: Part[]): void {
    for (const part of parts) this.parts[part].signal('SIGKILL');
  }

  async freeze(...parts: Part[]): Promise<void> {
    await Promise.all(parts.map((part) => this.parts[part].freeze()));
  }

  resume(): void {
    for (const part of Object.values(this.parts)) part.signal('SIGCONT');
  }

  cut(...wires: Wire[]): Promise<void> {
    return this.network.cut(wires);
  }

  mend(): Promise<void> {
    return this.network.mend();
  }

  /** Waits until its file server says that it serves. */
  async ready(): Promise<void> {
    const url = `http://${this.network.address('clients')}:${METRICS_PORT}/readyz`;
    await eventually(
      `${this.name} serves`,
      STARTED_WITHIN_MS,
      async () => {
        const answer = await fetch(url, { signal: AbortSignal.timeout(1000) });
        const text = await answer.text();
        if (!answer.ok) throw new Error(text);
        return true;
      },
      POLL_MS,
    );
  }

  /** By default as a pod ends: the sidecar outlives its file server. With SIGKILL both go at once. */
  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const { fileserver, sidecar } = this.parts;
    if (signal === 'SIGKILL') await Promise.all([fileserver.end(signal), sidecar.end(signal)]);
    await fileserver.end(signal);
    await sidecar.end(signal);
    this.network.remove();
  }
}

/** Pods with a volume in common and a Redis, each part a process and each pod a namespace: everything of it can be broken on its own. */
export class Pods {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-pods-'));
  readonly list: Pod[] = [];
  readonly log: LogLine[] = [];
  readonly #network: Network;
  readonly #options: PodsOptions;
  readonly #clients: Client[] = [];
  readonly #raws: RawClient[] = [];
  readonly #controls: SidecarControl[] = [];
  readonly #clusterId = randomUUID();
  readonly #volume: string;
  #store: KeptProcess | undefined;
  #password = '';
  #made = 0;

  private constructor(network: Network, options: PodsOptions) {
    this.#network = network;
    this.#options = options;
    this.#volume = options.mounts?.of ?? join(this.folder, 'volume');
  }

  static async start(network: Network, count: number, options: PodsOptions): Promise<Pods> {
    const pods = new Pods(network, options);
    try {
      await pods.#prepare();
      for (let i = 0; i < count; i++) await pods.add({ isNewStore: true, waits: false });
      await Promise.all(pods.list.map((pod) => pods.#serves(pod)));
      return pods;
    } catch (error) {
      await pods.stop();
      throw error;
    }
  }

  /** The shared folder itself, past all mounts. */
  get volume(): string {
    return this.#volume;
  }

  get addresses(): string[] {
    return this.list.map((pod) => pod.address);
  }

  pod(index: number): Pod {
    const pod = this.list[index];
    if (!pod) throw new RangeError(`there is no pod ${index}`);
    return pod;
  }

  get store(): KeptProcess {
    if (!this.#store) throw new Error('the store was not started');
    return this.#store;
  }

  /** A new pod joins. */
  async add({ isNewStore = false, waits = true }: { isNewStore?: boolean; waits?: boolean } = {}): Promise<Pod> {
    const index = this.#made++;
    const name = `pod-${index}`;
    const network = await this.#network.addPod();
    const runDir = join(this.folder, `run-${index}`);
    mkdirSync(runDir, { mode: 0o700 });
    const config = join(this.folder, `config-${index}.json`);
    writeFileSync(config, JSON.stringify(this.#config(index)));
    const shared = ['--config', config, '--run-dir', runDir];
    const part = (of: Part, args: string[], firstArgs?: string[]) =>
      new KeptProcess({
        name: `${of}-${index}`,
        command: network.inside([...partProgram(of), ...shared, ...args]),
        firstArgs,
        env: { NODE_COMPILE_CACHE: COMPILED, ...this.#options.env },
        log: this.log,
      });
    const peer = `${network.address('peers')}:${SIDECAR_PORT}`;
    const smb = `${network.address('clients')}:${SMB_PORT}`;
    const sidecar = part(
      'sidecar',
      [
        ...['--listen', peer, '--advertise', peer, '--tls-dir', join(this.folder, 'tls')],
        ...['--store-password-file', join(this.folder, 'store-password'), '--server-id', randomUUID(), '--pod', name],
      ],
      isNewStore ? ['--new-store'] : [],
    );
    const fileserver = part('fileserver', [
      ...['--listen', smb, '--advertise', smb, '--users-dir', join(this.folder, 'users')],
      ...['--metrics', `${network.address('clients')}:${METRICS_PORT}`],
    ]);
    const pod = new Pod(name, network, { fileserver, sidecar });
    this.list.push(pod);
    if (waits) await this.#serves(pod);
    return pod;
  }

  /** A pod goes: it gives its handles away and ends. */
  async retire(pod: Pod): Promise<void> {
    try {
      const control = await this.control(pod);
      await control.migrate({ migrationId: randomUUID(), leaving: true });
    } catch {
      // It could not be asked, or died over it: its handles are orphans then.
    }
    this.list.splice(this.list.indexOf(pod), 1);
    await pod.end();
  }

  /** kill -9 of the store; it comes back with its data, or empty. */
  async killStore({ isEmptied = false } = {}): Promise<void> {
    const folder = join(this.folder, 'redis');
    await this.store.kill(() => {
      if (!isEmptied) return;
      rmSync(folder, { recursive: true });
      mkdirSync(folder);
    });
  }

  /** A command to the store, and what it printed. */
  redis(...command: string[]): Promise<string> {
    const where = ['-h', this.#network.own('store'), '-p', String(this.#storePort)];
    const env = { ...process.env, REDISCLI_AUTH: this.#password };
    return run('redis-cli', [...where, ...command], { env, timeoutMs: SOON_MS });
  }

  /** What the store knows of servers. */
  async servers(): Promise<{ state: string; epoch: number; knows: number; extensionMs: number }[]> {
    const lines = (await this.redis('HVALS', `hf:{${this.#clusterId}}:servers`))
      .split('\n')
      .filter((line) => line !== '');
    return lines.map((line) => ({ knows: 0, extensionMs: 0, ...JSON.parse(line) }));
  }

  /** The records of files that are open, as the store has them: their keys, and what can be read of the rest (owner, user, path). */
  async filesInStore(): Promise<string[]> {
    const found = await this.redis('--scan', '--pattern', 'hf:*:file:*');
    const keys = found.split('\n').filter((key) => key !== '');
    return Promise.all(
      keys.map(async (key) => `${key} (${(await this.redis('HVALS', key)).replaceAll(/[^ -~]+/g, ' ')})`),
    );
  }

  /** The operator's door to a pod. */
  async control(pod: Pod): Promise<SidecarControl> {
    const control = await SidecarControl.connect(pod.sidecarAddress, this.folder);
    this.#controls.push(control);
    return control;
  }

  /** A client of our library that begins at `prefers` and knows all pods of now. */
  async client(prefers: Pod, options: Partial<ClientOptions> = {}): Promise<Client> {
    const addresses = [prefers.address, ...this.addresses.filter((address) => address !== prefers.address)];
    const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: SHARE, ...options });
    this.#clients.push(client);
    return client;
  }

  async raw(pod: Pod, options: Partial<RawOptions> = {}): Promise<RawClient> {
    const raw = await RawClient.connect(pod.address, { user: USER, password: PASSWORD, share: SHARE, ...options });
    this.#raws.push(raw);
    return raw;
  }

  /** Ends every fault that still lasts, and waits until all serve. */
  async mend(): Promise<void> {
    this.store.signal('SIGCONT');
    for (const pod of this.list) pod.resume();
    await Promise.all(this.list.map((pod) => pod.mend()));
    await Promise.all(this.list.map((pod) => this.#serves(pod)));
  }

  /** Ends everything, whatever state the test left it in. */
  async stop(): Promise<void> {
    if (process.env.HOLDFAST_TEST_LOG) writeFileSync(process.env.HOLDFAST_TEST_LOG, this.said());
    for (const control of this.#controls) control.close();
    for (const raw of this.#raws) raw.close();
    await Promise.allSettled(this.#clients.map((client) => client.close()));
    await Promise.all(this.list.map((pod) => pod.end('SIGKILL')));
    await this.#store?.end('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Waits until a pod serves. What it throws where it does not tells why. */
  async #serves(pod: Pod): Promise<void> {
    try {
      await pod.ready();
    } catch (error) {
      const processes = [pod.parts.fileserver, pod.parts.sidecar, this.store];
      const store = { redis: this.redis.bind(this), servers: this.servers.bind(this) };
      const why = await whyNot({ name: pod.name, network: pod.network, processes, log: this.log, ...store });
      throw new Error(`${(error as Error).message}\n${why}`, { cause: error });
    }
  }

  /** The newest log lines, from `since` (an index that the log had). */
  said(since = 0): string {
    return this.log
      .slice(Math.max(since, this.log.length - MOST_LOG_LINES))
      .map((line) => JSON.stringify(line))
      .join('\n');
  }

  async #prepare(): Promise<void> {
    const password = randomBytes(24).toString('base64url');
    for (const folder of ['redis', 'users', 'tls']) mkdirSync(join(this.folder, folder), { mode: 0o700 });
    mkdirSync(this.#volume, { recursive: true });
    writeFileSync(join(this.folder, 'store-password'), password, { mode: 0o600 });
    writeFileSync(join(this.folder, 'users', USER), PASSWORD, { mode: 0o600 });
    const authority = await createAuthority('test', 1);
    const own = await issueCertificate(authority, [SIDECAR_IDENTITY], 1);
    writeFileSync(join(this.folder, 'tls', 'ca.crt'), authority.certificate);
    writeFileSync(join(this.folder, 'tls', 'tls.crt'), own.certificate);
    writeFileSync(join(this.folder, 'tls', 'tls.key'), own.key, { mode: 0o600 });
    const host = this.#network.own('store');
    const settings = [
      ...['--bind', host, '--port', String(this.#storePort), '--dir', join(this.folder, 'redis')],
      ...['--requirepass', password, '--appendonly', 'yes', '--appendfsync', 'always', '--save', ''],
      ...['--maxmemory-policy', 'noeviction', '--loglevel', 'warning'],
    ];
    this.#store = new KeptProcess({
      name: 'redis',
      command: ['redis-server', ...settings],
      env: this.#options.storeEnv,
      log: this.log,
    });
    this.#password = password;
    await eventually('the store answers', SOON_MS, () => this.redis('ping'), POLL_MS);
  }

  get #storePort(): number {
    return this.#options.storePort ?? 6379;
  }

  #config(pod: number): ClusterConfig {
    const { mounts, leaseMs, persistentTimeoutMs = 300_000, fencing = 'Deadline', coherent, limits } = this.#options;
    const path = mounts?.at(pod) ?? this.#volume;
    const limited = limits?.(pod);
    return checkClusterConfig({
      clusterId: this.#clusterId,
      clusterName: 'local',
      volumes: [{ name: 'local', path, fencing, ...(coherent === undefined ? {} : { coherent }) }],
      shares: [
        {
          ...{ name: SHARE, volume: 'local', path: '/', continuouslyAvailable: true },
          access: [{ principal: '*', permission: 'Full' }],
        },
      ],
      ...(limited ? { limits: limited } : {}),
      handles: { persistentTimeoutMs, durableTimeoutMs: 60_000 },
      failover: { leaseDurationMs: leaseMs, writeSettleMs: WRITE_SETTLE_MS },
      store: {
        mode: 'Standalone',
        addresses: [`${this.#network.own('store')}:${this.#storePort}`],
        durability: { mode: 'Always' },
      },
    });
  }
}
