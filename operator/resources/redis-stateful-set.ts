import type { V1Affinity, V1Container, V1StatefulSet } from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { shortHash } from './cluster-config.ts';
import { LABELS, labelsOf, metadataOf, nameOf, namesOf, PORTS, REDIS_PASSWORD_KEY, selectorOf } from './names.ts';
import { RESTRICTED_CONTAINER, resources } from './pod-template.ts';
import {
  ACCEPTED_KEY,
  memberList,
  PRIMARY_NAME,
  REDIS_FILE,
  REDIS_TLS_FOLDER,
  redisConfiguration,
  SENTINEL_FILE,
  sentinelConfiguration,
  speaksTls,
  storeMembers,
  storeTlsAnnotation,
} from './redis.ts';

const SETTINGS_FOLDER = '/etc/redis';
const DATA_FOLDER = '/data';
/** On the volume: Redis and Sentinel write into their files what must survive them. */
const FILES_FOLDER = `${DATA_FOLDER}/conf`;
/** How long a new member must have been ready before the next one is replaced: it has to copy what the primary has. */
const SETTLE_SECONDS = 10;

/**
 * The Redis of the embedded store, each with a keeper that passes on passwords; where they are three, the keeper also writes their files,
 * and a Sentinel is beside each.
 * @param image the image of all parts, which holds redis-server too
 */
export function redisStatefulSet(cluster: FileServerCluster, image: string): V1StatefulSet {
  const { template, state } = cluster.spec;
  const name = nameOf(cluster);
  const names = namesOf(name);
  const members = storeMembers(cluster);
  const several = members > 1;
  return {
    metadata: { ...metadataOf(cluster, names.redis, 'redis'), ...storeTlsAnnotation(cluster) },
    spec: {
      replicas: members,
      serviceName: several ? names.redisMembers : names.redis,
      selector: { matchLabels: selectorOf(name, 'redis') },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' },
      // Two that come back must not wait for the third, whose node may be gone.
      ...(several ? { podManagementPolicy: 'Parallel', minReadySeconds: SETTLE_SECONDS } : {}),
      template: {
        metadata: {
          labels: labelsOf(name, 'redis'),
          annotations: {
            'kubectl.kubernetes.io/default-container': 'redis',
            'holdfast.dev/restart-hash': shortHash([
              redisConfiguration(cluster),
              several && sentinelConfiguration(cluster),
            ]),
          },
        },
        spec: {
          serviceAccountName: names.redisServiceAccount,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 30,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 65532,
            runAsGroup: 65532,
            fsGroup: 65532,
            fsGroupChangePolicy: 'OnRootMismatch',
            seccompProfile: { type: 'RuntimeDefault' },
          },
          ...(template.imagePullSecrets ? { imagePullSecrets: template.imagePullSecrets } : {}),
          ...(template.nodeSelector ? { nodeSelector: template.nodeSelector } : {}),
          ...(template.tolerations ? { tolerations: template.tolerations } : {}),
          ...(template.priorityClassName ? { priorityClassName: template.priorityClassName } : {}),
          ...(several ? { affinity: apart(name), topologySpreadConstraints: zones(name) } : {}),
          ...(several
            ? {
                initContainers: [firstKeeper(cluster, image)],
                containers: [redis(cluster, image), sentinel(cluster, image)],
              }
            : { containers: [redis(cluster, image), keeper(cluster, image)] }),
          volumes: [
            {
              name: 'settings',
              secret: {
                secretName: names.redis,
                defaultMode: 0o440,
                items: [REDIS_FILE, SENTINEL_FILE, REDIS_PASSWORD_KEY, ACCEPTED_KEY].map((key) => ({ key, path: key })),
              },
            },
            ...(speaksTls(cluster)
              ? [{ name: 'tls', secret: { secretName: names.redisCertificate, defaultMode: 0o440 } }]
              : []),
          ],
        },
      },
      volumeClaimTemplates: [
        {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name: 'data', labels: { [LABELS.cluster]: name } },
          spec: {
            accessModes: ['ReadWriteOnce'],
            resources: { requests: { storage: String(state.embedded?.storage ?? '1Gi') } },
            ...(state.embedded?.storageClassName ? { storageClassName: state.embedded.storageClassName } : {}),
          },
        },
      ],
    },
  };
}

/**
 * A connection is enough: a Redis that is busy for seconds must not be killed for it. By TLS there are none: a connection says no more
 * than that the process runs, which kubelet sees, and each without a certificate is a warning in Redis' log. Of three the keeper says more.
 */
