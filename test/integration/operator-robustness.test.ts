import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { V1Pod } from '@kubernetes/client-node';
import { delay, monotonicMs } from '../../common/time.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import { CLUSTERS, MIGRATIONS, NODES, PODS } from '../../operator/kinds.ts';
import { isNotFound } from '../../operator/runtime/api.ts';
import { type KubernetesObject, Objects } from '../../operator/runtime/objects.ts';
import { ApiProxy, type Asked, type Instead } from './operator-api-proxy.ts';
import {
  type ApiServer,
  createVolumeAndUsers,
  eventually,
  installDefinitions,
  NAMESPACES,
  startApiServer,
} from './operator-api-server.ts';
import { Nodes, startControllerManager } from './operator-nodes.ts';

const root = join(import.meta.dirname, '../..');
const NAMESPACE = 'media';
const PATIENCE_MS = 60_000;
const AWAY_MS = 60_000;
/** Each of its watches, and the cluster, now and then, and no faster the longer it lasts. */
const AWAY_TRIES = 600;
/** It tries again after 10 s at the latest. */
const BACK_WITHIN_MS = 20_000;
/** So many that each server ever made has its own. */
const NODE_NAMES = Array.from({ length: 48 }, (_, i) => `node${i}`);

let server: ApiServer;
let objects: Objects;
let nodes: Nodes;
let controllers: ChildProcess;
/** Each operator has its own way to the API server. */
let [way, otherWay]: ApiProxy[] = [];

/** Makes an operator wait for a Lease. */
const ELECT = ['--leader-elect', '--leader-elect-namespace', 'default', '--leader-elect-lease-duration', '9s'];

/** An operator process. */
class OperatorProcess {
  static readonly all: OperatorProcess[] = [];
  readonly child: ChildProcess;
  readonly proxy: ApiProxy | undefined;
  /** Warnings and errors of its log. */
  readonly complaints: string[] = [];
  leads = false;
  readonly exit: Promise<number | null>;

