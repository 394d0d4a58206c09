import { type Command, Option } from 'commander';
import { inSlices } from '../../../common/slices.ts';
import { delay, monotonicMs } from '../../../common/time.ts';
import type { FileServerCluster } from '../../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../../crds/generated/handlemigration.ts';
import { durationMs } from '../connect.ts';
import { UsageError } from '../errors.ts';
import { ClusterApi } from './api.ts';
import { ClusterAccessError } from './errors.ts';
import { migrationLines, migrationRows } from './migrations.ts';
import { type Counters, countersOf, type Rates, ratesBetween } from './rates.ts';
import { topLines, topOf } from './top.ts';

const METRICS_PORT = 9445;
/** Pods whose metrics are asked for at once. */
const SCRAPES_AT_ONCE = 16;
/** Between the two looks at metrics that a rate takes, where only one table is printed. */
const ONE_RATE_MS = 1000;
const LEAST_INTERVAL_MS = 200;
const CLEAR = '\u001b[H\u001b[2J\u001b[3J';

interface Options {
  kubeconfig?: string;
  context?: string;
  namespace?: string;
  allNamespaces?: boolean;
  watch?: boolean;
  once?: boolean;
  interval: string;
  output: 'table' | 'json';
  metrics: boolean;
}

/** Where tables go: a terminal, a file, another program. */
export interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
  once(event: 'error', listener: () => void): unknown;
}

/** Adds the commands that look at a Kubernetes cluster. */
export function addClusterCommands(program: Command, output: Output = process.stdout): void {
  clusterCommand(program, 'top', 'watch file servers, sessions, handles and moves of a Kubernetes cluster')
    .option('--no-metrics', 'do not read rates from the pods (needs "get" on pods/proxy)')
    .action((options: Options) => show(options, output, topSource));
  clusterCommand(program, 'migrations', 'watch moves of handles in a Kubernetes cluster').action((options: Options) =>
    show(options, output, migrationSource),
  );
}

function clusterCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('-n, --namespace <name>', "in this namespace; by default the kubeconfig context's")
    .option('-A, --all-namespaces', 'in all namespaces')
    .option('-w, --watch', 'print again and again (the default on a terminal)')
    .option('--once', 'print once (the default elsewhere)')
    .option('--interval <duration>', 'how often', '2s')
    .addOption(new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'))
    .option('--kubeconfig <file>', 'how to reach the API server; by default $KUBECONFIG, ~/.kube/config, or the pod')
    .option('--context <name>', "the kubeconfig's context to use");
}

/** What is looked at again and again. */
interface Source {
  /** @returns lines for people, and the same for programs */
  look(): Promise<{ lines: string[]; data: unknown }>;
}

async function show(
  options: Options,
  to: Output,
  sourceOf: (api: ClusterApi, options: Options) => Source,
): Promise<void> {
  const { watch, once, output, namespace, allNamespaces } = options;
  if (watch && once) throw new UsageError('write either --watch or --once');
  if (namespace !== undefined && allNamespaces) throw new UsageError('write either --namespace or --all-namespaces');
  const intervalMs = Math.max(LEAST_INTERVAL_MS, durationMs(options.interval));
  const repeats = watch ?? (!once && to.isTTY === true);
  const api = await ClusterApi.connect(options);
  const source = sourceOf(api, { ...options, watch: repeats });
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  to.once('error', () => stop.abort()); // who read it (head, less) has gone
  for (let first = true; !stop.signal.aborted; first = false) {
    let text: string;
    try {
      const { lines, data } = await source.look();
      text = output === 'json' ? JSON.stringify(data, undefined, repeats ? undefined : 2) : lines.join('\n');
    } catch (error) {
      // What can be wrong from the start ends it; what happens later may pass.
      if (first || !(error instanceof ClusterAccessError)) throw error;
      text = output === 'json' ? JSON.stringify({ error: error.message }) : error.message;
    }
    const redraws = repeats && output === 'table' && to.isTTY === true;
    to.write(`${redraws ? CLEAR : ''}${text}\n${repeats && output === 'table' && !redraws ? '\n' : ''}`);
    if (!repeats) return;
    await delay(intervalMs, stop.signal).catch(() => undefined);
  }
}

function namespaceOf(api: ClusterApi, { namespace, allNamespaces }: Options): string | undefined {
  return allNamespaces ? undefined : (namespace ?? api.defaultNamespace);
}

function migrationSource(api: ClusterApi, options: Options): Source {
  const namespace = namespaceOf(api, options);
  return {
    async look() {
      const migrations = await api.list<HandleMigration>('handlemigrations', namespace);
      const rows = migrationRows(migrations, Date.now());
      return { lines: migrationLines(rows, namespace === undefined), data: { migrations: rows } };
    },
  };
}

function topSource(api: ClusterApi, options: Options): Source {
  const namespace = namespaceOf(api, options);
  let before = new Map<string, Counters>();
  return {
    async look() {
      const [clusters, migrations] = await Promise.all([
        api.list<FileServerCluster>('fileserverclusters', namespace),
        // Who may see clusters only still gets the table, without moves.
        api.list<HandleMigration>('handlemigrations', namespace).catch(() => []),
      ]);
      let rates = new Map<string, Rates>();
      if (options.metrics) {
        if (!options.watch && before.size === 0) {
          before = await scrape(api, clusters);
          if (before.size > 0) await delay(ONE_RATE_MS);
        }
        const after = await scrape(api, clusters);
        rates = ratesOf(before, after);
        before = after;
      }
      const top = topOf(clusters, migrations, rates);
      return { lines: topLines(top, namespace === undefined), data: top };
    },
  };
}

function ratesOf(before: ReadonlyMap<string, Counters>, after: ReadonlyMap<string, Counters>): Map<string, Rates> {
  const rates = new Map<string, Rates>();
  for (const [pod, counters] of after) {
    const earlier = before.get(pod);
    const rate = earlier && ratesBetween(earlier, counters);
    if (rate) rates.set(pod, rate);
  }
  return rates;
}

/** Counters by "namespace/pod", of those whose metrics can be read. */
async function scrape(api: ClusterApi, clusters: readonly FileServerCluster[]): Promise<Map<string, Counters>> {
  const pods = clusters.flatMap(({ metadata, status }) =>
    (status?.servers ?? []).map(({ pod }) => ({ namespace: metadata.namespace ?? '', pod })),
  );
  const found = new Map<string, Counters>();
  await inSlices(pods, SCRAPES_AT_ONCE, async ({ namespace, pod }) => {
    const text = await api.podMetrics(namespace, pod, METRICS_PORT);
    if (text !== undefined) found.set(`${namespace}/${pod}`, countersOf(text, monotonicMs()));
  });
  return found;
}