function probes(cluster: FileServerCluster, port: number) {
  if (speaksTls(cluster)) return {};
  const tcp = { tcpSocket: { port }, timeoutSeconds: 5, successThreshold: 1 };
  return {
    readinessProbe: { ...tcp, periodSeconds: 2, failureThreshold: 3 },
    livenessProbe: { ...tcp, periodSeconds: 10, failureThreshold: 6 },
  };
}

function container(cluster: FileServerCluster, image: string, name: string): V1Container {
  const { template } = cluster.spec;
  return {
    name,
    image: template.image ?? image,
    imagePullPolicy: template.imagePullPolicy,
    securityContext: RESTRICTED_CONTAINER,
    volumeMounts: [{ name: 'data', mountPath: DATA_FOLDER }],
  };
}

function redis(cluster: FileServerCluster, image: string): V1Container {
  const base = container(cluster, image, 'redis');
  const several = storeMembers(cluster) > 1;
  return {
    ...base,
    command: ['redis-server', `${several ? FILES_FOLDER : SETTINGS_FOLDER}/${REDIS_FILE}`],
    ports: [{ name: 'redis', containerPort: PORTS.redis, protocol: 'TCP' }],
    ...probes(cluster, PORTS.redis),
    resources: resources(cluster.spec.template.resources?.redis, { cpu: '100m', memory: '128Mi' }),
    volumeMounts: [...(base.volumeMounts ?? []), ...settings(cluster)],
    ...(several
      ? {
          lifecycle: { preStop: { exec: { command: ['holdfast', 'store', 'hand-over', ...about(cluster)] } } },
        }
      : {}),
  };
}

function sentinel(cluster: FileServerCluster, image: string): V1Container {
  const base = container(cluster, image, 'sentinel');
  return {
    ...base,
    command: ['redis-server', `${FILES_FOLDER}/${SENTINEL_FILE}`, '--sentinel'],
    ports: [{ name: 'sentinel', containerPort: PORTS.sentinel, protocol: 'TCP' }],
    ...probes(cluster, PORTS.sentinel),
    resources: resources(undefined, { cpu: '20m', memory: '32Mi' }),
    ...(speaksTls(cluster) ? { volumeMounts: [...(base.volumeMounts ?? []), TLS] } : {}),
  };
}

/** Passes on new passwords and certificates. A single Redis does not wait for it. */
function keeper(cluster: FileServerCluster, image: string): V1Container {
  return {
    ...container(cluster, image, 'keeper'),
    command: ['holdfast', 'store', 'keep'],
    args: [...about(cluster), '--health', `0.0.0.0:${PORTS.keeper}`],
    resources: resources(undefined, { cpu: '10m', memory: '64Mi' }),
    volumeMounts: settings(cluster),
  };
}

/**
 * A native sidecar: its files are there before Redis starts. It says for the whole pod whether the others may rely on this member; until
 * they may, neither an upgrade nor a drain ends another one.
 */
function firstKeeper(cluster: FileServerCluster, image: string): V1Container {
  const base = keeper(cluster, image);
  const ready = {
    httpGet: { path: '/readyz', port: PORTS.keeper as never, scheme: 'HTTP' },
    timeoutSeconds: 3,
    successThreshold: 1,
  };
  return {
    ...base,
    restartPolicy: 'Always',
    args: [...(base.args ?? []), '--folder', FILES_FOLDER],
    volumeMounts: [{ name: 'data', mountPath: DATA_FOLDER }, ...settings(cluster)],
    startupProbe: { ...ready, periodSeconds: 1, failureThreshold: 120 },
    readinessProbe: { ...ready, periodSeconds: 2, failureThreshold: 2 },
  };
}

const SETTINGS = { name: 'settings', mountPath: SETTINGS_FOLDER, readOnly: true };
const TLS = { name: 'tls', mountPath: REDIS_TLS_FOLDER, readOnly: true };

const settings = (cluster: FileServerCluster) => (speaksTls(cluster) ? [SETTINGS, TLS] : [SETTINGS]);

/** Which member it is it knows by its host name, which a StatefulSet makes that of the pod. */
function about(cluster: FileServerCluster): string[] {
  const known = ['--name', PRIMARY_NAME, '--members', memberList(cluster), '--settings-dir', SETTINGS_FOLDER];
  return speaksTls(cluster) ? [...known, '--tls-dir', REDIS_TLS_FOLDER] : known;
}

/** On different nodes, without exception: two on one node would be lost together, and with them the store. */
function apart(name: string): V1Affinity {
  return {
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [
        { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: selectorOf(name, 'redis') } },
      ],
    },
  };
}

function zones(name: string) {
  return [
    {
      maxSkew: 1,
      topologyKey: 'topology.kubernetes.io/zone',
      whenUnsatisfiable: 'ScheduleAnyway',
      labelSelector: { matchLabels: selectorOf(name, 'redis') },
    },
  ];
}
