// What a sidecar that was started anew, or takes another's place, makes of what there is.
import { afterEach, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import type { ServerEndedReply } from '../../proto/generated/control.ts';
import { type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { shardOfOpen } from '../../sidecar/table/table.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import { until } from '../../sidecar/testing/redis.ts';

/** So long that nothing here depends on how fast the machine is. */
const LEASE_MS = 600_000;
const PATIENCE_MS = 20_000;
let cluster: TestCluster;
afterEach(() => cluster.stop());

/** The containers of a pod have ended, as somebody tells another sidecar who knows. */
async function fencedBy(pod: TestPod, ended: TestPod): Promise<void> {
  const asked = { podUid: `uid-${ended.name}`, pod: '' };
  const reply = await new Promise<ServerEndedReply>((resolve, reject) => {
    cluster.control(pod).serverEnded(asked, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
  expect(reply.serversFenced).toBe(1);
}

test('an open that left and came back meanwhile is not the one that the file server holds', async () => {
  cluster = await TestCluster.start(2, LEASE_MS);
  const [pod, peer] = [cluster.pod(0), cluster.pod(1)];
  const { server } = pod;
  await server.session(1n);
  const { record } = await server.open('moved');
  const { record: kept } = await server.open('kept');
  pod.sidecar?.halt();
  server.detach();

  // A handoff to the peer and one back, of which this file server was told nothing.
  const table = peer.sidecar?.components.table;
  const [one, two] = [server, peer.server].map((it, i) => ({ serverId: `uid-pod-${i}/0`, epoch: it.epoch }));
  if (!table || !one || !two) throw new Error('no peer');
  const shard = shardOfOpen(record);
  expect(await table.letGo(one, shard, [record], `${two.serverId}@${two.epoch}`)).toEqual([Outcome.GRANTED]);
  const there = { ...record, ownershipVersion: record.ownershipVersion + 1n };
  expect(await table.letGo(two, shard, [there], `${one.serverId}@${one.epoch}`)).toEqual([Outcome.GRANTED]);

  const sidecar = await pod.startSidecar();
  await server.resume();
  const member = sidecar.components.cluster.memberOf(one.serverId);
  await member?.settled;
  await until(() => server.commands.some(({ $case }) => $case === 'release'), PATIENCE_MS);
  const released = server.commands.flatMap((command) => (command.$case === 'release' ? command.value.openIds : []));
  expect(released).toEqual([record.openId]);
  expect(member?.opens.get(kept.openId)?.record.ownershipVersion).toBe(kept.ownershipVersion);
  expect(member?.opens.get(record.openId)?.record).toMatchObject({
    state: OpenState.DISCONNECTED,
    ownershipVersion: record.ownershipVersion + 2n,
  });
  // Its client gets it back here, or anywhere.
  expect((await server.reclaim(record)).outcome).toBe(Outcome.GRANTED);
}, 60_000);

test.each([
  ['at once', false],
  ['when what it holds was compared', true],
])(
  'an UNLOCK after the sidecar was started anew is not taken for the LOCK before it: %s',
  async (_, isLater) => {
    cluster = await TestCluster.start(2, 3000); // so that the other soon knows where this one is now
    const [pod, other] = [cluster.pod(0), cluster.pod(1)];
    const { server } = pod;
    await server.session(1n);
    await other.server.session(2n);
    const { record } = await server.open('locked');
    const { record: theirs } = await other.server.open('locked', { sessionId: 2n });
    expect((await server.lock(record, 0, 10)).outcome).toBe(Outcome.GRANTED);
    pod.sidecar?.halt();
    server.detach();

    const sidecar = await pod.startSidecar();
    await server.resume();
    const member = sidecar.components.cluster.memberOf('uid-pod-0/0');
    if (isLater) {
      await member?.settled;
      expect(member?.opens.get(record.openId)).toMatchObject({ operation: 1, isReported: false });
    }
    expect((await other.server.lock(theirs, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await server.lock(record, 0, 10, { unlock: true })).outcome).toBe(Outcome.GRANTED);
    expect((await other.server.lock(theirs, 5, 1)).outcome).toBe(Outcome.GRANTED);
  },
  60_000,
);

test('a name that is let go of is free, also where the sidecar ends at that moment', async () => {
  cluster = await TestCluster.start(2, LEASE_MS);
  const [pod, other] = [cluster.pod(0), cluster.pod(1)];
  const { server } = pod;
  const name = { directoryId: Buffer.from('folder'), name: 'GOAL', creation: undefined };
  expect((await server.ask({ $case: 'reserve', value: name })).outcome).toBe(Outcome.GRANTED);
  cluster.redis.pause();
  let isAnswered = false;
  const answered = server.ask({ $case: 'dropReservation', value: name }).then((reply) => {
    isAnswered = reply.outcome === Outcome.GRANTED;
  });
  await delay(300);
  expect(isAnswered).toBe(false); // so that the file server asks for it again
  pod.sidecar?.halt();
  cluster.redis.resume();
  await answered;
  server.detach();
  await pod.startSidecar();
  await server.resume();
  expect((await server.ask({ $case: 'dropReservation', value: name })).outcome).toBe(Outcome.GRANTED);
  expect((await other.server.ask({ $case: 'reserve', value: name })).outcome).toBe(Outcome.GRANTED);
}, 60_000);

test('an open whose answer was lost with the sidecar is had by asking for it again', async () => {
  cluster = await TestCluster.start(1, LEASE_MS);
  const pod = cluster.pod(0);
  const { server } = pod;
  await server.session(1n);
  const { record: kept } = await server.open('kept');
  const asked: Partial<OpenRecord> = { createGuid: Buffer.alloc(16, 9), deleteOnClose: true };
  const { record: lost } = await server.open('asked', asked);
  pod.sidecar?.halt();
  server.detach();
  server.records.delete(lost.openId); // the answer never came

  const sidecar = await pod.startSidecar();
  await server.start(server.hello?.identity, 1);
  const again = server.open('asked', asked);
  await server.ask({ $case: 'reportOpens', value: { opens: [kept], states: [] } });
  const { outcome, record } = await again;
  expect([outcome, record.openId]).toEqual([Outcome.GRANTED, lost.openId]);
  // Whoever has it may not ask for another under its name.
  expect((await server.open('asked', asked)).outcome).toBe(Outcome.DUPLICATE_OBJECTID);
  const member = sidecar.components.cluster.memberOf('uid-pod-0/0');
  await member?.settled;
  expect(member?.opens.get(lost.openId)?.record.deleteOnClose).toBe(true);
  expect((await server.close(record)).outcome).toBe(Outcome.GRANTED);
}, 60_000);

test('a sidecar that has opened the store knows at once whom it would wait for if it lost its data', async () => {
  cluster = await TestCluster.start(1, LEASE_MS);
  const joined = cluster.newPod();
  const sidecar = await joined.startSidecar();
  await until(async () => (await cluster.storeMessage(joined)) === '', PATIENCE_MS);
  expect(sidecar.components.registry.witness.missing([])).toBe('uid-pod-0/0');
}, 60_000);

test('orphans are looked after by whoever fences their custodian, and by a custodian that was started anew', async () => {
  cluster = await TestCluster.start(3, LEASE_MS);
  const [custodian, orphaned, heir] = [cluster.pod(0), cluster.pod(1), cluster.pod(2)];
  await orphaned.server.session(2n);
  const { record } = await orphaned.server.open('orphan');
  const identity = `uid-pod-1/0@${orphaned.server.epoch}`;
  const keptBy = ({ sidecar }: TestPod) => sidecar?.orphans.has(identity, record.openId);
  // Its pod is gone as a whole, and one who fences it is its custodian.
  orphaned.sidecar?.halt();
  orphaned.server.detach();
  await fencedBy(custodian, orphaned);
  await until(() => keptBy(custodian) === true, PATIENCE_MS);

  custodian.sidecar?.halt();
  custodian.server.detach();
  await custodian.startSidecar();
  expect(keptBy(custodian)).toBe(false);
  await custodian.server.resume();
  await until(() => keptBy(custodian) === true, PATIENCE_MS);

  custodian.sidecar?.halt();
  custodian.server.detach();
  await fencedBy(heir, custodian);
  await until(() => keptBy(heir) === true, PATIENCE_MS);
}, 90_000);
