import type {
  V1NetworkPolicy,
  V1NetworkPolicyPeer,
  V1PersistentVolumeClaim,
  V1PodDisruptionBudget,
  V1ServiceAccount,
} from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { LABELS, labelsOf, metadataOf, nameOf, namesOf, namespaceOf, PORTS, selectorOf } from './names.ts';
import { storeMembers } from './redis.ts';

/**
 * At most one file server at a time is evicted. Pods that are being replaced are counted too: evictions wait until their handles
 * have moved.
 */
export function disruptionBudget(cluster: FileServerCluster): V1PodDisruptionBudget {
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).disruptionBudget, 'fileserver'),
    spec: {
      maxUnavailable: 1,
      selector: { matchLabels: selectorOf(nameOf(cluster), 'fileserver') },
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
    },
  };
}

/** An account without any permission, and without a token in the pods. */
export function serviceAccounts(cluster: FileServerCluster): V1ServiceAccount[] {
  const names = namesOf(nameOf(cluster));
  return [
    { metadata: metadataOf(cluster, names.serviceAccount, 'fileserver'), automountServiceAccountToken: false },
    ...(cluster.spec.state.embedded
      ? [{ metadata: metadataOf(cluster, names.redisServiceAccount, 'redis'), automountServiceAccountToken: false }]
      : []),
  ];
}

/** Claims that the cluster asks for. The cluster does not own them: data outlives it. */
export function volumeClaims(cluster: FileServerCluster): V1PersistentVolumeClaim[] {
  return cluster.spec.volumes.flatMap((volume) => {
    const template = volume.volumeClaimTemplate;
    if (!template) return [];
    return [
      {
        metadata: {
          name: namesOf(nameOf(cluster)).claim(volume.name),
          namespace: namespaceOf(cluster),
          labels: labelsOf(nameOf(cluster)),
        },
        spec: {
          accessModes: template.accessModes,
          resources: { requests: { storage: String(template.storage) } },
          ...(template.storageClassName ? { storageClassName: template.storageClassName } : {}),
        },
      },
    ];
  });
}

/** Who may connect to what: clients to SMB (those that the cluster names, if it does), sidecars and the operator to sidecars, sidecars alone to Redis, anybody to metrics. */
export function networkPolicies(cluster: FileServerCluster): V1NetworkPolicy[] {
  const name = nameOf(cluster);
  const { allowedFrom } = cluster.spec.service;
  const redis = { matchLabels: selectorOf(name, 'redis') };
  const fileservers = { podSelector: { matchLabels: selectorOf(name, 'fileserver') } };
  const operators = {
    namespaceSelector: {},
    podSelector: { matchLabels: { [LABELS.name]: 'holdfast', [LABELS.component]: 'operator' } },
  };
  const tcp = (...ports: number[]) => ports.map((port) => ({ port: port as never, protocol: 'TCP' }));
  const policies: V1NetworkPolicy[] = [
    {
      metadata: metadataOf(cluster, `${name}-fileserver`, 'fileserver'),
      spec: {
        podSelector: fileservers.podSelector,
        policyTypes: ['Ingress'],
        ingress: [
          { ports: tcp(PORTS.smb), ...(allowedFrom ? { _from: allowedFrom as V1NetworkPolicyPeer[] } : {}) },
          { ports: tcp(PORTS.fileserverMetrics, PORTS.sidecarMetrics) },
          { ports: tcp(PORTS.peer), _from: [fileservers, operators] },
        ],
      },
    },
  ];
  if (cluster.spec.state.embedded) {
    policies.push({
      metadata: metadataOf(cluster, `${name}-redis`, 'redis'),
      spec: {
        podSelector: redis,
        policyTypes: ['Ingress'],
        ingress: [
          { ports: tcp(PORTS.redis), _from: [fileservers] },
          // Redis and Sentinels of one store talk to each other; file servers ask the Sentinels who the primary is.
          ...(storeMembers(cluster) > 1
            ? [{ ports: tcp(PORTS.redis, PORTS.sentinel), _from: [fileservers, { podSelector: redis }] }]
            : []),
        ],
      },
    });
  }
  return policies.map(asWritten);
}

/** The client library calls the field `from` `_from`; the API knows `from`. */
function asWritten(policy: V1NetworkPolicy): V1NetworkPolicy {
  const ingress = policy.spec?.ingress?.map(({ _from, ...rule }) => ({ ...rule, ...(_from ? { from: _from } : {}) }));
  return { ...policy, spec: { ...policy.spec, ingress } } as V1NetworkPolicy;
}
