import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type {
  V1EndpointSlice,
  V1Pod,
  V1PodDisruptionBudget,
  V1ReplicaSet,
  V1Service,
  V2HorizontalPodAutoscaler,
} from '@kubernetes/client-node';
import { delay, monotonicMs } from '../../common/time.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import {
  CLUSTERS,
  DISRUPTION_BUDGETS,
  ENDPOINT_SLICES,
  MIGRATIONS,
  NODES,
  PODS,
  REPLICA_SETS,
  SERVICES,
} from '../../operator/kinds.ts';
import { type KubernetesObject, Objects, type Resource } from '../../operator/runtime/objects.ts';
import {
  type ApiServer,
  createVolumeAndUsers,
  eventually,
  installDefinitions,
  NAMESPACES,
  startApiServer,
} from './operator-api-server.ts';
import { Nodes, startControllerManager } from './operator-nodes.ts';

const AUTOSCALERS: Resource = {
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  plural: 'horizontalpodautoscalers',
  namespaced: true,
};

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const NAMESPACE = 'media';
/** kubectl tries an eviction that was refused again after 5 s, and looks every second whether the pod is gone. */
const EVICTED_WITHIN_MS = 5000 + 1000 + 4000;

let server: ApiServer;
let objects: Objects;
let nodes: Nodes;
let controllers: ChildProcess;
let operator: ChildProcess;
let metricsPort = 0;
/** What the sidecars of the first pods were told. */
let newStores: string[] = [];

function startOperator(): ChildProcess {
  const child = spawn(
    process.execPath,
    [
      'operator/main.ts',
      '--kubeconfig',
      server.kubeconfig,
      '--image',
      'holdfast.dev/holdfast:test',
      '--metrics',
      '127.0.0.1:0',
      '--all-namespaces',
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (process.env.SHOW_LOGS) process.stderr.write(`${line}\n`);
    metricsPort = Number(/"metricsPort":(\d+)/.exec(line)?.[1] ?? metricsPort);
  });
  return child;
}

