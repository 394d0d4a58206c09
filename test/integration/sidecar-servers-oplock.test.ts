// The oplock that a file server has for itself, of an open that its client may have closed (decisions 22 and 29): who needs to know is
// made to wait until it has been asked, and nobody else notices that there is one.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Durability, type OpenRecord, OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import { type Identity, idBytes, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import { Internal, type OpenDecision, Table } from '../../sidecar/table/table.ts';
import { sampleRecord } from '../../sidecar/testing/file-server.ts';
import { OpenStore } from '../../sidecar/testing/open-store.ts';

const FILE = Buffer.from('volume:file');
const SHARD = shardOf(FILE);
const NOTHING = Buffer.alloc(0);
const PLAIN: Partial<OpenRecord> = {
  durability: Durability.NOT_DURABLE,
  createGuid: NOTHING,
  access: 1,
  shareAccess: 7,
};
const KEPT: Partial<OpenRecord> = { ...PLAIN, oplock: OplockLevel.OPLOCK_BATCH, kept: true };
const ATTRIBUTES = 0x80;
const DELETE = 0x1_0000;
const one: Identity = { serverId: 'one', epoch: 3 };
const two: Identity = { serverId: 'two', epoch: 4 };
const lease = (state: number) => ({
  oplock: OplockLevel.OPLOCK_LEASE,
  lease: { key: Buffer.alloc(16, 1), state, epoch: 0, version: 2, parentKey: NOTHING, breaking: false },
});

let opened: OpenStore;
let table: Table;
let ids: OpenIds;
let runs = 0;

beforeAll(async () => {
  opened = await OpenStore.start();
}, 20_000);
afterAll(() => opened.stop());
beforeEach(async () => {
  const keys = new Keys(`servers-${++runs}`);
  await opened.enter(keys, [one, two]);
  table = new Table(opened.store, keys, 5000);
  ids = new OpenIds(one.epoch, 0);
});

function ask(server: Identity, fields: Partial<OpenRecord>, truncates = false, again = false): Promise<OpenDecision> {
  const record = sampleRecord('file', { fileId: FILE, openId: ids.next(SHARD) ?? 0n, ...fields });
  return table.open(server, record, { truncates, again, guidAgain: false, mayBeFleeting: true });
}

/** The open that server one keeps; alone on the file, or beside one for attributes, of which the table decides by another way. */
async function kept(beside: boolean): Promise<OpenRecord> {
  if (beside) await ask(one, { ...PLAIN, access: ATTRIBUTES });
  const { outcome, record } = await ask(one, KEPT);
  expect([outcome, record?.oplock]).toEqual([Outcome.GRANTED, OplockLevel.OPLOCK_BATCH]);
  return record as OpenRecord;
}

describe.each([
  ['alone on its file', false],
  ['beside an open for attributes', true],
])('an oplock that is its server’s own, %s', (_, beside) => {
  test.each<[string, Partial<OpenRecord>, boolean]>([
    ['reads', PLAIN, false],
    ['writes', { ...PLAIN, access: 3 }, false],
    ['may delete', { ...PLAIN, access: DELETE }, false],
    ['truncates', { ...PLAIN, access: 2 }, true],
    ['caches reads and the handle', { ...PLAIN, ...lease(3) }, false],
    ['caches reads', { ...PLAIN, oplock: OplockLevel.OPLOCK_LEVEL_II }, false],
  ])('keeps nobody waiting who %s', async (_what, how, truncates) => {
    const record = await kept(beside);
    const decided = await ask(two, how, truncates);
    expect([decided.outcome, decided.notices, decided.record?.oplock]).toEqual([Outcome.GRANTED, [], how.oplock ?? 0]);
    if (how.lease) expect(decided.record?.lease?.state).toBe(3);
    // It is asked when it matters.
    const exclusive = await ask(two, { ...PLAIN, shareAccess: 0 });
    expect([exclusive.outcome, exclusive.awaited]).toEqual([
      Internal.BREAKING,
      expect.arrayContaining([expect.objectContaining({ holder: idBytes(record.openId) })]),
    ]);
  });

  test('takes no caching from who opens the file for attributes', async () => {
    await kept(beside);
    const decided = await ask(two, { ...PLAIN, access: ATTRIBUTES, ...lease(3) });
    expect([decided.outcome, decided.record?.lease?.state]).toEqual([Outcome.GRANTED, 3]);
  });

  test.each<[string, Partial<OpenRecord>]>([
    ['shares nothing', { ...PLAIN, shareAccess: 0 }],
    ['deletes the file with its CLOSE', { ...PLAIN, access: DELETE, deleteOnClose: true }],
    ['wants to cache writes by an oplock', { ...PLAIN, oplock: OplockLevel.OPLOCK_BATCH }],
    ['wants to cache writes by a lease', { ...PLAIN, ...lease(7) }],
  ])('is asked for who %s, who is granted it when the open is closed', async (_what, how) => {
    const record = await kept(beside);
    const waits = await ask(two, how);
    expect([waits.outcome, waits.notices]).toEqual([Internal.BREAKING, [expect.anything()]]);
    expect((await table.close(one, FILE, record.openId, record)).outcome).toBe(Outcome.GRANTED);
    const decided = await ask(two, how, false, true);
    expect([decided.outcome, decided.record?.oplock, decided.record?.lease?.state]).toEqual([
      Outcome.GRANTED,
      how.oplock ?? 0,
      how.lease?.state,
    ]);
  });

  test.each(['deletePending', 'deleteOnClose'] as const)('is asked for who sets %s', async (what) => {
    const record = await kept(beside);
    const deleter = await ask(two, { ...PLAIN, access: DELETE });
    const openId = deleter.record?.openId ?? 0n;
    expect((await table.change(two, FILE, openId, what, 1)).outcome).toBe(Internal.BREAKING);
    await table.close(one, FILE, record.openId, record);
    expect((await table.change(two, FILE, openId, what, 1, true)).outcome).toBe(Outcome.GRANTED);
    expect((await table.change(two, FILE, openId, what, 0)).outcome).toBe(Outcome.GRANTED);
  });

  test('is asked when the file is to be replaced, and not when it is written or locked', async () => {
    const record = await kept(beside);
    const { record: writer } = await ask(two, { ...PLAIN, access: 3 });
    const openId = writer?.openId ?? 0n;
    const write = await table.breakCaching(two, FILE, { openId }, { keep: 0, waitFor: 4, again: false });
    expect([write.outcome, write.notices]).toEqual([Outcome.GRANTED, []]);
    const element = { offset: 0n, length: 1n, exclusive: true, unlock: false, failImmediately: true };
    const lock = await table.lock(two, FILE, openId, 1, { index: 0, number: 0 }, [element], false);
    expect([lock.outcome, lock.notices]).toEqual([Outcome.GRANTED, []]);
    const replace = await table.breakCaching(two, FILE, { openId: 0n }, { keep: 5, waitFor: 2, again: false });
    expect([replace.outcome, replace.notices.length]).toEqual([Internal.BREAKING, 1]);
    expect((await table.acknowledge(one, FILE, idBytes(record.openId), 0, 0)).outcome).toBe(Outcome.GRANTED);
  });

  test('caches nothing: no change of the file breaks it', async () => {
    await kept(beside);
    const { state } = await table.state(two, FILE, 'look', 0n);
    expect(state).toMatchObject({ readCached: false, cachedBy: NOTHING });
  });
});

test('what the sidecar is told of the file when it is alone is what the table says', async () => {
  const { state } = await ask(one, KEPT);
  const looked = await table.state(one, FILE, 'look', 0n);
  expect(looked.state).toEqual(state);
});
