import { createHash } from 'node:crypto';
import type { V1ConfigMap } from '@kubernetes/client-node';
import { type ClusterConfig, defaultExtensionMs, type StoreConfig } from '../../common/config.ts';
import { parseDurationMs } from '../../common/time.ts';
import { STORE_IDENTITY } from '../../common/tls.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { metadataOf, nameOf, namesOf, namespaceOf, PORTS } from './names.ts';
import { embeddedDurability, memberHost, PRIMARY_NAME, speaksTls, storeMembers, storeTlsAnnotation } from './redis.ts';

/** Where a volume is mounted in the file server's container. */
export const volumePath = (volume: string): string => `/volumes/${volume}`;

/** Where the cluster's authority and the sidecars' own certificate are mounted in their container. */
export const TLS_FOLDER = '/etc/holdfast/tls';

/** Where the authority of an external store is mounted in the sidecar's container. */
export const STORE_CA_FOLDER = '/etc/holdfast/store-ca';

/** Where the certificate is mounted there by which an external store knows its clients. */
export const STORE_CLIENT_FOLDER = '/etc/holdfast/store-client';

/** What file servers and sidecars of the cluster share (common/config.ts). */
export function clusterConfig(cluster: FileServerCluster): ClusterConfig {
  const { spec } = cluster;
  const leaseDurationMs = parseDurationMs(spec.failover.leaseDuration);
  return {
    clusterId: cluster.metadata.uid ?? '',
    clusterName: nameOf(cluster),
    volumes: spec.volumes.map((volume) => ({
      name: volume.name,
      path: volumePath(volume.name),
      fencing: volume.fencing,
      ...(volume.coherent === undefined ? {} : { coherent: volume.coherent }),
    })),
    shares: spec.shares.map((share) => ({
      name: share.name,
      volume: share.volume,
      path: share.path,
      ...(share.comment ? { comment: share.comment } : {}),
      continuouslyAvailable: share.continuouslyAvailable,
      scaleOut: share.scaleOut,
      ...(share.accessBasedEnumeration ? { accessBasedEnumeration: true } : {}), // what it is without is not said: nothing changes
      encryption: share.encryption,
      access: share.access.map(({ principal, permission }) => ({ principal, permission })),
    })),
    security: {
      signing: spec.security.signing,
      minDialect: spec.security.minDialect,
      ...(spec.security.encryption === undefined ? {} : { encryption: spec.security.encryption }),
      ...(spec.security.anonymousIpc === undefined ? {} : { anonymousIpc: spec.security.anonymousIpc }),
    },
    ...(spec.limits === undefined ? {} : { limits: spec.limits }),
    handles: {
      persistentTimeoutMs: parseDurationMs(spec.handles.persistentTimeout),
      durableTimeoutMs: parseDurationMs(spec.handles.durableTimeout),
    },
    failover: {
      leaseDurationMs,
      maxExtensionMs: defaultExtensionMs(leaseDurationMs),
      writeSettleMs: parseDurationMs(spec.failover.writeSettle),
    },
    store: storeConfig(cluster),
    ...(spec.logLevel === 'info' ? {} : { logLevel: spec.logLevel }), // what it is without is not said: nothing changes
  };
}

function storeConfig(cluster: FileServerCluster): StoreConfig {
  const { external } = cluster.spec.state;
  if (external) {
    const { mode, addresses, masterName, username, tls } = external;
    return {
      mode,
      addresses,
      ...(masterName === undefined ? {} : { masterName }),
      ...(username === undefined ? {} : { username }),
      ...(tls === undefined
        ? {}
        : {
            tls: {
              ...(tls.caSecretRef ? { caFile: `${STORE_CA_FOLDER}/ca.crt` } : {}),
              ...(tls.clientSecretRef
                ? { certFile: `${STORE_CLIENT_FOLDER}/tls.crt`, keyFile: `${STORE_CLIENT_FOLDER}/tls.key` }
                : {}),
              ...(tls.serverName ? { serverName: tls.serverName } : {}),
            },
          }),
      durability: durabilityOf(external.durability),
    };
  }
  const members = storeMembers(cluster);
  const durability = durabilityOf(embeddedDurability(cluster));
  const [caFile, certFile, keyFile] = ['ca.crt', 'tls.crt', 'tls.key'].map((file) => `${TLS_FOLDER}/${file}`);
  const tls = speaksTls(cluster) ? { tls: { caFile, certFile, keyFile, serverName: STORE_IDENTITY } } : {};
  if (members > 1) {
    const addresses = Array.from({ length: members }, (_, i) => `${memberHost(cluster, i)}:${PORTS.sentinel}`);
    return { mode: 'Sentinel', addresses, masterName: PRIMARY_NAME, ...tls, durability };
  }
  return {
    mode: 'Standalone',
    addresses: [`${namesOf(nameOf(cluster)).redis}.${namespaceOf(cluster)}.svc:${PORTS.redis}`],
    ...tls,
    durability,
  };
}

function durabilityOf(durability: { mode: 'Always' | 'EverySecond' | 'Replicated'; replicas?: number }) {
  return durability.mode === 'Replicated'
    ? { mode: durability.mode, replicas: durability.replicas ?? 1 }
    : { mode: durability.mode };
}

/** The ConfigMap that the pods mount; its one file is config.json. */
export function configMap(cluster: FileServerCluster): V1ConfigMap {
  return {
    metadata: { ...metadataOf(cluster, namesOf(nameOf(cluster)).config), ...storeTlsAnnotation(cluster) },
    data: { 'config.json': `${JSON.stringify(clusterConfig(cluster), null, 2)}\n` },
  };
}

/** A hash of the settings that running processes do not pick up: when it changes, pods are replaced. Shares and the log level are not among them. */
export function restartHash(cluster: FileServerCluster): string {
  const { shares: _shares, logLevel: _level, ...fixed } = clusterConfig(cluster);
  return shortHash(fixed);
}

/** Eight to ten characters that stand for a value, fit for names and labels. */
export function shortHash(value: unknown): string {
  const digest = createHash('sha256').update(JSON.stringify(value)).digest();
  return BigInt(`0x${digest.subarray(0, 6).toString('hex')}`)
    .toString(36)
    .padStart(10, '0');
}
