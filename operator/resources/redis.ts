import type { V1Secret, V1Service, V1StatefulSet } from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { shortHash } from './cluster-config.ts';
import { LABELS, labelsOf, metadataOf, nameOf, namesOf, PORTS, REDIS_PASSWORD_KEY, selectorOf } from './names.ts';
import { RESTRICTED_CONTAINER, resources } from './pod-template.ts';

const CONFIGURATION_KEY = 'redis.conf';
const CONFIGURATION_FOLDER = '/etc/redis';

/** Whether this cluster's Redis is the operator's business. */
export const hasEmbeddedStore = (cluster: FileServerCluster): boolean => cluster.spec.state.embedded !== undefined;

/** A file's record has few fields, of up to some hundred bytes each: in one piece they need a quarter less memory. */
const COMPACT_RECORDS = ['hash-max-listpack-entries 16', 'hash-max-listpack-value 1024'];

/** Redis' configuration file: every change on disk before it is answered, and nothing ever thrown away. */
export function redisConfiguration(cluster: FileServerCluster, password: string): string {
  const everySecond = cluster.spec.state.embedded?.durability.mode === 'EverySecond';
  return `${[
    'bind * -::*',
    `port ${PORTS.redis}`,
    'protected-mode yes',
    `requirepass ${password}`,
    'dir /data',
    'appendonly yes',
    `appendfsync ${everySecond ? 'everysec' : 'always'}`,
    'save ""',
    'maxmemory-policy noeviction',
    ...COMPACT_RECORDS,
    'latency-tracking no', // a clock and a histogram for each command within a script; the sidecar measures scripts itself
    'tcp-keepalive 30',
    'logfile ""',
  ].join('\n')}\n`;
}

/** @param password letters and digits only; made once for each cluster and kept */
export function redisSecret(cluster: FileServerCluster, password: string): V1Secret {
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).redis, 'redis'),
    type: 'Opaque',
    data: {
      [REDIS_PASSWORD_KEY]: Buffer.from(password).toString('base64'),
      [CONFIGURATION_KEY]: Buffer.from(redisConfiguration(cluster, password)).toString('base64'),
    },
  };
}

export function redisService(cluster: FileServerCluster): V1Service {
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).redis, 'redis'),
    spec: {
      type: 'ClusterIP',
      selector: selectorOf(nameOf(cluster), 'redis'),
      ports: [{ name: 'redis', port: PORTS.redis, targetPort: PORTS.redis, protocol: 'TCP' }],
    },
  };
}

/** @param image the image of all parts, which holds redis-server too */
export function redisStatefulSet(cluster: FileServerCluster, image: string): V1StatefulSet {
  const { template, state } = cluster.spec;
  const name = nameOf(cluster);
  const names = namesOf(name);
  const tcp = { tcpSocket: { port: PORTS.redis }, timeoutSeconds: 5, successThreshold: 1 };
  return {
    metadata: metadataOf(cluster, names.redis, 'redis'),
    spec: {
      replicas: 1,
      serviceName: names.redis,
      selector: { matchLabels: selectorOf(name, 'redis') },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' },
      template: {
        metadata: {
          labels: labelsOf(name, 'redis'),
          annotations: { 'holdfast.dev/restart-hash': shortHash(redisConfiguration(cluster, '')) },
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
          containers: [
            {
              name: 'redis',
              image: template.image ?? image,
              imagePullPolicy: template.imagePullPolicy,
              command: ['redis-server', `${CONFIGURATION_FOLDER}/${CONFIGURATION_KEY}`],
              ports: [{ name: 'redis', containerPort: PORTS.redis, protocol: 'TCP' }],
              // A connection is enough: a Redis that is busy for seconds must not be killed for it.
              readinessProbe: { ...tcp, periodSeconds: 2, failureThreshold: 3 },
              livenessProbe: { ...tcp, periodSeconds: 10, failureThreshold: 6 },
              resources: resources(template.resources?.redis, { cpu: '100m', memory: '128Mi' }),
              securityContext: RESTRICTED_CONTAINER,
              volumeMounts: [
                { name: 'configuration', mountPath: CONFIGURATION_FOLDER, readOnly: true },
                { name: 'data', mountPath: '/data' },
              ],
            },
          ],
          volumes: [
            {
              name: 'configuration',
              secret: {
                secretName: names.redis,
                defaultMode: 0o440,
                items: [{ key: CONFIGURATION_KEY, path: CONFIGURATION_KEY }],
              },
            },
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
