import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { delay, monotonicMs } from '../../common/time.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { sampleRecord, type TestFileServer } from '../../sidecar/testing/file-server.ts';
import { until } from '../../sidecar/testing/redis.ts';

let cluster: TestCluster;
let one: TestFileServer;
let two: TestFileServer;

beforeAll(async () => {
  cluster = await TestCluster.start(2);
  one = cluster.pod(0).server;
  two = cluster.pod(1).server;
  await one.session(1n);
  await two.session(2n);
}, 20_000);
afterAll(() => cluster.stop());

const lockOf = (reply: { outcome: number }) => reply.outcome;

describe('opens of two pods', () => {
  test('share modes are decided across pods, and end with the close', async () => {
    const held = await one.open('shared-read', { shareAccess: 1 });
    expect(held.outcome).toBe(Outcome.GRANTED);
    expect((await two.open('shared-read')).outcome).toBe(Outcome.SHARING_VIOLATION);
    const reader = await two.open('shared-read', { access: 1, shareAccess: 7 });
    expect(reader.outcome).toBe(Outcome.GRANTED);
    await one.close(held.record);
    await two.close(reader.record);
    const after = await two.open('shared-read');
    expect(after.outcome).toBe(Outcome.GRANTED);
    await two.close(after.record);
  });

  test('an open that asks for attributes alone meets no share mode', async () => {
    const held = await one.open('attributes', { shareAccess: 0 });
    const look = await two.open('attributes', { access: 0x80, shareAccess: 0, durability: 0 });
    expect(look.outcome).toBe(Outcome.GRANTED);
    await one.close(held.record);
    await two.close(look.record);
  });

  test('the last close of a delete-pending file removes it, and nobody opens it meanwhile', async () => {
    const first = await one.open('doomed');
    const second = await two.open('doomed');
    const set = { fileId: first.record.fileId, openId: first.record.openId, pending: true, onClose: false };
    expect((await one.ask({ $case: 'setDeletePending', value: set })).outcome).toBe(Outcome.GRANTED);
    expect((await two.open('doomed')).outcome).toBe(Outcome.DELETE_PENDING);
    const notYet = await one.close(first.record);
    expect(notYet.body).toMatchObject({ value: { remove: false } });
    const last = await two.close(second.record);
    expect(last.body).toMatchObject({ value: { remove: true, share: 'projects', path: 'doomed' } });
    expect((await one.open('doomed')).outcome).toBe(Outcome.DELETE_PENDING);
    expect((await two.ask({ $case: 'fileGone', value: { fileId: second.record.fileId, ahead: false } })).outcome).toBe(
      Outcome.GRANTED,
    );
    const anew = await one.open('doomed');
    expect(anew.outcome).toBe(Outcome.GRANTED);
    await one.close(anew.record);
  });

  test('a replayed create finds its open, and only its own', async () => {
    const { record } = await one.open('replayed');
    const ask = (user: string) =>
      one.ask({ $case: 'findCreate', value: { createGuid: record.createGuid, clientGuid: record.clientGuid, user } });
    expect(await ask('alice')).toMatchObject({
      outcome: Outcome.GRANTED,
      body: { value: { record: { openId: record.openId } } },
    });
    expect((await ask('mallory')).outcome).toBe(Outcome.ACCESS_DENIED);
    expect((await one.open('replayed', { createGuid: record.createGuid })).outcome).toBe(Outcome.DUPLICATE_OBJECTID);
    await one.close(record);
    expect((await ask('alice')).outcome).toBe(Outcome.NOT_FOUND);
  });

  test('two servers cannot create one name', async () => {
    const value = { directoryId: Buffer.from('directory'), name: 'a.txt' };
    expect((await one.ask({ $case: 'reserve', value })).outcome).toBe(Outcome.GRANTED);
    expect((await two.ask({ $case: 'reserve', value })).outcome).toBe(Outcome.NAME_BUSY);
    await one.ask({ $case: 'dropReservation', value });
    await until(async () => (await two.ask({ $case: 'reserve', value })).outcome === Outcome.GRANTED);
    await two.ask({ $case: 'dropReservation', value });
  });

  test('who reserves a name hears whether another server has reserved one in the directory since it did', async () => {
    let names = 0;
    const isTold = async (server: typeof one) => {
      const value = { directoryId: Buffer.from('told'), name: `${names++}.txt` };
      const { body } = await server.ask({ $case: 'reserve', value });
      await server.ask({ $case: 'dropReservation', value });
      return body?.$case === 'reserved' ? body.value.elsewhere : undefined;
    };
    const asked = [one, one, two, two, one, one];
    const told: unknown[] = [];
    for (const server of asked) told.push(await isTold(server));
    expect(told).toEqual([false, false, true, false, true, false]);
  });

  test('a directory with something open beneath it at another pod is not renamed', async () => {
    const directory = await one.open('top', { isDirectory: true, durability: 0, access: 0x10000 });
    const beneath = await two.open('top/inside.txt');
    const rename = {
      fileId: directory.record.fileId,
      openId: directory.record.openId,
      share: 'projects',
      from: 'top',
      to: 'new',
      isDirectory: true,
      replacesFileId: Buffer.alloc(0),
    };
    expect((await one.ask({ $case: 'beginRename', value: rename })).outcome).toBe(Outcome.OPENS_BENEATH);
    await two.close(beneath.record);
    expect((await one.ask({ $case: 'beginRename', value: rename })).outcome).toBe(Outcome.GRANTED);
    const { fileId, openId } = rename;
    expect((await one.ask({ $case: 'endRename', value: { fileId, openId, done: true, to: 'new' } })).outcome).toBe(
      Outcome.GRANTED,
    );
    await one.close(directory.record);
  });

  test('nor is one with something open beneath it at a pod that has just come', async () => {
    const slow = await TestCluster.start(1, 60_000); // looks who there is every few seconds
    try {
      const early = slow.pod(0).server;
      await early.session(1n);
      const directory = await early.open('top', { isDirectory: true, durability: 0, access: 0x10000 });
      const { server: late } = await slow.addPod();
      await late.session(2n);
      await late.open('top/inside.txt');
      const { fileId, openId } = directory.record;
      const rename = { fileId, openId, share: 'projects', from: 'top', to: 'new', isDirectory: true };
      const value = { ...rename, replacesFileId: Buffer.alloc(0) };
      expect((await early.ask({ $case: 'beginRename', value })).outcome).toBe(Outcome.OPENS_BENEATH);
    } finally {
      await slow.stop();
    }
  });

  test.each([
    ['is not renamed when it is granted', Outcome.GRANTED, Outcome.OPENS_BENEATH],
    ['is renamed when it is refused', Outcome.SHARING_VIOLATION, Outcome.GRANTED],
  ])('a directory beneath which another pod is just opening something %s', async (what, decided, renamed) => {
    const directory = await one.open(what, { isDirectory: true, durability: 0, access: 0x10000 });
    const held = decided === Outcome.GRANTED ? undefined : await one.open('held', { shareAccess: 0 });
    // given: the store has decided, and the answer is on its way
    const { table } = cluster.pod(1).sidecar?.components ?? {};
    if (!table) throw new Error('no sidecar');
    const [isDecided, arrives] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const open = table.open.bind(table);
    const slow = jest.spyOn(table, 'open').mockImplementation(async (...args) => {
      const decision = await open(...args);
      isDecided.resolve();
      await arrives.promise;
      return decision;
    });
    const opening = two.open(held ? 'held' : `${what}/file`, { path: `${what}/file` });
    await isDecided.promise;
    slow.mockRestore();

    // when
    const { fileId, openId } = directory.record;
    const rename = { fileId, openId, share: 'projects', from: what, to: 'new', isDirectory: true };
    const renaming = one.ask({ $case: 'beginRename', value: { ...rename, replacesFileId: Buffer.alloc(0) } });
    await Promise.race([renaming, delay(100)]);
    arrives.resolve();

    // then
    expect((await renaming).outcome).toBe(renamed);
    const opened = await opening;
    expect(opened.outcome).toBe(decided);
    await one.ask({ $case: 'endRename', value: { fileId, openId, done: false, to: '' } });
    if (decided === Outcome.GRANTED) await two.close(opened.record);
    if (held) await one.close(held.record);
    await one.close(directory.record);
  });

  test('an open beneath a directory that is being renamed waits for that, and whoever looked it up before is told to look again', async () => {
    const directory = await one.open('renaming', { isDirectory: true, durability: 0, access: 0x10000 });
    const { fileId, openId } = directory.record;
    const rename = { fileId, openId, share: 'projects', from: 'renaming', to: 'renamed', isDirectory: true };
    const value = { ...rename, replacesFileId: Buffer.alloc(0) };
    expect((await one.ask({ $case: 'beginRename', value })).outcome).toBe(Outcome.GRANTED);

    const record = () => sampleRecord('beneath', { path: 'renaming/file' });
    const ask = (lookedUpMs: number | undefined) =>
      two.ask({ $case: 'open', value: { record: record(), truncates: false, drop: undefined, lookedUpMs } });
    const lookedUpMs = monotonicMs();
    const asks = [lookedUpMs, undefined].map(ask);
    expect(await Promise.race([...asks, delay(200)])).toBeUndefined();
    await one.ask({ $case: 'endRename', value: { fileId, openId, done: true, to: 'renamed' } });

    const [told, opened] = await Promise.all(asks);
    expect([told?.outcome, opened?.outcome]).toEqual([Outcome.NAME_BUSY, Outcome.GRANTED]);
    // One that comes later, too; and what is there by that name now is had.
    expect((await ask(lookedUpMs)).outcome).toBe(Outcome.NAME_BUSY);
    await delay(2);
    const anew = await ask(monotonicMs());
    expect(anew.outcome).toBe(Outcome.GRANTED);
    for (const body of [opened?.body, anew.body]) {
      if (body?.$case === 'open' && body.value.record) await two.close(body.value.record);
    }
    await one.close(directory.record);
  });
});

