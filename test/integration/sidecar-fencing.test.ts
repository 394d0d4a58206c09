import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { monotonicMs } from '../../common/time.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { marginMs, SHARDS } from '../../sidecar/constants.ts';
import { Forgetting } from '../../sidecar/fencing/forgetting.ts';
import type { ServerRecord } from '../../sidecar/fencing/registry.ts';
import type { Sidecar } from '../../sidecar/sidecar.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { until } from '../../sidecar/testing/redis.ts';

const LEASE_MS = 1500;
let cluster: TestCluster;

beforeEach(async () => {
  cluster = await TestCluster.start(2, LEASE_MS);
  await cluster.pod(0).server.session(1n);
  await cluster.pod(1).server.session(2n);
}, 20_000);
afterEach(() => cluster.stop());

describe('a file server process', () => {
  test('that was killed is fenced at once, and its persistent open is reclaimed anywhere without waiting for the lease', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const kept = await one.open('kept');
    await one.lock(kept.record, 0, 10);
    const ended = await one.open('ended', { durability: 0, createGuid: Buffer.alloc(0), shareAccess: 0 });
    expect(ended.outcome).toBe(Outcome.GRANTED);
    const beganMs = performance.now();
    one.kill();
    const back = await two.reclaim(kept.record);
    expect(back).toMatchObject({ outcome: Outcome.GRANTED, record: { locks: [{ offset: 0n, length: 10n }] } });
    expect(performance.now() - beganMs).toBeLessThan(LEASE_MS / 2);
    // What was not durable ended with the process.
    expect((await two.open('ended')).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('that was killed while it made a file leaves the name to the replay of that CREATE, and to nobody who asks for another', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const creation = { createGuid: Buffer.alloc(16, 1), clientGuid: Buffer.alloc(16, 2), user: 'alice' };
    const value = { directoryId: Buffer.from('folder'), name: 'GOAL', creation };
    const resume = async (server: TestFileServer, of?: Partial<typeof creation>) => {
      const asked = { ...value, creation: { ...creation, ...of } };
      return (await server.ask({ $case: 'resumeCreation', value: asked })).outcome;
    };
    expect((await one.ask({ $case: 'reserve', value })).outcome).toBe(Outcome.GRANTED);
    let killed = false;
    const waiting = resume(two).then((outcome) => ({ outcome, killed }));
    expect(await resume(two, { createGuid: Buffer.alloc(16, 3) })).toBe(Outcome.NOT_FOUND);
    expect(await resume(two, { clientGuid: Buffer.alloc(16, 3) })).toBe(Outcome.NOT_FOUND);
    expect(await resume(two, { user: 'mallory' })).toBe(Outcome.NOT_FOUND);
    expect(await resume(two, { createGuid: Buffer.alloc(15) })).toBe(Outcome.INVALID);
    killed = true;
    one.kill();
    expect(await waiting).toEqual({ outcome: Outcome.GRANTED, killed: true });

    // The next dies over it too.
    two.kill();
    const three = await cluster.pod(0).replaceServer();
    expect(await resume(three)).toBe(Outcome.GRANTED);
    await three.ask({ $case: 'dropReservation', value });
    await until(async () => (await resume(three)) === Outcome.NOT_FOUND);
  }, 20_000);

  test('that was killed while it made a file: whoever takes the name meanwhile has it', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const creation = { createGuid: Buffer.alloc(16, 1), clientGuid: Buffer.alloc(16, 2), user: 'alice' };
    const value = { directoryId: Buffer.from('folder'), name: 'GOAL' };
    await one.ask({ $case: 'reserve', value: { ...value, creation } });
    one.kill();
    expect((await two.ask({ $case: 'reserve', value })).outcome).toBe(Outcome.GRANTED);
    const resume = { ...value, creation };
    expect((await two.ask({ $case: 'resumeCreation', value: resume })).outcome).toBe(Outcome.NOT_FOUND);
  }, 20_000);

  test("that replaces a killed one has an epoch that nobody had; the old one's open is had back there too, or expires", async () => {
    const [pod, other] = [cluster.pod(0), cluster.pod(1)];
    const { record } = await pod.server.open('again');
    await pod.server.open('left', { timeoutMs: 1000 });
    const before = [pod.server.epoch, other.server.epoch];
    pod.server.kill();
    const server = await pod.replaceServer();
    expect(server.epoch).toBeGreaterThan(Math.max(...before));
    await server.session(77n);
    expect((await server.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    await until(async () => (await other.server.open('left')).outcome === Outcome.GRANTED, 15_000);
  }, 30_000);

  test('that does not hold its lock file is not registered: its death could not be proven', async () => {
    const pod = cluster.pod(0);
    const nameless = new TestFileServer(pod.runDir, '1');
    await nameless.start();
    nameless.kill();
    await expect(nameless.start(undefined, 0, false)).rejects.toThrow(`answered ${Outcome.INVALID}`);
    nameless.detach();
  });

  test('whose stream broke goes on under its identity', async () => {
    const { server } = cluster.pod(0);
    const { record } = await server.open('resumed');
    const before = server.epoch;
    server.detach();
    await server.resume();
    expect(server.epoch).toBe(before);
    expect((await server.close(record)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('may serve for less than the lease that others wait for, by a margin', async () => {
    const pod = cluster.pod(0);
    pod.server.kill();
    const { deadlineNs } = await pod.replaceServer();
    const leftMs = Number(deadlineNs - process.hrtime.bigint()) / 1e6;
    expect(leftMs).toBeLessThanOrEqual(LEASE_MS - marginMs(LEASE_MS));
  }, 20_000);

  test('that is frozen past its lease is fenced; its writers wait for writeSettle; awake, it is told and refused', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('frozen');
    one.freeze();
    const deadlineNs = one.deadlineNs;
    const claim = { previousSessionId: 1n, user: 'alice' };
    expect((await two.ask({ $case: 'claimSession', value: claim })).outcome).toBe(Outcome.GRANTED);
    const back = await two.reclaim(record);
    expect(back.outcome).toBe(Outcome.GRANTED);
    expect(process.hrtime.bigint()).toBeGreaterThan(deadlineNs); // never before it had stopped itself
    one.detach();
    await expect(one.resume()).rejects.toThrow(String(Outcome.FENCED));
  }, 20_000);
});

test('a server that was fenced so long ago that the registry has forgotten it is told and refused when it comes', async () => {
  const { server } = cluster.pod(0);
  const { record } = await server.open('forgotten');
  const { registry, table } = (cluster.pod(1).sidecar as Sidecar).components;
  const identity = { serverId: 'uid-pod-0/0', epoch: Number(server.epoch) };
  await registry.beginFencing(identity, -1, 'test', false);
  await Promise.all(Array.from({ length: SHARDS }, (_, shard) => table.fence(shard, identity, 'fence', 'alive')));
  await registry.endFencing(identity);
  await registry.forget(identity);
  expect((await registry.list()).map(({ serverId }) => serverId)).toEqual(['uid-pod-1/0']);
  await until(() => server.fenced, 10_000);
  expect((await cluster.pod(1).server.reclaim(record)).outcome).toBe(Outcome.GRANTED);
  server.kill();
  const next = await cluster.pod(0).replaceServer();
  expect(next.epoch).toBeGreaterThan(server.epoch);
}, 30_000);

test('of a server that was fenced long ago nothing stays in the store when its handles have been had back or have expired', async () => {
  const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
  const { components } = cluster.pod(1).sidecar as Sidecar;
  const { registry, table } = components;
  const identity = { serverId: 'uid-pod-0/0', epoch: Number(one.epoch) };
  const kept = await one.open('kept', { timeoutMs: 300_000 });
  await one.open('left', { timeoutMs: 1000 });
  await one.ask({ $case: 'reserve', value: { directoryId: Buffer.from('folder'), name: 'GOAL' } });
  await registry.leaveMessage(identity.serverId, Buffer.from('for nobody'));
  one.kill();
  const left = async () => (await cluster.redis.admin.keys('*')).filter((key) => key.includes(identity.serverId));
  const fields = () =>
    Promise.all(Array.from({ length: SHARDS }, (_, shard) => cluster.redis.admin.hkeys(table.keys.fence(shard))));
  const remembered = async () => (await fields()).flat().filter((field) => field.startsWith(identity.serverId));
  const isKnown = async () => (await registry.list()).some(({ serverId }) => serverId === identity.serverId);
  const ofOld = async (state: string) =>
    (await registry.list()).some((server) => server.serverId === identity.serverId && server.state === state);
  await until(() => ofOld('fenced'), 30_000);

  // Time is short here; else an hour passes first.
  const forgetting = new Forgetting({ ...components, keptMs: 0, againMs: 0 });
  const retired = async (isDone: () => Promise<boolean>) => {
    forgetting.look(await registry.list(), monotonicMs());
    return isDone();
  };
  // Not while its handles wait.
  await until(() => retired(async () => (await remembered()).length === 2), 60_000);
  expect(await isKnown()).toBe(true);
  expect((await two.reclaim(kept.record)).outcome).toBe(Outcome.GRANTED);
  await until(() => retired(async () => !(await isKnown())), 60_000);
  expect([await remembered(), await left()]).toEqual([[], []]);

  // It holds nobody up, and nobody else was touched.
  const claim = { previousSessionId: 1n, user: 'alice' };
  expect((await two.ask({ $case: 'claimSession', value: claim })).outcome).toBe(Outcome.NOT_FOUND); // nothing to end
  const value = { directoryId: Buffer.from('folder'), name: 'GOAL' };
  expect((await two.ask({ $case: 'reserve', value })).outcome).toBe(Outcome.GRANTED);
  expect((await two.close(kept.record)).outcome).toBe(Outcome.GRANTED);
}, 150_000);

test('of a server that is over no session stays in the store, however many there were; those of others do', async () => {
  const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
  // Of one shard, more than are forgotten at once, and one in each of some others.
  const sessions = Array.from({ length: 1200 }, (_, i) => BigInt(i + 10));
  const elsewhere = [1n, 2n, 63n].map((shard) => (shard << 30n) | 7n);
  const ended = (9n << 30n) | 7n;
  for (const id of [...sessions, ...elsewhere, ended]) expect(await one.session(id)).toBe(Outcome.GRANTED);
  await one.ask({ $case: 'endSession', value: { sessionId: ended } });
  const stored = async () => (await cluster.redis.admin.keys('hf:*:session:*')).length;
  const listed = async () => (await cluster.redis.admin.keys('hf:*:sessions:*')).length;
  expect([await stored(), await listed()]).toEqual([
    1 + sessions.length + elsewhere.length + 1,
    1 + elsewhere.length + 1,
  ]);
  one.kill();
  await until(async () => (await stored()) === 1, 10_000);
  expect(await listed()).toBe(1);
  // Its client is told as before: there is nothing to end.
  const claim = await two.ask({ $case: 'claimSession', value: { previousSessionId: 500n, user: 'alice' } });
  expect(claim.outcome).toBe(Outcome.NOT_FOUND);
}, 30_000);

test('a server whose sidecar does not know that shards forget keeps its fence; others wait until no such server is there', async () => {
  const { components } = cluster.pod(1).sidecar as Sidecar;
  const { registry, table } = components;
  const older = (await registry.list()).find(({ serverId }) => serverId === 'uid-pod-0/0') as ServerRecord;
  const remembered = async (serverId: string) =>
    (await cluster.redis.admin.hkeys(table.keys.fence(0))).includes(serverId);
  const forgetting = new Forgetting({ ...components, keptMs: 0 });
  const look = (servers: ServerRecord[]) => forgetting.look(servers, monotonicMs());
  cluster.pod(0).server.kill();
  await until(async () => (await registry.list()).some(({ state }) => state === 'fenced'), 30_000);
  await until(async () => (await table.orphaned(0)).length === 0, 30_000);
  const servers = await registry.list();
  look([...servers, { ...older, serverId: 'older', epoch: older.epoch + 10, understands: 0 }]);
  look(servers.map((server) => (server.state === 'fenced' ? { ...server, understands: 0 } : server)));
  await until(async () => (await registry.list()).length === 1, 30_000);
  expect(await remembered(older.serverId)).toBe(true);
}, 60_000);

describe('a sidecar', () => {
  test('that ends a moment after its file server has fenced it: nobody has to wait for a lease', async () => {
    const pod = cluster.pod(0);
    const { record } = await pod.server.open('left behind');
    pod.server.kill();
    const { sidecar } = pod;
    await until(() => sidecar?.components.cluster.members.size === 0, 5000);
    await sidecar?.stop();
    const { registry } = cluster.pod(1).sidecar?.components ?? {};
    const servers = await registry?.list();
    expect(servers?.find(({ pod: name }) => name === pod.name)).toMatchObject({ state: 'fenced', silent: false });
    expect((await cluster.pod(1).server.reclaim(record)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('that is killed and started again goes on for its file server', async () => {
    const pod = cluster.pod(0);
    const { record } = await pod.server.open('through');
    const before = pod.server.epoch;
    pod.sidecar?.halt();
    pod.server.detach();
    await pod.startSidecar();
    await pod.server.resume();
    expect(pod.server.epoch).toBe(before);
    expect((await cluster.pod(1).server.reclaim(record)).outcome).toBe(Outcome.FILE_NOT_AVAILABLE); // its session lives
    const other = await pod.server.open('another');
    expect(other.record.openId).not.toBe(record.openId);
    expect((await pod.server.close(record)).outcome).toBe(Outcome.GRANTED);
    await until(() => pod.server.mayServe);
  }, 30_000);

  test('that is killed and started again has its file server end a session that it has not heard of', async () => {
    const pod = cluster.pod(0);
    await pod.server.session(700n); // nothing is open under it: its file server says nothing of it
    pod.sidecar?.halt();
    pod.server.detach();
    await pod.startSidecar();
    await pod.server.resume();
    const claim = { previousSessionId: 700n, user: 'alice' };
    expect((await cluster.pod(1).server.ask({ $case: 'claimSession', value: claim })).outcome).toBe(Outcome.GRANTED);
    expect(pod.server.got('dropSession')).toContainEqual({ sessionId: 700n });
  }, 30_000);

  test('that is killed together with its file server: started again it proves the death and fences', async () => {
    const pod = cluster.pod(0);
    const { record } = await pod.server.open('both');
    pod.sidecar?.halt();
    pod.server.kill();
    const beganMs = performance.now();
    await pod.startSidecar();
    expect((await cluster.pod(1).server.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    expect(performance.now() - beganMs).toBeLessThan(LEASE_MS);
  }, 20_000);

  test('and its file server that are cut off for good are fenced by a peer', async () => {
    const pod = cluster.pod(0);
    const { record } = await pod.server.open('lost-node');
    const deadlineNs = pod.server.deadlineNs;
    pod.sidecar?.halt();
    pod.server.freeze();
    const beganMs = performance.now();
    const back = await cluster.pod(1).server.reclaim(record);
    expect(back.outcome).toBe(Outcome.GRANTED);
    expect(process.hrtime.bigint()).toBeGreaterThan(deadlineNs);
    expect(performance.now() - beganMs).toBeLessThan(LEASE_MS + 200 + 1000 + 1000);
  }, 20_000);
});

describe('Redis', () => {
  test('paused for several leases: servers stop at their deadline, nothing is lost, nobody is fenced', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('paused');
    const epochs = [one.epoch, two.epoch];
    cluster.redis.pause();
    const during = one.open('asked-meanwhile');
    await until(() => !one.mayServe && !two.mayServe, 3 * LEASE_MS);
    const untilMs = performance.now() + LEASE_MS;
    await until(() => performance.now() > untilMs);
    const told: bigint[] = [];
    one.onCommand = (command) => {
      if (command.$case === 'renewed') told.push(command.value.deadlineNs);
      return undefined;
    };
    const resumedNs = process.hrtime.bigint();
    cluster.redis.resume();
    await until(() => one.mayServe && two.mayServe, 2 * LEASE_MS);
    // The renewal that waited counts from when it was sent, not from its answer: by then others might have fenced this server.
    expect(told[0]).toBeLessThan(resumedNs);
    expect((await during).outcome).toBe(Outcome.GRANTED);
    const laterMs = performance.now() + 1.5 * LEASE_MS;
    await until(() => performance.now() > laterMs, 10_000);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
    expect([one.epoch, two.epoch]).toEqual(epochs);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
  }, 30_000);

  test('away for longer than a decision waits: refused, and what was decided too late is taken back', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    cluster.redis.pause();
    const reserve = { $case: 'reserve' as const, value: { directoryId: Buffer.from('directory'), name: 'too-late' } };
    const [late, reserved] = await Promise.all([one.open('too-late', { shareAccess: 0 }), one.ask(reserve)]);
    expect(late.outcome).toBe(Outcome.STORE_UNAVAILABLE);
    expect(reserved.outcome).toBe(Outcome.STORE_UNAVAILABLE);
    cluster.redis.resume();
    await until(async () => (await two.ask(reserve)).outcome === Outcome.GRANTED, 10_000);
    await until(async () => (await two.open('too-late', { shareAccess: 0 })).outcome === Outcome.GRANTED, 10_000);
  }, 30_000);

  test('away for longer than a CLOSE waits: what was closed is closed when it is back, and does not come back when it loses its data', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('closed-meanwhile', { shareAccess: 0 });
    cluster.redis.pause();
    expect((await one.close(record)).outcome).toBe(Outcome.STORE_UNAVAILABLE);
    const opensOfOne = async () => (await cluster.status(cluster.pod(0))).servers[0]?.opensActive;
    const before = (await opensOfOne()) ?? 0n;
    cluster.redis.resume();
    await until(async () => (await opensOfOne()) === before - 1n, 10_000);
    await cluster.redis.kill();
    await cluster.redis.up('--appenddirname', 'another');
    expect((await two.open('closed-meanwhile', { shareAccess: 0 })).outcome).toBe(Outcome.GRANTED);
  }, 30_000);

  test('restarted with its data: state is put back, decisions go on', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('restarted', { shareAccess: 1 });
    await one.lock(record, 0, 10);
    await cluster.redis.kill();
    await cluster.redis.up();
    expect((await two.open('restarted')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
    expect((await two.open('restarted')).outcome).toBe(Outcome.GRANTED);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
  }, 30_000);

  test('come back empty: the owners put their opens back before anything new is granted', async () => {
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('emptied', { shareAccess: 1 });
    await one.lock(record, 0, 10);
    await cluster.redis.kill();
    await cluster.redis.up('--appenddirname', 'other');
    expect((await two.open('emptied')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
  }, 30_000);
});
