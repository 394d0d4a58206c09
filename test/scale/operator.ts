/**
 * How an operator fares with many clusters: CLUSTERS=1000 of them with ten pods each in a real API server (and etcd). Says what it
 * takes to take them in, its memory, its CPU time for a reconciliation, and what it asks of the API server when nothing happens.
 * The pods are objects that are ready and have no address: no sidecar is asked. With PROFILE=folder a CPU profile is left there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { V1Pod, V1ReplicaSet } from '@kubernetes/client-node';
import { delay, monotonicMs } from '../../common/time.ts';
import { CLUSTERS, PODS, REPLICA_SETS } from '../../operator/kinds.ts';
import { type KubernetesObject, Objects } from '../../operator/runtime/objects.ts';
import { ended } from '../cluster/shell.ts';
import {
  createVolumeAndUsers,
  installDefinitions,
  NAMESPACES,
  startApiServer,
} from '../integration/operator-api-server.ts';

const CLUSTER_COUNT = Number(process.env.CLUSTERS ?? 1000);
const PODS_EACH = 10;
/** More, and the API server has no time for the operator: its Lease would run out. */
const AT_ONCE = 8;
const IDLE_SECONDS = 60;
/** What Node allows itself in the 512Mi of the chart's pod; here it sees the whole machine, and would collect later. */
const HEAP = '--max-old-space-size=256';
const CLOCK_TICKS = 100;
const PAGE_BYTES = 4096;
const NAMESPACE = 'scale';
const root = join(import.meta.dirname, '../..');

const server = await startApiServer();
const objects = new Objects(server.api);
await installDefinitions(objects);
await objects.create(NAMESPACES, { metadata: { name: NAMESPACE } });
await createVolumeAndUsers(objects, NAMESPACE);
const names = Array.from({ length: CLUSTER_COUNT }, (_, i) => `c${i}`);
await many(names, (name) =>
  objects.create(CLUSTERS, {
    metadata: { namespace: NAMESPACE, name },
    spec: {
      replicas: PODS_EACH,
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
      shares: [{ name: 'projects', volume: 'data', access: [{ principal: 'alice' }] }],
      users: { secretRef: { name: 'users' } },
    },
  } as KubernetesObject),
);

const children: ChildProcess[] = [];

/** An operator that runs, and what it takes. */
class Measured {
  readonly child: ChildProcess;
  readonly #over: Promise<void>;
  readonly #lastSaid: string[] = [];
  #metricsPort = 0;
  #isStopping = false;

