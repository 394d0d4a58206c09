// A store that lost something: nothing is granted before all that is alive has put its state back, and no handle is lost.
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import type { Given } from '../../sidecar/fencing/given.ts';
import type { Sidecar } from '../../sidecar/sidecar.ts';
import { shardOfOpen } from '../../sidecar/table/table.ts';
import { TestCluster, type TestPod } from '../../sidecar/testing/cluster.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';

const LEASE_MS = 2000;
let cluster: TestCluster;
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  await cluster.stop();
  for (const end of ends.splice(0)) await end();
});

async function pods(count: number): Promise<void> {
  cluster = await TestCluster.start(count, LEASE_MS);
  for (const [i, pod] of cluster.pods.entries()) await pod.server.session(BigInt(i + 1));
}

/** As a file server says hello: again, until it is heard. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  let done: T | undefined;
  await until(async () => {
    done = await work().catch(() => undefined);
    return done !== undefined;
  }, 10_000);
  return done as T;
}

const granted = async (asked: Promise<{ outcome: Outcome }>) => (await asked).outcome === Outcome.GRANTED;

describe('a Redis that was restored from an old copy', () => {
  test('is brought up to date by those who live, servers that it has never seen among them', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const [closed, moved] = [await one.open('closed', { shareAccess: 0 }), await one.open('moved')];
    const unlocked = await one.open('unlocked');
    await one.lock(unlocked.record, 0, 10);
    const copy = cluster.redis.backUp();

    // What happened since: opens, locks, a close, an unlock, a change of owner, a server that came.
    const three = (await cluster.addPod()).server;
    await three.session(3n);
    const late = await three.open('late', { shareAccess: 1 });
    await three.lock(late.record, 0, 10);
    const after = await one.open('after', { shareAccess: 1 });
    await one.close(closed.record);
    await one.lock(unlocked.record, 0, 10, { unlock: true });
    await one.disconnect(moved.record);
    expect((await two.reclaim(moved.record)).outcome).toBe(Outcome.GRANTED);
    // The others have heard of it: looks come ten times a lease.
    const heardOf = ({ sidecar }: (typeof cluster.pods)[0]) => sidecar?.components.cluster.server('uid-pod-2/0');
    await until(() => cluster.pods.every(heardOf));
    await cluster.redis.restore(copy);

    expect((await two.open('late')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.open('after')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await three.lock(late.record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await two.reclaim(closed.record)).outcome).not.toBe(Outcome.GRANTED);
    expect((await three.open('closed', { shareAccess: 0 })).outcome).toBe(Outcome.GRANTED);
    const other = await three.open('unlocked');
    expect((await three.lock(other.record, 0, 10)).outcome).toBe(Outcome.GRANTED);
    expect((await two.close(moved.record)).outcome).toBe(Outcome.GRANTED);
    expect((await one.close(after.record)).outcome).toBe(Outcome.GRANTED);
    expect([one.fenced, two.fenced, three.fenced]).toEqual([false, false, false]);
  }, 30_000);

  test('does not bring back a server that was fenced, nor what it had', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 0 });
    const copy = cluster.redis.backUp();
    one.kill();
    expect((await two.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    await cluster.redis.restore(copy);

    const other = await patiently(() => cluster.pod(0).replaceServer());
    expect(other.epoch).toBeGreaterThan(one.epoch);
    await other.session(11n);
    expect((await other.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await two.close(record)).outcome).toBe(Outcome.GRANTED);
    expect(await granted(other.open('kept'))).toBe(true);
  }, 30_000);
});

test.each([
  ['that names the locks it knows', true],
  ['of an earlier version', false],
])(
  'a Redis that was killed while a sidecar is away has the locks of its file server still, one %s',
  async (_, names) => {
    await pods(2);
    const [pod, two] = [cluster.pod(0), cluster.pod(1).server];
    const { record } = await pod.server.open('kept');
    const sequence = { index: 3, number: 7 };
    await pod.server.lock(record, 0, 10, sequence);
    const { record: other } = await two.open('kept');
    if (!names) pod.server.states.clear();
    pod.sidecar?.halt();
    pod.server.detach();
    await cluster.redis.kill();
    await cluster.redis.up();
    await pod.startSidecar();
    await pod.server.resume();

    await until(async () => (await two.lock(other, 20, 1)).outcome === Outcome.GRANTED);
    expect((await two.lock(other, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await pod.server.lock(record, 0, 10, sequence)).outcome).toBe(Outcome.GRANTED); // it is repeated
    expect((await pod.server.lock(record, 0, 10, { unlock: true })).outcome).toBe(Outcome.GRANTED);
    expect((await two.lock(other, 5, 1)).outcome).toBe(Outcome.GRANTED);
  },
  30_000,
);

describe('a Redis that comes back empty', () => {
  test('while a sidecar is away too: its file server brings the handles', async () => {
    await pods(2);
    const [pod, two] = [cluster.pod(0), cluster.pod(1).server];
    const { record } = await pod.server.open('kept', { shareAccess: 1 });
    await pod.server.lock(record, 0, 10);
    pod.sidecar?.halt();
    pod.server.detach();
    await cluster.redis.restartEmpty();
    await pod.startSidecar();
    await pod.server.resume();

    expect((await two.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await pod.server.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await pod.server.close(record)).outcome).toBe(Outcome.GRANTED);
    expect(pod.server.fenced).toBe(false);
  }, 30_000);

  test('what was had back at another server, and closed there, does not come back', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('closed', { shareAccess: 0 });
    expect((await one.disconnect(record)).outcome).toBe(Outcome.GRANTED);
    const { record: back } = await two.reclaim(record); // one lets it go, and would keep it for whoever comes
    if (!back) throw new Error('not had back');
    expect((await two.close(back)).outcome).toBe(Outcome.GRANTED);
    await cluster.redis.restartEmpty();
    expect((await one.open('closed')).outcome).toBe(Outcome.GRANTED);
  }, 30_000);

  test('what a fenced server had, was had back and closed does not come back', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const opened = [await one.open('closed', { shareAccess: 0 }), await one.open('waits', { shareAccess: 0 })];
    const [closed, waits] = opened.map(({ record }) => record) as [OpenRecord, OpenRecord];
    one.kill();
    await until(() => cluster.pods.every(({ sidecar }) => sidecar?.orphans.count === 2)); // both sidecars keep it
    const { record: back } = await two.reclaim(closed);
    if (!back) throw new Error('not had back');
    expect((await two.close(back)).outcome).toBe(Outcome.GRANTED);
    await cluster.redis.restartEmpty();
    expect((await two.open('closed')).outcome).toBe(Outcome.GRANTED);
    expect((await two.open('waits')).outcome).not.toBe(Outcome.GRANTED);
    expect((await two.reclaim(waits)).outcome).toBe(Outcome.GRANTED);
    expect(await cluster.redis.admin.keys('*:ended')).toEqual([]);
  }, 30_000);

  test('a client that comes to another server as soon as it is open has its session ended where it was', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const sessions = Array.from({ length: 500 }, (_, i) => 1000n + BigInt(i));
    await Promise.all(sessions.map((sessionId) => one.session(sessionId)));
    const previousSessionId = sessions.at(-1) ?? 0n;
    const { record } = await one.open('held', { sessionId: previousSessionId });
    await cluster.redis.restartEmpty();
    const claim = () => two.ask({ $case: 'claimSession', value: { previousSessionId, user: 'alice' } });
    expect((await claim()).outcome).toBe(Outcome.GRANTED);
    expect(one.got('dropSession')).toEqual([{ sessionId: previousSessionId }]);
    expect((await two.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    expect((await claim()).outcome).toBe(Outcome.NOT_FOUND);
  }, 30_000);

  test('what is looked up in it meanwhile is not taken for ended', async () => {
    await pods(1);
    const { server, sidecar } = cluster.pod(0) as TestPod & { sidecar: Sidecar };
    const { record } = await server.open('kept');
    const { table, cluster: view } = sidecar.components;
    const look = () => table.owns(shardOfOpen(record), view.anyMember()?.owner ?? '', [record]);
    expect(await look()).toEqual([true]);
    await cluster.redis.restartEmpty();
    await expect(look()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await patiently(look)).toEqual([true]);
  }, 30_000);

  test('a name that is reserved for what is under way stays reserved', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const value = { directoryId: Buffer.from('folder'), name: 'GOAL' };
    expect((await one.ask({ $case: 'reserve', value })).outcome).toBe(Outcome.GRANTED);
    await cluster.redis.restartEmpty();
    let dropped = false;
    const asked = two.ask({ $case: 'reserve', value }).then(({ outcome }) => ({ outcome, dropped }));
    // given: the store is open again
    await until(async () => (await one.open('other')).outcome === Outcome.GRANTED);
    dropped = true;
    await one.ask({ $case: 'dropReservation', value });
    expect(await asked).toEqual({ outcome: Outcome.GRANTED, dropped: true });
  }, 30_000);

  test('after longer than a lease: servers that had stopped by their clocks have not lost what they had', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 1 });
    await one.lock(record, 0, 10);
    await cluster.redis.kill();
    await until(() => !one.mayServe && !two.mayServe, 2 * LEASE_MS);
    await cluster.redis.restartEmpty();

    expect((await two.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.lock(record, 5, 1)).outcome).toBe(Outcome.LOCK_NOT_GRANTED);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
    expect([one.fenced, two.fenced]).toEqual([false, false]);
  }, 30_000);

  test('after a file server died: whoever looks after its handles still has them', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('orphan', { shareAccess: 1 });
    await one.lock(record, 0, 10);
    one.kill();
    // Fenced, and its opens are known to who looks after them.
    await until(() => cluster.pods.some(({ sidecar }) => sidecar?.orphans.count === 1));
    await cluster.redis.restartEmpty();

    const back = await two.reclaim(record);
    expect(back).toMatchObject({ outcome: Outcome.GRANTED, record: { locks: [{ offset: 0n, length: 10n }] } });
  }, 30_000);

  test('after a drain had nobody to give handles to: who released them still has them', async () => {
    await pods(1);
    const { server } = cluster.pod(0);
    const { record } = await server.open('released', { shareAccess: 0 });
    await server.lock(record, 0, 10);
    expect(await server.drain(10_000)).toMatchObject({ released: 1n, left: 0n });
    await cluster.redis.restartEmpty();

    cluster.store.newStore = false;
    const two = (await cluster.addPod()).server;
    await two.session(2n);
    expect(await patiently(() => two.open('released'))).toMatchObject({ outcome: Outcome.FILE_NOT_AVAILABLE });
    const back = await two.reclaim(record);
    expect(back).toMatchObject({ outcome: Outcome.GRANTED, record: { locks: [{ offset: 0n, length: 10n }] } });
  }, 30_000);

  describe('after handles were given to a server that does not answer', () => {
    /** Gives an open with a lock to the second pod, whose sidecar does not answer when it is told, until it may. */
    async function given(count: number): Promise<{ record: OpenRecord; kept: Given; answers: () => void }> {
      await pods(count);
      const { server, sidecar } = cluster.pod(0) as TestPod & { sidecar: Sidecar };
      const { custody } = (cluster.pod(1).sidecar as Sidecar).handoff;
      const deaf = jest.spyOn(custody, 'transferred').mockImplementation(() => {
        throw new Error('nobody hears this');
      });
      const { record } = await server.open('given', { shareAccess: 0 });
      await server.lock(record, 0, 10);
      const request = { migrationId: 'm', targetPods: ['pod-1'], timeoutMs: 10_000, leaving: false };
      expect(await sidecar.handoff.migrate(request, () => {})).toMatchObject({ moved: 1n, left: 0n });
      return { record, kept: sidecar.given, answers: () => deaf.mockRestore() };
    }

    test('who gave them away still has them', async () => {
      const { record } = await given(2);
      await cluster.redis.restartEmpty();
      const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
      expect((await one.open('given', { shareAccess: 0 })).outcome).not.toBe(Outcome.GRANTED);
      const back = await two.reclaim(record);
      expect(back).toMatchObject({ outcome: Outcome.GRANTED, record: { locks: [{ offset: 0n, length: 10n }] } });
    }, 30_000);

    test('when that one has ended too, it has passed them on', async () => {
      const { record } = await given(3);
      const [one, , three] = cluster.pods as [TestPod, TestPod, TestPod];
      one.server.kill();
      await one.sidecar?.stop();
      await cluster.redis.restartEmpty();
      expect(await three.server.reclaim(record)).toMatchObject({ outcome: Outcome.GRANTED });
    }, 30_000);

    test('and answers later: it is told, and is the only one that remembers them', async () => {
      const { record, kept, answers } = await given(2);
      const [member] = cluster.pod(1).sidecar?.components.cluster.members.values() ?? [];
      expect([kept.count, member?.opens.has(record.openId)]).toEqual([1, false]);
      answers();
      await until(() => kept.count === 0);
      expect(member?.opens.has(record.openId)).toBe(true);
      await cluster.redis.restartEmpty();
      expect(await cluster.pod(1).server.reclaim(record)).toMatchObject({ outcome: Outcome.GRANTED });
    }, 30_000);

    test('what was had back elsewhere is not remembered any longer, and does not come back when it was closed', async () => {
      const { record, kept } = await given(3);
      const three = cluster.pod(2).server;
      const { record: back } = await three.reclaim(record);
      if (!back) throw new Error('not had back');
      await until(() => kept.count === 0);
      expect((await three.close(back)).outcome).toBe(Outcome.GRANTED);
      await cluster.redis.restartEmpty();
      expect((await three.open('given', { shareAccess: 0 })).outcome).toBe(Outcome.GRANTED);
    }, 30_000);

    test('and that cannot say what will be in the store, it does not say that it has them', async () => {
      const { record, kept, answers } = await given(2);
      const opens = kept.owners.flatMap((owner) => kept.of(owner));
      answers();
      const { peers, cluster: view } = cluster.pod(0).sidecar?.components ?? {};
      await until(() => view?.server('uid-pod-1/0') !== undefined);
      const target = view?.server('uid-pod-1/0');
      if (!peers || !target) throw new Error('there is nobody to tell');
      await cluster.redis.restartEmpty();
      await until(() => cluster.pod(1).sidecar?.components.table.store.open === false);
      const request = { migrationId: 'm', source: undefined, targetServerId: target.serverId, opens };
      const tell = () => peers.call(target, (client) => client.transferred, request, 10_000);
      expect(await tell()).toMatchObject({ ok: false });
      await until(async () => (await tell()).ok, 10_000);
      expect(await cluster.pod(1).server.reclaim(record)).toMatchObject({ outcome: Outcome.GRANTED });
    }, 30_000);
  });

  test('after who released handles has ended: it passed them on to a pod that could not take them over', async () => {
    await pods(2);
    const [one, two] = cluster.pods as [TestPod, TestPod];
    const { record } = await one.server.open('released', { shareAccess: 1 });
    await two.server.drain(10_000); // it goes away too
    await until(() => one.sidecar?.components.cluster.server('uid-pod-1/0')?.leaving === true);
    expect(await one.server.drain(10_000)).toMatchObject({ released: 1n, left: 0n });
    await until(() => two.sidecar?.orphans.count === 1);
    one.server.kill();
    one.sidecar?.halt();
    await cluster.redis.restartEmpty();

    cluster.store.newStore = false;
    const three = (await cluster.addPod()).server;
    await three.session(3n);
    expect(await three.reclaim(record)).toMatchObject({ outcome: Outcome.GRANTED });
  }, 30_000);

  test('to which a pod comes before those who live have put back theirs: its epoch is none of theirs', async () => {
    await pods(3);
    const epochs = cluster.pods.map(({ server }) => server.epoch);
    await cluster.redis.kill();
    cluster.store.newStore = false;
    const late = cluster.newPod();
    await late.startSidecar(); // it tries all the time, as those that live do
    const registered = patiently(async () => {
      await late.server.start();
      return true;
    });
    await cluster.redis.restartEmpty();
    await registered;
    expect(late.server.epoch).toBeGreaterThan(Math.max(...epochs));
    await until(
      async () =>
        (
          await cluster
            .pod(0)
            .server.open('any')
            .catch(() => undefined)
        )?.outcome === Outcome.GRANTED,
    );
    expect(cluster.pods.map(({ server }) => server.fenced)).toEqual([false, false, false, false]);
  }, 30_000);

  test('after the custodian of an orphan has ended: it passed it on', async () => {
    await pods(2);
    const [one, two] = cluster.pods as [TestPod, TestPod];
    const { record } = await one.server.open('orphan', { shareAccess: 1 });
    one.server.kill();
    await until(() => one.sidecar?.orphans.count === 1);
    await one.sidecar?.stop();
    expect(two.sidecar?.orphans.count).toBe(1);
    await cluster.redis.restartEmpty();

    expect(await two.server.reclaim(record)).toMatchObject({ outcome: Outcome.GRANTED });
  }, 30_000);
});

