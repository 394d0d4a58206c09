import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { KubeConfig } from '@kubernetes/client-node';
import { Command, Option } from 'commander';
import { HoldfastError, reasonOf } from '../common/errors.ts';
import { createLogger, LOG_LEVELS, type Logger } from '../common/logging.ts';
import { serveMetrics } from '../common/metrics.ts';
import { delay, parseDurationMs } from '../common/time.ts';
import { Tracer } from '../common/tracing.ts';
import { OperatorMetrics, type UnfinishedMigration } from './metrics.ts';
import { Operator } from './operator.ts';
import { KubernetesApi } from './runtime/api.ts';
import { LeaderElection } from './runtime/leader.ts';
import { Objects, timeMs } from './runtime/objects.ts';
import { World } from './world.ts';

const NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';
/** What is under way may take so long to end after SIGTERM. */
const SHUTDOWN_MS = 8000;

interface Options {
  namespace: string[];
  allNamespaces?: boolean;
  image: string;
  leaderElect?: boolean;
  leaderElectNamespace?: string;
  leaderElectLeaseDuration: string;
  metrics: string;
  logLevel: string;
  kubeconfig?: string;
}

async function main(): Promise<void> {
  const command = new Command('holdfast operator')
    .description('Runs file servers for FileServerClusters, and moves their handles before pods go.')
    .option('--namespace <name>', 'look after this namespace; may be given several times', collect, [])
    .option('--all-namespaces', 'look after all namespaces')
    .requiredOption('--image <image>', 'the image of file server, sidecar and embedded Redis')
    .option('--leader-elect', 'act only while holding the leader Lease, so that several operators may run')
    .option('--leader-elect-namespace <name>', 'where the Lease is kept; by default where this pod runs')
    .option('--leader-elect-lease-duration <duration>', 'how long another waits for a leader that is silent', '15s')
    .option('--metrics <host:port>', 'serve /metrics, /livez and /readyz', '0.0.0.0:9447')
    .addOption(
      new Option('--log-level <level>', 'how much it says')
        .choices(LOG_LEVELS)
        .env('HOLDFAST_LOG_LEVEL')
        .default('info'),
    )
    .option('--kubeconfig <file>', 'how to reach the API server; by default as the environment says')
    .parse();
  const options = command.opts<Options>();
  if ((options.namespace.length === 0) === (options.allNamespaces !== true)) {
    throw new HoldfastError('USAGE', 'write either --all-namespaces, or --namespace once or several times');
  }
  const log = createLogger('operator');
  log.level = options.logLevel;
  await run(options, log);
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

async function run(options: Options, log: Logger): Promise<void> {
  const config = new KubeConfig();
  if (options.kubeconfig) config.loadFromFile(options.kubeconfig);
  else config.loadFromDefault();
  const api = new KubernetesApi(config);
  const metrics = new OperatorMetrics();
  api.onRequest = (verb) => metrics.apiRequests.inc({ verb });
  const stop = stopSignal(log);

  const watchNodes = await mayWatchNodes(api, stop, log);
  if (!watchNodes) log.warn('not allowed to watch Nodes: cordoned nodes are not acted on');
  const world = new World(api, { namespaces: options.namespace, watchNodes }, log);
  const tracer = new Tracer('holdfast-operator', process.env.OTEL_EXPORTER_OTLP_ENDPOINT, (error) =>
    log.warn({ err: error }, 'traces could not be sent'),
  );
  const election = options.leaderElect ? newElection(api, options, log) : undefined;
  const mayAct = () => {
    if (election?.leads === false) throw new HoldfastError('NOT_LEADER', 'this process does not lead any more');
  };
  const operator = new Operator({ api, mayAct, world, metrics, tracer, image: options.image, log });
  metrics.observe(
    operator.queues,
    () => countClusters(world),
    () => unfinishedMigrations(world),
  );
  const server = await serveMetrics(options.metrics, metrics.registry, {
    live: () => true,
    ready: () => world.synced(),
  });
  log.info(
    { metricsPort: server.port, namespaces: options.namespace, image: options.image, watchNodes },
    'operator started',
  );

  const watching = world.run(stop);
  while (world.synced() !== true) {
    if (stop.aborted) break;
    await delay(50, stop).catch(() => undefined);
  }
  if (!stop.aborted) await lead(operator, world, election, metrics, stop); // rejects when the lease is lost: then nothing is waited for
  await Promise.race([watching, delay(1000)]);
  await Promise.race([tracer.flush(), delay(1000)]);
  await server.close();
  api.close();
  log.info('operator stopped');
}

function newElection(api: KubernetesApi, options: Options, log: Logger): LeaderElection {
  const leaseDurationMs = parseDurationMs(options.leaderElectLeaseDuration);
  const renewDeadlineMs = (leaseDurationMs * 2) / 3;
  return new LeaderElection(
    // Two tries before it is too late: a connection that leads nowhere is given up for another.
    new Objects(api, { timeoutMs: renewDeadlineMs / 2 }),
    {
      namespace: options.leaderElectNamespace ?? ownNamespace(),
      name: 'holdfast-operator',
      identity: `${process.env.POD_NAME ?? hostname()}_${randomBytes(4).toString('hex')}`,
      leaseDurationMs,
      renewDeadlineMs,
      retryMs: (leaseDurationMs * 2) / 15,
    },
    log,
  );
}

/** Acts, as soon as this process leads and until it is told to stop. Rejects when leadership is lost. */
async function lead(
  operator: Operator,
  world: World,
  election: LeaderElection | undefined,
  metrics: OperatorMetrics,
  stop: AbortSignal,
): Promise<void> {
  /** @returns whether all that was under way has ended */
  const act = async () => {
    metrics.leading.set(1);
    const ended = await Promise.race([
      operator.lead(stop).then(() => true),
      afterAbort(stop, SHUTDOWN_MS).then(() => false),
    ]);
    metrics.leading.set(0);
    return ended;
  };
  if (!election) {
    await act();
    return;
  }
  try {
    await election.acquire(stop);
  } catch (error) {
    if (stop.aborted) return;
    throw error;
  }
  const over = new AbortController();
  const holding = election.hold(over.signal);
  // What the leader before us has done must be known, also where a watch of ours is slow or silent.
  const known = world.refresh(stop);
  const ended = await Promise.race([known.then(act), holding]);
  // Whoever follows must not meet what is still under way: then the lease runs out by itself.
  if (ended !== true) return;
  over.abort();
  await holding;
}

async function mayWatchNodes(api: KubernetesApi, stop: AbortSignal, log: Logger): Promise<boolean> {
  for (;;) {
    try {
      const answers = await Promise.all(
        ['list', 'watch'].map((verb) =>
          api.request<{ status?: { allowed?: boolean } }>(
            'POST',
            '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
            {
              body: {
                apiVersion: 'authorization.k8s.io/v1',
                kind: 'SelfSubjectAccessReview',
                spec: { resourceAttributes: { verb, group: '', resource: 'nodes' } },
              },
            },
          ),
        ),
      );
      return answers.every((answer) => answer.status?.allowed === true);
    } catch (error) {
      if (stop.aborted) return false;
      log.warn({ err: error }, 'the API server does not answer; trying again');
      await delay(2000, stop).catch(() => undefined);
    }
  }
}

function countClusters(world: World): { all: number; available: number; degraded: number } {
  const clusters = world.clusterKeys().map((key) => world.cluster(key));
  const having = (type: string) =>
    clusters.filter((c) =>
      c?.status?.conditions?.some((condition) => condition.type === type && condition.status === 'True'),
    ).length;
  return { all: clusters.length, available: having('Available'), degraded: having('Degraded') };
}

function unfinishedMigrations(world: World): UnfinishedMigration[] {
  const nowMs = Date.now();
  return world.clusterKeys().flatMap((key) =>
    world.migrations(key).flatMap(({ metadata, status }) => {
      const phase = status?.phase ?? 'Pending';
      if (phase === 'Succeeded' || phase === 'Failed') return [];
      const createdMs = timeMs(metadata.creationTimestamp) ?? nowMs;
      return [{ phase, ageSeconds: Math.max(0, nowMs - createdMs) / 1000 }];
    }),
  );
}

function ownNamespace(): string {
  if (process.env.POD_NAMESPACE) return process.env.POD_NAMESPACE;
  return existsSync(NAMESPACE_FILE) ? readFileSync(NAMESPACE_FILE, 'utf8').trim() : 'default';
}

/** Aborted by SIGTERM or SIGINT. */
function stopSignal(log: Logger): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.once(name, () => {
      log.info({ signal: name }, 'stopping');
      controller.abort(new Error(`stopped by ${name}`));
    });
  }
  return controller.signal;
}

function afterAbort(signal: AbortSignal, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const later = () => void setTimeout(resolve, ms).unref();
    if (signal.aborted) later();
    else signal.addEventListener('abort', later, { once: true });
  });
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    createLogger('operator').fatal({ err: error }, reasonOf(error));
    process.exit(1);
  },
);
