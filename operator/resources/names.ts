import type { V1OwnerReference } from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';

/** Labels that select things. Their values are names of clusters (at most 40 characters) and short words. */
export const LABELS = {
  cluster: 'holdfast.dev/cluster',
  /** Hash of the pod template that a pod was made from. */
  template: 'holdfast.dev/template',
  /** "true" while the ReplicaSet counts the pod; gone once the pod is being replaced. */
  member: 'holdfast.dev/member',
  /** "true" while the Services offer the pod; gone once routing is cut. */
  serving: 'holdfast.dev/serving',
  component: 'app.kubernetes.io/component',
  managedBy: 'app.kubernetes.io/managed-by',
  instance: 'app.kubernetes.io/instance',
  name: 'app.kubernetes.io/name',
} as const;

/** The label of pods that the Service of this slot leads to. */
export function slotLabel(slot: number): string {
  return `holdfast.dev/slot-${slot}`;
}

/** The slots that such labels name. */
export function slotsOf(labels: Readonly<Record<string, string>> = {}): number[] {
  return Object.keys(labels).flatMap((label) => {
    const slot = /^holdfast\.dev\/slot-(\d{1,3})$/.exec(label)?.[1];
    return slot === undefined ? [] : [Number(slot)];
  });
}

/** On a FileServerCluster, with the value "true": the operator changes nothing until it is taken off. */
export const PAUSED_ANNOTATION = 'holdfast.dev/paused';

export function isPaused(cluster: FileServerCluster): boolean {
  return cluster.metadata.annotations?.[PAUSED_ANNOTATION] === 'true';
}

export const MANAGED_BY = 'holdfast-operator';
export type Component = 'fileserver' | 'redis';

export const PORTS = {
  smb: 445,
  peer: 7445,
  fileserverMetrics: 9445,
  sidecarMetrics: 9446,
  redis: 6379,
  sentinel: 26379,
  keeper: 9448,
} as const;

/** Names of what the operator makes for a cluster. */
export function namesOf(clusterName: string) {
  return {
    clientService: clusterName,
    headlessService: `${clusterName}-servers`,
    serverService: (slot: number) => `${clusterName}-server-${slot}`,
    redis: `${clusterName}-redis`,
    redisMembers: `${clusterName}-redis-members`,
    config: `${clusterName}-config`,
    redisCertificate: `${clusterName}-redis-tls`,
    authority: `${clusterName}-ca`,
    certificate: `${clusterName}-tls`,
    serviceAccount: `${clusterName}-fileserver`,
    redisServiceAccount: `${clusterName}-redis`,
    disruptionBudget: `${clusterName}-fileserver`,
    claim: (volume: string) => `${clusterName}-${volume}`,
    replicaSet: (templateHash: string) => `${clusterName}-${templateHash}`,
  };
}

export function nameOf(cluster: FileServerCluster): string {
  return cluster.metadata.name ?? '';
}

export function namespaceOf(cluster: FileServerCluster): string {
  return cluster.metadata.namespace ?? '';
}

/** What selects all pods of a component of a cluster. */
export function selectorOf(clusterName: string, component: Component): Record<string, string> {
  return { [LABELS.cluster]: clusterName, [LABELS.component]: component };
}

/** Labels of everything that belongs to a cluster. */
export function labelsOf(clusterName: string, component?: Component): Record<string, string> {
  return {
    [LABELS.name]: 'holdfast',
    [LABELS.instance]: clusterName,
    [LABELS.managedBy]: MANAGED_BY,
    [LABELS.cluster]: clusterName,
    ...(component === undefined ? {} : { [LABELS.component]: component }),
  };
}

/** The cluster as owner: what it owns is deleted with it. */
export function ownerReference(cluster: FileServerCluster): V1OwnerReference {
  return {
    apiVersion: cluster.apiVersion,
    kind: cluster.kind,
    name: nameOf(cluster),
    uid: cluster.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Metadata of an object that belongs to a cluster and is deleted with it. */
export function metadataOf(cluster: FileServerCluster, name: string, component?: Component) {
  return {
    name,
    namespace: namespaceOf(cluster),
    labels: labelsOf(nameOf(cluster), component),
    ownerReferences: [ownerReference(cluster)],
  };
}

/** The key of the Redis Secret, and the name of the mounted file, that hold the password. */
export const REDIS_PASSWORD_KEY = 'password';
