import type { V1PodDisruptionBudget, V1Secret, V1Service } from '@kubernetes/client-node';
import { defaultUser } from '../../common/store-access.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { timeMs } from '../runtime/objects.ts';
import { readSecret } from './certificates.ts';
import { metadataOf, nameOf, namesOf, namespaceOf, PORTS, REDIS_PASSWORD_KEY, selectorOf } from './names.ts';
import type { StorePassword } from './store-password.ts';

/** Keys of the Secret, and names of the files in the pods. */
export const REDIS_FILE = 'redis.conf';
export const SENTINEL_FILE = 'sentinel.conf';
export const ACCEPTED_KEY = 'accepted';
const NEXT_KEY = 'next';
const SINCE_ANNOTATION = 'holdfast.dev/password-step-since';
const MADE_FOR_ANNOTATION = 'holdfast.dev/password-made-for';
/** On a FileServerCluster: another text than the last one asks for another password of the embedded store. */
export const ROTATE_ANNOTATION = 'holdfast.dev/rotate-store-password';
/** What the Sentinels call the primary. */
export const PRIMARY_NAME = 'holdfast';

/** Whether this cluster's Redis is the operator's business. */
export const hasEmbeddedStore = (cluster: FileServerCluster): boolean => cluster.spec.state.embedded !== undefined;

/** How many Redis the embedded store has: 1, or 3 with a Sentinel each. */
export const storeMembers = (cluster: FileServerCluster): number => cluster.spec.state.embedded?.replicas ?? 1;

/** On the objects that a cluster's store is known by, where it is spoken to by TLS alone (operator/world.ts). */
export const STORE_TLS_ANNOTATION = 'holdfast.dev/store-tls';
/** Where the members' certificate is mounted in their pods. */
export const REDIS_TLS_FOLDER = '/etc/redis-tls';

/** Whether the embedded store is spoken to by TLS alone. Where the cluster says nothing the operator has filled in what counts. */
export const speaksTls = (cluster: FileServerCluster): boolean => cluster.spec.state.embedded?.tls === 'Required';

/** The annotation of what a store with TLS is known by. */
export const storeTlsAnnotation = (cluster: FileServerCluster): { annotations?: Record<string, string> } =>
  speaksTls(cluster) ? { annotations: { [STORE_TLS_ANNOTATION]: 'Required' } } : {};

export type EmbeddedDurability = NonNullable<NonNullable<FileServerCluster['spec']['state']['embedded']>['durability']>;

/** One replica of two has it too: with the primary that is more than half of the three. */
export function embeddedDurability(cluster: FileServerCluster): EmbeddedDurability {
  const given = cluster.spec.state.embedded?.durability;
  return given ?? (storeMembers(cluster) > 1 ? { mode: 'Replicated', replicas: 1 } : { mode: 'Always' });
}

/** A member's name within the cluster: that of its pod, which stays when its address does not. */
export function memberHost(cluster: FileServerCluster, ordinal: number): string {
  const names = namesOf(nameOf(cluster));
  return `${names.redis}-${ordinal}.${names.redisMembers}.${namespaceOf(cluster)}.svc`;
}

/** All members as `holdfast store` takes them; a single one goes by the Service. */
export function memberList(cluster: FileServerCluster): string {
  const members = storeMembers(cluster);
  if (members === 1) return `${namesOf(nameOf(cluster)).redis}.${namespaceOf(cluster)}.svc:${PORTS.redis}`;
  return Array.from({ length: members }, (_, i) => `${memberHost(cluster, i)}:${PORTS.redis}/${PORTS.sentinel}`).join();
}

/** A file's record has few fields, of up to some hundred bytes each: in one piece they need a quarter less memory. */
const COMPACT_RECORDS = ['hash-max-listpack-entries 16', 'hash-max-listpack-value 1024'];

/** What stands in Redis' configuration file: every change stored before it is answered, and nothing ever thrown away. */
export function redisConfiguration(cluster: FileServerCluster): string {
  const { mode } = embeddedDurability(cluster);
  return `${[
    'bind * -::*',
    'protected-mode yes',
    'dir /data',
    'appendonly yes',
    // With Replicated another machine has it before the answer.
    `appendfsync ${mode === 'Always' ? 'always' : 'everysec'}`,
    'save ""',
    'maxmemory-policy noeviction',
    ...COMPACT_RECORDS,
    'latency-tracking no', // a clock and a histogram for each command within a script; the sidecar measures scripts itself
    'tcp-keepalive 30',
    'logfile ""',
    ...certificates(cluster),
    ...(storeMembers(cluster) > 1 ? replication(mode) : []),
  ].join('\n')}\n`;
}

/** For Redis and Sentinel alike: what they show, to whom they answer, and that they speak so to each other. */
function certificates(cluster: FileServerCluster): string[] {
  if (!speaksTls(cluster)) return [];
  return [
    `tls-cert-file ${REDIS_TLS_FOLDER}/tls.crt`,
    `tls-key-file ${REDIS_TLS_FOLDER}/tls.key`,
    `tls-ca-cert-file ${REDIS_TLS_FOLDER}/ca.crt`,
    'tls-auth-clients yes',
    'tls-replication yes',
    'tls-protocols TLSv1.3',
  ];
}

