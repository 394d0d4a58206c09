import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { accessSync, constants, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAuthority, issueCertificate } from '../common/certificates.ts';
import type { ClusterConfig, StoreConfig } from '../common/config.ts';
import { HoldfastError } from '../common/errors.ts';
import type { Logger } from '../common/logging.ts';
import { delay } from '../common/time.ts';
import { SIDECAR_IDENTITY } from '../common/tls.ts';
import { FreePorts, freePortAt } from './free-ports.ts';
import { SupervisedProcess } from './supervised-process.ts';

const HOST = '127.0.0.1';
const CERTIFICATE_DAYS = 3650;
const READY_POLL_MS = 50;
/** The file servers end their own work within 5 s of SIGTERM; the rest is margin. */
const STOP_GRACE_MS = 10_000;

export interface LocalClusterOptions {
  /** The folder that is shared: absolute. */
  directory: string;
  /** Its names. */
  shareNames: readonly string[];
  /** Those of them under which nobody is shown what they may not read. */
  accessBased: readonly string[];
  users: Map<string, string>;
  servers: number;
  /** Port of the first file server; the others follow. */
  port: number;
  continuouslyAvailable: boolean;
  scaleOut: boolean;
  encryption: 'Required' | 'Desired' | 'Off';
  signing: 'Required' | 'Desired';
  minDialect: ClusterConfig['security']['minDialect'];
  anonymousIpc: boolean;
  leaseDurationMs: number;
  durability: 'Always' | 'EverySecond';
  /** A store that somebody else runs, and the file with its password; undefined: a private Redis is started. */
  store?: { config: StoreConfig; passwordFile: string | undefined };
  /** Folder for the store, sockets and keys; private to this cluster. */
  stateDirectory: string;
}