/** What the operator has asked of the API server so far, by verb. */
async function apiRequests(): Promise<Record<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const lines = text.matchAll(/^holdfast_operator_api_requests_total\{verb="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, verb, count]) => [verb, Number(count)]));
}

function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

const pods = async () =>
  (await objects.list<V1Pod>(PODS, NAMESPACE, { labelSelector: 'app.kubernetes.io/component=fileserver' })).sort(
    (a, b) => ((a.metadata?.name ?? '') < (b.metadata?.name ?? '') ? -1 : 1),
  );
const migrations = () => objects.list<HandleMigration>(MIGRATIONS, NAMESPACE);
const name = (object: KubernetesObject | undefined) => object?.metadata?.name ?? '';

/** Three ready members, nobody leaving, nothing under way. First those that are alone on their nodes: with such a node nobody else goes. */
function settled(replicas = 3): Promise<V1Pod[]> {
  return eventually(
    `${replicas} servers are ready and nothing is under way`,
    async () => {
      const cluster = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      const now = await pods();
      const ready = now.filter((pod) => pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'));
      const busy = cluster.status?.conditions?.find((c) => c.type === 'Progressing')?.status !== 'False';
      const beside = (pod: V1Pod) => now.filter(({ spec }) => spec?.nodeName === pod.spec?.nodeName).length;
      return (
        now.length === replicas && ready.length === replicas && !busy && [...now].sort((a, b) => beside(a) - beside(b))
      );
    },
    60_000,
  );
}

beforeAll(async () => {
  server = await startApiServer();
  objects = new Objects(server.api);
  controllers = startControllerManager(server, 'horizontal-pod-autoscaler-controller');
  await installDefinitions(objects);
  await objects.create(NAMESPACES, { metadata: { name: NAMESPACE } });
  nodes = new Nodes(server.api, NAMESPACE, ['node1', 'node2', 'node3']);
  nodes.waitsForStore = () => nodes.calls.filter((call) => call.startsWith('new store')).length > 1;
  nodes.unready = () => !nodes.waitsForStore('');
  await nodes.start();
  await createVolumeAndUsers(objects, NAMESPACE);
  await objects.create(CLUSTERS, {
    metadata: { namespace: NAMESPACE, name: 'media' },
    spec: {
      replicas: 3,
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
      shares: [{ name: 'projects', volume: 'data', continuouslyAvailable: true, access: [{ principal: 'alice' }] }],
      users: { secretRef: { name: 'users' } },
      migration: { drainTimeout: '10s', rebalance: false },
    },
  } as KubernetesObject);
  operator = startOperator();
  await settled();
  newStores = nodes.calls.filter((call) => call.startsWith('new store'));
}, 120_000);

afterAll(async () => {
  await end(operator);
  await nodes?.stop();
  await end(controllers);
  await server?.stop();
});

beforeEach(async () => {
  nodes.unready = () => false;
  nodes.beforeMigrate = async () => undefined;
  nodes.mayEnd = () => true;
  nodes.failures = 0;
  nodes.preparesNothing = false;
  nodes.calls.length = 0;
  for (const node of ['node1', 'node2', 'node3'])
    await objects.patch(NODES, '', node, { spec: { unschedulable: null } });
  for (const migration of await migrations()) await objects.delete(MIGRATIONS, NAMESPACE, name(migration));
});

/** The only migration, once it has ended. */
function ended(count = 1): Promise<HandleMigration[]> {
  return eventually(
    `${count} migrations have ended`,
    async () => {
      const all = await migrations();
      return all.length === count && all.every((hm) => hm.status?.endTime !== undefined) && all;
    },
    30_000,
  );
}

const cordon = (node: string) => objects.patch(NODES, '', node, { spec: { unschedulable: true } });

describe('a new cluster', () => {
  test('is told once that its store is new, by whoever made it, and never again', async () => {
    const told = () => newStores.length;
    expect(told()).toBe(2); // the first does not wait for it yet
    await end(operator);
    operator = startOperator();
    await scale(4);
    await settled(4);
    await scale(3);
    await settled();
    expect(nodes.calls.filter((call) => call.startsWith('new store'))).toEqual([]);
  }, 60_000);
});

describe('a cordoned node', () => {
  test('its server is replaced: successor first, then prepare, move, end', async () => {
    const [source] = await settled();
    nodes.open(name(source), 24);
    let others = 0;
    nodes.beforeMigrate = async () => {
      // then: when handles move, three others are ready already
      others = (await pods()).filter(
        (pod) =>
          name(pod) !== name(source) && pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'),
      ).length;
    };
    await cordon(source?.spec?.nodeName ?? '');

    const [migration] = await ended();
    expect(migration).toMatchObject({
      spec: { cluster: 'media', source: name(source), reason: 'Cordon' },
      status: { phase: 'Succeeded', handles: { total: 24, moved: 24, expired: 0 } },
    });
    expect(migration?.status?.duration).toMatch(/^\d+\.\d{3}s$/);
    expect(others).toBe(3);
    const now = await settled();
    expect(now.map(name)).not.toContain(name(source));
    const own = nodes.calls.filter((call) => call.includes(name(source)));
    expect(own.slice(0, 3)).toEqual([
      `prepare ${name(source)}`,
      `migrate ${name(source)} leaving`,
      `gone ${name(source)}`,
    ]);
    // and then: the others learn that its containers have ended
    await eventually('a sidecar was told', async () => nodes.calls.includes(`ended ${name(source)}`));
  }, 60_000);

  test('kubectl drain waits for the move, and no longer', async () => {
    const [source] = await settled();
    nodes.open(name(source), 5);
    const node = source?.spec?.nodeName ?? '';
    let movedMs = 0;
    let drained = false;
    let drainedBeforeMove = false;
    nodes.beforeMigrate = async () => {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      drainedBeforeMove = drained;
      movedMs ||= monotonicMs();
    };
    // given: the operator has seen the cordon, and the budget has seen the operator
    await cordon(node);
    await eventually('evictions have to wait', async () => {
      const budget = await objects.get<V1PodDisruptionBudget>(DISRUPTION_BUDGETS, NAMESPACE, 'media-fileserver');
      const pod = await objects.get<V1Pod>(PODS, NAMESPACE, name(source));
      return pod.metadata?.labels?.['holdfast.dev/member'] === undefined && budget.status?.disruptionsAllowed === 0;
    });
    await run(join(server.bin, 'kubectl'), [
      ...[
        '--kubeconfig',
        server.kubeconfig,
        'drain',
        node,
        '--delete-emptydir-data',
        '--ignore-daemonsets',
        '--timeout=50s',
      ],
    ]);
    drained = true;
    const waitedMs = monotonicMs() - movedMs;
    expect({ moved: movedMs > 0, drainedBeforeMove }).toEqual({ moved: true, drainedBeforeMove: false });
    process.stderr.write(`kubectl drain ended ${Math.round(waitedMs)} ms after the move\n`);
    expect(waitedMs).toBeLessThan(EVICTED_WITHIN_MS);
    await settled();
    // The eviction that was let through then may have had a migration of its own, which found nothing left to move.
    const own = (await migrations()).filter((hm) => hm.spec.source === name(source));
    expect(own.map(({ status }) => status?.phase)).toEqual(own.map(() => 'Succeeded'));
    expect(own.reduce((sum, { status }) => sum + (status?.handles?.moved ?? 0), 0)).toBe(5);
  }, 90_000);
});

test('kubectl drain of the node of the store: the file servers there hand over first, then Redis goes', async () => {
  const servers = await settled();
  const redis = await eventually('Redis has a node', async () => {
    const pod = await objects.get<V1Pod>(PODS, NAMESPACE, 'media-redis-0');
    return pod.spec?.nodeName !== undefined && pod;
  });
  const node = redis.spec?.nodeName ?? '';
  const beside = servers.filter((pod) => pod.spec?.nodeName === node).map(name);
  expect(beside.length).toBeGreaterThan(0);
  for (const pod of beside) nodes.open(pod, 5);
  const storeWhileMoving: (string | undefined)[] = [];
  nodes.beforeMigrate = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const now = await objects.get<V1Pod>(PODS, NAMESPACE, 'media-redis-0');
    if (now.metadata?.deletionTimestamp === undefined) storeWhileMoving.push(now.metadata?.uid);
    else storeWhileMoving.push('going');
  };
  await run(join(server.bin, 'kubectl'), [
    ...['--kubeconfig', server.kubeconfig, 'drain', node],
    ...['--delete-emptydir-data', '--ignore-daemonsets', '--timeout=60s'],
  ]);
  expect(storeWhileMoving.length).toBeGreaterThan(0);
  expect(new Set(storeWhileMoving)).toEqual(new Set([redis.metadata?.uid]));
  const moved = await eventually('Redis runs elsewhere', async () => {
    const pod = await objects.get<V1Pod>(PODS, NAMESPACE, 'media-redis-0');
    return pod.metadata?.uid !== redis.metadata?.uid && pod.spec?.nodeName !== undefined && pod;
  });
  expect(moved.spec?.nodeName).not.toBe(node);
  await settled();
}, 90_000);

describe('routing', () => {
  test('is cut before handles move: no EndpointSlice offers the source', async () => {
    const [source] = await settled();
    // given: a slice that offers the source, kept up by its controller (this test) as long as the pod has the label
    const slice = (serving: boolean) =>
      ({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { namespace: NAMESPACE, name: 'media-test', labels: { 'holdfast.dev/cluster': 'media' } },
        addressType: 'IPv4',
        endpoints: serving
          ? [
              {
                addresses: ['10.1.1.1'],
                conditions: { ready: true },
                targetRef: { kind: 'Pod', name: name(source), uid: source?.metadata?.uid },
              },
            ]
          : [],
        ports: [],
      }) as unknown as V1EndpointSlice;
    await objects.create(ENDPOINT_SLICES, slice(true));
    let offered = true;
    let offeredAtMove: boolean | undefined;
    nodes.beforeMigrate = async () => {
      offeredAtMove = offered;
    };
    await objects.create(MIGRATIONS, {
      metadata: { namespace: NAMESPACE, name: 'by-hand' },
      spec: { cluster: 'media', source: name(source) },
    } as KubernetesObject);
    await eventually('the label is gone', async () => {
      const pod = await objects.get<V1Pod>(PODS, NAMESPACE, name(source));
      return pod.metadata?.labels?.['holdfast.dev/serving'] === undefined;
    });
    await new Promise((resolve) => setTimeout(resolve, 500)); // an endpoint controller that lags
    expect(nodes.calls).not.toContain(`migrate ${name(source)}`);
    offered = false;
    await objects.apply(ENDPOINT_SLICES, slice(false));
    await ended();
    expect(offeredAtMove).toBe(false);
    // then: a person's migration leaves the server where it is, and in the Services again
    await eventually('the label is back', async () => {
      const pod = await objects.get<V1Pod>(PODS, NAMESPACE, name(source));
      return pod.metadata?.labels?.['holdfast.dev/serving'] === 'true' && pod.metadata.deletionTimestamp === undefined;
    });
    await objects.delete(ENDPOINT_SLICES, NAMESPACE, 'media-test');
  }, 60_000);
});

describe('Services for single servers', () => {
  const slots = async () =>
    (await pods()).flatMap((pod) =>
      Object.keys(pod.metadata?.labels ?? {})
        .flatMap((label) => /slot-(\d)$/.exec(label)?.[1] ?? [])
        .map((slot) => [slot, name(pod)]),
    );
  const services = async () =>
    (await objects.list<V1Service>(SERVICES, NAMESPACE))
      .map(name)
      .filter((service) => service.startsWith('media-server-'))
      .sort();
  const perServer = (value: boolean) =>
    objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { service: { perServer: value } } });

  test('lead to one each, and on to a successor when a server goes; they go with their servers', async () => {
    const [source] = await settled();
    await perServer(true);
    const each = async () => {
      const now = await slots();
      return now.length === 3 && new Set(now.map(([, pod]) => pod)).size === 3 && new Map(now as [string, string][]);
    };
    const before = await eventually('each server has its address', each);
    await eventually(
      'there are three Services',
      async () => (await services()).join() === [0, 1, 2].map((i) => `media-server-${i}`).join(),
    );
    const service = await objects.get<V1Service>(SERVICES, NAMESPACE, 'media-server-1');
    expect(service.spec?.selector).toMatchObject({ 'holdfast.dev/slot-1': 'true', 'holdfast.dev/serving': 'true' });
    await eventually('the status says where', async () => {
      const cluster = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      return cluster.status?.serverAddresses?.[2] === 'media-server-2.media.svc';
    });

    await cordon(source?.spec?.nodeName ?? '');
    await ended();
    await settled();
    const after = await eventually('the address of the one that went leads to another', each);
    for (const [slot, pod] of before) if (pod !== name(source)) expect(after.get(slot)).toBe(pod);

    await scale(2);
    await settled(2);
    await eventually('a Service goes with its server', async () => (await services()).length === 2);
    await perServer(false);
    await eventually('all go', async () => (await services()).length === 0 && (await slots()).length === 0);
    await scale(3);
    await settled();
  }, 120_000);
});