function replication(mode: EmbeddedDurability['mode']): string[] {
  return [
    'repl-diskless-sync-delay 0', // two replicas at most, and until one is there nothing may be granted
    'repl-backlog-size 64mb', // a replica that was away for a moment need not copy everything
    'repl-timeout 10',
    'repl-ping-replica-period 1',
    'replica-serve-stale-data yes',
    // Replicated waits for a replica itself; else a primary that is cut off must at least notice that it is alone.
    ...(mode === 'Replicated' ? [] : ['min-replicas-to-write 1', 'min-replicas-max-lag 1']),
  ];
}

/** What stands in Sentinel's, the same for all members. Detection and failover together are shorter than a server's lease. */
export function sentinelConfiguration(cluster: FileServerCluster): string {
  return `${[
    ...certificates(cluster),
    `sentinel down-after-milliseconds ${PRIMARY_NAME} 1500`,
    `sentinel failover-timeout ${PRIMARY_NAME} 5000`, // another try after twice that; with the default of 3 min after 6
    `sentinel parallel-syncs ${PRIMARY_NAME} 2`, // the second replica may hold the write that the first has not
  ].join('\n')}\n`;
}

/** @param store passwords of letters and digits only; made once for each cluster and kept until somebody wants another */
export function redisSecret(cluster: FileServerCluster, store: StorePassword): V1Secret {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const metadata = metadataOf(cluster, namesOf(nameOf(cluster)).redis, 'redis');
  const annotations = {
    ...(store.sinceMs === undefined ? {} : { [SINCE_ANNOTATION]: new Date(store.sinceMs).toISOString() }),
    ...(store.madeFor === undefined ? {} : { [MADE_FOR_ANNOTATION]: store.madeFor }),
  };
  return {
    metadata: { ...metadata, ...(Object.keys(annotations).length > 0 ? { annotations } : {}) },
    type: 'Opaque',
    data: {
      [REDIS_PASSWORD_KEY]: base64(store.password),
      [ACCEPTED_KEY]: base64(store.accepted.join('\n')),
      ...(store.next === undefined ? {} : { [NEXT_KEY]: base64(store.next) }),
      [REDIS_FILE]: base64(redisFile(cluster, store)),
      [SENTINEL_FILE]: base64(sentinelConfiguration(cluster)),
    },
  };
}

/** A single Redis reads it as it is; of three each gets its name, and whose replica it is, in its pod (`holdfast store keep`). */
function redisFile(cluster: FileServerCluster, { accepted }: StorePassword): string {
  const common = redisConfiguration(cluster);
  if (storeMembers(cluster) > 1) return common;
  const port = speaksTls(cluster) ? `port 0\ntls-port ${PORTS.redis}` : `port ${PORTS.redis}`;
  return `${common}${port}\n${defaultUser(accepted)}\n`;
}

/** What such a Secret says; undefined when it holds no password. */
export function storePasswordOf(secret: V1Secret): StorePassword | undefined {
  const password = readSecret(secret, REDIS_PASSWORD_KEY);
  if (!password) return undefined;
  const annotations = secret.metadata?.annotations ?? {};
  const accepted = (readSecret(secret, ACCEPTED_KEY) ?? '').split('\n').filter((line) => line !== '');
  return {
    password,
    accepted: [...new Set([password, ...accepted])],
    next: readSecret(secret, NEXT_KEY),
    sinceMs: timeMs(annotations[SINCE_ANNOTATION]),
    madeFor: annotations[MADE_FOR_ANNOTATION],
  };
}

/** How the one Redis is reached, or (without an address of its own) every one of three by its name. */
export function redisService(cluster: FileServerCluster): V1Service {
  const names = namesOf(nameOf(cluster));
  const several = storeMembers(cluster) > 1;
  const port = (name: string, number: number) => ({ name, port: number, targetPort: number, protocol: 'TCP' });
  return {
    metadata: metadataOf(cluster, several ? names.redisMembers : names.redis, 'redis'),
    spec: {
      type: 'ClusterIP',
      selector: selectorOf(nameOf(cluster), 'redis'),
      ports: [port('redis', PORTS.redis), ...(several ? [port('sentinel', PORTS.sentinel)] : [])],
      // They have to find each other before they are ready, and a replica that is copying is ready late.
      ...(several ? { clusterIP: 'None', publishNotReadyAddresses: true } : {}),
    },
  };
}

/**
 * Two of three have to be there for anything to be granted. A single one goes last from a node.
 *
 * @param mayGo whether a single one may be evicted now
 */
export function redisDisruptionBudget(cluster: FileServerCluster, mayGo: boolean): V1PodDisruptionBudget {
  const several = storeMembers(cluster) > 1;
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).redis, 'redis'),
    spec: {
      maxUnavailable: several || mayGo ? 1 : 0,
      selector: { matchLabels: selectorOf(nameOf(cluster), 'redis') },
      // Of three, one that copies what the primary has is not ready, and must not go while another is missing.
      unhealthyPodEvictionPolicy: several ? 'IfHealthyBudget' : 'AlwaysAllow',
    },
  };
}