describe('a Redis that threw keys away', () => {
  test('is refused while it may, and put right before it is used again', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 1 });
    const { admin } = cluster.redis;
    const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
    await admin.config('SET', 'maxmemory-policy', 'allkeys-random', 'maxmemory', String(Math.floor(used / 2)));
    await until(async () => /evicted_keys:[1-9]/.test(await admin.info('stats')));
    await until(async () => (await cluster.storeMessage(cluster.pod(0))).includes('noeviction'), 10_000);
    await admin.config('SET', 'maxmemory', '0', 'maxmemory-policy', 'noeviction');

    expect((await two.open('kept')).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
  }, 30_000);
});

describe('a Redis without memory', () => {
  test('opens nothing new, lets go of what is there, and loses no server', async () => {
    await pods(2);
    const [one, two] = [cluster.pod(0).server, cluster.pod(1).server];
    const { record } = await one.open('kept', { shareAccess: 1 });
    const { admin } = cluster.redis;
    await admin.config('SET', 'maxmemory', '100kb');

    expect((await two.open('new')).outcome).toBe(Outcome.TOO_MANY);
    expect(await cluster.storeMessage(cluster.pod(1))).toContain('out of memory');
    const deadlines = [one.deadlineNs, two.deadlineNs];
    await until(() => one.deadlineNs > (deadlines[0] ?? 0n) && two.deadlineNs > (deadlines[1] ?? 0n));
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
    await admin.config('SET', 'maxmemory', '0');
    expect(await granted(two.open('new'))).toBe(true);
    await until(async () => (await cluster.storeMessage(cluster.pod(1))) === '', 15_000);
  }, 30_000);
});

