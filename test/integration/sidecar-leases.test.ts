import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Lease, type OpenRecord, OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { CLIENT, type TestFileServer } from '../../sidecar/testing/file-server.ts';
import { until } from '../../sidecar/testing/redis.ts';

const READ = 1;
const HANDLE = 2;
const WRITE = 4;
const ALL = READ | HANDLE | WRITE;
const NOTHING = Buffer.alloc(0);

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

const leaseOf = (name: number, state: number): Lease => ({
  key: Buffer.alloc(16, name),
  state,
  epoch: 10,
  version: 2,
  parentKey: NOTHING,
  breaking: false,
});
const plain: Partial<OpenRecord> = { durability: 0, createGuid: NOTHING };
const withLease = (name: number, state: number, fields: Partial<OpenRecord> = {}): Partial<OpenRecord> => ({
  ...plain,
  oplock: OplockLevel.OPLOCK_LEASE,
  lease: leaseOf(name, state),
  ...fields,
});

function acknowledge(server: TestFileServer, record: OpenRecord, state: number) {
  const lease = { ...leaseOf(0, state), key: record.lease?.key ?? NOTHING };
  const ack = { fileId: record.fileId, openId: 0n, level: OplockLevel.OPLOCK_LEASE, lease, clientGuid: CLIENT };
  return server.ask({ $case: 'breakAck', value: ack });
}

/** The client of a persistent open comes to `server`, which has session 2. */
async function reclaim(server: TestFileServer, { openId, createGuid, user, share, lease }: OpenRecord) {
  const leaseKey = lease?.key ?? NOTHING;
  const claim = { openId, createGuid, clientGuid: CLIENT, user, share, persistent: true, leaseKey, sessionId: 2n };
  const { outcome, body } = await server.ask({ $case: 'reclaim', value: claim });
  return { outcome, record: body?.$case === 'open' ? body.value.record : undefined };
}

/** An open that is asked for and not answered yet. */
function opening(server: TestFileServer, file: string, fields: Partial<OpenRecord>) {
  const asked = { isAnswered: false, answer: server.open(file, fields) };
  void asked.answer.then(() => {
    asked.isAnswered = true;
  });
  return asked;
}

describe('metrics', () => {
  test('show leases by what they grant, once each, and oplocks', async () => {
    const held = await one.open('watched', withLease(9, ALL));
    const again = await one.open('watched', withLease(9, ALL));
    const other = await one.open('watched too', { ...plain, oplock: OplockLevel.OPLOCK_EXCLUSIVE });
    const shown = async () => {
      const text = (await cluster.pod(0).sidecar?.metrics.registry.metrics()) ?? '';
      return text.split('\n').filter((line) => /^holdfast_(leases|oplocks)/.test(line) && !line.endsWith(' 0'));
    };
    expect(await shown()).toEqual(['holdfast_leases{state="RWH"} 1', 'holdfast_oplocks 1']);
    for (const open of [held, again, other]) await one.close(open.record);
    expect(await shown()).toEqual([]);
  });
});

