import { describe, expect, test } from '@jest/globals';
import type { V1Service, V1StatefulSet } from '@kubernetes/client-node';
import { ServerStatus, StatusReply } from '../../proto/generated/control.ts';
import { cluster, migration, pod } from '../testing/fixtures.ts';
import type { PodFacts } from './pods.ts';
import type { Report } from './reports.ts';
import { clusterStatus, type StatusInput } from './status.ts';

const server = (epoch: number, opens: number, disconnected = 0, state = 'active') =>
  ServerStatus.create({
    identity: { serverId: 'x/0', epoch: BigInt(epoch) },
    state,
    sessions: 2n,
    opensActive: BigInt(opens),
    opensDisconnected: BigInt(disconnected),
  });

const reply = (change: Partial<StatusReply> = {}): Report => ({
  atMs: 0,
  error: undefined,
  reply: StatusReply.create({ storeReachable: true, servers: [server(7, 5)], ...change }),
});

function status(pods: PodFacts[], change: Partial<StatusInput> = {}) {
  return clusterStatus({
    cluster: cluster(),
    newest: 'new',
    pods,
    redisPods: [],
    statefulSet: { status: { readyReplicas: 1 } } as V1StatefulSet,
    service: undefined,
    services: [],
    migrations: [],
    reports: new Map(pods.map((each) => [each.uid, reply()])),
    problems: [],
    refused: undefined,
    watchesNodes: true,
    now: '2030-01-01T00:00:00Z',
    ...change,
  });
}

const condition = (result: ReturnType<typeof status>, type: string) => {
  const found = result.conditions?.find((candidate) => candidate.type === type);
  return `${found?.status} ${found?.reason}`;
};

const three = [pod('a'), pod('b'), pod('c')];

test('a share that cannot be served is named once, whoever says so', () => {
  const troubles = ['share "films": the folder /films of volume "data" cannot be shared'];
  const said = reply({ servers: [{ ...server(7, 5), troubles }] });
  const result = status(three, { reports: new Map(three.map(({ uid }) => [uid, said])) });
  expect(condition(result, 'Degraded')).toBe('True ShareUnavailable');
  expect(result.conditions?.find(({ type }) => type === 'Degraded')?.message).toBe(troubles[0]);
  expect(condition(result, 'Available')).toBe('True ServersReady');
});

describe('a healthy cluster', () => {
  const result = status(three, { cluster: cluster({ service: { type: 'ClusterIP', port: 445, perServer: false } }) });

  test('says so in every condition', () => {
    expect(condition(result, 'Available')).toBe('True ServersReady');
    expect(condition(result, 'Progressing')).toBe('False UpToDate');
    expect(condition(result, 'Degraded')).toBe('False AsExpected');
    expect(condition(result, 'StateStoreReady')).toBe('True Reachable');
  });

  test('accepts clients as long as one server is ready that stays', () => {
    const starting = pod('a', { ready: false });
    expect(condition(status([starting, pod('b')]), 'Available')).toBe('True ServersReady');
    expect(condition(status([starting]), 'Available')).toBe('False NoServerReady');
    expect(condition(status([starting, pod('b', { terminating: true })]), 'Available')).toBe('False NoServerReady');
  });

  test('counts servers, sessions and handles', () => {
    expect(result).toMatchObject({
      replicas: 3,
      readyReplicas: 3,
      handles: { open: 15, disconnected: 0 },
      observedGeneration: 1,
    });
    expect(result.servers?.[0]).toEqual({
      pod: 'a',
      node: 'node1',
      epoch: 7,
      phase: 'Active',
      sessions: 2,
      handles: 5,
    });
    expect(result.addresses).toEqual(['media.files.svc']);
    expect(result.addressState).toBe('Assigned');
  });
});

