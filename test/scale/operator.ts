/**
 * How an operator fares with many clusters: CLUSTERS=1000 of them with ten pods each in a real API server (and etcd). Says what it
 * takes to take them in, its memory, its CPU time for a reconciliation, and what it asks of the API server when nothing happens.
 * The pods are objects that are ready and have no address: no sidecar is asked. With PROFILE=folder a CPU profile is left there.
 */
import { spawn } from 'node:child_process';
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

const began = monotonicMs();
let metricsPort = 0;
const args = ['--kubeconfig', server.kubeconfig, '--image', 'holdfast.dev/holdfast:scale', '--metrics', '127.0.0.1:0'];
// As the chart starts it: the renewal of its Lease is a part of what the API server hears.
const leads = ['--all-namespaces', '--leader-elect', '--leader-elect-namespace', NAMESPACE];
const profile = process.env.PROFILE ? ['--cpu-prof', '--cpu-prof-dir', process.env.PROFILE] : [];
const operator = spawn(process.execPath, [...profile, 'operator/main.ts', ...args, ...leads], {
  cwd: root,
  stdio: ['ignore', 'ignore', 'pipe'],
});
const lastSaid: string[] = [];
createInterface({ input: operator.stderr }).on('line', (line) => {
  lastSaid.push(line);
  if (lastSaid.length > 20) lastSaid.shift();
  metricsPort = Number(/"metricsPort":(\d+)/.exec(line)?.[1] ?? metricsPort);
});

let isStopping = false;
const over = ended(operator).then((code) => {
  if (isStopping) return;
  say(`the operator ended with ${code}:\n${lastSaid.join('\n')}`);
  process.exitCode = 1;
});

try {
  let sets: V1ReplicaSet[] = [];
  while (sets.length < CLUSTER_COUNT) {
    await delay(5000);
    sets = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE);
    say(`${sets.length} clusters set up`);
  }
  const setUpS = (monotonicMs() - began) / 1000;
  await many(sets, async (set) => {
    for (let i = 0; i < PODS_EACH; i++) await makePod(set, i);
  });
  // Until it has seen them all and has nothing more to say.
  for (let last = -1; ; ) {
    await delay(15_000);
    const now = (await measure()).changes;
    say(`${now} changes made so far`);
    if (now === last) break;
    last = now;
  }
  const before = await measure();
  let heapBytes = before.heapBytes;
  for (let second = 0; second < IDLE_SECONDS; second++) {
    await delay(1000);
    // As it is after a collection.
    if (second % 5 === 0) heapBytes = Math.min(heapBytes, (await measure()).heapBytes);
  }
  const after = await measure();
  const perSecond = (what: 'requests' | 'cpuMs' | 'reconciles') => (after[what] - before[what]) / IDLE_SECONDS;
  say(
    JSON.stringify(
      {
        clusters: CLUSTER_COUNT,
        pods: CLUSTER_COUNT * PODS_EACH,
        setUpSeconds: Math.round(setUpS),
        memoryMiB: Math.round(after.residentBytes / 2 ** 20),
        highestMemoryMiB: Math.round(after.highestBytes / 2 ** 20),
        heapMiB: Math.round(heapBytes / 2 ** 20),
        cpuMsOfAReconciliation: Number((after.cpuMs / after.reconciles).toFixed(2)),
        atRest: {
          requestsPerSecond: Number(perSecond('requests').toFixed(2)),
          requests: Object.fromEntries(
            Object.entries(after.byVerb).map(([verb, count]) => [verb, count - (before.byVerb[verb] ?? 0)]),
          ),
          cpuMsPerSecond: Number(perSecond('cpuMs').toFixed(1)),
          reconcilesPerSecond: Number(perSecond('reconciles').toFixed(1)),
        },
      },
      null,
      2,
    ),
  );
} finally {
  isStopping = true;
  operator.kill('SIGTERM'); // a profile is written when it ends by itself
  await over;
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

async function measure() {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const sum = (metric: string, label = '') =>
    [...text.matchAll(new RegExp(`^${metric}\\{(.*)\\} (\\d+)$`, 'gm'))]
      .filter(([, labels]) => labels?.includes(label))
      .reduce((total, [, , value]) => total + Number(value), 0);
  const api = 'holdfast_operator_api_requests_total';
  const stat = readFileSync(`/proc/${operator.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const status = readFileSync(`/proc/${operator.pid}/status`, 'utf8');
  return {
    requests: sum(api),
    byVerb: Object.fromEntries(
      [...text.matchAll(new RegExp(`^${api}\\{verb="(\\w+)"\\} (\\d+)$`, 'gm'))].map(([, verb, count]) => [
        verb ?? '',
        Number(count),
      ]),
    ) as Record<string, number>,
    changes: sum(api, 'PATCH') + sum(api, 'POST'),
    reconciles: sum('holdfast_operator_reconciles_total', 'cluster'),
    cpuMs: ((Number(stat[11]) + Number(stat[12])) * 1000) / CLOCK_TICKS,
    heapBytes: Number(/^nodejs_heap_size_used_bytes (\d+)/m.exec(text)?.[1] ?? 0),
    residentBytes: Number(stat[21]) * PAGE_BYTES,
    highestBytes: Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024,
  };
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
