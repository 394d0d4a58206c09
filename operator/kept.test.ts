import { describe, expect, test } from '@jest/globals';
import type { V1ConfigMap, V1Pod, V1ReplicaSet } from '@kubernetes/client-node';
import { podFacts } from './cluster/pods.ts';
import { keptOf } from './kept.ts';
import { CLUSTERS, CONFIG_MAPS, MIGRATIONS, PODS, REPLICA_SETS, SERVICES } from './kinds.ts';
import type { KubernetesObject, Resource } from './runtime/objects.ts';

const kept = <T extends KubernetesObject>(kind: Resource, object: T) => keptOf(kind)?.(object) as T;
const metadata = { namespace: 'n', name: 'media-1', uid: 'u', resourceVersion: '7', labels: { a: 'b' } };

describe('of what is watched', () => {
  test('a pod keeps what decisions about it are made by, and not what it was asked to be', () => {
    const state = { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } };
    const container = { name: 'fileserver', image: 'i', imageID: 'i', ready: false, restartCount: 3, state };
    const pod: V1Pod = {
      metadata,
      spec: { nodeName: 'node1', containers: [{ name: 'fileserver', args: ['--config', 'a long list'] }] },
      status: {
        phase: 'Running',
        podIP: '10.0.0.1',
        conditions: [{ type: 'Ready', status: 'False' }],
        containerStatuses: [container],
      },
    };
    const left = kept(PODS, pod);
    expect(podFacts(left, undefined, 0)).toEqual(podFacts(pod, undefined, 0));
    expect(podFacts(left, undefined, 0)).toMatchObject({ node: 'node1', address: '10.0.0.1', started: true });
    expect(JSON.stringify(left)).not.toContain('a long list');
  });

  test('a ReplicaSet keeps its number, a ConfigMap its version alone', () => {
    const set = {
      metadata,
      spec: { replicas: 3, selector: {}, template: {} },
      status: { replicas: 2 },
    } as V1ReplicaSet;
    expect(kept(REPLICA_SETS, set)).toEqual({ metadata, spec: { replicas: 3 }, status: { replicas: 2 } });
    expect(kept(CONFIG_MAPS, { metadata, data: { 'config.json': '{}' } } as V1ConfigMap)).toEqual({ metadata });
  });

  test.each([CLUSTERS, MIGRATIONS, SERVICES])('$kind is kept as it is', (kind) => {
    expect(keptOf(kind)).toBeUndefined();
  });
});