describe('byte-range locks of two pods', () => {
  test('conflict across pods; the other pod has the list before the lock is granted', async () => {
    const a = await one.open('locked');
    const b = await two.open('locked');
    two.commands.length = 0;
    expect(lockOf(await one.lock(a.record, 0, 100))).toBe(Outcome.GRANTED);
    expect(two.got('fileState').at(-1)?.locks).toMatchObject([
      { offset: 0n, length: 100n, exclusive: true, openId: a.record.openId },
    ]);
    expect(lockOf(await two.lock(b.record, 99, 10))).toBe(Outcome.LOCK_NOT_GRANTED);
    expect(lockOf(await two.lock(b.record, 100, 10))).toBe(Outcome.GRANTED);
    expect(lockOf(await one.lock(a.record, 5, 5, { unlock: true }))).toBe(Outcome.RANGE_NOT_LOCKED);
    expect(lockOf(await one.lock(a.record, 0, 100, { unlock: true }))).toBe(Outcome.GRANTED);
    await one.close(a.record);
    await two.close(b.record);
  });

  test('a lock is not granted before the other pod took the new list', async () => {
    const a = await one.open('slow-list');
    const b = await two.open('slow-list');
    const taken = Promise.withResolvers<boolean>();
    two.onCommand = (command) => (command.$case === 'fileState' ? taken.promise : undefined);
    let granted = false;
    const lock = one.lock(a.record, 0, 1).then((reply) => {
      granted = reply.outcome === Outcome.GRANTED;
    });
    await until(() => two.got('fileState').some((state) => state.fileId.equals(a.record.fileId)));
    expect(granted).toBe(false);
    taken.resolve(true);
    await lock;
    expect(granted).toBe(true);
    two.onCommand = () => undefined;
    await one.close(a.record);
    await two.close(b.record);
  });

  test('a waiting lock is answered interim, and granted when the other pod unlocks', async () => {
    const a = await one.open('waited');
    const b = await two.open('waited');
    await one.lock(a.record, 0, 10);
    const interims = two.interims.length;
    const waiting = two.lock(b.record, 0, 10, { failImmediately: false });
    await until(() => two.interims.length > interims);
    const beganMs = performance.now();
    await one.lock(a.record, 0, 10, { unlock: true });
    expect((await waiting).outcome).toBe(Outcome.GRANTED);
    expect(performance.now() - beganMs).toBeLessThan(900); // woken, not found at the next interval
    await one.close(a.record);
    await two.close(b.record);
  });

  test('a cancelled wait is answered cancelled and leaves no lock', async () => {
    const a = await one.open('cancelled');
    const b = await two.open('cancelled');
    await one.lock(a.record, 0, 10);
    const interims = two.interims.length;
    const waiting = two.lock(b.record, 0, 10, { failImmediately: false });
    await until(() => two.interims.length > interims);
    two.send({ $case: 'cancel', value: { requestId: two.interims.at(-1) ?? 0n } });
    expect((await waiting).outcome).toBe(Outcome.CANCELLED);
    await one.lock(a.record, 0, 10, { unlock: true });
    expect(lockOf(await one.lock(a.record, 0, 10))).toBe(Outcome.GRANTED);
    await one.close(a.record);
    await two.close(b.record);
  });

  test('a lock that another pod did not take note of is not granted, and repeated it is really held', async () => {
    const a = await one.open('not-noted');
    const b = await two.open('not-noted');
    two.onCommand = (command) => (command.$case === 'fileState' ? false : undefined);
    const again = { index: 5, number: 2 };
    expect(lockOf(await one.lock(a.record, 0, 10, again))).toBe(Outcome.STORE_UNAVAILABLE);
    two.onCommand = () => undefined;
    expect(lockOf(await one.lock(a.record, 0, 10, again))).toBe(Outcome.GRANTED);
    expect(lockOf(await two.lock(b.record, 0, 10))).toBe(Outcome.LOCK_NOT_GRANTED);
    expect(lockOf(await one.lock(a.record, 0, 10, { unlock: true, index: 5, number: 3 }))).toBe(Outcome.GRANTED);
    await one.close(a.record);
    await two.close(b.record);
  }, 40_000);

  test('a replayed lock request succeeds once', async () => {
    const { record } = await one.open('sequenced');
    expect(lockOf(await one.lock(record, 0, 10, { index: 3, number: 9 }))).toBe(Outcome.GRANTED);
    expect(lockOf(await one.lock(record, 0, 10, { index: 3, number: 9 }))).toBe(Outcome.GRANTED);
    expect(lockOf(await one.lock(record, 0, 10, { index: 3, number: 10 }))).toBe(Outcome.LOCK_NOT_GRANTED);
    await one.close(record);
  });
});

