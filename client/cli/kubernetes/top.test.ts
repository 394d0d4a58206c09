import { describe, expect, test } from '@jest/globals';
import type { FileServerCluster } from '../../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../../crds/generated/handlemigration.ts';
import { migrationLines, migrationRows } from './migrations.ts';
import { countersOf, ratesBetween } from './rates.ts';
import { age } from './table.ts';
import { topLines, topOf } from './top.ts';

const NOW_MS = Date.parse('2026-01-01T00:10:00Z');

const cluster = {
  metadata: { namespace: 'team', name: 'media' },
  spec: { replicas: 2 },
  status: {
    readyReplicas: 1,
    conditions: [
      { type: 'Available', status: 'True', reason: 'ServersReady', message: '', lastTransitionTime: '' },
      { type: 'Degraded', status: 'True', reason: 'ServersNotReady', message: '', lastTransitionTime: '' },
    ],
    handles: { open: 12, disconnected: 1 },
    addresses: ['10.0.0.9'],
    servers: [
      { pod: 'media-a', node: 'n1', epoch: 3, phase: 'Draining', sessions: 4, handles: 10 },
      { pod: 'media-b', phase: 'Starting' },
    ],
  },
} as unknown as FileServerCluster;

const migration = (name: string, made: string, status?: HandleMigration['status'], namespace = 'team') =>
  ({
    metadata: { namespace, name, creationTimestamp: made },
    spec: { cluster: 'media', source: 'media-a', reason: 'Cordon' },
    status,
  }) as unknown as HandleMigration;
const running = migration('running', '2026-01-01T00:09:00Z', {
  phase: 'Transferring',
  startTime: '2026-01-01T00:09:58Z',
  handles: { total: 10, moved: 7 },
});
const waiting = migration('waiting', '2026-01-01T00:09:30Z');
const done = migration('done', '2026-01-01T00:09:50Z', {
  phase: 'Succeeded',
  startTime: '2026-01-01T00:09:51Z',
  endTime: '2026-01-01T00:09:51.500Z',
  message: '3 of 3 handles moved',
});

describe('top', () => {
  test('shows clusters above and servers below, what is not known as "-"', () => {
    const rates = { requestsPerSecond: 12.34, receivedBytesPerSecond: 1536, sentBytesPerSecond: 5 * 1024 ** 2 };
    const top = topOf([cluster], [running, done], new Map([['team/media-a', rates]]));
    expect(topLines(top, false)).toEqual([
      'CLUSTER   READY   STATE             SESSIONS   HANDLES   WAITING   MOVES   ADDRESS',
      'media       1/2   ServersNotReady          4        12         1       1   10.0.0.9',
      '',
      'CLUSTER   SERVER    NODE   PHASE      EPOCH   SESSIONS   HANDLES   REQ/S     IN/S    OUT/S   MOVE',
      'media     media-a   n1     Draining       3          4        10      12   1.5KiB   5.0MiB   Cordon Transferring 7/10',
      'media     media-b   -      Starting       -          -         -       -        -        -   -',
    ]);
  });

  test('does not take the move of a cluster of that name elsewhere for its own', () => {
    const elsewhere = migration('other', '2026-01-01T00:09:00Z', undefined, 'another');
    expect(topOf([cluster], [elsewhere], new Map()).clusters[0]?.migrating).toBe(0);
  });

  test('is healthy when it is available, nothing is going on and nothing is wrong', () => {
    const state = (...conditions: [string, string][]) => {
      const status = {
        conditions: conditions.map(([type, value]) => ({ type, status: value, reason: `${type}Reason` })),
      };
      return topOf([{ ...cluster, status } as unknown as FileServerCluster], [], new Map()).clusters[0]?.state;
    };
    expect(state()).toBe('Unknown');
    expect(state(['Available', 'True'], ['Degraded', 'False'])).toBe('Healthy');
    expect(state(['Available', 'True'], ['Progressing', 'True'])).toBe('Progressing');
    expect(state(['Available', 'False'])).toBe('AvailableReason');
  });

  test('says that there is nothing', () => {
    expect(topLines(topOf([], [], new Map()), false)).toEqual([expect.stringContaining('no FileServerCluster')]);
  });
});

describe('migrations', () => {
  test('those that run come first, then the newest', () => {
    const rows = migrationRows([done, running, waiting], NOW_MS);
    expect(rows.map(({ name }) => name)).toEqual(['waiting', 'running', 'done']);
    expect(migrationLines(rows, true)).toEqual([
      'NAMESPACE   NAME      CLUSTER   SOURCE    REASON   PHASE          MOVED   RELEASED   EXPIRED   TOOK   AGE   MESSAGE',
      'team        waiting   media     media-a   Cordon   Pending          0/0          0         0      -   30s   -',
      'team        running   media     media-a   Cordon   Transferring    7/10          0         0   2.0s   60s   -',
      'team        done      media     media-a   Cordon   Succeeded        0/0          0         0   0.5s   10s   3 of 3 handles moved',
    ]);
  });

  test.each([
    [0, '0s'],
    [119_999, '119s'],
    [120_000, '2m'],
    [7_200_000, '2h'],
    [172_800_000, '2d'],
    [undefined, undefined],
  ])('an age of %p ms is written %p', (ms, text) => expect(age(ms)).toBe(text));
});

describe('rates', () => {
  const text = `# HELP holdfast_fileserver_requests_total Requests
holdfast_fileserver_requests_total{command="READ",status="STATUS_SUCCESS"} 100
holdfast_fileserver_requests_total{command="WRITE",status="STATUS_SUCCESS"} 20
holdfast_fileserver_received_bytes_total 1000
holdfast_fileserver_sent_bytes_total 4000
holdfast_fileserver_sessions 3
`;

  test('are what counters grew by, summed over commands', () => {
    const before = countersOf(text, 0);
    const after = countersOf(text.replace(' 100', ' 160').replace(' 4000', ' 9000'), 2000);
    expect(ratesBetween(before, after)).toEqual({
      requestsPerSecond: 30,
      receivedBytesPerSecond: 0,
      sentBytesPerSecond: 2500,
    });
  });

  test('are not known of a server that began anew, or of the same moment', () => {
    const before = countersOf(text, 0);
    expect(ratesBetween(before, { ...before, atMs: 1000, requests: 1 })).toBeUndefined();
    expect(ratesBetween(before, before)).toBeUndefined();
  });
});