describe('leases of two pods', () => {
  test('a newcomer waits until the other pod has acknowledged that writes are not cached any more', async () => {
    const held = await one.open('letter', withLease(1, ALL));
    expect(held.record.lease).toMatchObject({ state: ALL, epoch: 11, breaking: false });
    one.commands.length = 0;
    const newcomer = opening(two, 'letter', withLease(2, ALL));
    await until(() => one.got('break').length > 0);
    expect(one.got('break')).toMatchObject([
      { fromState: ALL, ackRequired: true, clientGuid: CLIENT, lease: { state: READ | HANDLE, epoch: 12 } },
    ]);
    const again = await one.open('letter', withLease(1, ALL));
    expect(again.record.lease).toMatchObject({ state: ALL, breaking: true });
    await until(() => two.interims.length > 0);
    expect(newcomer.isAnswered).toBe(false);
    const ack = await acknowledge(one, held.record, READ | HANDLE);
    expect(ack).toMatchObject({ outcome: Outcome.GRANTED, body: { value: { state: READ | HANDLE } } });
    const { outcome, record } = await newcomer.answer;
    expect(outcome).toBe(Outcome.GRANTED);
    expect(record.lease).toMatchObject({ state: READ | HANDLE, epoch: 11 });
    expect((await acknowledge(one, held.record, READ)).outcome).toBe(Outcome.NOT_BREAKING);
    for (const open of [held, again]) await one.close(open.record);
    await two.close(record);
  });

  test('more than what is left is not acknowledged', async () => {
    const held = await one.open('greedy', withLease(1, ALL));
    one.commands.length = 0;
    const newcomer = opening(two, 'greedy', plain);
    await until(() => one.got('break').length > 0);
    expect((await acknowledge(one, held.record, ALL)).outcome).toBe(Outcome.NOT_ACCEPTED);
    expect(newcomer.isAnswered).toBe(false);
    expect((await acknowledge(one, held.record, 0)).outcome).toBe(Outcome.GRANTED);
    await two.close((await newcomer.answer).record);
    await one.close(held.record);
  });

  test('a close is as good as an acknowledgement', async () => {
    const held = await one.open('closing', withLease(1, ALL));
    one.commands.length = 0;
    const newcomer = opening(two, 'closing', withLease(2, ALL));
    await until(() => one.got('break').length > 0);
    await one.close(held.record);
    expect((await newcomer.answer).record.lease?.state).toBe(ALL);
    await two.close((await newcomer.answer).record);
  });

  test('a sharing violation asks for the handle first, and is one if it is kept open', async () => {
    const held = await one.open('kept', withLease(1, ALL, { shareAccess: 0 }));
    one.commands.length = 0;
    const newcomer = opening(two, 'kept', plain);
    await until(() => one.got('break').length > 0);
    expect(one.got('break')).toMatchObject([{ lease: { state: READ | WRITE } }]);
    await acknowledge(one, held.record, READ | WRITE);
    expect((await newcomer.answer).outcome).toBe(Outcome.SHARING_VIOLATION);
    await one.close(held.record);
  });

  test('one lease of a client spans its opens at both pods', async () => {
    const first = await one.open('common', withLease(3, READ | HANDLE));
    const second = await two.open('common', withLease(3, ALL));
    expect(second.record.lease).toMatchObject({ state: ALL, epoch: 12 });
    await one.close(first.record);
    two.commands.length = 0;
    const newcomer = opening(one, 'common', plain);
    await until(() => two.got('break').length > 0);
    await acknowledge(two, second.record, READ | HANDLE);
    await one.close((await newcomer.answer).record);
    await two.close(second.record);
  });

  test('what was given up for a newcomer is not granted again before the newcomer had its turn', async () => {
    const held = await one.open('contended', withLease(15, ALL));
    one.commands.length = 0;
    const newcomer = opening(two, 'contended', withLease(16, ALL));
    await until(() => one.got('break').length > 0);
    // Both in one message: they are decided before the other pod hears of the acknowledgement.
    const acknowledged = acknowledge(one, held.record, READ | HANDLE);
    const again = await one.open('contended', withLease(15, ALL));
    await acknowledged;
    expect(again.record.lease).toMatchObject({ state: READ | HANDLE, breaking: false });
    const { record } = await newcomer.answer;
    expect(one.got('break')).toHaveLength(1);
    await two.close(record);
    const alone = await one.open('contended', withLease(15, ALL));
    expect(alone.record.lease).toMatchObject({ state: ALL });
    for (const open of [held, again, alone]) await one.close(open.record);
  });

  test('a lease is not raised to cache writes while its client has locks', async () => {
    const held = await one.open('locked', withLease(17, READ | HANDLE));
    await one.lock(held.record, 0, 1);
    const again = await one.open('locked', withLease(17, ALL));
    expect(again.record.lease).toMatchObject({ state: READ | HANDLE });
    await one.lock(held.record, 0, 1, { unlock: true });
    const unlocked = await one.open('locked', withLease(17, ALL));
    expect(unlocked.record.lease).toMatchObject({ state: ALL });
    for (const open of [held, again, unlocked]) await one.close(open.record);
  });

  test('a write takes what the other pod caches of reads, and waits for nobody', async () => {
    const writer = await one.open('written', plain);
    one.commands.length = 0;
    const reader = await two.open('written', withLease(4, READ | HANDLE, { access: 1 }));
    expect(one.got('fileState').at(-1)).toMatchObject({ readCached: true, cachedBy: Buffer.alloc(32, 7).fill(4, 16) });
    two.commands.length = 0;
    const { fileId, openId } = writer.record;
    expect((await one.ask({ $case: 'breakReadCaching', value: { fileId, openId } })).outcome).toBe(Outcome.GRANTED);
    expect(two.got('break')).toMatchObject([{ fromState: READ | HANDLE, ackRequired: true, lease: { state: 0 } }]);
    await acknowledge(two, reader.record, 0);
    await one.close(writer.record);
    await two.close(reader.record);
  });

  test('a persistent open has its lease back at the other pod', async () => {
    const fields: Partial<OpenRecord> = { ...withLease(5, ALL), durability: 2, createGuid: Buffer.alloc(16, 55) };
    const held = await one.open('lasting', fields);
    expect(held.record.lease?.state).toBe(ALL);
    await one.disconnect(held.record);
    const { outcome, record: back } = await reclaim(two, held.record);
    expect([outcome, back?.lease?.state, back?.lease?.epoch]).toEqual([Outcome.GRANTED, ALL, 11]);
    // And it is broken there.
    two.commands.length = 0;
    const newcomer = opening(one, 'lasting', plain);
    await until(() => two.got('break').length > 0);
    await acknowledge(two, held.record, READ | HANDLE);
    expect((await newcomer.answer).outcome).toBe(Outcome.GRANTED);
    await one.close((await newcomer.answer).record);
    await two.close(held.record);
  });

  test('a break under way is told again where the client gets its open back', async () => {
    const open = (guid: number) =>
      one.open('moving', withLease(7, ALL, { durability: 2, createGuid: Buffer.alloc(16, guid) }));
    const [{ record: first }, { record: second }] = [await open(71), await open(72)];
    one.commands.length = 0;
    const newcomer = opening(two, 'moving', plain);
    await until(() => one.got('break').length > 0);
    // The session moves while its client has not heard of the break; its opens follow one by one.
    two.commands.length = 0;
    await one.disconnect(first);
    const back = await reclaim(two, first);
    expect(back.record?.lease).toMatchObject({ state: ALL, epoch: 12, breaking: true });
    await until(() => two.got('break').length > 0);
    expect(two.got('break')).toMatchObject([{ fromState: ALL, ackRequired: true, lease: one.got('break')[0]?.lease }]);
    await one.disconnect(second);
    expect((await reclaim(two, second)).record?.lease?.breaking).toBe(true);
    expect(newcomer.isAnswered).toBe(false);
    await acknowledge(two, first, READ | HANDLE);
    const { outcome, record } = await newcomer.answer;
    expect(outcome).toBe(Outcome.GRANTED);
    for (const one of [record, first, second]) await two.close(one);
  });

  test('a break that only a server was told of that is gone is told where the client is', async () => {
    const dying = await cluster.addPod();
    await dying.server.session(3n);
    const record = async (server: TestFileServer) => (await server.open('shared', withLease(8, ALL))).record;
    await record(dying.server);
    dying.server.commands.length = 0;
    dying.server.onCommand = () => new Promise(() => {}); // it does not tell its client
    const newcomer = opening(two, 'shared', plain);
    await until(() => dying.server.got('break').length > 0);
    const here = await record(one);
    one.commands.length = 0;
    dying.server.kill();
    await until(() => one.got('break').length > 0);
    expect(one.got('break')).toMatchObject([{ ackRequired: true, lease: { state: READ | HANDLE, epoch: 12 } }]);
    await acknowledge(one, here, READ | HANDLE);
    await two.close((await newcomer.answer).record);
    await one.close(here);
  }, 20_000);

  test('a durable open whose client is away ends when its lease is broken', async () => {
    const fields: Partial<OpenRecord> = { ...withLease(6, ALL), durability: 1, createGuid: Buffer.alloc(16, 66) };
    const held = await one.open('abandoned', fields);
    expect(held.record.durability).toBe(1);
    await one.disconnect(held.record);
    one.commands.length = 0;
    const newcomer = await two.open('abandoned', withLease(2, ALL));
    expect([newcomer.outcome, newcomer.record.lease?.state]).toEqual([Outcome.GRANTED, ALL]);
    expect(one.got('dropOpen').map(({ openId }) => openId)).toEqual([held.record.openId]);
    await two.close(newcomer.record);
  });

  test('what was cached by a server that died is nobody else’s concern', async () => {
    const dying = await cluster.addPod();
    await dying.server.session(3n);
    await dying.server.open('lost', withLease(1, ALL));
    dying.server.onCommand = () => new Promise(() => {}); // it does not tell its client
    const newcomer = opening(two, 'lost', withLease(2, ALL));
    await until(() => dying.server.got('break').length > 0);
    dying.server.kill();
    expect((await newcomer.answer).record.lease?.state).toBe(ALL);
    await two.close((await newcomer.answer).record);
  }, 20_000);
});

