import { join } from 'node:path';
import { type KubeObject, type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';

export const SYSTEM_NAMESPACE = 'holdfast-system';
export const NAMESPACE = 'holdfast-demo';
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

/** What a user would write: a claim, users, and the smallest useful cluster with one continuously available share. */
export function manifests(options: {
  password: string;
  replicas: number;
  volume: 'embedded' | 'claim';
  claim: string;
}): string {
  const claim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ${options.claim}, namespace: ${NAMESPACE}}
spec:
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 5Gi}}
---`;
  return `
apiVersion: v1
kind: Namespace
metadata:
  name: ${NAMESPACE}
  labels: {pod-security.kubernetes.io/enforce: restricted}
---${claim}
apiVersion: v1
kind: Secret
metadata: {name: media-users, namespace: ${NAMESPACE}}
stringData: {${USER}: ${JSON.stringify(options.password)}}
---
apiVersion: holdfast.dev/v1alpha1
kind: FileServerCluster
metadata: {name: ${CLUSTER}, namespace: ${NAMESPACE}}
spec:
  replicas: ${options.replicas}
  volumes:
    - name: data
      persistentVolumeClaim: {claimName: ${options.claim}}
  shares:
    - name: ${SHARE}
      volume: data
      path: /
      continuouslyAvailable: true
      access: [{principal: ${USER}, permission: Full}]
  users: {secretRef: {name: media-users}}
  service: {type: ClusterIP}
`;
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