describe('a template change', () => {
  test('replaces one server after another, each with its migration', async () => {
    const before = await settled();
    before.forEach((pod, i) => {
      nodes.open(name(pod), 10 + i);
    });
    let most = 0;
    nodes.beforeMigrate = async () => {
      const running = (await migrations()).filter((hm) => hm.status?.phase === 'Transferring').length;
      most = Math.max(most, running);
    };
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { template: { annotations: { round: '1' } } } });
    const all = await ended(3);
    expect(all.map((hm) => hm.status?.phase)).toEqual(['Succeeded', 'Succeeded', 'Succeeded']);
    expect(all.every((hm) => hm.spec.reason === 'Upgrade')).toBe(true);
    expect(most).toBe(1);
    const now = await settled();
    expect(now.every((pod) => pod.metadata?.annotations?.round === '1')).toBe(true);
    // then: handles went to new servers only, so none moved twice
    expect(all.reduce((sum, hm) => sum + (hm.status?.handles?.moved ?? 0), 0)).toBe(33);
    expect(now.reduce((sum, pod) => sum + nodes.handles(name(pod)), 0)).toBe(33);
    await eventually(
      'the old ReplicaSet is gone',
      async () => (await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE)).length === 1,
    );
  }, 90_000);

  test('a template that does not work stops the upgrade; its repair goes on', async () => {
    const before = await settled();
    nodes.unready = (pod) => pod.metadata?.annotations?.round === 'broken';
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { template: { annotations: { round: 'broken' } } } });
    await eventually('the first successor exists', async () => (await pods()).length === 4);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const during = await pods();
    expect(during).toHaveLength(4);
    // then: all servers that worked still do, and still hold what they had
    for (const pod of before) expect(during.map(name)).toContain(name(pod));
    expect(nodes.calls.filter((call) => call.startsWith('migrate'))).toEqual([]);

    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { template: { annotations: { round: '2' } } } });
    const now = await settled();
    expect(now.every((pod) => pod.metadata?.annotations?.round === '2')).toBe(true);
  }, 90_000);
});