describe('a store that is not ours', () => {
  test('because another cluster with the same id lives in it: refused until that has ended', async () => {
    await pods(1);
    const theirs = cluster;
    const store = { config: theirs.config.store, clusterId: theirs.config.clusterId, newStore: false };
    const ours = await TestCluster.start(0, LEASE_MS, store);
    ends.push(() => ours.stop());
    const pod = ours.newPod();
    await pod.startSidecar();
    await until(async () => (await ours.storeMessage(pod)).includes('another cluster with the same id'), 10_000);
    await expect(pod.server.start()).rejects.toThrow(String(Outcome.STORE_UNAVAILABLE));
    pod.server.detach();
    expect(theirs.pod(0).server.fenced).toBe(false);
    expect(await granted(theirs.pod(0).server.open('theirs'))).toBe(true);

    theirs.pod(0).server.kill();
    theirs.pod(0).sidecar?.halt();
    await until(async () => (await ours.storeMessage(pod)) === '', 15_000);
    await pod.server.start();
    expect(await pod.server.session(5n)).toBe(Outcome.GRANTED);
  }, 40_000);

  test('because a newer version writes it', async () => {
    const redis = await TestRedis.start();
    ends.push(() => redis.stop());
    const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
    cluster = await TestCluster.start(0, LEASE_MS, { config });
    await redis.admin.set(`hf:{${cluster.config.clusterId}}:schema`, '2');
    const pod = cluster.newPod();
    await pod.startSidecar();
    await until(async () => (await cluster.storeMessage(pod)).includes('upgrade all file servers'));
  }, 20_000);
});

