import { type ChildProcess, spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Outcome } from '../../proto/generated/handles.ts';
import type { ServerRecord } from '../../sidecar/fencing/registry.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import type { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { PodProcess } from '../../sidecar/testing/pod-process.ts';
import { until } from '../../sidecar/testing/redis.ts';

const LEASE_MS = 2000;
let cluster: TestCluster;
let stopped: PodProcess;
let here: TestFileServer;

beforeEach(async () => {
  cluster = await TestCluster.start(1, LEASE_MS);
  here = cluster.pod(0).server;
  await here.session(2n);
  stopped = new PodProcess(cluster, 'stopped');
  await stopped.start(1n, ['shared']);
}, 40_000);
afterEach(async () => {
  stopped.signal('SIGCONT');
  stopped.signal('SIGKILL');
  await cluster.stop();
});

describe('a pod that is stopped as a whole, with open connections', () => {
  test('its session is claimed as soon as it is fenced: no call waits for its answer', async () => {
    stopped.signal('SIGSTOP');
    const beganMs = performance.now();
    const claim = { previousSessionId: 1n, user: 'alice' };
    expect((await here.ask({ $case: 'claimSession', value: claim })).outcome).toBe(Outcome.GRANTED);
    expect(performance.now() - beganMs).toBeLessThan(2 * LEASE_MS);
  }, 30_000);

  test('a lock that it would have to hear of is granted as soon as it is fenced', async () => {
    const { record } = await here.open('shared');
    stopped.signal('SIGSTOP');
    const beganMs = performance.now();
    expect((await here.lock(record, 0, 10)).outcome).toBe(Outcome.GRANTED);
    expect(performance.now() - beganMs).toBeLessThan(2 * LEASE_MS);
  }, 30_000);
});

describe('servers on a machine that is busy', () => {
  const seconds = Number(process.env.BUSY_SECONDS ?? 8);

  test(
    'are not fenced by one another',
    async () => {
      const others = [new PodProcess(cluster, 'busy-1'), new PodProcess(cluster, 'busy-2')];
      const hogs: ChildProcess[] = [];
      try {
        for (const [i, other] of others.entries()) await other.start(BigInt(10 + i), []);
        const servers = () => cluster.pod(0).sidecar?.components.registry.list() ?? [];
        const before = await servers();
        expect(before).toHaveLength(4);
        for (let i = 0; i < 4; i++) hogs.push(spawn(process.execPath, ['-e', 'for (;;);']));
        const untilMs = performance.now() + seconds * 1000;
        await until(() => performance.now() > untilMs, 2 * seconds * 1000);
        const identity = ({ serverId, epoch, state }: ServerRecord) => `${serverId}@${epoch} ${state}`;
        expect((await servers()).map(identity).sort()).toEqual(before.map(identity).sort());
      } finally {
        for (const hog of hogs) hog.kill('SIGKILL');
        for (const other of others) other.signal('SIGKILL');
      }
    },
    60_000 + 2 * seconds * 1000,
  );
});