/** Handles of all pods together. */
const held = async () => (await pods()).reduce((sum, pod) => sum + nodes.handles(name(pod)), 0);
const scale = (replicas: number) => objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { replicas } }, 'scale');

describe('scaling', () => {
  test('up and down and up: handles are spread to new servers, gathered from those that go, and none is lost', async () => {
    const before = await settled();
    for (const pod of before) nodes.open(name(pod), 100);
    const spread = (rebalance: boolean) =>
      objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { migration: { rebalance } } });
    await spread(true);
    await scale(5);
    const now = await settled(5);
    const [rebalanced] = await eventually('part of the handles is moved', async () => {
      const all = (await migrations()).filter((hm) => hm.spec.reason === 'Rebalance' && hm.status?.endTime);
      return all.length > 0 && all;
    });
    // then: the fullest gave what it had above the mean, to a new one, and serves on
    expect(rebalanced?.status).toMatchObject({ phase: 'Succeeded', handles: { moved: 40 } });
    expect(before.map(name)).toContain(rebalanced?.spec.source);
    expect(before.map(name)).not.toContain(rebalanced?.spec.targets?.[0]);
    expect(now.map(name)).toContain(rebalanced?.spec.source);
    expect(await held()).toBe(300);
    await spread(false);
    await scale(2);
    await settled(2);
    expect(await held()).toBe(300);
    await scale(5);
    await settled(5);
    await scale(3);
    await settled(3);
    expect(await held()).toBe(300);
  }, 120_000);

  test('by a HorizontalPodAutoscaler: it finds the cluster and its pods, and has as many made as it wants', async () => {
    await settled();
    const target = { apiVersion: CLUSTERS.apiVersion, kind: CLUSTERS.kind, name: 'media' };
    const cpu = {
      type: 'Resource',
      resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } },
    };
    await objects.create(AUTOSCALERS, {
      metadata: { namespace: NAMESPACE, name: 'media' },
      spec: { scaleTargetRef: target, minReplicas: 4, maxReplicas: 5, metrics: [cpu] },
    } as KubernetesObject);
    await settled(4);
    // Nobody measures pods here: it has come as far as it can when it asks for that.
    await eventually('it asks what the pods use', async () => {
      const { status } = await objects.get<V2HorizontalPodAutoscaler>(AUTOSCALERS, NAMESPACE, 'media');
      const of = (type: string) => status?.conditions?.find((condition) => condition.type === type);
      return (
        status?.currentReplicas === 4 &&
        of('AbleToScale')?.status === 'True' &&
        of('ScalingActive')?.reason === 'FailedGetResourceMetric'
      );
    });
    await objects.delete(AUTOSCALERS, NAMESPACE, 'media');
    await delay(2000); // what its controller was about to write when it went is written by then
    await scale(3);
    await settled();
  }, 120_000);

  test('down: the server with the fewest handles moves them and goes', async () => {
    const [a, b, c] = await settled();
    nodes.open(name(a), 50);
    nodes.open(name(b), 2);
    nodes.open(name(c), 50);
    await eventually('the status knows', async () => {
      const cluster = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      return cluster.status?.handles?.open === 102;
    });
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { replicas: 2 } }, 'scale');
    const [migration] = await ended();
    expect(migration).toMatchObject({
      spec: { source: name(b), reason: 'ScaleDown' },
      status: { handles: { moved: 2 } },
    });
    expect((await settled(2)).map(name).sort()).toEqual([name(a), name(c)].sort());
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { replicas: 3 } }, 'scale');
    await settled(3);
  }, 60_000);
});