describe('a store that is empty', () => {
  const isNew = (pod: TestPod) =>
    new Promise<boolean>((resolve, reject) =>
      cluster.control(pod).storeIsNew({}, (error, reply) => (error ? reject(error) : resolve(reply.heard))),
    );

  test('is used at once when the operator says that nobody has served yet: once, and not when it has lost its data', async () => {
    const redis = await TestRedis.start();
    ends.push(() => redis.stop());
    const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
    // Without that word it would be waited for ten minutes.
    cluster = await TestCluster.start(0, LEASE_MS, { config, newStore: false, maxExtensionMs: 600_000 });
    const one = cluster.newPod();
    await one.startSidecar();
    await until(() => isNew(one));
    await patiently(async () => {
      await one.server.start();
      return true;
    });
    expect(await isNew(one)).toBe(false); // it does not wait any more
    await one.server.session(1n);
    expect((await one.server.open('kept')).outcome).toBe(Outcome.GRANTED);

    await redis.restartEmpty();
    const again = patiently(() => one.server.open('another'));
    let heard = false; // it has had handles in it: it has to wait for who else may have
    while (await Promise.race([again.then(() => false), delay(50).then(() => true)])) heard ||= await isNew(one);
    expect(heard).toBe(false);
  }, 40_000);
});
