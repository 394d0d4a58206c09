import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { MigrateRequest, MigrationProgress, StatusReply } from '../../proto/generated/control.ts';
import { ComingOpen, Durability, type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { TRANSFER_BATCH } from '../../sidecar/constants.ts';
import type { Sidecar } from '../../sidecar/sidecar.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import type { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { until } from '../../sidecar/testing/redis.ts';

let cluster: TestCluster;
let one: TestFileServer;
let two: TestFileServer;
let three: TestFileServer;

beforeEach(async () => {
  cluster = await TestCluster.start(3, 3000);
  one = cluster.pod(0).server;
  two = cluster.pod(1).server;
  three = cluster.pod(2).server;
}, 20_000);
afterEach(() => cluster.stop());

async function openMany(server: TestFileServer, sessions: bigint[], each: number) {
  const records = [];
  for (const sessionId of sessions) {
    await server.session(sessionId);
    for (let i = 0; i < each; i++) records.push((await server.open(`file-${sessionId}-${i}`, { sessionId })).record);
  }
  return records;
}

function migrate(pod: TestPod, request: Partial<MigrateRequest>): Promise<MigrationProgress[]> {
  const full = { migrationId: 'm', targetPods: [], timeoutMs: 10_000, leaving: true, ...request };
  return new Promise((resolve, reject) => {
    const seen: MigrationProgress[] = [];
    const stream = cluster.control(pod).migrate(full);
    stream.on('data', (progress: MigrationProgress) => seen.push(progress));
    stream.on('end', () => resolve(seen));
    stream.on('error', reject);
  });
}

function statusOf(pod: TestPod, collector?: string): Promise<StatusReply> {
  return new Promise((resolve, reject) =>
    cluster.control(pod).getStatus({ collector }, (error, reply) => (error ? reject(error) : resolve(reply))),
  );
}

describe('a drain without an operator', () => {
  test("moves every session's opens to the others, who hand them to their clients", async () => {
    const records = await openMany(one, [101n, 102n, 103n, 104n], 5);
    await one.lock(records[0] as never, 3, 4);
    const drained = await one.drain(10_000);
    expect(drained).toMatchObject({ moved: 20n, released: 0n, left: 0n });
    expect(one.draining).toBe(true);
    expect(one.records.size).toBe(0);
    const warmed = [two, three].flatMap((server) => server.got('warmUp')).flatMap(({ opens }) => opens);
    const named = ({ openId, fileId, share, path, isDirectory }: ComingOpen) => ({
      openId,
      fileId,
      share,
      path,
      isDirectory,
    });
    const byId = (a: ComingOpen, b: ComingOpen) => (a.openId < b.openId ? -1 : 1);
    expect(warmed.map((open) => ComingOpen.decode(open)).sort(byId)).toEqual(records.map(named).sort(byId));
    for (const record of records) {
      const back = [await two.reclaim(record), undefined];
      if (back[0]?.outcome !== Outcome.GRANTED) back[1] = await three.reclaim(record);
      expect(back.some((b) => b?.outcome === Outcome.GRANTED)).toBe(true);
    }
    expect(two.records.get(records[0]?.openId ?? 0n)?.locks).toMatchObject([{ offset: 3n, length: 4n }]);
    expect(await one.session(999n)).toBe(Outcome.DRAINING);
    expect((await one.drain(1000)).left).toBe(0n);
  }, 30_000);

  test('is a trace of its own, where the operator has said where those go', async () => {
    type Sent = { name: string; traceId: string; spanId: string; parentSpanId?: string };
    const spans: Sent[] = [];
    const collector = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      for (const { scopeSpans } of JSON.parse(body).resourceSpans) spans.push(...scopeSpans[0].spans);
      response.end('{}');
    });
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    try {
      await statusOf(cluster.pod(0), `http://127.0.0.1:${(collector.address() as AddressInfo).port}`);
      await openMany(one, [101n], 2);
      expect(await one.drain(10_000)).toMatchObject({ moved: 2n, left: 0n });
      const wanted = ['drain', 'hand over', 'hand a session over', 'take over'];
      await until(async () => wanted.every((name) => spans.some((span) => span.name === name)), 60_000);
    } finally {
      collector.closeAllConnections();
      collector.close();
    }
    const named = (name: string) => spans.find((span) => span.name === name);
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
    expect(named('drain')?.parentSpanId).toBeUndefined();
    expect(named('hand over')?.parentSpanId).toBe(named('drain')?.spanId);
    expect(named('take over')?.parentSpanId).toBe(named('hand a session over')?.spanId);
  }, 90_000);

  test('goes in batches: no script is given more than it can do quickly', async () => {
    await one.session(105n);
    const opens = 2 * TRANSFER_BATCH + 1;
    // All in one shard.
    await Promise.all(Array.from({ length: opens }, () => one.open('crowded', { sessionId: 105n })));
    expect(await one.drain(10_000)).toMatchObject({ moved: BigInt(opens), released: 0n, left: 0n });
    const told = await cluster.pod(0).sidecar?.metrics.registry.metrics();
    expect(told).toContain('holdfast_handoff_steps_total{step="transfer",result="ok"} 3');
  }, 20_000);

  test('leaves out a target that has no room: the other takes what that would have had', async () => {
    const records = await openMany(one, [121n, 122n], 3);
    two.onCommand = (command) => command.$case !== 'warmUp';
    expect(await one.drain(10_000)).toMatchObject({ moved: 6n, released: 0n, left: 0n });
    for (const record of records) expect((await three.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    expect(two.got('dropOpen')).toHaveLength(0);
  }, 20_000);

  test('waits for a store that is away when it begins', async () => {
    await openMany(one, [111n], 3);
    await cluster.redis.kill();
    const drain = one.drain(20_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await cluster.redis.up();
    expect(await drain).toMatchObject({ moved: 3n, released: 0n, left: 0n });
  }, 30_000);

  test('does not wait long for a store that went with its whole cluster, where nothing is held', async () => {
    await cluster.redis.kill();
    const beganMs = Date.now();
    const message = expect.stringContaining('the connection to Redis is down');
    expect(await one.drain(60_000)).toMatchObject({ moved: 0n, released: 0n, left: 0n, message });
    expect(Date.now() - beganMs).toBeLessThan(15_000);
    await cluster.redis.up();
  }, 60_000);

  test('each session is quiesced, then its opens change owner, then it is released', async () => {
    const [record] = await openMany(one, [201n], 1);
    const order: string[] = [];
    one.onCommand = async (command) => {
      if (command.$case === 'quiesce' || command.$case === 'release') order.push(command.$case);
      return true;
    };
    await one.drain(10_000);
    expect(order).toEqual(['quiesce', 'release']);
    expect(one.got('release')[0]).toMatchObject({ openIds: [record?.openId], sessionIds: [201n] });
  }, 20_000);

  test('an open with a change that has not returned is left until it has', async () => {
    const records = await openMany(one, [301n], 2);
    const hung = records[1];
    if (!hung) throw new Error('no record');
    one.unfinished = [hung.openId];
    const drain = one.drain(10_000);
    await until(() => one.got('release').length > 0);
    expect(one.got('release')[0]?.openIds).toEqual([records[0]?.openId]);
    expect((await two.reclaim(hung)).outcome).toBe(Outcome.FILE_NOT_AVAILABLE);
    one.send({ $case: 'quiesced', value: { openId: hung.openId } });
    expect(await drain).toMatchObject({ moved: 2n, left: 0n });
    expect((await two.reclaim(hung)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('a change that returns at the very moment at which it is named unfinished is heard of', async () => {
    const records = await openMany(one, [302n], 2);
    const late = records[1];
    if (!late) throw new Error('no record');
    one.unfinished = [late.openId];
    one.onCommand = async (command) => {
      if (command.$case !== 'quiesce') return true;
      one.send({ $case: 'quiesced', value: { openId: late.openId } });
      await new Promise((resolve) => setTimeout(resolve, 50)); // that arrives first
      return true;
    };
    expect(await one.drain(2500)).toMatchObject({ moved: 2n, left: 0n });
    expect((await two.reclaim(late)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('where nothing is said of a change, the file server is asked whether it still holds the open', async () => {
    const records = await openMany(one, [303n], 2);
    const late = records[1];
    if (!late) throw new Error('no record');
    one.unfinished = [late.openId];
    expect(await one.drain(10_000)).toMatchObject({ moved: 2n, left: 0n });
    expect(one.got('dropOpen').map(({ openId }) => openId)).toEqual([late.openId]);
    expect((await two.reclaim(late)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('with nobody to take them, opens are released, and whoever comes may have them', async () => {
    two.kill();
    three.kill();
    await until(async () => {
      const servers = [...(cluster.pod(0).sidecar?.components.cluster.servers ?? [])];
      return servers.filter((server) => server.state === 'active').length === 1;
    }, 10_000);
    const [record] = await openMany(one, [401n], 1);
    expect(await one.drain(10_000)).toMatchObject({ moved: 0n, released: 1n, left: 0n });
    const again = await cluster.pod(2).replaceServer();
    await again.session(402n);
    if (!record) throw new Error('no record');
    expect((await again.reclaim(record)).outcome).toBe(Outcome.GRANTED);
  }, 30_000);
});

describe('a migration that the operator drives', () => {
  test('goes to the pod that it names; asked again, the outcome is repeated', async () => {
    const records = await openMany(one, [501n, 502n], 3);
    const seen = await migrate(cluster.pod(0), { targetPods: ['pod-2'] });
    expect(seen.at(-1)).toMatchObject({ done: true, phase: 'Done', moved: 6n, sessions: 2n, total: 6n });
    expect((await migrate(cluster.pod(0), { targetPods: ['pod-2'] })).at(-1)).toMatchObject({ done: true, moved: 6n });
    for (const record of records) {
      expect((await three.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    }
    expect(three.got('dropOpen')).toHaveLength(0);
  }, 20_000);

  test('takes a part, by whole sessions; the others notice nothing', async () => {
    const records = await openMany(one, [601n, 602n, 603n], 4);
    const request = { targetPods: ['pod-2'], leaving: false, maxOpens: 9n };
    const seen = await migrate(cluster.pod(0), request);
    expect(seen.at(-1)).toMatchObject({ done: true, phase: 'Done', moved: 8n, left: 4n, total: 12n, sessions: 2n });
    expect(one.records.size).toBe(4);
    const [stays] = [...one.records.values()];
    expect((await one.lock(stays as never, 0, 1)).outcome).toBe(Outcome.GRANTED);
    const gone = records.filter((record) => record.sessionId !== stays?.sessionId);
    for (const record of gone) expect((await three.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    // and then: one who leaves takes all, whatever was asked for before
    expect(await one.drain(10_000)).toMatchObject({ moved: 4n, left: 0n });
  }, 20_000);

  test('takes along what was granted to a session between its quiescence and its release', async () => {
    await openMany(one, [651n], 1);
    const late: OpenRecord[] = [];
    one.onCommand = async (command) => {
      if (command.$case !== 'release') return true;
      for (const durability of [Durability.PERSISTENT, Durability.NOT_DURABLE]) {
        late.push((await one.open(`late-${durability}`, { sessionId: 651n, durability, shareAccess: 0 })).record);
      }
      return true;
    };
    const seen = await migrate(cluster.pod(0), { targetPods: ['pod-2'], leaving: false });
    expect(seen.at(-1)).toMatchObject({ done: true, phase: 'Done', moved: 2n, left: 0n, sessions: 1n });
    expect((await two.open('late-0', { shareAccess: 0 })).outcome).toBe(Outcome.GRANTED);
    expect((await three.reclaim(late[0] as OpenRecord)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  describe('and the preStop hook at the same time', () => {
    const same = { moved: 6n, released: 0n, left: 0n };
    const request = { migrationId: 'm', targetPods: ['pod-2'], timeoutMs: 10_000, leaving: true };
    const here = () => (cluster.pod(0).sidecar as Sidecar).handoff;

    /** Holds the first session back until the other one of the two was asked for. */
    function hold(server: TestFileServer): () => void {
      const held = Promise.withResolvers<boolean>();
      server.onCommand = (command) => (command.$case === 'quiesce' ? held.promise : true);
      return () => held.resolve(true);
    }

    test('the hook joins the migration: both say what was moved', async () => {
      await openMany(one, [511n, 512n], 3);
      const letGo = hold(one);
      const migration = here().migrate(request, () => {});
      await until(() => one.got('quiesce').length > 0);
      const drain = here().drain(10_000);
      letGo();
      expect(await drain).toMatchObject(same);
      expect(await migration).toMatchObject({ ...same, phase: 'Done', total: 6n });
      expect(one.got('quiesce')).toHaveLength(2);
    }, 20_000);

    test('the migration joins the hook', async () => {
      await openMany(one, [521n, 522n], 3);
      const letGo = hold(one);
      const drain = here().drain(10_000);
      await until(() => one.got('quiesce').length > 0);
      const migration = here().migrate(request, () => {});
      letGo();
      expect(await drain).toMatchObject(same);
      expect(await migration).toMatchObject({ ...same, phase: 'Done', total: 6n });
    }, 20_000);

    test('a migration that was prepared when the hook moved everything reports that', async () => {
      await openMany(one, [531n, 532n], 3);
      await here().prepare(request);
      expect(await here().drain(10_000)).toMatchObject(same);
      expect(await here().migrate(request, () => {})).toMatchObject({ ...same, phase: 'Done', total: 6n });
    }, 20_000);

    test('a migration that comes when the hook has moved everything reports that', async () => {
      await openMany(one, [535n, 536n], 3);
      expect(await here().drain(10_000)).toMatchObject(same);
      expect(await here().migrate(request, () => {})).toMatchObject({ ...same, phase: 'Done', total: 6n });
    }, 20_000);

    test('when both are over, and the pod with them, its peers can tell how it went', async () => {
      await openMany(one, [537n, 538n], 3);
      expect(await here().drain(10_000)).toMatchObject(same);
      await cluster.pod(0).sidecar?.stop();
      const told = () => [...(cluster.pod(1).sidecar?.components.cluster.servers ?? [])].find((s) => s.pod === 'pod-0');
      await until(() => told()?.handedOver !== undefined);
      expect((await statusOf(cluster.pod(1))).peers.find(({ pod }) => pod === 'pod-0')?.handedOver).toEqual({
        ...{ moved: 6n, released: 0n, expired: 0n, left: 0n },
      });
    }, 20_000);

    test('the hook goes on where a migration is cancelled', async () => {
      await openMany(one, [541n, 542n, 543n, 544n, 545n, 546n], 1);
      const letGo = hold(one);
      const migration = here().migrate(request, () => {});
      await until(() => one.got('quiesce').length > 0);
      const drain = here().drain(10_000);
      here().cancel('m');
      letGo();
      const outcome = await migration;
      expect(outcome).toMatchObject({ phase: 'Cancelled', total: 6n });
      expect((outcome?.moved ?? 0n) + (outcome?.left ?? 0n)).toBe(6n);
      expect(await drain).toMatchObject(same);
    }, 20_000);
  });

  test('a client that lands on a third server is served: the target lets go', async () => {
    const [record] = await openMany(one, [601n], 1);
    await migrate(cluster.pod(0), { targetPods: ['pod-1'] });
    if (!record) throw new Error('no record');
    expect((await three.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    expect(two.got('dropOpen')).toMatchObject([{ openId: record.openId }]);
  }, 20_000);

  describe('a target that is told what is its own', () => {
    const told = () => {
      const { handoff, components } = cluster.pod(1).sidecar as Sidecar;
      const [member] = components.cluster.members.values();
      return { calls: jest.spyOn(handoff.custody, 'transferred'), opens: member?.opens };
    };
    const lost = () => {
      throw new Error('the answer is lost');
    };

    test('hears it again where the answer was lost, before the handoff is said to be done', async () => {
      const records = await openMany(one, [603n, 604n], 2);
      const { calls, opens } = told();
      calls.mockImplementationOnce(lost);
      await migrate(cluster.pod(0), { targetPods: ['pod-1'] });
      expect([...(opens?.keys() ?? [])].sort()).toEqual(records.map(({ openId }) => openId).sort());
    }, 20_000);

    test('and does not answer holds nobody up: it finds it in the table', async () => {
      const records = await openMany(one, [605n, 606n], 2);
      const { calls } = told();
      calls.mockImplementation(lost);
      const progress = await migrate(cluster.pod(0), { targetPods: ['pod-1'] });
      expect(progress.at(-1)).toMatchObject({ phase: 'Done', moved: 4n });
      expect(calls.mock.calls.length).toBeLessThanOrEqual(6);
      for (const record of records) expect((await two.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    }, 20_000);
  });

  test('word of a transfer that comes when its client has been there already, and closed it, brings nothing back for long', async () => {
    const [closed, waits] = (await openMany(one, [602n], 2)) as [OpenRecord, OpenRecord];
    await migrate(cluster.pod(0), { targetPods: ['pod-1'] });
    const back = await two.reclaim(closed);
    expect((await two.close(back.record ?? closed)).outcome).toBe(Outcome.GRANTED);
    const { peers } = cluster.pod(0).sidecar?.components ?? {};
    const { cluster: view } = cluster.pod(1).sidecar?.components ?? {};
    const [target] = view?.members.values() ?? [];
    if (!peers || !target) throw new Error('there is nobody to tell');
    const open = { ...closed, ownershipVersion: closed.ownershipVersion + 1n };
    const late = { migrationId: 'm', source: undefined, targetServerId: target.identity.serverId, opens: [open] };
    const to = { ...target.identity, address: cluster.pod(1).address };

    await peers.call(to, (client) => client.transferred, late, 10_000);

    expect([...target.opens.keys()].sort()).toEqual([closed.openId, waits.openId].sort());
    await until(() => target.opens.size === 1, 30_000);
    expect((await three.reclaim(waits)).outcome).toBe(Outcome.GRANTED);
  }, 60_000);

  test('a source whose sidecar dies before the release lets go of what it gave away, and of nothing that leads there', async () => {
    const records = await openMany(one, [611n], 3);
    one.onCommand = (command) => (command.$case === 'release' ? new Promise(() => {}) : true);
    void migrate(cluster.pod(0), { targetPods: ['pod-1'], leaving: false }).catch(() => {});
    await until(() => one.got('release').some(({ sessionIds }) => sessionIds.includes(611n)));
    one.onCommand = () => undefined;
    cluster.pod(0).sidecar?.halt();
    one.detach();
    await cluster.pod(0).startSidecar();
    const before = one.got('release').length;
    await one.resume();
    // Its client has gone already: that must not end what another server has, nor the way to it.
    const [first, ...others] = records as [OpenRecord, ...OpenRecord[]];
    expect((await one.disconnect(first)).outcome).toBe(Outcome.NOT_FOUND);
    await until(() => one.got('resume').length > 0);
    const released = one.got('release').slice(before);
    expect(released.flatMap(({ sessionIds }) => sessionIds)).toContain(611n);
    expect(released.flatMap(({ openIds }) => openIds)).toEqual(
      expect.arrayContaining(others.map(({ openId }) => openId)),
    );
    for (const record of records) expect((await three.reclaim(record)).outcome).toBe(Outcome.GRANTED);
  }, 20_000);

  test('says what a sidecar has', async () => {
    await openMany(one, [701n], 2);
    expect(await statusOf(cluster.pod(0))).toMatchObject({
      storeReachable: true,
      storeMessage: '',
      servers: [{ pod: 'pod-0', sessions: 1n, opensActive: 2n, opensPersistent: 2n }],
    });
    await until(() => [...(cluster.pod(0).sidecar?.components.cluster.servers ?? [])].length === 3);
  }, 20_000);

  test('proof from Kubernetes that a pod ended orphans its opens at once', async () => {
    const [record] = await openMany(one, [801n], 1);
    cluster.pod(0).sidecar?.halt();
    one.freeze();
    const fenced = await new Promise<number>((resolve, reject) =>
      cluster
        .control(cluster.pod(1))
        .serverEnded({ podUid: 'uid-pod-0', pod: '' }, (error, reply) =>
          error ? reject(error) : resolve(reply.serversFenced),
        ),
    );
    expect(fenced).toBe(1);
    if (!record) throw new Error('no record');
    const beganMs = performance.now();
    expect((await two.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    expect(performance.now() - beganMs).toBeLessThan(1000);
  }, 20_000);
});