  constructor(proxy: ApiProxy | undefined, ...args: string[]) {
    this.proxy = proxy;
    this.child = spawn(
      process.execPath,
      [
        ...['operator/main.ts', '--kubeconfig', proxy?.kubeconfig ?? '', '--image', 'holdfast.dev/holdfast:test'],
        ...['--metrics', '127.0.0.1:0', '--all-namespaces', ...args],
      ],
      { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.exit = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.stderr)
      createInterface({ input: this.child.stderr }).on('line', (line) => {
        if (process.env.SHOW_LOGS) process.stderr.write(`${line}\n`);
        if (line.includes('this process leads now')) this.leads = true;
        if (/"level":"(error|fatal)"/.test(line)) this.complaints.push(line);
      });
    OperatorProcess.all.push(this);
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    if (this.running) this.child.kill(signal);
    return this.exit;
  }

  /** The operator of the test before, if it can be used again: starting one takes seconds. All others are ended. */
  static async running(elected: boolean): Promise<OperatorProcess> {
    const usable = (operator: OperatorProcess) => operator.running && operator.leads === elected;
    const found = OperatorProcess.all.find(usable);
    await OperatorProcess.endAll(found);
    return found ?? new OperatorProcess(way, ...(elected ? ELECT : []));
  }

  static async endAll(but?: OperatorProcess): Promise<void> {
    const others = OperatorProcess.all.filter((operator) => operator !== but);
    await Promise.all(others.map((operator) => operator.end()));
    OperatorProcess.all.splice(0, Infinity, ...(but ? [but] : []));
  }
}

const pods = async () =>
  (await objects.list<V1Pod>(PODS, NAMESPACE, { labelSelector: 'app.kubernetes.io/component=fileserver' })).sort(
    (a, b) => (name(a) < name(b) ? -1 : 1),
  );
/** Those of this test. */
const migrations = async () =>
  (await objects.list<HandleMigration>(MIGRATIONS, NAMESPACE)).filter((hm) => !earlier.has(name(hm)));
const earlier = new Set<string>();
const name = (object: KubernetesObject | undefined) => object?.metadata?.name ?? '';
const isLeaving = (pod: V1Pod) => pod.metadata?.annotations?.['holdfast.dev/leaving'] !== undefined;
const cordon = (pod: V1Pod | undefined) =>
  objects.patch(NODES, '', pod?.spec?.nodeName ?? '', { spec: { unschedulable: true } });

/** Three ready members on nodes that stay, nobody leaving, nothing under way. */
function settled(): Promise<V1Pod[]> {
  return eventually(
    'three servers are ready and nothing is under way',
    async () => {
      const now = await pods();
      const ready = now.filter((pod) => pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'));
      if (now.length !== 3 || ready.length !== 3 || now.some(isLeaving)) return false;
      if ((await migrations()).some((hm) => hm.status?.endTime === undefined)) return false;
      const cluster = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      return cluster.status?.conditions?.find((c) => c.type === 'Progressing')?.status === 'False' && now;
    },
    PATIENCE_MS,
  );
}

/** Three settled servers with ten handles each. */
async function thirtyHandles(): Promise<V1Pod[]> {
  const now = await settled();
  for (const pod of now) nodes.open(name(pod), 10);
  return now;
}

/** These servers were replaced, each once; all of their handles have moved, each once. */
async function expectReplaced(gone: (V1Pod | undefined)[], patienceMs = PATIENCE_MS): Promise<void> {
  await eventually(
    'they are gone',
    async () => {
      const now = (await pods()).map(name);
      return gone.every((pod) => !now.includes(name(pod)));
    },
    patienceMs,
  );
  const now = await settled();
  const all = await migrations();
  const told = all.map(({ spec, status }) => `${spec.source} ${spec.reason} ${status?.phase}`);
  expect(told.sort()).toEqual(gone.map((pod) => `${name(pod)} Cordon Succeeded`).sort());
  for (const { status } of all) expect(status?.handles?.moved).toBe(status?.handles?.total);
  // Each took its own ten along, and those that came to it before it went.
  expect(now.reduce((sum, pod) => sum + nodes.handles(name(pod)), 0)).toBe(30);
  expect(nodes.calls.filter((call) => call.startsWith('gone ')).sort()).toEqual(
    gone.map((pod) => `gone ${name(pod)}`).sort(),
  );
}

async function startCluster(): Promise<void> {
  await objects.create(NAMESPACES, { metadata: { name: NAMESPACE } });
  await createVolumeAndUsers(objects, NAMESPACE);
  await objects.create(CLUSTERS, {
    metadata: { namespace: NAMESPACE, name: 'media' },
    spec: {
      replicas: 3,
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
      shares: [{ name: 'projects', volume: 'data', continuouslyAvailable: true, access: [{ principal: 'alice' }] }],
      users: { secretRef: { name: 'users' } },
      migration: { drainTimeout: '5m', rebalance: false },
    },
  } as KubernetesObject);
}

beforeAll(async () => {
  server = await startApiServer();
  objects = new Objects(server.api);
  controllers = startControllerManager(server, 'namespace-controller', 'persistentvolumeclaim-protection-controller');
  await installDefinitions(objects);
  way = await ApiProxy.start(server, 'one');
  otherWay = await ApiProxy.start(server, 'two');
  nodes = new Nodes(server.api, NAMESPACE, NODE_NAMES);
  await nodes.start();
  await startCluster();
  await OperatorProcess.running(false);
  await settled();
}, 120_000);

afterAll(async () => {
  await OperatorProcess.endAll();
  await nodes?.stop();
  controllers?.kill('SIGKILL');
  way?.close();
  otherWay?.close();
  await server?.stop();
});

beforeEach(() => {
  nodes.beforeMigrate = async () => undefined;
  nodes.mayEnd = () => true;
  nodes.calls.length = 0;
});

afterEach(async () => {
  for (const proxy of [way, otherWay]) proxy?.reset();
  for (const migration of await migrations()) earlier.add(name(migration));
});

const isStatus = (phase: string) => (asked: Asked) =>
  asked.method === 'PATCH' &&
  /\/handlemigrations\/[^/]+\/status/.test(asked.path) &&
  asked.body.includes(`"phase":"${phase}"`);
const isMarking = ({ method, path, body }: Asked) =>
  method === 'PATCH' && path.includes('/pods/') && body.includes('holdfast.dev/leaving');
const isCreation = ({ method, path }: Asked) => method === 'POST' && path.includes('/handlemigrations');
const isDeletion = ({ method, path }: Asked) => method === 'DELETE' && path.includes('/pods/');
/** Events of something that went wrong. */
const isWarning = ({ path, body }: Asked) => path.includes('/events') && body.includes('"type":"Warning"');

/** The proxy of the only operator. */
const theWay = (): ApiProxy => {
  if (!way) throw new Error('there is no proxy');
  return way;
};

describe('the API server', () => {
  test('is away for a minute at rest, and for a while as handles move: the operator lives on, and finishes what it began', async () => {
    const proxy = theWay();
    const operator = await OperatorProcess.running(false);
    const [source] = await thirtyHandles();
    await eventually('it watches', async () => proxy.watches >= 10);
    proxy.cut();
    await delay(AWAY_MS);
    expect(proxy.troubled).toBeGreaterThanOrEqual(20);
    expect(proxy.troubled).toBeLessThan(AWAY_TRIES);
    proxy.restore();
    await eventually('it watches again', async () => proxy.watches >= 10, BACK_WITHIN_MS);
    proxy.writes.length = 0;
    nodes.beforeMigrate = async () => {
      proxy.troubled = 0;
      proxy.cut();
      await eventually('it has tried again', async () => proxy.troubled >= 10, PATIENCE_MS);
    };
    await cordon(source);
    // and then: while the outcome cannot be written down, it is asked for again, and nobody moves anything twice
    await eventually('the outcome was lost', async () => proxy.writes.some(isStatus('Succeeded')), PATIENCE_MS);
    nodes.beforeMigrate = async () => undefined;
    proxy.restore();
    await expectReplaced([source]);
    expect(operator.running).toBe(true);
    expect(operator.complaints).toEqual([]);
  }, 180_000);

  test('has too much to do, fails, or refuses what is out of date: each step is tried again, and nobody is warned', async () => {
    const proxy = theWay();
    await OperatorProcess.running(false);
    const [source] = await thirtyHandles();
    const refusals: [(asked: Asked) => boolean, Instead][] = [
      [isMarking, { status: 409, reason: 'Conflict' }],
      [isCreation, { status: 429, retryAfterS: 1, reason: 'TooManyRequests' }],
      [isStatus('Preparing'), { status: 500, reason: 'InternalError' }],
      [isStatus('Succeeded'), { status: 409, reason: 'Conflict' }],
      [isDeletion, { status: 429, retryAfterS: 1, reason: 'TooManyRequests' }],
    ];
    const left = new Set(refusals);
    const refusedMs = new Map<(asked: Asked) => boolean, number>();
    const early: string[] = [];
    proxy.before = (asked) => {
      for (const refusal of refusals) {
        const [matches, instead] = refusal;
        if (!matches(asked)) continue;
        if (left.delete(refusal)) {
          refusedMs.set(matches, asked.atMs);
          return instead;
        }
        const waitedMs = asked.atMs - (refusedMs.get(matches) ?? 0);
        const { retryAfterS = 0 } = instead as { retryAfterS?: number };
        if (waitedMs < retryAfterS * 1000 - 20) early.push(`${asked.method} ${asked.path} after ${waitedMs} ms`);
      }
      return undefined;
    };
    await cordon(source);
    await expectReplaced([source]);
    expect(left.size).toBe(0);
    expect(early).toEqual([]);
    expect(proxy.writes.filter(isWarning).map(({ body }) => body)).toEqual([]);
  }, 120_000);

  test('forgets what its watches have seen, and stalls: nothing is done twice', async () => {
    const proxy = theWay();
    await OperatorProcess.running(false);
    const [source] = await thirtyHandles();
    await eventually('it watches', async () => proxy.watches >= 10);
    const forgotten = new Set<string>();
    proxy.before = ({ method, path }) => {
      const [kind = ''] = path.split('?');
      if (path.includes('watch=true')) return forgotten.has(kind) ? { status: 410, reason: 'Expired' } : undefined;
      if (method === 'GET') forgotten.delete(kind);
      return undefined;
    };
    nodes.beforeMigrate = async () => {
      nodes.beforeMigrate = async () => undefined;
      // given: what its watches come from is gone, until it lists anew
      for (const kind of proxy.watched) forgotten.add(kind);
      proxy.endWatches({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' } });
      await eventually('it has listed anew', async () => forgotten.size === 0, PATIENCE_MS);
      proxy.stall();
    };
    await cordon(source);
    await eventually('the outcome waits', async () => proxy.writes.some(isStatus('Succeeded')), PATIENCE_MS);
    proxy.restore();
    await expectReplaced([source]);
  }, 120_000);

  test('does what an operator has given up after all, when it has gone on: that undoes nothing', async () => {
    const proxy = theWay();
    await OperatorProcess.running(false);
    const [source] = await thirtyHandles();
    let ended: () => void = () => undefined;
    const when = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const late: { asked: string; status: number }[] = [];
    let given = 0;
    proxy.before = (asked) => {
      // given: the first time that each of these is written
      const phase = ['Preparing', 'CuttingRouting', 'Transferring'][given];
      if (phase === undefined || !isStatus(phase)(asked)) return undefined;
      given += 1;
      return { when, answered: (status) => late.push({ asked: phase, status }) };
    };
    proxy.after = (asked) => (isStatus('Succeeded')(asked) ? ended() : undefined);
    await cordon(source);
    await expectReplaced([source]);
    await eventually('all have arrived', async () => late.length === 3);
    expect(late.map(({ asked, status }) => `${asked} ${status}`).sort()).toEqual([
      'CuttingRouting 409',
      'Preparing 409',
      'Transferring 409',
    ]);
    expect((await migrations()).map(({ status }) => status?.phase)).toEqual(['Succeeded']);
  }, 120_000);

  test('tells late: no more servers leave at once than may', async () => {
    const proxy = theWay();
    await OperatorProcess.running(false);
    const [first, second] = await thirtyHandles();
    await eventually('it watches', async () => proxy.watches >= 10);
    const leavingAtOnce: number[] = [];
    proxy.before = async (asked) => {
      if (isMarking(asked)) {
        const others = (await pods()).filter((pod) => isLeaving(pod) && !asked.path.includes(name(pod)));
        leavingAtOnce.push(others.filter((pod) => !pod.metadata?.deletionTimestamp).length);
      }
      return undefined;
    };
    // given: the other server that has to leave comes first in the order, and is heard of while what was just done is not
    proxy.watchLagMs = (path) => (path.includes('/pods?') ? 1000 : 0);
    await cordon(second);
    await eventually('one leaves', async () => (await pods()).some(isLeaving), PATIENCE_MS);
    await cordon(first);
    await expectReplaced([first, second]);
    expect(leavingAtOnce).toEqual(leavingAtOnce.map(() => 0));
  }, 120_000);
});

test('the operator is killed at every step of a migration: the next one goes on, and everything happens once', async () => {
  const proxy = theWay();
  const steps: ['before' | 'after', (asked: Asked) => boolean][] = [
    ['after', isCreation], // Pending
    ['after', isStatus('Preparing')],
    ['after', isStatus('CuttingRouting')],
    ['before', isStatus('Succeeded')],
    ['before', isDeletion],
  ];
  let operator = await OperatorProcess.running(false);
  const [source] = await thirtyHandles();
  const killAt = async (when: 'before' | 'after', asked: Asked): Promise<Instead | undefined> => {
    const [step] = steps;
    if (step?.[0] !== when || !step[1](asked)) return undefined;
    steps.shift();
    await operator.end();
    operator = new OperatorProcess(proxy);
    return 'torn';
  };
  proxy.before = (asked) => killAt('before', asked);
  proxy.after = async (asked) => void (await killAt('after', asked));
  let inTheMiddle = true; // Transferring
  nodes.beforeMigrate = async () => {
    if (!inTheMiddle) return;
    inTheMiddle = false;
    await operator.end();
    operator = new OperatorProcess(proxy);
  };
  await cordon(source);
  await expectReplaced([source], 3 * PATIENCE_MS);
  expect(steps).toEqual([]);
  expect(inTheMiddle).toBe(false);
}, 300_000);

test('an operator that begins while a server goes moves its handles before it looks at anything that can wait', async () => {
  const proxy = theWay();
  await OperatorProcess.running(false);
  const [source] = await thirtyHandles();
  await OperatorProcess.endAll();
  nodes.mayEnd = (pod) => pod !== name(source) || nodes.calls.includes(`migrate ${name(source)} leaving`);
  const order: string[] = [];
  let planned: () => void = () => undefined;
  const isPlanned = new Promise<void>((resolve) => {
    planned = resolve;
  });
  // given: what stays as it is takes longer to look at than the server has
  const stays = /\/(secrets|configmaps|services|networkpolicies|persistentvolumeclaims|replicasets)\/[^?]/;
  proxy.before = async (asked) => {
    if (isCreation(asked)) {
      order.push('migration');
      planned();
    } else if (stays.test(asked.path)) {
      order.push('what stays');
      await Promise.race([isPlanned, delay(10_000)]);
    }
    return undefined;
  };
  await objects.delete(PODS, NAMESPACE, name(source));
  new OperatorProcess(proxy);
  await eventually(
    'they moved',
    async () =>
      (await migrations()).some(({ spec, status }) => spec.source === name(source) && status?.handles?.moved === 10),
    PATIENCE_MS,
  );
  expect(order[0]).toBe('migration');
  await settled();
}, 120_000);

describe('of two operators', () => {
  /** A leader in the middle of moving handles, and another operator that waits with watches that say nothing any more. */
  async function inTheMiddle(): Promise<{
    leader: OperatorProcess;
    next: OperatorProcess;
    source: V1Pod | undefined;
    release: () => void;
  }> {
    const leader = await OperatorProcess.running(true);
    await eventually('one leads', async () => leader.leads, PATIENCE_MS);
    const next = new OperatorProcess(leader.proxy === way ? otherWay : way, ...ELECT);
    const [source] = await thirtyHandles();
    await eventually('the other watches', async () => (next.proxy?.watches ?? 0) >= 10, PATIENCE_MS);
    next.proxy?.silenceWatches();
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    nodes.beforeMigrate = () => released;
    await cordon(source);
    await eventually('handles move', async () => nodes.calls.includes(`migrate ${name(source)} leaving`), PATIENCE_MS);
    return { leader, next, source, release };
  }

  /** The first never wrote after the other had begun to. */
  function expectOneAtATime(leader: OperatorProcess, next: OperatorProcess): void {
    const acts = ({ path }: Asked) => !path.includes('/leases') && !path.includes('/selfsubjectaccessreviews');
    const first = (leader.proxy?.writes ?? []).filter(acts);
    const second = (next.proxy?.writes ?? []).filter(acts);
    expect(second.length).toBeGreaterThan(0);
    const begunMs = second[0]?.atMs ?? 0;
    expect(first.filter(({ atMs }) => atMs >= begunMs).map(({ method, path }) => `${method} ${path}`)).toEqual([]);
  }

  test('the leader is stopped for longer than its lease: the other finishes, and the first does nothing when it wakes up', async () => {
    const { leader, next, source, release } = await inTheMiddle();
    leader.child.kill('SIGSTOP');
    await eventually('the other leads', async () => next.leads, PATIENCE_MS);
    release();
    await expectReplaced([source]);
    leader.child.kill('SIGCONT');
    expect(await leader.exit).toBe(1);
    expectOneAtATime(leader, next);
  }, 120_000);

  test('the leader is cut off: it stops before the other begins', async () => {
    const { leader, next, source, release } = await inTheMiddle();
    leader.proxy?.cut();
    release();
    await eventually('the other leads', async () => next.leads, PATIENCE_MS);
    await expectReplaced([source]);
    expect(await leader.exit).toBe(1);
    expectOneAtATime(leader, next);
  }, 120_000);

  test('the leader is told to stop: the other goes on at once', async () => {
    const { leader, next, source, release } = await inTheMiddle();
    const beganMs = monotonicMs();
    expect(await leader.end('SIGTERM')).toBe(0);
    await eventually('the other leads', async () => next.leads, PATIENCE_MS);
    process.stderr.write(`a leader was followed after ${monotonicMs() - beganMs} ms\n`);
    release();
    await expectReplaced([source]);
    expectOneAtATime(leader, next);
  }, 120_000);
});

describe('a namespace that is deleted goes away', () => {
  const gone = () =>
    eventually(
      'the namespace is gone',
      async () => {
        try {
          // A change has the controller look again; else it waits for half of the pods' grace period.
          await objects.patch(NAMESPACES, '', NAMESPACE, {
            metadata: { annotations: { look: String(monotonicMs()) } },
          });
          return false;
        } catch (error) {
          return isNotFound(error);
        }
      },
      PATIENCE_MS,
    );

  test('while an operator runs and handles move, and while none does', async () => {
    const operator = await OperatorProcess.running(false);
    const [source] = await thirtyHandles();
    nodes.beforeMigrate = () => new Promise(() => undefined);
    await cordon(source);
    await eventually('handles move', async () => nodes.calls.includes(`migrate ${name(source)} leaving`), PATIENCE_MS);
    await objects.delete(NAMESPACES, '', NAMESPACE);
    await gone();
    expect(operator.complaints).toEqual([]);

    // and then: a new one of the same name
    nodes.beforeMigrate = async () => undefined;
    await startCluster();
    const [other] = await thirtyHandles();
    nodes.beforeMigrate = () => new Promise(() => undefined);
    await cordon(other);
    await eventually('handles move', async () => nodes.calls.includes(`migrate ${name(other)} leaving`), PATIENCE_MS);
    await operator.end();
    await objects.delete(NAMESPACES, '', NAMESPACE);
    await gone();
  }, 120_000);
});
