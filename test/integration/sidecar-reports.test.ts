// A file server tells a sidecar that was started anew what it holds, and does not get to the end of it.
import { afterEach, expect, test } from '@jest/globals';
import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../../sidecar/constants.ts';
import type { Member } from '../../sidecar/services/member.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import { TestFileServer } from '../../sidecar/testing/file-server.ts';
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
  const { outcome } = await server.ask({ $case: 'reportOpens', value: { opens } });
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
  for (const record of more) pod.server.send({ $case: 'reportOpens', value: { opens: [record] } });
  await again.start(pod.server.hello?.identity, OPENS, false);
  for (const part of [records.slice(0, 256), records.slice(256, 512)]) {
    await again.ask({ $case: 'reportOpens', value: { opens: part } });
  }
  expect([member.isSettling, member.reportsExpected]).toEqual([true, OPENS - 512]);
  await again.ask({ $case: 'reportOpens', value: { opens: records.slice(512) } });
  await member.settled;
  expect([member.opens.size, await inTable(pod)]).toEqual([OPENS, OPENS]);
  again.detach();
}, 60_000);