/** File servers with their sidecars and a private Redis on this machine; every one a process of its own. */
export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #log: Logger;
  /** For what clients do not see. */
  readonly #ports: FreePorts;
  readonly #redis: SupervisedProcess[] = [];
  readonly #sidecars: SupervisedProcess[] = [];
  readonly #fileServers: { process: SupervisedProcess; port: number; metricsPort: number }[] = [];

  constructor(options: LocalClusterOptions, log: Logger) {
    this.#options = options;
    const own = Array.from({ length: options.servers }, (_, i) => options.port + i);
    this.#ports = new FreePorts(own, () => freePortAt(HOST));
    this.#log = log;
  }

  /** host:port of every file server. */
  get addresses(): string[] {
    return this.#fileServers.map((server) => `${HOST}:${server.port}`);
  }

  /**
   * Starts everything; resolves when every file server accepts clients.
   * @throws HoldfastError REDIS_MISSING, PORT_IN_USE, NOT_READY
   */
  async start(signal: AbortSignal, readyWithinMs: number): Promise<void> {
    const { store } = this.#options;
    const redisServer = store ? undefined : findProgram('redis-server');
    if (!store && !redisServer) {
      throw new HoldfastError(
        'REDIS_MISSING',
        'no redis-server is installed, and the handle state lives in one: install it (Debian, Ubuntu: apt-get install redis-server)',
      );
    }
    const { port, servers } = this.#options;
    for (let i = 0; i < servers; i++) await assertPortFree(port + i);
    if (redisServer) {
      const redisPort = await this.#ports.next();
      this.#startRedis(redisServer, redisPort);
      const durability = { mode: this.#options.durability };
      await this.#writeShared({ mode: 'Standalone', addresses: [`${HOST}:${redisPort}`], durability });
    } else if (store) await this.#writeShared(store.config);
    for (let i = 0; i < servers; i++) await this.#startServer(i, port + i);
    await Promise.all(this.#fileServers.map((server) => this.#ready(server, signal, readyWithinMs)));
  }

  /** File servers first, so that they close their opens while sidecar and store are there; then sidecars, then Redis. */
  async stop(): Promise<void> {
    for (const group of [this.#fileServers.map((server) => server.process), this.#sidecars, this.#redis]) {
      await Promise.all(group.map((process) => process.stop(STOP_GRACE_MS)));
    }
  }

  #path(...parts: string[]): string {
    return join(this.#options.stateDirectory, ...parts);
  }

  #startRedis(program: string, port: number): void {
    const password = randomBytes(24).toString('base64url');
    mkdirSync(this.#path('redis'), { recursive: true, mode: 0o700 });
    writeSecret(this.#path('store-password'), password);
    writeSecret(
      this.#path('redis.conf'),
      [
        `bind ${HOST}`,
        `port ${port}`,
        `dir ${this.#path('redis')}`,
        `requirepass ${password}`,
        'appendonly yes',
        `appendfsync ${this.#options.durability === 'Always' ? 'always' : 'everysec'}`,
        'maxmemory-policy noeviction',
        'hash-max-listpack-entries 16', // records of files in one piece, as operator/resources/redis.ts has it
        'hash-max-listpack-value 1024',
        'latency-tracking no',
        'save ""',
        'loglevel warning',
        '',
      ].join('\n'),
    );
    const redis = new SupervisedProcess('redis', program, [this.#path('redis.conf')], this.#log);
    redis.start();
    this.#redis.push(redis);
  }

  async #writeShared(store: StoreConfig): Promise<void> {
    const options = this.#options;
    const config: ClusterConfig = {
      clusterId: clusterIdOf(options.directory),
      clusterName: 'local',
      volumes: [{ name: 'local', path: options.directory, fencing: 'Deadline' }],
      shares: options.shareNames.map((name) => ({
        name,
        volume: 'local',
        path: '/',
        continuouslyAvailable: options.continuouslyAvailable,
        scaleOut: options.scaleOut,
        accessBasedEnumeration: options.accessBased.includes(name),
        encryption: options.encryption,
        access: [{ principal: '*', permission: 'Full' }],
      })),
      security: {
        signing: options.signing,
        minDialect: options.minDialect,
        anonymousIpc: options.anonymousIpc,
      },
      handles: { persistentTimeoutMs: 300_000, durableTimeoutMs: 60_000 },
      // Its Redis is on the same machine, and started anew at once.
      failover: { leaseDurationMs: options.leaseDurationMs, writeSettleMs: 1000, maxExtensionMs: 0 },
      store,
    };
    writeFileSync(this.#path('config.json'), `${JSON.stringify(config, null, 2)}\n`);
    mkdirSync(this.#path('users'), { recursive: true, mode: 0o700 });
    for (const [user, password] of options.users) writeSecret(this.#path('users', user), password);
    mkdirSync(this.#path('tls'), { recursive: true, mode: 0o700 });
    const authority = await createAuthority('holdfast serve', CERTIFICATE_DAYS);
    const own = await issueCertificate(authority, [SIDECAR_IDENTITY], CERTIFICATE_DAYS);
    writeFileSync(this.#path('tls', 'ca.crt'), authority.certificate);
    writeFileSync(this.#path('tls', 'tls.crt'), own.certificate);
    writeSecret(this.#path('tls', 'tls.key'), own.key);
  }

  async #startServer(index: number, port: number): Promise<void> {
    const runDirectory = this.#path(`run-${index}`);
    mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
    const peerPort = await this.#ports.next();
    const sidecarMetricsPort = await this.#ports.next();
    const metricsPort = await this.#ports.next();
    const shared = ['--config', this.#path('config.json'), '--run-dir', runDirectory];
    const { store } = this.#options;
    const passwordFile = store ? store.passwordFile : this.#path('store-password');
    const sidecar = this.#part(
      `sidecar-${index}`,
      'sidecar',
      [
        ...shared,
        ...['--listen', `${HOST}:${peerPort}`, '--advertise', `${HOST}:${peerPort}`],
        ...['--tls-dir', this.#path('tls'), ...(passwordFile ? ['--store-password-file', passwordFile] : [])],
        ...['--server-id', randomUUID(), '--pod', `local-${index}`, '--metrics', `${HOST}:${sidecarMetricsPort}`],
      ],
      { address: `${HOST}:${peerPort}`, metrics: `${HOST}:${sidecarMetricsPort}`, runDirectory },
      // In a Redis that was started just now there is nobody whose state could still come. A sidecar that is started again does not know
      // that, and of a Redis that was there before nobody does.
      store ? [] : ['--new-store'],
    );
    const fileServer = this.#part(
      `fileserver-${index}`,
      'fileserver',
      [
        ...shared,
        ...['--listen', `${HOST}:${port}`, '--advertise', `${HOST}:${port}`],
        ...['--users-dir', this.#path('users'), '--metrics', `${HOST}:${metricsPort}`],
      ],
      { address: `${HOST}:${port}`, metrics: `${HOST}:${metricsPort}` },
    );
    this.#sidecars.push(sidecar);
    this.#fileServers.push({ process: fileServer, port, metricsPort });
    sidecar.start();
    fileServer.start();
  }

  #part(
    name: string,
    part: string,
    args: string[],
    details: Record<string, unknown>,
    firstArgs: string[] = [],
  ): SupervisedProcess {
    return new SupervisedProcess(
      name,
      process.execPath,
      ['--enable-source-maps', entryOf(part), ...args],
      this.#log,
      details,
      firstArgs,
    );
  }

  async #ready(server: { port: number; metricsPort: number }, signal: AbortSignal, withinMs: number): Promise<void> {
    const until = performance.now() + withinMs;
    let reason = 'it does not answer';
    while (performance.now() < until) {
      try {
        const response = await fetch(`http://${HOST}:${server.metricsPort}/readyz`, { signal });
        if (response.ok && (await accepts(server.port))) return;
        reason = (await response.text()).trim();
      } catch (error) {
        if (signal.aborted) throw error;
      }
      await delay(READY_POLL_MS, signal);
    }
    throw new HoldfastError(
      'NOT_READY',
      `the file server on port ${server.port} was not ready within ${withinMs / 1000} s: ${reason} (its log lines above say more)`,
    );
  }
}

/** The program of another part, compiled or as it stands in the source tree, whichever this file is itself. */
function entryOf(part: string): string {
  const own = fileURLToPath(import.meta.url);
  return fileURLToPath(new URL(`../${part}/main${own.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url));
}

function writeSecret(path: string, content: string): void {
  writeFileSync(path, content, { mode: 0o600 });
}

function findProgram(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    try {
      const path = join(folder, name);
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

async function assertPortFree(port: number): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new HoldfastError(
          'PORT_IN_USE',
          `cannot listen on ${HOST}:${port}: ${error.message}; choose other ports with --port`,
          {
            cause: error,
          },
        ),
      ),
    );
    server.listen(port, HOST, resolve);
  });
  await new Promise((resolve) => server.close(resolve));
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** The same whenever the folder is shared: its users keep their SIDs, which the descriptors of its files name. */
function clusterIdOf(directory: string): string {
  const digest = createHash('sha256')
    .update(`holdfast serve\0${realpathSync(directory)}`)
    .digest('hex');
  return digest.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}