describe('level II oplocks of two pods', () => {
  test('granted, then broken by a write of the other pod', async () => {
    const writer = await one.open('cached');
    one.commands.length = 0;
    const reader = await two.open('cached', { oplock: 1, access: 1, durability: 0 });
    expect(reader.record.oplock).toBe(1);
    expect(one.got('fileState').at(-1)?.readCached).toBe(true); // before the grant was answered
    two.commands.length = 0;
    const { fileId, openId } = writer.record;
    const broken = await one.ask({ $case: 'breakReadCaching', value: { fileId, openId } });
    expect(broken).toMatchObject({ outcome: Outcome.GRANTED, body: { value: { readCached: false } } });
    expect(two.got('break')).toMatchObject([{ openId: reader.record.openId, toLevel: 0, ackRequired: false }]);
    await one.close(writer.record);
    await two.close(reader.record);
  });

  test('broken by a lock and by an overwriting open', async () => {
    const other = await one.open('cached-2');
    const reader = await two.open('cached-2', { oplock: 1, access: 1, durability: 0 });
    two.commands.length = 0;
    await one.lock(other.record, 0, 1);
    expect(two.got('break')).toHaveLength(1);
    await one.lock(other.record, 0, 1, { unlock: true });
    const again = await two.open('cached-2', { oplock: 1, access: 1, durability: 0 });
    expect(again.record.oplock).toBe(1);
    const over = await one.open('cached-2', {}, true);
    expect(two.got('break')).toHaveLength(2);
    for (const record of [other.record, over.record]) await one.close(record);
    for (const record of [reader.record, again.record]) await two.close(record);
  });
});