  /** @param flags beyond those that every operator here has */
  constructor(flags: string[], nodeFlags: string[] = []) {
    const where = ['--kubeconfig', server.kubeconfig, '--metrics', '127.0.0.1:0', '--all-namespaces'];
    const args = ['operator/main.ts', ...where, '--image', 'holdfast.dev/holdfast:scale', ...flags];
    this.child = spawn(process.execPath, [...nodeFlags, ...args], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
    children.push(this.child);
    if (this.child.stderr)
      createInterface({ input: this.child.stderr }).on('line', (line) => {
        this.#lastSaid.push(line);
        if (this.#lastSaid.length > 20) this.#lastSaid.shift();
        this.#metricsPort = Number(/"metricsPort":(\d+)/.exec(line)?.[1] ?? this.#metricsPort);
      });
    this.#over = ended(this.child).then((code) => {
      if (this.#isStopping) return;
      say(`the operator ended with ${code}:\n${this.#lastSaid.join('\n')}`);
      process.exitCode = 1;
    });
  }

  /** Until it has seen everything and has nothing more to say. */
  async settled(): Promise<void> {
    for (let last = -1; ; ) {
      await delay(15_000);
      const { changes: now, reconciles } = await this.measure();
      say(`${reconciles} reconciliations and ${now} changes so far`);
      if (now === last && reconciles >= CLUSTER_COUNT) return;
      last = now;
    }
  }

  async measure() {
    const text = await (await fetch(`http://127.0.0.1:${this.#metricsPort}/metrics`)).text();
    const sum = (metric: string, label = '') =>
      [...text.matchAll(new RegExp(`^${metric}\\{(.*)\\} (\\d+)$`, 'gm'))]
        .filter(([, labels]) => labels?.includes(label))
        .reduce((total, [, , value]) => total + Number(value), 0);
    const api = 'holdfast_operator_api_requests_total';
    const verbs = [...text.matchAll(new RegExp(`^${api}\\{verb="(\\w+)"\\} (\\d+)$`, 'gm'))];
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return {
      requests: sum(api),
      byVerb: Object.fromEntries(verbs.map(([, verb, count]): [string, number] => [verb ?? '', Number(count)])),
      changes: sum(api, 'PATCH') + sum(api, 'POST'),
      reconciles: sum('holdfast_operator_reconciles_total', 'cluster'),
      cpuMs: ((Number(stat[11]) + Number(stat[12])) * 1000) / CLOCK_TICKS,
      heapBytes: Number(/^nodejs_heap_size_used_bytes (\d+)/m.exec(text)?.[1] ?? 0),
      residentBytes: Number(stat[21]) * PAGE_BYTES,
      highestBytes: Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024,
    };
  }

  /** By SIGTERM: a profile is written when it ends by itself. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.child.kill('SIGTERM');
    await this.#over;
  }
}

/** Clusters and pods, as they are after a while; the operator that has set them up is not the one that is measured. */
async function setUp(): Promise<number> {
  const began = monotonicMs();
  const operator = new Measured([]);
  let sets: V1ReplicaSet[] = [];
  while (sets.length < CLUSTER_COUNT) {
    await delay(5000);
    sets = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE);
    say(`${sets.length} clusters set up`);
  }
  const tookS = (monotonicMs() - began) / 1000;
  await many(sets, async (set) => {
    for (let i = 0; i < PODS_EACH; i++) await makePod(set, i);
  });
  await operator.settled();
  await operator.stop();
  return tookS;
}

try {
  const setUpSeconds = Math.round(await setUp());
  // One that begins where everything is there: it has to take it all in, and brings every object to what it should be. As the chart
  // starts it: the renewal of its Lease is a part of what the API server hears.
  const profile = process.env.PROFILE ? ['--cpu-prof', '--cpu-prof-dir', process.env.PROFILE] : [];
  const operator = new Measured(['--leader-elect', '--leader-elect-namespace', NAMESPACE], [HEAP, ...profile]);
  const began = monotonicMs();
  await operator.settled();
  const tookInSeconds = Math.round((monotonicMs() - began) / 1000);
  const before = await operator.measure();
  let heapBytes = before.heapBytes;
  for (let second = 0; second < IDLE_SECONDS; second++) {
    await delay(1000);
    // As it is after a collection.
    if (second % 5 === 0) heapBytes = Math.min(heapBytes, (await operator.measure()).heapBytes);
  }
  const after = await operator.measure();
  const perSecond = (what: 'requests' | 'cpuMs' | 'reconciles') => (after[what] - before[what]) / IDLE_SECONDS;
  const verbs = Object.entries(after.byVerb).map(([verb, count]) => [verb, count - (before.byVerb[verb] ?? 0)]);
  const figures = {
    clusters: CLUSTER_COUNT,
    pods: CLUSTER_COUNT * PODS_EACH,
    setUpSeconds,
    tookInSeconds,
    memoryMiB: Math.round(after.residentBytes / 2 ** 20),
    highestMemoryMiB: Math.round(after.highestBytes / 2 ** 20),
    heapMiB: Math.round(heapBytes / 2 ** 20),
    cpuMsOfAReconciliation: Number((after.cpuMs / after.reconciles).toFixed(2)),
    atRest: {
      requestsPerSecond: Number(perSecond('requests').toFixed(2)),
      requests: Object.fromEntries(verbs),
      cpuMsPerSecond: Number(perSecond('cpuMs').toFixed(1)),
      reconcilesPerSecond: Number(perSecond('reconciles').toFixed(1)),
    },
  };
  say(JSON.stringify(figures, null, 2));
  await operator.stop();
} finally {
  for (const child of children) child.kill('SIGKILL');
  await server.stop();
}

async function makePod(set: V1ReplicaSet, i: number): Promise<void> {
  const name = `${set.metadata?.name}-${i}`;
  await objects.create<V1Pod>(PODS, {
    metadata: { namespace: NAMESPACE, name, labels: set.spec?.template?.metadata?.labels ?? {} },
    spec: { ...set.spec?.template?.spec, containers: set.spec?.template?.spec?.containers ?? [], nodeName: `node${i}` },
  });
  const conditions = [{ type: 'Ready', status: 'True' }];
  await objects.patch(PODS, NAMESPACE, name, { status: { phase: 'Running', conditions } }, 'status');
}

/** So many at a time. */
async function many<T>(list: readonly T[], one: (item: T) => Promise<unknown>): Promise<void> {
  const rest = [...list];
  const worker = async () => {
    for (let item = rest.pop(); item !== undefined; item = rest.pop()) await one(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