describe('a person', () => {
  const byHand = (migration: string, spec: Partial<HandleMigration['spec']>) =>
    objects.create(MIGRATIONS, {
      metadata: { namespace: NAMESPACE, name: migration },
      spec: { cluster: 'media', ...spec },
    } as KubernetesObject);

  test('names a target, and says how much: so much goes there', async () => {
    const [source, , target] = await settled();
    nodes.open(name(source), 30);
    const before = nodes.handles(name(target));
    await byHand('some', { source: name(source), targets: [name(target)], maxHandles: 10 });
    const [migration] = await ended();
    expect(migration?.status).toMatchObject({ phase: 'Succeeded', handles: { total: 30, moved: 10 } });
    expect([nodes.handles(name(source)), nodes.handles(name(target)) - before]).toEqual([20, 10]);
  }, 60_000);

  test('is told why it cannot be done, and what to do', async () => {
    const [source] = await settled();
    await byHand('nowhere', { source: name(source), targets: ['media-gone'] });
    const [migration] = await ended();
    expect(migration?.status).toMatchObject({
      phase: 'Failed',
      message: expect.stringMatching(/there is no pod "media-gone".*kubectl get pod -l holdfast\.dev\/cluster=media/),
    });
    expect(nodes.calls.filter((call) => call.startsWith('migrate'))).toEqual([]);
  }, 60_000);

  test('pauses the operator: nothing is changed until it goes on', async () => {
    const [source] = await settled();
    const pause = (value: string | null) =>
      objects.patch(CLUSTERS, NAMESPACE, 'media', { metadata: { annotations: { 'holdfast.dev/paused': value } } });
    await pause('true');
    await eventually('it says so', async () => {
      const cluster = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      return cluster.status?.conditions?.some((c) => c.type === 'Progressing' && c.reason === 'Paused');
    });
    await scale(4);
    await cordon(source?.spec?.nodeName ?? '');
    await byHand('later', { source: name(source) });
    await eventually('it waits', async () =>
      (await migrations()).some((hm) => hm.status?.message?.includes('holdfast.dev/paused')),
    );
    expect((await pods()).map(name)).toContain(name(source));
    expect(await pods()).toHaveLength(3);
    expect(nodes.calls.filter((call) => call.startsWith('migrate'))).toEqual([]);
    await scale(3);
    await objects.patch(NODES, '', source?.spec?.nodeName ?? '', { spec: { unschedulable: null } });
    await pause(null);
    await ended();
    await settled();
  }, 60_000);
});

