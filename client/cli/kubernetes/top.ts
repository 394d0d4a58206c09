// `holdfast top`: clusters, their file servers, and what these do.
import type { FileServerCluster } from '../../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../../crds/generated/handlemigration.ts';
import { isUnderWay } from './migrations.ts';
import type { Rates } from './rates.ts';
import { type Column, formatTable } from './table.ts';

/** One look at the clusters. */
export interface Top {
  clusters: ClusterRow[];
  servers: ServerRow[];
}

export interface ClusterRow {
  namespace: string;
  cluster: string;
  ready: number;
  desired: number;
  /** Why it is not as it should be; "Healthy" when it is. */
  state: string;
  sessions: number;
  handles: number;
  disconnected: number;
  migrating: number;
  address: string | undefined;
}

export interface ServerRow {
  namespace: string;
  cluster: string;
  pod: string;
  node: string | undefined;
  phase: string | undefined;
  epoch: number | undefined;
  sessions: number | undefined;
  handles: number | undefined;
  /** What is being done with its handles. */
  move: string | undefined;
  /** Since the look before; undefined where metrics cannot be read. */
  requestsPerSecond: number | undefined;
  receivedBytesPerSecond: number | undefined;
  sentBytesPerSecond: number | undefined;
}

/** @param rates by "namespace/pod" */
export function topOf(
  clusters: readonly FileServerCluster[],
  migrations: readonly HandleMigration[],
  rates: ReadonlyMap<string, Rates>,
): Top {
  const sorted = [...clusters].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const underWay = migrations.filter(isUnderWay);
  return {
    clusters: sorted.map((cluster) => clusterRow(cluster, underWay)),
    servers: sorted.flatMap((cluster) => serverRows(cluster, underWay, rates)),
  };
}

function clusterRow(cluster: FileServerCluster, underWay: readonly HandleMigration[]): ClusterRow {
  const { metadata, spec, status } = cluster;
  return {
    namespace: metadata.namespace ?? '',
    cluster: metadata.name ?? '',
    ready: status?.readyReplicas ?? 0,
    desired: spec.replicas,
    state: stateOf(cluster),
    sessions: (status?.servers ?? []).reduce((sum, { sessions }) => sum + (sessions ?? 0), 0),
    handles: status?.handles?.open ?? 0,
    disconnected: status?.handles?.disconnected ?? 0,
    migrating: underWay.filter((migration) => belongs(migration, cluster)).length,
    address: status?.addresses?.[0],
  };
}

/** The worst that its conditions say. */
function stateOf({ status }: FileServerCluster): string {
  const condition = (type: string) => status?.conditions?.find((candidate) => candidate.type === type);
  const degraded = condition('Degraded');
  if (degraded?.status === 'True') return degraded.reason;
  const available = condition('Available');
  if (available === undefined) return 'Unknown';
  if (available.status !== 'True') return available.reason;
  return condition('Progressing')?.status === 'True' ? 'Progressing' : 'Healthy';
}

function serverRows(
  cluster: FileServerCluster,
  underWay: readonly HandleMigration[],
  rates: ReadonlyMap<string, Rates>,
): ServerRow[] {
  const namespace = cluster.metadata.namespace ?? '';
  return (cluster.status?.servers ?? []).map(({ pod, node, phase, epoch, sessions, handles }) => {
    const move = underWay.find((migration) => belongs(migration, cluster) && migration.spec.source === pod);
    const rate = rates.get(`${namespace}/${pod}`);
    return {
      namespace,
      cluster: cluster.metadata.name ?? '',
      pod,
      node,
      phase,
      epoch,
      sessions,
      handles,
      move: move && moveText(move),
      requestsPerSecond: rate?.requestsPerSecond,
      receivedBytesPerSecond: rate?.receivedBytesPerSecond,
      sentBytesPerSecond: rate?.sentBytesPerSecond,
    };
  });
}

function moveText({ spec, status }: HandleMigration): string {
  const { moved = 0, total = 0 } = status?.handles ?? {};
  return `${spec.reason} ${status?.phase ?? 'Pending'}${total > 0 ? ` ${moved}/${total}` : ''}`;
}

function belongs(migration: HandleMigration, cluster: FileServerCluster): boolean {
  return (
    migration.spec.cluster === cluster.metadata.name && migration.metadata.namespace === cluster.metadata.namespace
  );
}

const keyOf = ({ metadata }: FileServerCluster) => `${metadata.namespace}/${metadata.name}`;

const NAMESPACE: Column = { head: 'NAMESPACE' };
const CLUSTERS: Column[] = [
  { head: 'CLUSTER' },
  { head: 'READY', isNumber: true },
  { head: 'STATE' },
  { head: 'SESSIONS', isNumber: true },
  { head: 'HANDLES', isNumber: true },
  { head: 'WAITING', isNumber: true },
  { head: 'MOVES', isNumber: true },
  { head: 'ADDRESS' },
];
const SERVERS: Column[] = [
  { head: 'CLUSTER' },
  { head: 'SERVER' },
  { head: 'NODE' },
  { head: 'PHASE' },
  { head: 'EPOCH', isNumber: true },
  { head: 'SESSIONS', isNumber: true },
  { head: 'HANDLES', isNumber: true },
  { head: 'REQ/S', isNumber: true },
  { head: 'IN/S', isNumber: true },
  { head: 'OUT/S', isNumber: true },
  { head: 'MOVE' },
];

/** @param allNamespaces with a column that says in which */
export function topLines({ clusters, servers }: Top, allNamespaces: boolean): string[] {
  if (clusters.length === 0) return ['There is no FileServerCluster here. (-A looks into all namespaces.)'];
  const first = allNamespaces ? [NAMESPACE] : [];
  const named = (row: { namespace: string }) => (allNamespaces ? [row.namespace] : []);
  const above = formatTable(
    [...first, ...CLUSTERS],
    clusters.map((row) => [
      ...named(row),
      ...[row.cluster, `${row.ready}/${row.desired}`, row.state, row.sessions, row.handles, row.disconnected],
      ...[row.migrating, row.address],
    ]),
  );
  const below = formatTable(
    [...first, ...SERVERS],
    servers.map((row) => [
      ...named(row),
      ...[row.cluster, row.pod, row.node, row.phase, row.epoch, row.sessions, row.handles],
      ...[number(row.requestsPerSecond), bytes(row.receivedBytesPerSecond), bytes(row.sentBytesPerSecond), row.move],
    ]),
  );
  return servers.length === 0 ? above : [...above, '', ...below];
}

function number(value: number | undefined): string | undefined {
  return value === undefined ? undefined : value.toFixed(value < 10 ? 1 : 0);
}

function bytes(value: number | undefined): string | undefined {
  if (value === undefined) return undefined;
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit++;
  }
  return `${rest.toFixed(unit === 0 || rest >= 100 ? 0 : 1)}${units[unit]}`;
}
