import type {
  V1Container,
  V1PodTemplateSpec,
  V1ResourceRequirements,
  V1SecurityContext,
  V1Volume,
  V1VolumeMount,
} from '@kubernetes/client-node';
import { parseDurationMs } from '../../common/time.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import {
  restartHash,
  STORE_CA_FOLDER,
  STORE_CLIENT_FOLDER,
  shortHash,
  TLS_FOLDER,
  volumePath,
} from './cluster-config.ts';
import { LABELS, labelsOf, nameOf, namesOf, PORTS, REDIS_PASSWORD_KEY, selectorOf } from './names.ts';

const RUN_FOLDER = '/run/holdfast';
const CONFIG_FOLDER = '/etc/holdfast/config';
const USERS_FOLDER = '/etc/holdfast/users';
const STORE_FOLDER = '/etc/holdfast/store';

/** After draining: the file server closes connections, the sidecar leaves the table. */
const SHUTDOWN_MARGIN_S = 15;

/** The *restricted* Pod Security Standard, for every container that the operator makes. */
export const RESTRICTED_CONTAINER: V1SecurityContext = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

/**
 * The pod of a file server and its sidecar, without the label that tells templates apart.
 * @param image what containers run unless the cluster names another
 */
function podTemplateBody(cluster: FileServerCluster, image: string): V1PodTemplateSpec {
  const { spec } = cluster;
  const { template } = spec;
  const name = nameOf(cluster);
  const drainS = Math.ceil(parseDurationMs(spec.migration.drainTimeout) / 1000);
  return {
    metadata: {
      labels: {
        ...template.labels,
        ...labelsOf(name, 'fileserver'),
        [LABELS.member]: 'true',
        [LABELS.serving]: 'true',
      },
      annotations: {
        ...template.annotations,
        'kubectl.kubernetes.io/default-container': 'fileserver',
        'holdfast.dev/restart-hash': restartHash(cluster),
      },
    },
    spec: {
      serviceAccountName: namesOf(name).serviceAccount,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: drainS + SHUTDOWN_MARGIN_S,
      securityContext: {
        ...template.podSecurityContext,
        runAsNonRoot: true,
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
        // Clients that come to pods directly, and multichannel, dial 445; nobody here is root.
        sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '445' }],
      },
      ...(template.imagePullSecrets ? { imagePullSecrets: template.imagePullSecrets } : {}),
      ...(template.nodeSelector ? { nodeSelector: template.nodeSelector } : {}),
      ...(template.affinity ? { affinity: template.affinity } : {}),
      ...(template.tolerations ? { tolerations: template.tolerations } : {}),
      ...(template.priorityClassName ? { priorityClassName: template.priorityClassName } : {}),
      topologySpreadConstraints: topologySpread(cluster),
      initContainers: [sidecar(cluster, image)],
      containers: [fileserver(cluster, image, drainS)],
      volumes: volumes(cluster),
    },
  };
}

interface NamedTemplate {
  template: V1PodTemplateSpec;
  hash: string;
}

/** Every reconciliation asks several times, and the objects of the watch are never changed, only replaced. */
const made = new WeakMap<FileServerCluster, { image: string; named: NamedTemplate }>();

/** The pod template, and the hash that names it: the same for the same pod, another for another. Not to be modified. */
export function podTemplate(cluster: FileServerCluster, image: string): NamedTemplate {
  const before = made.get(cluster);
  if (before?.image === image) return before.named;
  const named = nameTemplate(cluster, image);
  made.set(cluster, { image, named });
  return named;
}

function nameTemplate(cluster: FileServerCluster, image: string): NamedTemplate {
  const template = podTemplateBody(cluster, image);
  const hash = shortHash(template);
  return {
    hash,
    template: {
      ...template,
      metadata: { ...template.metadata, labels: { ...template.metadata?.labels, [LABELS.template]: hash } },
    },
  };
}