describe('while the operator is paused', () => {
  test('the node of the only Redis can be drained: it may go when no file server is left there, and not before', async () => {
    const servers = await settled();
    const pause = (value: string | null) =>
      objects.patch(CLUSTERS, NAMESPACE, 'media', { metadata: { annotations: { 'holdfast.dev/paused': value } } });
    const mayGo = async () => {
      const budget = await objects.get<V1PodDisruptionBudget>(DISRUPTION_BUDGETS, NAMESPACE, 'media-redis');
      return budget.spec?.maxUnavailable;
    };
    const { spec } = await objects.get<V1Pod>(PODS, NAMESPACE, 'media-redis-0');
    const node = spec?.nodeName ?? '';
    await pause('true');
    await eventually('it says so', async () => {
      const cluster = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      return cluster.status?.conditions?.some((c) => c.type === 'Progressing' && c.reason === 'Paused');
    });
    await cordon(node);
    await eventually('Redis may not be evicted', async () => (await mayGo()) === 0, 60_000);
    // As `kubectl drain` evicts them, one after another.
    const beside = servers.filter((pod) => pod.spec?.nodeName === node);
    for (const pod of beside) {
      expect(await mayGo()).toBe(0);
      await objects.delete(PODS, NAMESPACE, name(pod));
    }
    await eventually('Redis may be evicted', async () => (await mayGo()) === 1, 60_000);
    await objects.patch(NODES, '', node, { spec: { unschedulable: null } });
    await eventually('it may not any more', async () => (await mayGo()) === 0, 60_000);
    await pause(null);
    await settled();
  }, 150_000);
});