describe('oplocks of two pods', () => {
  test('batch is broken to level II by an open, and to nothing by an overwriting one', async () => {
    const held = await one.open('old', { ...plain, oplock: OplockLevel.OPLOCK_BATCH });
    expect(held.record.oplock).toBe(OplockLevel.OPLOCK_BATCH);
    one.commands.length = 0;
    const newcomer = opening(two, 'old', plain);
    await until(() => one.got('break').length > 0);
    const { fileId, openId } = held.record;
    expect(one.got('break')).toMatchObject([{ openId, toLevel: OplockLevel.OPLOCK_LEVEL_II, ackRequired: true }]);
    const ack = { fileId, openId, level: OplockLevel.OPLOCK_LEVEL_II, lease: undefined, clientGuid: NOTHING };
    expect((await one.ask({ $case: 'breakAck', value: ack })).outcome).toBe(Outcome.GRANTED);
    const second = await newcomer.answer;
    expect(second.outcome).toBe(Outcome.GRANTED);
    one.commands.length = 0;
    const over = await two.open('old', plain, true);
    expect(over.outcome).toBe(Outcome.GRANTED);
    expect(one.got('break')).toMatchObject([{ openId, toLevel: OplockLevel.OPLOCK_NONE, ackRequired: false }]);
    await one.close(held.record);
    for (const { record } of [second, over]) await two.close(record);
  });
});