function fileserver(cluster: FileServerCluster, image: string, drainS: number): V1Container {
  const { template, volumes } = cluster.spec;
  return {
    name: 'fileserver',
    image: template.image ?? image,
    imagePullPolicy: template.imagePullPolicy,
    command: ['holdfast', 'fileserver'],
    args: [
      '--config',
      `${CONFIG_FOLDER}/config.json`,
      '--run-dir',
      RUN_FOLDER,
      '--listen',
      `0.0.0.0:${PORTS.smb}`,
      '--advertise',
      `$(POD_IP):${PORTS.smb}`,
      '--users-dir',
      USERS_FOLDER,
      '--metrics',
      `0.0.0.0:${PORTS.fileserverMetrics}`,
    ],
    env: [fieldEnv('POD_IP', 'status.podIP')],
    ports: [
      { name: 'smb', containerPort: PORTS.smb, protocol: 'TCP' },
      { name: 'metrics', containerPort: PORTS.fileserverMetrics, protocol: 'TCP' },
    ],
    lifecycle: {
      preStop: {
        exec: { command: ['holdfast', 'fileserver', 'drain', '--run-dir', RUN_FOLDER, '--timeout', `${drainS}s`] },
      },
    },
    startupProbe: probe('/livez', PORTS.fileserverMetrics, { periodSeconds: 1, failureThreshold: 120 }),
    livenessProbe: probe('/livez', PORTS.fileserverMetrics, { periodSeconds: 10, failureThreshold: 3 }),
    readinessProbe: probe('/readyz', PORTS.fileserverMetrics, { periodSeconds: 2, failureThreshold: 2 }),
    resources: resources(template.resources?.fileserver, { cpu: '100m', memory: '192Mi' }),
    securityContext: RESTRICTED_CONTAINER,
    volumeMounts: [
      mount('config', CONFIG_FOLDER, true),
      mount('users', USERS_FOLDER, true),
      mount('run', RUN_FOLDER),
      mount('tmp', '/tmp'),
      ...volumes.map((volume) => mount(`volume-${volume.name}`, volumePath(volume.name))),
    ],
  };
}

/** A native sidecar: starts before the file server, and ends after it. */
function sidecar(cluster: FileServerCluster, image: string): V1Container {
  const { template, state } = cluster.spec;
  const hasPassword = state.external === undefined || state.external.secretRef !== undefined;
  return {
    name: 'sidecar',
    image: template.image ?? image,
    imagePullPolicy: template.imagePullPolicy,
    restartPolicy: 'Always',
    command: ['holdfast', 'sidecar'],
    args: [
      '--config',
      `${CONFIG_FOLDER}/config.json`,
      '--run-dir',
      RUN_FOLDER,
      '--listen',
      `0.0.0.0:${PORTS.peer}`,
      '--advertise',
      `$(POD_IP):${PORTS.peer}`,
      '--tls-dir',
      TLS_FOLDER,
      '--server-id',
      '$(POD_UID)',
      '--pod',
      '$(POD_NAME)',
      '--node',
      '$(NODE_NAME)',
      ...(hasPassword ? ['--store-password-file', `${STORE_FOLDER}/${REDIS_PASSWORD_KEY}`] : []),
      '--metrics',
      `0.0.0.0:${PORTS.sidecarMetrics}`,
    ],
    env: [
      fieldEnv('POD_IP', 'status.podIP'),
      fieldEnv('POD_UID', 'metadata.uid'),
      fieldEnv('POD_NAME', 'metadata.name'),
      fieldEnv('NODE_NAME', 'spec.nodeName'),
    ],
    ports: [
      { name: 'peer', containerPort: PORTS.peer, protocol: 'TCP' },
      { name: 'sidecar-metrics', containerPort: PORTS.sidecarMetrics, protocol: 'TCP' },
    ],
    startupProbe: probe('/livez', PORTS.sidecarMetrics, { periodSeconds: 1, failureThreshold: 120 }),
    livenessProbe: probe('/livez', PORTS.sidecarMetrics, { periodSeconds: 10, failureThreshold: 3 }),
    resources: resources(template.resources?.sidecar, { cpu: '50m', memory: '96Mi' }),
    securityContext: RESTRICTED_CONTAINER,
    volumeMounts: [
      mount('config', CONFIG_FOLDER, true),
      mount('tls', TLS_FOLDER, true),
      mount('run', RUN_FOLDER),
      mount('tmp', '/tmp'),
      ...(hasPassword ? [mount('store', STORE_FOLDER, true)] : []),
      ...(state.external?.tls?.caSecretRef ? [mount('store-ca', STORE_CA_FOLDER, true)] : []),
      ...(state.external?.tls?.clientSecretRef ? [mount('store-client', STORE_CLIENT_FOLDER, true)] : []),
    ],
  };
}

