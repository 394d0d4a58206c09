import { describe, expect, test } from '@jest/globals';
import type { V1EndpointSlice, V1Node, V1Pod } from '@kubernetes/client-node';
import { hasEnded, isNodeLeaving, isOffered, podFacts } from './pods.ts';

const terminated = { state: { terminated: { exitCode: 0 } } };
const running = { state: { running: {} } };
const podWith = (status: unknown, metadata: unknown = {}) => ({ metadata, status }) as V1Pod;

describe('hasEnded', () => {
  const deleted = { deletionTimestamp: '2030-01-01T00:00:00Z' };
  test.each([
    ['runs', podWith({ phase: 'Running', containerStatuses: [running] }), false],
    [
      'restarts: its containers ended, and it will run again',
      podWith({ phase: 'Running', containerStatuses: [terminated], initContainerStatuses: [terminated] }),
      false,
    ],
    [
      'is deleted, the sidecar still runs',
      podWith({ phase: 'Running', containerStatuses: [terminated], initContainerStatuses: [running] }, deleted),
      false,
    ],
    [
      'is deleted, everything ended',
      podWith({ phase: 'Running', containerStatuses: [terminated], initContainerStatuses: [terminated] }, deleted),
      true,
    ],
    [
      'failed',
      podWith({ phase: 'Failed', containerStatuses: [terminated], initContainerStatuses: [terminated] }),
      true,
    ],
    [
      'failed as its node was lost: nobody saw the containers end',
      podWith({ phase: 'Failed', containerStatuses: [running] }),
      false,
    ],
    ['was evicted before it started', podWith({ phase: 'Failed' }), true],
    ['is deleted, and nothing is known of its containers', podWith({ phase: 'Pending' }, deleted), false],
  ])('a pod that %s', (_what, pod, expected) => {
    expect(hasEnded(pod)).toBe(expected);
  });
});

describe('isNodeLeaving', () => {
  test.each([
    [{ unschedulable: true }, true],
    [{ taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] }, true],
    [{ taints: [{ key: 'dedicated', effect: 'NoSchedule' }] }, false],
    [{}, false],
  ])('%j: %s', (spec, expected) => {
    expect(isNodeLeaving({ spec } as V1Node)).toBe(expected);
  });

  test('a node that may not be seen stays', () => {
    expect(isNodeLeaving(undefined)).toBe(false);
  });
});

describe('isOffered', () => {
  const slice = (uid: string, ready: boolean | undefined) =>
    ({
      endpoints: [{ addresses: ['10.0.0.1'], targetRef: { uid }, conditions: { ready } }],
    }) as unknown as V1EndpointSlice;

  test('by any slice in which it is ready, or not said to be otherwise', () => {
    expect(isOffered('a', [slice('b', true), slice('a', true)])).toBe(true);
    expect(isOffered('a', [slice('a', undefined)])).toBe(true);
  });

  test('not where it is not ready, or not at all', () => {
    expect(isOffered('a', [slice('a', false), slice('b', true)])).toBe(false);
    expect(isOffered('a', [])).toBe(false);
  });
});

describe('podFacts', () => {
  test('says why a pod does not run', () => {
    const waiting = { reason: 'CrashLoopBackOff', message: 'back-off 10s' };
    const facts = podFacts(
      podWith({
        containerStatuses: [
          { name: 'fileserver', state: { waiting }, lastState: { terminated: { exitCode: 1, reason: 'Error' } } },
        ],
      }),
      undefined,
    );
    expect(facts.problem).toBe(
      'container fileserver: CrashLoopBackOff: back-off 10s; it last ended with exit code 1 (Error)',
    );
  });

  test('a pod that cannot be scheduled, when that lasts', () => {
    const conditions = [{ type: 'PodScheduled', status: 'False', message: 'no node' }];
    const made = { creationTimestamp: '2030-01-01T00:00:00Z' };
    const at = (text: string) => podFacts(podWith({ conditions }, made), undefined, Date.parse(text)).problem;
    expect(at('2030-01-01T00:00:05Z')).toBeUndefined();
    expect(at('2030-01-01T00:00:15Z')).toBe('cannot be scheduled: no node');
  });

  test('a container that is being made is no problem', () => {
    const waiting = { reason: 'ContainerCreating' };
    expect(
      podFacts(podWith({ containerStatuses: [{ name: 'fileserver', state: { waiting } }] }), undefined).problem,
    ).toBeUndefined();
  });
});
