import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Certificate, createAuthority, issueCertificate } from '../../common/certificates.ts';
import { type ClusterConfig, checkClusterConfig, type StoreConfig } from '../../common/config.ts';
import { createLogger } from '../../common/logging.ts';
import { OPERATOR_IDENTITY, readTlsMaterial, SIDECAR_IDENTITY, sidecarChannel } from '../../common/tls.ts';
import { ControlClient, type StatusReply } from '../../proto/generated/control.ts';
import { Sidecar } from '../sidecar.ts';
import { TestFileServer } from './file-server.ts';
import { freePort, TestRedis } from './redis.ts';

/** Where the sidecars of a test keep their state, when that is not one Redis of their own. */
export interface TestStore {
  config: StoreConfig;
  password?: () => string | undefined;
  /** Whose authority trusts the sidecars, where several clusters share a store. */
  clusterId?: string;
  /** The store is known to be new; otherwise a sidecar waits for whoever may live. */
  newStore?: boolean;
  /** How long promises of peers may extend a lease; without it not at all. */
  maxExtensionMs?: number;
}

/** Sidecars of several pods on one machine, with certificates, against a real store. */
export class TestCluster {
  readonly #redis: TestRedis | undefined;
  readonly store: TestStore;
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-sidecar-'));
  readonly config: ClusterConfig;
  readonly pods: TestPod[] = [];
  readonly tlsDir = join(this.folder, 'tls');
  readonly #clients: ControlClient[] = [];
  readonly operatorTls = join(this.folder, 'operator');
  #authority: Certificate | undefined;

  constructor(redis: TestRedis | undefined, store: TestStore, leaseDurationMs: number) {
    this.#redis = redis;
    this.store = store;
    this.config = checkClusterConfig({
      clusterId: store.clusterId ?? `test-${process.pid}-${Math.floor(Math.random() * 1e9)}`,
      clusterName: 'test',
      volumes: [{ name: 'data', path: '/tmp' }],
      shares: [{ name: 'projects', volume: 'data', continuouslyAvailable: true }],
      failover: { leaseDurationMs, writeSettleMs: 200, maxExtensionMs: store.maxExtensionMs ?? 0 },
      store: store.config,
    });
  }

  /** Its own Redis. */
  get redis(): TestRedis {
    if (!this.#redis) throw new Error('this cluster has a store that the test brought');
    return this.#redis;
  }

  /** @param store that the test started, and stops; without one a Redis is started */
  static async start(pods: number, leaseDurationMs = 1500, store?: TestStore): Promise<TestCluster> {
    const redis = store ? undefined : await TestRedis.start();
    const own: TestStore = {
      config: { mode: 'Standalone', addresses: [redis?.address ?? ''], durability: { mode: 'Always' } },
    };
    const cluster = new TestCluster(redis, store ?? own, leaseDurationMs);
    await cluster.rotate();
    for (let i = 0; i < pods; i++) await cluster.addPod();
    return cluster;
  }

  async addPod(): Promise<TestPod> {
    const pod = this.newPod();
    await pod.startSidecar();
    await pod.server.startPatiently();
    return pod;
  }

  /** A pod in which nothing runs yet. */
  newPod(): TestPod {
    const pod = new TestPod(this, `pod-${this.pods.length}`);
    this.pods.push(pod);
    return pod;
  }

  /** What a pod's sidecar tells the operator of the store. */
  async storeMessage(pod: TestPod): Promise<string> {
    return (await this.status(pod)).storeMessage;
  }

  /** What a pod's sidecar tells the operator. */
  status(pod: TestPod): Promise<StatusReply> {
    const control = this.control(pod);
    return new Promise((resolve, reject) => {
      control.getStatus({}, (error, status) => (error ? reject(error) : resolve(status)));
    });
  }

  pod(index: number): TestPod {
    const pod = this.pods[index];
    if (!pod) throw new RangeError(`there is no pod ${index}`);
    return pod;
  }

  /** New certificates, of a new authority. */
  async rotate(): Promise<void> {
    this.#authority = undefined;
    await this.issue(this.tlsDir, SIDECAR_IDENTITY);
    await this.issue(this.operatorTls, OPERATOR_IDENTITY);
  }

  /** Puts a new certificate for this identity into a folder. @param authority the cluster's own, if not another */
  async issue(folder: string, identity: string, authority?: Certificate): Promise<void> {
    this.#authority ??= await createAuthority('test', 1);
    const issuer = authority ?? this.#authority;
    const issued = await issueCertificate(issuer, [identity], 1);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'ca.crt'), this.#authority.certificate);
    writeFileSync(join(folder, 'tls.crt'), issued.certificate);
    writeFileSync(join(folder, 'tls.key'), issued.key);
  }

  /** The operator's connection to a pod's sidecar. */
  control(pod: TestPod): ControlClient {
    const { credentials, options } = sidecarChannel(readTlsMaterial(this.operatorTls));
    const client = new ControlClient(pod.address, credentials, options);
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    for (const pod of this.pods) {
      pod.server.detach();
      pod.sidecar?.halt();
    }
    await this.#redis?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class TestPod {
  readonly name: string;
  readonly runDir: string;
  server: TestFileServer;
  sidecar: Sidecar | undefined;
  address = '';
  readonly #cluster: TestCluster;

  constructor(cluster: TestCluster, name: string) {
    this.#cluster = cluster;
    this.name = name;
    this.runDir = join(cluster.folder, name);
    mkdirSync(this.runDir);
    this.server = new TestFileServer(this.runDir);
  }

  async startSidecar(): Promise<Sidecar> {
    this.address ||= `127.0.0.1:${await freePort()}`;
    // Nobody says so of a store that this pod has served with.
    const newStore = this.sidecar === undefined && (this.#cluster.store.newStore ?? true);
    this.sidecar = new Sidecar({
      config: this.#cluster.config,
      runDir: this.runDir,
      listen: this.address,
      advertise: this.address,
      tlsDir: this.#cluster.tlsDir,
      tlsLookMs: 50,
      serverId: `uid-${this.name}`,
      pod: this.name,
      node: 'node',
      storePassword: this.#cluster.store.password ?? (() => undefined),
      newStore,
      log: createLogger('sidecar', { pod: this.name }),
    });
    await this.sidecar.start();
    return this.sidecar;
  }

  /** Another process takes the place of the file server. */
  async replaceServer(): Promise<TestFileServer> {
    this.server = new TestFileServer(this.runDir);
    try {
      await this.server.start();
    } catch (error) {
      this.server.kill();
      throw error;
    }
    return this.server;
  }
}