describe('sessions and reclaim between pods that live', () => {
  test('a disconnected open is let go to the server that its client comes to, with its locks', async () => {
    await one.session(11n);
    const { record } = await one.open('roaming', { sessionId: 11n });
    await one.lock(record, 7, 3);
    await one.disconnect(record);
    expect((await two.open('roaming')).outcome).toBe(Outcome.FILE_NOT_AVAILABLE);
    expect((await two.reclaim(record, { user: 'mallory' })).outcome).toBe(Outcome.ACCESS_DENIED);
    expect((await two.reclaim(record, { createGuid: Buffer.alloc(16, 9) })).outcome).toBe(Outcome.NOT_FOUND);
    expect((await two.reclaim(record, { persistent: false })).outcome).toBe(Outcome.NOT_FOUND);
    const back = await two.reclaim(record);
    expect(back).toMatchObject({
      outcome: Outcome.GRANTED,
      record: { openId: record.openId, path: 'roaming', locks: [{ offset: 7n, length: 3n }] },
    });
    expect(one.got('dropOpen')).toMatchObject([{ openId: record.openId }]);
    expect((await one.close(record)).outcome).toBe(Outcome.NOT_FOUND);
    await two.close(record);
    expect((await one.reclaim(record)).outcome).toBe(Outcome.NOT_FOUND); // what was closed is never reclaimable
  }, 15_000);

  test('an open with a live session stays', async () => {
    await one.session(12n);
    const { record } = await one.open('busy', { sessionId: 12n });
    expect((await two.reclaim(record)).outcome).toBe(Outcome.FILE_NOT_AVAILABLE);
    await one.close(record);
  });

  test('an open whose session is gone is had back where it was, too', async () => {
    await one.session(15n);
    const { record } = await one.open('here', { sessionId: 15n });
    await one.ask({ $case: 'endSession', value: { sessionId: 15n } });
    const { outcome, record: back } = await one.reclaim(record); // by another session
    expect(outcome).toBe(Outcome.GRANTED);
    expect(one.got('dropOpen').at(-1)).toMatchObject({ openId: record.openId });
    expect(back?.sessionId).toBe(99n);
    expect((await one.close(record)).outcome).toBe(Outcome.GRANTED);
  });

  test('PreviousSessionId ends the session at the other pod; its opens can be had then', async () => {
    await one.session(13n);
    const { record } = await one.open('previous', { sessionId: 13n });
    const claim = (user: string) => two.ask({ $case: 'claimSession', value: { previousSessionId: 13n, user } });
    expect((await claim('mallory')).outcome).toBe(Outcome.ACCESS_DENIED);
    expect((await claim('alice')).outcome).toBe(Outcome.GRANTED);
    expect((await claim('alice')).outcome).toBe(Outcome.NOT_FOUND);
    expect((await two.reclaim(record)).outcome).toBe(Outcome.GRANTED);
    await two.close(record);
  });

  test('an open whose client stays away expires, and delete-on-close is carried out', async () => {
    const { record } = await one.open('expiring', { timeoutMs: 1000, deleteOnClose: true });
    await one.disconnect(record);
    await until(
      () => [...one.got('removeFile'), ...two.got('removeFile')].some((file) => file.path === 'expiring'),
      8000,
    );
    await until(async () => {
      const again = await two.open('expiring');
      if (again.outcome === Outcome.GRANTED) await two.close(again.record);
      return again.outcome === Outcome.GRANTED;
    });
    expect((await one.reclaim(record)).outcome).toBe(Outcome.NOT_FOUND);
  }, 20_000);
});
