// A file server tells a sidecar that was started anew what it holds, and does not get to the end of it.
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { createLogger } from '../../common/logging.ts';
import type { ChangeCommands, SidecarCommands } from '../../fileserver/handles/commands.ts';
import { lockForLife } from '../../fileserver/handles/lock-file.ts';
import { HandlesStream } from '../../fileserver/handles/stream.ts';
import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../../sidecar/constants.ts';
import type { Member } from '../../sidecar/services/member.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import { CuttingRelay } from '../../sidecar/testing/cutting-relay.ts';
import { sampleRecord, TestFileServer } from '../../sidecar/testing/file-server.ts';
import { until } from '../../sidecar/testing/redis.ts';

/** So long that nothing here depends on how fast the machine is. */
const LEASE_MS = 600_000;
const PATIENCE_MS = 20_000;
const OPENS = 600;
let cluster: TestCluster;
afterEach(() => cluster.stop());

/** A pod whose file server holds many opens, and whose sidecar was killed and is there again. */
async function restarted(): Promise<{ pod: TestPod; records: OpenRecord[] }> {
  cluster = await TestCluster.start(1, LEASE_MS);
  const pod = cluster.pod(0);
  await pod.server.session(1n);
  const opened = await Promise.all(Array.from({ length: OPENS }, (_, i) => pod.server.open(`file-${i}`)));
  const records = opened.map(({ record }) => record);
  expect(new Set(records.map(({ openId }) => openId)).size).toBe(OPENS);
  pod.sidecar?.halt();
  pod.server.detach();
  await pod.startSidecar();
  return { pod, records };
}

function memberOf(pod: TestPod): Member {
  const member = pod.sidecar?.components.cluster.memberOf('uid-pod-0/0');
  if (!member) throw new Error('no file server');
  return member;
}

/** Says Hello, how many opens follow, and reports these. */
async function reports({ server }: TestPod, follow: number, opens: OpenRecord[]): Promise<void> {
  server.detach();
  await server.start(server.hello?.identity, follow);
  const { outcome } = await server.ask({ $case: 'reportOpens', value: { opens, states: [] } });
  expect(outcome).toBe(Outcome.GRANTED);
}

/** What the table has for the file server. */
async function inTable(pod: TestPod): Promise<number> {
  const table = pod.sidecar?.components.table;
  let count = 0;
  for (let shard = 0; table && shard < SHARDS; shard++) {
    for await (const page of table.owned(shard, memberOf(pod).owner)) count += page.length;
  }
  return count;
}

test('no open is lost when the stream breaks twice while they are reported', async () => {
  const { pod, records } = await restarted();
  await reports(pod, OPENS, records.slice(0, 256));
  await reports(pod, OPENS, records.slice(0, 400)); // of these it had 256
  const member = memberOf(pod);
  pod.server.detach();
  await until(() => member.stream === undefined, PATIENCE_MS);
  // Where it takes what was said twice for all, it has closed the others when this is over.
  if (member.reportsExpected === 0) await member.settled;
  expect([member.isSettling, await inTable(pod)]).toEqual([true, OPENS]);

  await reports(pod, OPENS, records);
  await member.settled;
  expect([member.opens.size, await inTable(pod)]).toEqual([OPENS, OPENS]);
  for (const record of [records[0], records[399], records[OPENS - 1]]) {
    expect((await pod.server.close(record as OpenRecord)).outcome).toBe(Outcome.GRANTED);
  }
}, 60_000);

test("a file server's own stream that breaks twice while it reports brings all of it in the end", async () => {
  cluster = await TestCluster.start(0, LEASE_MS);
  const pod = cluster.newPod();
  await pod.startSidecar();
  const relay = new CuttingRelay(join(pod.runDir, 'sidecar.sock'));
  await relay.start(join(pod.runDir, 'relay.sock'));
  const lockPath = join(pod.runDir, 'fileserver-0.lock');
  await lockForLife(lockPath);
  const records: OpenRecord[] = [];
  const resumptions: boolean[] = [];
  const released: bigint[] = [];
  const commands: Partial<SidecarCommands> = {
    release: async ({ openIds }) => released.push(...openIds) > 0,
    resume: async () => true,
  };
  const stream = new HandlesStream({
    socketPath: join(pod.runDir, 'relay.sock'),
    worker: '0',
    lockPath,
    smbAddress: '127.0.0.1:445',
    log: createLogger('fileserver'),
    commands: commands as SidecarCommands & ChangeCommands,
    records: () => records,
    lockState: () => undefined,
    troubles: () => [],
    registered: (_, resumed) => resumptions.push(resumed),
    renewed: () => {},
    fenced: () => Promise.resolve(),
  });
  try {
    stream.start();
    await until(() => resumptions.length === 1, PATIENCE_MS);
    for (let i = 0; i < OPENS; i++) {
      const value = { record: sampleRecord(`file-${i}`), truncates: false, drop: undefined };
      const { body } = await stream.ask({ $case: 'open', value });
      if (body?.$case === 'open' && body.value.record) records.push(body.value.record);
    }
    expect(records.length).toBe(OPENS);

    // One report, then two of the three, and then it stays away for a while.
    relay.cutAfter.push(1, 2);
    pod.sidecar?.halt();
    await pod.startSidecar();
    await until(() => {
      relay.isRefusing = relay.cut === 2;
      return relay.isRefusing;
    }, PATIENCE_MS);
    const member = memberOf(pod);
    await until(() => member.stream === undefined, PATIENCE_MS);
    if (member.reportsExpected === 0) await member.settled;
    expect([member.isSettling, await inTable(pod)]).toEqual([true, OPENS]);

    relay.isRefusing = false;
    await until(() => resumptions.length === 2, PATIENCE_MS);
    await member.settled;
    expect([resumptions, member.opens.size, await inTable(pod), released]).toEqual([[false, true], OPENS, OPENS, []]);
  } finally {
    stream.stop();
    relay.stop();
  }
}, 60_000);

test('what a second report does not name any more is not held', async () => {
  const { pod, records } = await restarted();
  await reports(pod, OPENS, records.slice(0, 256));
  const [gone, ...rest] = records;
  await reports(pod, rest.length, rest);
  const member = memberOf(pod);
  await member.settled;
  expect([member.opens.size, await inTable(pod)]).toEqual([OPENS - 1, OPENS - 1]);
  expect(member.opens.has(gone?.openId ?? 0n)).toBe(false);
}, 60_000);

test('what an earlier stream still brings does not count as what the new one reports', async () => {
  const { pod, records } = await restarted();
  await reports(pod, OPENS, records.slice(0, 256));
  const member = memberOf(pod);
  const again = new TestFileServer(pod.runDir);
  const more = records.slice(256, 356).flatMap((record) => Array.from({ length: 40 }, () => record));
  for (const record of more) pod.server.send({ $case: 'reportOpens', value: { opens: [record], states: [] } });
  await again.start(pod.server.hello?.identity, OPENS, false);
  for (const part of [records.slice(0, 256), records.slice(256, 512)]) {
    await again.ask({ $case: 'reportOpens', value: { opens: part, states: [] } });
  }
  expect([member.isSettling, member.reportsExpected]).toEqual([true, OPENS - 512]);
  await again.ask({ $case: 'reportOpens', value: { opens: records.slice(512), states: [] } });
  await member.settled;
  expect([member.opens.size, await inTable(pod)]).toEqual([OPENS, OPENS]);
  again.detach();
}, 60_000);
