import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import type { PodFacts } from '../cluster/pods.ts';

type DeepPartial<T> = T extends object ? { [K in keyof T]?: DeepPartial<T[K]> } : T;

/** A cluster as the API server hands it out, all defaults filled in. */
export function cluster(change: DeepPartial<FileServerCluster['spec']> = {}): FileServerCluster {
  return {
    apiVersion: 'holdfast.dev/v1alpha1',
    kind: 'FileServerCluster',
    metadata: { name: 'media', namespace: 'files', uid: '11111111-2222-3333-4444-555555555555', generation: 1 },
    spec: {
      replicas: 3,
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' }, fencing: 'Deadline' }],
      shares: [
        {
          name: 'projects',
          volume: 'data',
          path: '/projects',
          continuouslyAvailable: true,
          scaleOut: false,
          encryption: 'Desired',
          access: [{ principal: 'alice', permission: 'Full' }],
        },
      ],
      users: { secretRef: { name: 'media-users' } },
      state: { embedded: { replicas: 1, storage: '1Gi', durability: { mode: 'Always' } } },
      handles: { persistentTimeout: '300s', durableTimeout: '60s' },
      failover: { leaseDuration: '5s', writeSettle: '1s' },
      migration: { maxConcurrent: 1, drainTimeout: '60s', onCordon: true, rebalance: true, strategy: 'Spread' },
      service: { type: 'LoadBalancer', port: 445, perServer: false },
      security: { signing: 'Required', minDialect: '3.0' },
      logLevel: 'info',
      template: {
        imagePullPolicy: 'IfNotPresent',
        podSecurityContext: { runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532 },
      },
      ...change,
    } as FileServerCluster['spec'],
  };
}

/** A pod that serves, of the template "new". */
export function pod(name: string, change: Partial<PodFacts> = {}): PodFacts {
  return {
    name,
    uid: `uid-${name}`,
    node: 'node1',
    address: '10.0.0.1',
    template: 'new',
    member: true,
    leaving: false,
    serving: true,
    slots: [],
    ready: true,
    terminating: false,
    ended: false,
    started: true,
    nodeLeaving: false,
    nodeReady: true,
    createdMs: 0,
    deletionMs: undefined,
    leavingReason: undefined,
    problem: undefined,
    ...change,
  };
}

export function migration(
  name: string,
  spec: Partial<HandleMigration['spec']>,
  status: HandleMigration['status'] = undefined,
): HandleMigration {
  return {
    apiVersion: 'holdfast.dev/v1alpha1',
    kind: 'HandleMigration',
    metadata: { name, namespace: 'files', uid: `uid-${name}` },
    spec: { cluster: 'media', source: 'a', reason: 'Manual', ...spec },
    ...(status ? { status } : {}),
  };
}