describe('load on the API server', () => {
  test('of a migration is bounded, and of a cluster at rest next to nothing', async () => {
    const [source] = await settled();
    nodes.open(name(source), 5);
    const sum = (requests: Record<string, number>) => Object.values(requests).reduce((a, b) => a + b, 0);
    const atRest = await apiRequests();
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const before = await apiRequests();
    expect(sum(before) - sum(atRest)).toBeLessThan(5); // under one a second
    await cordon(source?.spec?.nodeName ?? '');
    await ended();
    await settled();
    const after = await apiRequests();
    const used = Object.fromEntries(Object.entries(after).map(([verb, count]) => [verb, count - (before[verb] ?? 0)]));
    // Taking the pod out, a HandleMigration and its steps, routing, the pod's end, statuses and Events.
    expect(used.PATCH).toBeLessThan(40);
    expect(used.POST).toBeLessThan(15);
    expect(sum(used)).toBeLessThan(70);
    process.stderr.write(`API requests of a replacement with its migration: ${JSON.stringify(used)}\n`);
  }, 60_000);
});

describe('several nodes', () => {
  test('are drained at once: everything moves, one server after another', async () => {
    const before = await settled();
    for (const pod of before) nodes.open(name(pod), 10);
    const leaving = [...new Set(before.map((pod) => pod.spec?.nodeName ?? ''))].slice(0, 2);
    let most = 0;
    nodes.beforeMigrate = async () => {
      most = Math.max(most, (await migrations()).filter((hm) => hm.status?.phase === 'Transferring').length);
    };
    await Promise.all(leaving.map(cordon));
    const now = await eventually(
      'nobody is on these nodes',
      async () => {
        const all = await settled();
        return all.every((pod) => !leaving.includes(pod.spec?.nodeName ?? '')) && all;
      },
      90_000,
    );
    expect(most).toBe(1);
    expect(now.reduce((sum, pod) => sum + nodes.handles(name(pod)), 0)).toBe(30);

    // All are on one node now; what follows wants one whose node is its own.
    for (const node of leaving) await objects.patch(NODES, '', node, { spec: { unschedulable: null } });
    const full = now[0]?.spec?.nodeName ?? '';
    await cordon(full);
    await eventually(
      'they are spread again',
      async () => (await settled()).every((pod) => pod.spec?.nodeName !== full),
      60_000,
    );
  }, 180_000);
});

