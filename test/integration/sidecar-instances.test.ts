import { afterEach, describe, expect, test } from '@jest/globals';
import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import type { ClusterView } from '../../sidecar/services/cluster.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import type { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { until } from '../../sidecar/testing/redis.ts';

const TEST_TIMEOUT_MS = 60_000;
/** A pod looks at the servers ten times a lease: what came since it looked last it does not know for so long. */
const LONG_LEASE_MS = 60_000;
const SHORT_LEASE_MS = 1500;

let cluster: TestCluster;
afterEach(() => cluster.stop());

/** Opens the application's file, for itself alone, from a client of its own. */
function run(server: TestFileServer, client: number, fields: Partial<OpenRecord> = {}) {
  return server.open('vm.disk', {
    ...{ shareAccess: 0, appInstanceId: Buffer.alloc(16, 0xa9) },
    ...{ clientGuid: Buffer.alloc(16, client), ...fields },
  });
}

/** A pod looks at the servers until it sees what the test needs. */
async function sees({ sidecar }: TestPod, what: (view: ClusterView) => boolean): Promise<void> {
  const { cluster: view, registry } = sidecar?.components ?? {};
  if (!view || !registry) throw new Error('no sidecar runs there');
  await until(async () => {
    view.look(await registry.list());
    return what(view);
  }, TEST_TIMEOUT_MS);
}

describe('an application that moves, MS-SMB2 3.3.5.9.13, from a server', () => {
  test(
    'that came back a moment ago under another epoch',
    async () => {
      cluster = await TestCluster.start(2, LONG_LEASE_MS);
      const [pod, other] = [cluster.pod(0), cluster.pod(1)];
      pod.server.kill();
      await sees(other, (view) => view.server(`uid-${pod.name}/0`)?.state === 'fenced');
      const back = await pod.replaceServer();
      await back.session(1n);
      const { record } = await run(back, 1);

      expect((await run(other.server, 2)).outcome).toBe(Outcome.GRANTED);

      expect(back.got('dropOpen').map(({ openId }) => openId)).toEqual([record.openId]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'that another pod does not know of yet',
    async () => {
      cluster = await TestCluster.start(1, LONG_LEASE_MS);
      const { server } = await cluster.addPod();
      await server.session(1n);
      const { record } = await run(server, 1);

      expect((await run(cluster.pod(0).server, 2)).outcome).toBe(Outcome.GRANTED);

      expect(server.got('dropOpen').map(({ openId }) => openId)).toEqual([record.openId]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'whose sidecar was restarted and has not been told yet what it holds',
    async () => {
      cluster = await TestCluster.start(2, LONG_LEASE_MS);
      const [pod, other] = [cluster.pod(0), cluster.pod(1).server];
      await pod.server.session(1n);
      const { record } = await run(pod.server, 1);
      pod.sidecar?.halt();
      pod.server.detach();
      await pod.startSidecar();

      const moves = run(other, 2);
      await until(() => other.interims.length > 0, TEST_TIMEOUT_MS);
      await pod.server.resume();

      expect((await moves).outcome).toBe(Outcome.GRANTED);
      expect(pod.server.got('dropOpen').map(({ openId }) => openId)).toContain(record.openId);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'that stands still, or is gone for good: when it is fenced and its last writes are over',
    async () => {
      cluster = await TestCluster.start(3, SHORT_LEASE_MS);
      const [still, gone, other] = [cluster.pod(0), cluster.pod(1), cluster.pod(2).server];
      for (const { server } of [still, gone]) await server.session(1n);
      expect((await run(still.server, 1)).outcome).toBe(Outcome.GRANTED);
      expect((await run(gone.server, 1, { fileId: Buffer.from('volume:another') })).outcome).toBe(Outcome.GRANTED);
      const deadlines = [still.server, gone.server].map((server) => {
        server.freeze();
        return server.deadlineNs;
      });
      gone.sidecar?.halt();

      const moved = await Promise.all([run(other, 2), run(other, 2, { fileId: Buffer.from('volume:another') })]);

      expect(moved.map(({ outcome }) => outcome)).toEqual([Outcome.GRANTED, Outcome.GRANTED]);
      for (const deadlineNs of deadlines) expect(process.hrtime.bigint()).toBeGreaterThan(deadlineNs);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'that hands its opens over meanwhile',
    async () => {
      cluster = await TestCluster.start(3, LONG_LEASE_MS);
      const [one, two, three] = [cluster.pod(0).server, cluster.pod(1).server, cluster.pod(2).server];
      await one.session(1n);
      const { record } = await run(one, 1);
      one.onCommand = async ({ $case }) => {
        if ($case === 'dropOpen') await handedOver(cluster.pod(0), 'pod-1');
        return true;
      };

      expect((await run(three, 2)).outcome).toBe(Outcome.GRANTED);

      expect(one.got('release').flatMap(({ openIds }) => openIds)).toEqual([record.openId]);
      expect(two.got('dropOpen').map(({ openId }) => openId)).toEqual([record.openId]);
    },
    TEST_TIMEOUT_MS,
  );
});

/** Resolves when a pod's handles are another's. */
function handedOver(from: TestPod, to: string): Promise<void> {
  const migrate = { migrationId: 'm', targetPods: [to], timeoutMs: 20_000, leaving: false };
  return new Promise((resolve, reject) => {
    cluster
      .control(from)
      .migrate(migrate)
      .on('data', () => {})
      .on('end', resolve)
      .on('error', reject);
  });
}