function volumes(cluster: FileServerCluster): V1Volume[] {
  const { spec } = cluster;
  const names = namesOf(nameOf(cluster));
  const { external } = spec.state;
  const store = external
    ? external.secretRef && { secretName: external.secretRef.name, key: external.secretRef.key }
    : { secretName: names.redis, key: REDIS_PASSWORD_KEY };
  const authority = external?.tls?.caSecretRef;
  const defaultMode = 0o440;
  return [
    { name: 'config', configMap: { name: names.config } },
    { name: 'tls', secret: { secretName: names.certificate, defaultMode } },
    { name: 'users', secret: { secretName: spec.users.secretRef.name, defaultMode } },
    ...(store
      ? [
          {
            name: 'store',
            secret: {
              secretName: store.secretName,
              defaultMode,
              items: [{ key: store.key, path: REDIS_PASSWORD_KEY }],
            },
          },
        ]
      : []),
    ...(authority
      ? [
          {
            name: 'store-ca',
            secret: { secretName: authority.name, defaultMode, items: [{ key: authority.key, path: 'ca.crt' }] },
          },
        ]
      : []),
    ...(external?.tls?.clientSecretRef
      ? [{ name: 'store-client', secret: { secretName: external.tls.clientSecretRef.name, defaultMode } }]
      : []),
    { name: 'run', emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
    { name: 'tmp', emptyDir: { sizeLimit: '64Mi' } },
    ...spec.volumes.map((volume) => ({
      name: `volume-${volume.name}`,
      persistentVolumeClaim: { claimName: claimOf(cluster, volume) },
    })),
  ];
}

/** The claim behind a volume: the one that exists, or the one that the operator makes. */
export function claimOf(cluster: FileServerCluster, volume: FileServerCluster['spec']['volumes'][number]): string {
  return volume.persistentVolumeClaim?.claimName ?? namesOf(nameOf(cluster)).claim(volume.name);
}

function topologySpread(cluster: FileServerCluster) {
  const labelSelector = { matchLabels: selectorOf(nameOf(cluster), 'fileserver') };
  const given = cluster.spec.template.topologySpreadConstraints;
  if (given) return given.map((constraint) => ({ labelSelector, ...constraint })) as never;
  return ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector,
  }));
}

/** What a container asks for and may use; the requests where the cluster says nothing. */
export function resources(
  given: { requests?: Record<string, string | number>; limits?: Record<string, string | number> } | undefined,
  requests: Record<string, string>,
): V1ResourceRequirements {
  const texts = (quantities: Record<string, string | number>) =>
    Object.fromEntries(Object.entries(quantities).map(([key, value]) => [key, String(value)]));
  return {
    requests: texts(given?.requests ?? requests),
    ...(given?.limits ? { limits: texts(given.limits) } : {}),
  };
}

function probe(path: string, port: number, timing: { periodSeconds: number; failureThreshold: number }) {
  return { httpGet: { path, port, scheme: 'HTTP' }, timeoutSeconds: 3, successThreshold: 1, ...timing };
}

function mount(name: string, mountPath: string, readOnly = false): V1VolumeMount {
  return { name, mountPath, ...(readOnly ? { readOnly } : {}) };
}

function fieldEnv(name: string, fieldPath: string) {
  return { name, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } } };
}
