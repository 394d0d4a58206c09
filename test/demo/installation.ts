import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KubeObject, type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';
import { MARK, type Release, takeCare } from './precaution.ts';
import { manifests } from './sample.ts';

export const NAMESPACE = 'holdfast-demo';
/** What the README has people install. */
const RELEASE: Release = { name: 'holdfast', namespace: 'holdfast-system' };
/** On a cluster that is not the demo's own: never one that somebody else may have installed. */
const RELEASE_ELSEWHERE: Release = { name: 'holdfast-demo', namespace: 'holdfast-demo-system' };
/** What a user is given to apply; its names follow. */
export const SAMPLE = 'crds/samples/fileservercluster.yaml';
export const CLUSTER = 'media';
export const SHARE = 'projects';
export const USER = 'alice';

/** One file server as FileServerCluster's status tells of it. */
export interface ServerStatus {
  pod: string;
  node: string;
  phase: string;
  /** Absent until its sidecar was asked. */
  sessions?: number;
  handles?: number;
}

export interface Migration {
  name: string;
  reason: string;
  phase: string;
  message: string;
  total: number;
  moved: number;
  expired: number;
  pod: string;
}

export function releaseFor(cluster: Kubernetes): Release {
  return cluster.embedded ? RELEASE : RELEASE_ELSEWHERE;
}

/** Throws where a cluster that is not the demo's own has something of Holdfast that the demo did not install. */
export async function takeCareOf(cluster: Kubernetes): Promise<void> {
  if (cluster.embedded) return;
  const release = releaseFor(cluster);
  await takeCare(cluster, release, [NAMESPACE, release.namespace]);
}

async function makeNamespace(cluster: Kubernetes, name: string, labels: Record<string, string> = {}): Promise<void> {
  const metadata = { name, labels: { [MARK]: 'true', ...labels } };
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata }));
}

/**
 * Installs the operator with the chart, or upgrades the one that this has installed. Throws where there is another.
 * @param image name of the image, or undefined for the chart's own default
 * @param options.chart another than this repository's, which may not know what this one was given before
 * @param options.namespaces which exist, and are all that it looks after
 */
export async function installOperator(
  cluster: Kubernetes,
  image: string | undefined,
  { chart, namespaces }: { chart?: string; namespaces?: string[] } = {},
): Promise<void> {
  const { name, namespace } = releaseFor(cluster);
  await takeCareOf(cluster);
  await makeNamespace(cluster, namespace);
  const values = [
    ...(image ? [`image.repository=${image.replace(/:[^:/]*$/, '')}`] : []),
    ...(image ? [`image.tag=${/:([^:/]*)$/.exec(image)?.[1] ?? 'latest'}`] : []),
    ...(namespaces ? [`watch.namespaces={${namespaces.join(',')}}`] : []),
  ];
  await cluster.helm([
    ...['upgrade', '--install', name, chart ?? join(ROOT, 'charts/holdfast')],
    ...['-n', namespace, ...(chart ? ['--reset-values'] : [])],
    ...['--wait', '--timeout', '3m', ...values.flatMap((value) => ['--set', value])],
  ]);
}

/**
 * Makes the demo's namespace and installs the operator: as people do on the demo's own cluster; elsewhere one that looks after this
 * namespace and no other.
 */
export async function installDemo(cluster: Kubernetes, image: string | undefined): Promise<void> {
  await takeCareOf(cluster);
  await makeNamespace(cluster, NAMESPACE, { 'pod-security.kubernetes.io/enforce': 'restricted' });
  await installOperator(cluster, image, cluster.embedded ? {} : { namespaces: [NAMESPACE] });
}

/** Applies the sample of this repository, and the claim that it wants to exist. */
export async function applySample(cluster: Kubernetes, password: string): Promise<void> {
  const sample = readFileSync(join(ROOT, SAMPLE), 'utf8');
  await cluster.apply(manifests(sample, { namespace: NAMESPACE, user: USER, password }));
}

/** Takes away what an earlier run of the demo left, and nothing else. @returns whether there was something */
export async function removeDemo(cluster: Kubernetes): Promise<boolean> {
  await takeCareOf(cluster);
  const { name, namespace } = releaseFor(cluster);
  const found = await cluster.kubectl(['get', 'namespace', NAMESPACE, namespace, '--ignore-not-found', '-o', 'name']);
  if (found.trim() === '') return false;
  await cluster.kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found', '--wait', '--timeout=120s']);
  await cluster.helm(['uninstall', name, '-n', namespace, '--ignore-not-found', '--wait']);
  return true;
}

/** How people take away what the demo leaves on a cluster of theirs. */
export function removalCommands(cluster: Kubernetes): string[] {
  const { name, namespace } = releaseFor(cluster);
  return [
    `export KUBECONFIG=${cluster.kubeconfig}`, // what deletes definitions must not meet another cluster
    `kubectl delete namespace ${NAMESPACE}`,
    `helm uninstall ${name} -n ${namespace}`,
    `kubectl delete namespace ${namespace}`,
    'kubectl delete crd fileserverclusters.holdfast.dev handlemigrations.holdfast.dev',
  ];
}

export async function waitAvailable(cluster: Kubernetes, replicas: number, withinMs: number): Promise<void> {
  await eventually(
    `FileServerCluster ${CLUSTER} has ${replicas} servers and is Available`,
    withinMs,
    async () => {
      const object = await cluster.get('fileservercluster', NAMESPACE, CLUSTER);
      const conditions = (object?.status?.conditions ?? []) as { type: string; status: string; message: string }[];
      const available = conditions.find((condition) => condition.type === 'Available');
      if (available?.status !== 'True') throw new Error(`Available is ${available?.status}: ${available?.message}`);
      const serving = (await servers(cluster)).filter((server) => server.phase === 'Active');
      if (serving.length !== replicas) throw new Error(`${serving.length} of ${replicas} servers are active`);
      return true;
    },
    500,
  );
}

export async function servers(cluster: Kubernetes): Promise<ServerStatus[]> {
  const object = await cluster.get('fileservercluster', NAMESPACE, CLUSTER);
  return (object?.status?.servers ?? []) as ServerStatus[];
}

export async function migrations(cluster: Kubernetes): Promise<Migration[]> {
  const found = await cluster.list('handlemigrations', NAMESPACE);
  return found.map((object: KubeObject) => {
    const spec = (object.spec ?? {}) as { reason?: string; source?: string; pod?: string };
    const status = (object.status ?? {}) as {
      phase?: string;
      message?: string;
      handles?: { total?: number; moved?: number; expired?: number };
    };
    return {
      name: object.metadata.name,
      reason: spec.reason ?? '',
      pod: spec.source ?? spec.pod ?? '',
      phase: status.phase ?? '',
      message: status.message ?? '',
      total: status.handles?.total ?? 0,
      moved: status.handles?.moved ?? 0,
      expired: status.handles?.expired ?? 0,
    };
  });
}