describe('what is wrong is named', () => {
  test('a missing claim, before anything else', () => {
    const result = status([], { problems: [{ reason: 'ClaimMissing', message: 'create it' }], reports: new Map() });
    expect(condition(result, 'Degraded')).toBe('True ClaimMissing');
    expect(condition(result, 'Progressing')).toBe('False Waiting');
    expect(condition(result, 'Available')).toBe('False NoServerReady');
  });

  test('a store that refuses, in the sidecar’s words', () => {
    const storeMessage = 'set maxmemory-policy to noeviction';
    const bad = reply({ storeReachable: false, storeMessage, storeRefusal: 'STORE_EVICTION' });
    const result = status(three, { reports: new Map([['uid-b', bad]]) });
    expect(condition(result, 'StateStoreReady')).toBe('False StoreRefused');
    expect(result.conditions?.find((c) => c.type === 'Degraded')?.message).toBe('set maxmemory-policy to noeviction');
    // While Redis is away, clients must still reach a server that tells them to retry.
    expect(condition(result, 'Available')).toBe('True ServersReady');
  });

  test('a store that does not answer yet is no reason to worry in the first minute', () => {
    const waiting = (createdMs: number) => {
      const pods = [pod('a', { ready: false, createdMs })];
      return status(pods, {
        reports: new Map([['uid-a', reply({ storeReachable: false, storeMessage: 'no answer yet' })]]),
      });
    };
    const now = Date.parse('2030-01-01T00:00:00Z');
    expect(condition(waiting(now - 5000), 'Degraded')).toBe('False AsExpected');
    expect(condition(waiting(now - 90_000), 'Degraded')).toBe('True StoreUnreachable');
  });

  test('an embedded Redis that cannot run', () => {
    const redisPods = [pod('media-redis-0', { ready: false, problem: 'cannot be scheduled: no volume' })];
    expect(condition(status([], { redisPods, reports: new Map() }), 'StateStoreReady')).toBe('False RedisFailing');
  });

  test('a pod that fails, with its problem and where to look', () => {
    const result = status([pod('a'), pod('b', { ready: false, problem: 'container fileserver: CrashLoopBackOff' })]);
    expect(condition(result, 'Degraded')).toBe('True ServerFailing');
    expect(result.conditions?.find((c) => c.type === 'Degraded')?.message).toMatch(/pod b: .*kubectl describe pod b/);
  });

  test('a node that does not answer', () => {
    const result = status([pod('a'), pod('b', { ready: false, nodeReady: false })]);
    expect(condition(result, 'Degraded')).toBe('True NodeNotReady');
    expect(result.servers?.[1]?.phase).toBe('Unreachable');
  });

  test('an object that the API server refuses', () => {
    expect(condition(status(three, { refused: 'quota exceeded' }), 'Degraded')).toBe('True ObjectRefused');
  });
});

describe('what goes on is named', () => {
  test('an upgrade, a migration, scaling, starting', () => {
    expect(condition(status([pod('a', { template: 'old' }), pod('b'), pod('c')]), 'Progressing')).toBe(
      'True Upgrading',
    );
    expect(condition(status(three, { migrations: [migration('m', {}, { phase: 'Pending' })] }), 'Progressing')).toBe(
      'True Migrating',
    );
    expect(condition(status([pod('a')]), 'Progressing')).toBe('True Scaling');
    expect(condition(status([pod('a'), pod('b'), pod('c', { ready: false })]), 'Progressing')).toBe('True Starting');
  });

  test('what each server does', () => {
    const pods = [
      pod('a', { node: '', ready: false }),
      pod('b', { ready: false }),
      pod('c', { leaving: true }),
      pod('d', { terminating: true }),
    ];
    expect(status(pods).servers?.map((each) => each.phase)).toEqual(['Pending', 'Starting', 'Leaving', 'Draining']);
  });

  test('migrations by how they ended', () => {
    const migrations = (['Succeeded', 'Failed', 'Transferring'] as const).map((phase) =>
      migration(phase, {}, { phase }),
    );
    expect(status(three, { migrations }).migrations).toEqual({ active: 1, completed: 1, failed: 1 });
  });

  test('whether cordons are acted on', () => {
    expect(status(three).cordonTrigger).toBe('Active');
    expect(status(three, { watchesNodes: false }).cordonTrigger).toBe('NotPermitted');
    const off = { maxConcurrent: 1, drainTimeout: '60s', onCordon: false, strategy: 'Spread' as const };
    expect(status(three, { cluster: cluster({ migration: off }) }).cordonTrigger).toBe('Disabled');
  });
});

test('a load balancer without an address holds nothing up, and is said to be pending', () => {
  const result = status(three);
  expect(condition(result, 'Available')).toBe('True ServersReady');
  expect(result.addressState).toBe('Pending');
  const service = { status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } } } as V1Service;
  expect(status(three, { service })).toMatchObject({
    addresses: ['192.0.2.1', 'media.files.svc'],
    addressState: 'Assigned',
  });
});

test('says where single servers are reached: at their load balancer, else inside the cluster', () => {
  const service = { type: 'LoadBalancer' as const, port: 1445, perServer: true };
  const services = [
    { metadata: { name: 'media-server-1' }, status: { loadBalancer: { ingress: [{ ip: '2001:db8::7' }] } } },
  ];
  const result = status(three, { cluster: cluster({ service }), services });
  expect(result.serverAddresses).toEqual([
    'media-server-0.files.svc:1445',
    '[2001:db8::7]:1445',
    'media-server-2.files.svc:1445',
  ]);
  expect(status(three).serverAddresses).toBeUndefined();
});
