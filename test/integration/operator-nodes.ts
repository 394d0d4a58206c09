import { type ChildProcess, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { status as codes, Server, type ServerWritableStream } from '@grpc/grpc-js';
import type { V1Node, V1Pod, V1Secret } from '@kubernetes/client-node';
import { PeerServerCredentials } from '../../common/tls.ts';
import { NODES, PODS, SECRETS } from '../../operator/kinds.ts';
import { isNotFound, type KubernetesApi } from '../../operator/runtime/api.ts';
import { Objects } from '../../operator/runtime/objects.ts';
import {
  type ControlServer,
  ControlService,
  type MigrateRequest,
  MigrationProgress,
  ServerStatus,
  StatusReply,
} from '../../proto/generated/control.ts';
import type { ApiServer } from './operator-api-server.ts';

const CONTROLLERS = [
  'replicaset-controller',
  'statefulset-controller',
  'garbage-collector-controller',
  'disruption-controller',
];

/** The real ReplicaSet, StatefulSet, garbage collection and disruption controllers, and others by name. */
export function startControllerManager(server: ApiServer, ...others: string[]): ChildProcess {
  const log = openSync(join(server.folder, 'kcm.log'), 'w');
  return spawn(
    join(server.bin, 'kube-controller-manager'),
    [
      `--kubeconfig=${server.kubeconfig}`,
      `--controllers=${[...CONTROLLERS, ...others].join(',')}`,
      '--leader-elect=false',
      '--secure-port=0',
      '--horizontal-pod-autoscaler-sync-period=2s',
    ],
    { stdio: ['ignore', log, log] },
  );
}

/** Addresses of pods; processes that run side by side have different ones. */
const POD_NETWORK = `127.${64 + ((process.pid >> 8) & 63)}.${process.pid & 255}`;

/** A call that a sidecar got: "prepare pod", "migrate pod", "ended pod". */
export type Call = string;

interface Running {
  server: Server;
  handles: number;
  /** By the id of a migration: who asks again is told the same. */
  outcomes: Map<string, MigrationProgress>;
}

/**
 * Stands in for nodes and sidecars: gives pods a node, an address and readiness, answers Control under the cluster's own
 * certificate, and ends pods that are deleted. Everything else in these tests is real.
 */
export class Nodes {
  readonly calls: Call[] = [];
  /** Pods whose names match do not become ready. */
  unready: (pod: V1Pod) => boolean = () => false;
  /** Runs before a sidecar answers Migrate. 'lost': the answer does not arrive. */
  beforeMigrate: (pod: string) => Promise<unknown> = async () => undefined;
  /** Whether a pod that is deleted may end now. */
  mayEnd: (pod: string) => boolean = () => true;
  /** How often Migrate fails before it works. */
  failures = 0;
  /** By pod: the handles that it moved by itself, of which its peers know. */
  readonly handedOver = new Map<string, number>();
  /** Whether the sidecar of a pod waits for servers that an empty store does not name. */
  waitsForStore: (pod: string) => boolean = () => true;
  /** Prepare is answered with an error. */
  preparesNothing = false;
  readonly #api: KubernetesApi;
  readonly #objects: Objects;
  readonly #namespace: string;
  readonly #running = new Map<string, Running>();
  readonly #uids = new Map<string, string>();
  readonly #names: string[];
  #stopped = false;
  #loop: Promise<void> = Promise.resolve();

  constructor(api: KubernetesApi, namespace: string, names: string[]) {
    this.#api = api;
    this.#objects = new Objects(api);
    this.#namespace = namespace;
    this.#names = names;
  }

  async start(): Promise<void> {
    for (const name of this.#names) {
      await this.#objects.create<V1Node>(NODES, { metadata: { name } });
      await this.#objects.patch(
        NODES,
        '',
        name,
        { status: { conditions: [{ type: 'Ready', status: 'True', reason: 'Test', message: '' }] } },
        'status',
      );
      await this.#objects.patch(NODES, '', name, { spec: { taints: null } });
    }
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    for (const { server } of this.#running.values()) server.forceShutdown();
  }

  handles(pod: string): number {
    return this.#running.get(pod)?.handles ?? 0;
  }

  open(pod: string, handles: number): void {
    const running = this.#running.get(pod);
    if (!running) throw new Error(`${pod} does not run`);
    running.handles = handles;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const pods = await this.#objects.list<V1Pod>(PODS, this.#namespace).catch(() => []);
      for (const pod of pods) await this.#tend(pod).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #tend(pod: V1Pod): Promise<void> {
    const name = pod.metadata?.name ?? '';
    if (pod.metadata?.deletionTimestamp) return this.#end(pod);
    if (!pod.spec?.nodeName) return this.#bind(pod);
    if (!this.#running.has(name)) await this.#boot(pod);
    const ready = !this.unready(pod);
    const isReady = pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
    if (pod.status?.phase === 'Running' && ready === isReady) return;
    const number = [...this.#running.keys()].indexOf(name) + 1;
    const state = { running: { startedAt: new Date().toISOString() } };
    const common = { image: 'x', imageID: 'x', lastState: {}, ready, restartCount: 0, started: true, state };
    await this.#objects.patch(
      PODS,
      this.#namespace,
      name,
      {
        status: {
          phase: 'Running',
          podIP: `${POD_NETWORK}.${number}`,
          podIPs: [{ ip: `${POD_NETWORK}.${number}` }],
          conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
          containerStatuses: [{ name: 'fileserver', ...common }],
          initContainerStatuses: [{ name: 'sidecar', ...common }],
        },
      },
      'status',
    );
  }

  /** To the node with the fewest pods, as the spread of their template asks. */
  async #bind(pod: V1Pod): Promise<void> {
    const all = await this.#objects.list<V1Pod>(PODS, this.#namespace);
    const there = (node: string) =>
      all.filter(({ spec, metadata }) => spec?.nodeName === node && metadata?.deletionTimestamp === undefined).length;
    for (const node of [...this.#names].sort((a, b) => there(a) - there(b))) {
      if ((await this.#objects.get<V1Node>(NODES, '', node)).spec?.unschedulable) continue;
      await this.#api.request('POST', `/api/v1/namespaces/${this.#namespace}/pods/${pod.metadata?.name}/binding`, {
        body: {
          apiVersion: 'v1',
          kind: 'Binding',
          metadata: { name: pod.metadata?.name },
          target: { apiVersion: 'v1', kind: 'Node', name: node },
        },
      });
      return;
    }
  }

  async #boot(pod: V1Pod): Promise<void> {
    if (pod.metadata?.labels?.['app.kubernetes.io/component'] !== 'fileserver') return;
    const name = pod.metadata?.name ?? '';
    const secret = await this.#objects.get<V1Secret>(SECRETS, this.#namespace, 'media-tls');
    const file = (key: string) => Buffer.from(secret.data?.[key] ?? '', 'base64');
    const server = new Server();
    const running: Running = { server, handles: 0, outcomes: new Map() };
    const control: ControlServer = {
      getStatus: (_call, done) =>
        done(
          null,
          StatusReply.create({
            storeReachable: true,
            servers: [
              ServerStatus.create({
                identity: { serverId: `${pod.metadata?.uid}/0`, epoch: 1n },
                state: 'active',
                opensActive: BigInt(running.handles),
              }),
            ],
            peers: [...this.handedOver].map(([pod, moved]) =>
              ServerStatus.create({
                ...{ pod, state: 'fenced', identity: { serverId: `${this.#uids.get(pod)}/0`, epoch: 1n } },
                handedOver: { moved: BigInt(moved), released: 0n, expired: 0n, left: 0n },
              }),
            ),
          }),
        ),
      prepare: (_call, done) => {
        this.calls.push(`prepare ${name}`);
        if (this.preparesNothing) done({ code: codes.INTERNAL, details: 'on purpose' });
        else done(null, MigrationProgress.create({ phase: 'Preparing' }));
      },
      migrate: (call: ServerWritableStream<MigrateRequest, MigrationProgress>) =>
        void this.#migrate(name, running, call),
      cancelMigration: (_call, done) => {
        this.calls.push(`cancel ${name}`);
        done(null, MigrationProgress.create({ phase: 'Cancelled', done: true }));
      },
      storeIsNew: (_call, done) => {
        this.calls.push(`new store ${name}`);
        done(null, { heard: this.waitsForStore(name) });
      },
      serverEnded: (call, done) => {
        this.calls.push(`ended ${call.request.pod}`);
        done(null, { serversFenced: 1, message: '' });
      },
    };
    server.addService(ControlService, control);
    this.#running.set(name, running);
    this.#uids.set(name, pod.metadata?.uid ?? '');
    const number = [...this.#running.keys()].indexOf(name) + 1;
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(
        `${POD_NETWORK}.${number}:7445`,
        new PeerServerCredentials({ ca: file('ca.crt'), certificate: file('tls.crt'), key: file('tls.key') }),
        (error) => (error ? reject(error) : resolve()),
      ),
    );
  }

  async #migrate(
    name: string,
    running: Running,
    call: ServerWritableStream<MigrateRequest, MigrationProgress>,
  ): Promise<void> {
    this.calls.push(`migrate ${name}${call.request.leaving ? ' leaving' : ''}`);
    const fate = await this.beforeMigrate(name);
    if (call.cancelled) return;
    if (fate === 'lost') {
      call.emit('error', { code: codes.UNAVAILABLE, details: 'on purpose' });
      return;
    }
    const total = BigInt(running.handles);
    call.write(MigrationProgress.create({ phase: 'Transferring', total }));
    const { migrationId } = call.request;
    const outcome = running.outcomes.get(migrationId) ?? this.#outcome(running, call.request);
    running.outcomes.set(migrationId, outcome);
    call.write(outcome);
    call.end();
  }

  /** Moves the handles, or fails. */
  #outcome(running: Running, { targetPods, maxOpens }: MigrateRequest): MigrationProgress {
    const total = BigInt(running.handles);
    if (this.failures > 0) {
      this.failures -= 1;
      return MigrationProgress.create({ phase: 'Failed', total, left: total, done: true, message: 'on purpose' });
    }
    const target = this.#running.get(targetPods[0] ?? '');
    const moved = Math.min(running.handles, Number(maxOpens ?? running.handles));
    if (target) target.handles += moved;
    running.handles -= moved;
    return MigrationProgress.create({
      ...{ phase: 'Done', total, moved: BigInt(moved), left: BigInt(running.handles), done: true },
    });
  }

  async #end(pod: V1Pod): Promise<void> {
    const name = pod.metadata?.name ?? '';
    if (!this.mayEnd(name)) return;
    const ended = { terminated: { exitCode: 0, reason: 'Completed' } };
    const statusOf = (key: 'containerStatuses' | 'initContainerStatuses') =>
      (pod.status?.[key] ?? []).map((status) => ({ ...status, ready: false, state: ended }));
    // Before anybody can see it.
    if (!this.calls.includes(`gone ${name}`)) this.calls.push(`gone ${name}`);
    await this.#objects.patch(
      PODS,
      this.#namespace,
      name,
      {
        status: {
          conditions: [{ type: 'Ready', status: 'False' }],
          containerStatuses: statusOf('containerStatuses'),
          initContainerStatuses: statusOf('initContainerStatuses'),
        },
      },
      'status',
    );
    try {
      await this.#api.request('DELETE', `/api/v1/namespaces/${this.#namespace}/pods/${name}`, {
        body: { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
