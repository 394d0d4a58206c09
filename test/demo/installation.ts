import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KubeObject, type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';
import { manifests } from './sample.ts';

export const SYSTEM_NAMESPACE = 'holdfast-system';
export const NAMESPACE = 'holdfast-demo';
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

/**
 * Installs the operator with the chart, or upgrades it.
 * @param image name of the image, or undefined for the chart's own default
 * @param chart another than this repository's, which may not know what this one was given before
 */
export async function installOperator(cluster: Kubernetes, image: string | undefined, chart?: string): Promise<void> {
  const values = image
    ? [
        '--set',
        `image.repository=${image.replace(/:[^:/]*$/, '')}`,
        '--set',
        `image.tag=${/:([^:/]*)$/.exec(image)?.[1] ?? 'latest'}`,
      ]
    : [];
  await cluster.helm([
    ...['upgrade', '--install', 'holdfast', chart ?? join(ROOT, 'charts/holdfast')],
    ...['-n', SYSTEM_NAMESPACE, '--create-namespace', ...(chart ? ['--reset-values'] : [])],
    ...['--wait', '--timeout', '3m', ...values],
  ]);
}

/** Applies the sample of this repository, and the claim that it wants to exist. */
export async function applySample(cluster: Kubernetes, password: string): Promise<void> {
  const metadata = { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } };
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata }));
  const sample = readFileSync(join(ROOT, SAMPLE), 'utf8');
  await cluster.apply(manifests(sample, { namespace: NAMESPACE, user: USER, password }));
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