describe('a store that comes back empty', () => {
  test('leases and oplocks are put back as they were last', async () => {
    const persistent: Partial<OpenRecord> = { durability: 2 };
    const leased = await one.open('remembered', {
      ...withLease(8, ALL),
      ...persistent,
      createGuid: Buffer.alloc(16, 88),
    });
    const batch = await one.open('remembered-2', { ...plain, oplock: OplockLevel.OPLOCK_BATCH });
    one.commands.length = 0;
    const newcomer = opening(two, 'remembered', plain);
    await until(() => one.got('break').length > 0);
    await acknowledge(one, leased.record, READ | HANDLE);
    await two.close((await newcomer.answer).record);
    await cluster.redis.kill();
    await cluster.redis.up('--appenddirname', 'other');
    let again = leased;
    await until(async () => {
      again = await one.open('remembered', withLease(8, 0));
      return again.outcome === Outcome.GRANTED;
    }, 15_000);
    expect(again.record.lease).toMatchObject({ state: READ | HANDLE, epoch: 12, version: 2, breaking: false });
    one.commands.length = 0;
    const second = opening(two, 'remembered-2', plain);
    await until(() => one.got('break').length > 0);
    await one.close(batch.record);
    await two.close((await second.answer).record);
    for (const { record } of [leased, again]) await one.close(record);
  }, 30_000);
});