describe('what goes wrong', () => {
  test('a migration that failed is tried again', async () => {
    const [source] = await settled();
    nodes.open(name(source), 3);
    nodes.failures = 2;
    await cordon(source?.spec?.nodeName ?? '');
    const [migration] = await ended();
    expect(migration?.status).toMatchObject({ phase: 'Succeeded', handles: { moved: 3 } });
    expect(nodes.calls.filter((call) => call.startsWith('migrate'))).toHaveLength(3);
    await settled();
  }, 60_000);

  test('what could not be prepared is moved all the same', async () => {
    const [source] = await settled();
    nodes.open(name(source), 4);
    nodes.preparesNothing = true;
    await cordon(source?.spec?.nodeName ?? '');
    const [migration] = await ended();
    expect(migration?.status).toMatchObject({ phase: 'Succeeded', handles: { moved: 4 } });
    expect(nodes.calls.filter((call) => call === `prepare ${name(source)}`)).toHaveLength(1);
    await settled();
  }, 60_000);

  test('the operator is killed in the middle of a migration: the next one finishes it', async () => {
    const [source] = await settled();
    nodes.open(name(source), 7);
    let killed = false;
    nodes.beforeMigrate = async () => {
      if (killed) return;
      killed = true;
      await end(operator);
      operator = startOperator();
    };
    await cordon(source?.spec?.nodeName ?? '');
    const [migration] = await ended();
    expect(killed).toBe(true);
    expect(migration?.status?.phase).toBe('Succeeded');
    const now = await settled();
    expect(now.map(name)).not.toContain(name(source));
    expect(now.reduce((sum, pod) => sum + nodes.handles(name(pod)), 0)).toBeGreaterThanOrEqual(7);
  }, 60_000);

  test('a pod that is deleted is recorded, and the others are told when its containers have ended', async () => {
    const [source] = await settled();
    await objects.delete(PODS, NAMESPACE, name(source));
    await eventually('a sidecar was told', async () => nodes.calls.includes(`ended ${name(source)}`));
    await settled();
  }, 60_000);

  test.each([
    { what: 'has moved its handles', handles: 9, status: { phase: 'Succeeded', handles: { total: 9, moved: 9 } } },
    {
      ...{ what: 'left no word of them', handles: undefined },
      status: { phase: 'Failed', message: expect.stringMatching(/ended before .* clients reclaim/) },
    },
  ])(
    'a pod that ended before its answer arrived, and $what',
    async ({ handles, status }) => {
      const [source] = await settled();
      nodes.mayEnd = () => nodes.calls.includes(`migrate ${name(source)} leaving`);
      nodes.beforeMigrate = async () => {
        await eventually('the pod has ended', async () => !(await pods()).map(name).includes(name(source)));
        return 'lost';
      };
      if (handles !== undefined) nodes.handedOver.set(name(source), handles);
      await objects.delete(PODS, NAMESPACE, name(source));
      const [migration] = await ended();
      expect(migration?.status).toMatchObject(status);
      await settled();
    },
    60_000,
  );

  test('a migration that is deleted is cancelled, and its source serves on', async () => {
    const [source] = await settled();
    let release: () => void = () => undefined;
    nodes.beforeMigrate = () => new Promise<void>((resolve) => (release = resolve));
    await objects.create(MIGRATIONS, {
      metadata: { namespace: NAMESPACE, name: 'changed-my-mind' },
      spec: { cluster: 'media', source: name(source) },
    } as KubernetesObject);
    await eventually('it runs', async () => nodes.calls.includes(`migrate ${name(source)}`));
    await objects.delete(MIGRATIONS, NAMESPACE, 'changed-my-mind');
    await eventually('it was cancelled', async () => nodes.calls.includes(`cancel ${name(source)}`));
    release();
    await eventually('the label is back', async () => {
      const pod = await objects.get<V1Pod>(PODS, NAMESPACE, name(source));
      return pod.metadata?.labels?.['holdfast.dev/serving'] === 'true';
    });
  }, 60_000);
});
