import { beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { monotonicMs } from '../../common/time.ts';
import { createSidecarMetrics } from '../metrics.ts';
import { ClusterView } from '../services/cluster.ts';
import type { Peers } from '../services/peers.ts';
import { asksUs, extendedNs, namedPeers, Promises } from './promises.ts';
import type { ServerRecord } from './registry.ts';

const LEASE_MS = 5000;

function server(serverId: string, epoch: number, fields: Partial<ServerRecord> = {}): ServerRecord {
  return {
    serverId,
    epoch,
    state: 'active',
    counter: 7,
    address: '',
    extensionMs: 0,
    knows: 0,
    understands: 0,
    ...fields,
  } as ServerRecord;
}

describe('a deadline with promises', () => {
  const asked = {
    sentNs: 10_000_000_000n,
    leaseEndNs: 12_000_000_000n,
    leaseDurationMs: LEASE_MS,
    maxExtensionMs: 30_000,
  };

  test('is no later than the promise, less the margin for clocks', () => {
    expect(extendedNs(asked)).toBe(14_500_000_000n);
  });

  test('is no later than all extensions of the last renewal together', () => {
    expect(extendedNs({ ...asked, sentNs: 41_000_000_000n })).toBe(42_000_000_000n);
    expect(extendedNs({ ...asked, maxExtensionMs: 0 })).toBe(asked.leaseEndNs);
  });
});

describe('who is asked', () => {
  const servers = [
    server('a/0', 1),
    server('a/1', 2),
    server('b/0', 3),
    server('b/1', 4),
    server('c/0', 5, { state: 'fenced' }),
    server('d/0', 6, { state: 'draining' }),
  ];

  test('is every other pod with a server that may fence', () => {
    expect(namedPeers(servers, 'a/0').map(({ serverId }) => serverId)).toEqual(['b/1', 'd/0']);
  });

  test('is whoever was there at a renewal of which the server has heard, and lives', () => {
    const knows3 = server('a/0', 1, { knows: 3 });
    expect(asksUs(knows3, servers, new Set(['b/0', 'b/1']))).toBe(true);
    expect(asksUs(knows3, servers, new Set(['d/0']))).toBe(false); // registered later
    expect(asksUs(server('a/0', 1, { knows: 9 }), servers, new Set(['c/0']))).toBe(false); // fenced since
    expect(asksUs(knows3, servers, new Set())).toBe(false);
  });
});

describe('a promise', () => {
  let readMs: number;
  let cluster: ClusterView;
  let promises: Promises;
  const asked = { server: { serverId: 'a/0', epoch: 3n }, durationMs: LEASE_MS };

  beforeEach(() => {
    readMs = monotonicMs() - LEASE_MS;
    cluster = new ClusterView();
    cluster.look([server('a/0', 3)]);
    promises = new Promises({
      cluster,
      peers: {} as Peers,
      log: pino({ level: 'silent' }),
      metrics: createSidecarMetrics(),
      leaseDurationMs: LEASE_MS,
      maxExtensionMs: 30_000,
      readMs: () => readMs,
    });
  });

  test('holds back who gave it, for as long as it lasts', async () => {
    expect(promises.give({ ...asked, durationMs: 20 })).toMatchObject({ ok: true });
    expect([promises.holdsBack('a/0@3'), promises.holdsBack('a/0@2'), promises.none]).toEqual([true, false, false]);
    for (const untilMs = monotonicMs() + 25; monotonicMs() < untilMs; ) await new Promise(setImmediate);
    expect([promises.holdsBack('a/0@3'), promises.none]).toEqual([false, true]);
  });

  test.each([
    [
      'while the store is in reach',
      () => {
        readMs = monotonicMs();
      },
    ],
    ['for a server that is being fenced', () => cluster.look([server('a/0', 3, { state: 'fencing' })])],
    ['for an incarnation that was replaced', () => cluster.look([server('a/0', 4)])],
    ['for a server that is not known', () => cluster.look([])],
    [
      'for longer than a lease',
      () => {
        asked.durationMs = LEASE_MS + 1;
      },
    ],
  ])('is not given %s', (_, given) => {
    given();
    expect(promises.give(asked).ok).toBe(false);
    expect(promises.none).toBe(true);
    asked.durationMs = LEASE_MS;
  });
});
