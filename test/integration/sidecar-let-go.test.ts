// Opens that leave a server: where nobody else has the file open, its packed records are changed where they stand (let-go.lua), and come to
// what they would be unpacked, changed and packed again.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Durability, OpenRecord, OplockLevel, Outcome, Reclaim } from '../../proto/generated/handles.ts';
import { type Identity, identityText, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import type { Store } from '../../sidecar/table/store.ts';
import { Internal, Table } from '../../sidecar/table/table.ts';
import { OpenStore } from '../../sidecar/testing/open-store.ts';

const FILE = Buffer.from('volume:file');
const SHARD = shardOf(FILE);
const HOW = { truncates: false, again: false, guidAgain: false };
const NOTHING = Buffer.alloc(0);
const one: Identity = { serverId: '7c9e6679-7425-40de-944b-e07fc1f90ae7/0', epoch: 300 };
const two: Identity = { serverId: 'two', epoch: 70_000 };

let opened: OpenStore;
let store: Store;
let runs = 0;

beforeAll(async () => {
  opened = await OpenStore.start();
  ({ store } = opened);
}, 20_000);
afterAll(() => opened.stop());

/** A table of its own. */
async function newTable(): Promise<{ table: Table; keys: Keys; file: string }> {
  const keys = new Keys(`let-go-${++runs}`);
  const table = new Table(store, keys, 5000);
  await opened.enter(keys, [one, two]);
  return { table, keys, file: keys.file(SHARD, FILE.toString('hex')) };
}

/** Everything that the store holds of the file, and of what waits or is owned. */
async function contents(keys: Keys, file: string): Promise<unknown> {
  const fields = await store.data.hgetallBuffer(file);
  const members = await Promise.all(
    [identityText(one), identityText(two), '-'].map((owner) => store.data.smembersBuffer(keys.own(SHARD, owner))),
  );
  const due = await store.data.zrangeBuffer(keys.due(SHARD), 0, '-1', 'WITHSCORES');
  return { fields: Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)), members, due };
}

const guid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
const asked = fc
  .record({
    access: fc.constantFrom(0x1, 0x3, 0x80, 0x10000, 0x12019f, 0x80_0080, 0xffff_ffff),
    shareAccess: fc.nat(7),
    durability: fc.constantFrom(Durability.DURABLE, Durability.PERSISTENT, Durability.RESILIENT),
    timeoutMs: fc.constantFrom(1, 255, 60_000, 300_000),
    caching: fc.oneof(
      fc.record({ oplock: fc.nat(3), state: fc.constant(0), epoch: fc.constant(0) }),
      fc.record({ oplock: fc.constant(4), state: fc.nat(7), epoch: fc.constantFrom(0, 126, 127, 254, 65_535) }),
    ),
    version: fc.constantFrom(1, 2),
    key: guid,
    parentKey: fc.oneof(fc.constant(NOTHING), guid),
    createGuid: fc.oneof(fc.constant(NOTHING), guid),
    clientGuid: guid,
    deleteOnClose: fc.boolean(),
    path: fc.string({ unit: 'binary', maxLength: 300 }),
    user: fc.string({ maxLength: 60 }),
    attachment: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  })
  .map(({ caching, version, key, parentKey, ...fields }) => {
    const lease = { key, state: caching.state, epoch: caching.epoch, version, parentKey, breaking: false };
    return OpenRecord.create({
      ...fields,
      ...{ openId: new OpenIds(one.epoch, 0).next(SHARD) ?? 0n, fileId: FILE, share: 'projects', sessionId: 7n },
      oplock: caching.oplock as OplockLevel,
      ...(caching.oplock === 4 ? { lease } : {}),
    });
  });

describe('an open that leaves', () => {
  test.each([
    ['to another server', identityText(two)],
    ['to nobody', undefined],
  ])(
    '%s is changed as any other is',
    async (_what, to) => {
      let moved = 0;
      await fc.assert(
        fc.asyncProperty(asked, fc.boolean(), async (record, isBreaking) => {
          const inPlace = await newTable();
          const unpacked = await newTable();
          const open = { ...record, ownershipVersion: 1n };
          for (const { table } of [inPlace, unpacked]) {
            expect((await table.open(one, record, HOW)).outcome).toBe(Outcome.GRANTED);
            // A break that nobody answers any more when the open has gone.
            const how = { keep: 0, waitFor: 0, again: false };
            if (isBreaking) await table.breakCaching(two, FILE, { openId: 0n }, how);
          }
          const outcome = await inPlace.table.letGo(one, SHARD, [open], to);
          // Of a file that an open was looked for in already all that follows are changed the other way.
          const unknown = { ...open, openId: open.openId + 1n };
          expect(await unpacked.table.letGo(one, SHARD, [unknown, open], to)).toEqual([
            Outcome.NOT_FOUND,
            ...(outcome as number[]),
          ]);
          const after = await contents(inPlace.keys, inPlace.file);
          expect(after).toEqual(await contents(unpacked.keys, unpacked.file));
          if ((outcome as number[])[0] === Outcome.GRANTED) moved++;
          // Said again, it finds what it has done.
          expect(await inPlace.table.letGo(one, SHARD, [open], to)).toEqual(outcome);
          expect(await contents(inPlace.keys, inPlace.file)).toEqual(after);
        }),
        { numRuns: 200 },
      );
      expect(moved).toBeGreaterThan(100);
    },
    60_000,
  );

  test('stays where its version is another', async () => {
    const { table, keys, file } = await newTable();
    const record = lease(1);
    await table.open(one, record, HOW);
    const before = await contents(keys, file);
    const stale = await table.letGo(one, SHARD, [{ ...record, ownershipVersion: 2n }], identityText(two));
    expect([stale, await contents(keys, file)]).toEqual([[Internal.STALE], before]);
  });

  test('stays where the server is fenced, or the other one', async () => {
    const { table, keys, file } = await newTable();
    const open = { ...lease(1), ownershipVersion: 1n };
    await table.open(one, open, HOW);
    const before = await contents(keys, file);
    await table.fence(SHARD, two, 'fence', 'alive');
    expect(await table.letGo(one, SHARD, [open], identityText(two))).toBe(Outcome.INVALID);
    await table.fence(SHARD, one, 'fence', 'alive');
    expect(await table.letGo(one, SHARD, [open], undefined)).toBe(Outcome.FENCED);
    expect((before as { fields: unknown }).fields).toEqual(
      ((await contents(keys, file)) as { fields: unknown }).fields,
    );
  });

  test('leaves another one that its server has of the file where it is', async () => {
    const { table, keys, file } = await newTable();
    const [goes, stays] = [1, 2].map((key) => ({
      ...lease(key),
      oplock: OplockLevel.OPLOCK_NONE,
      lease: undefined,
      ownershipVersion: 1n,
    }));
    if (!goes || !stays) throw new Error('two opens');
    for (const open of [goes, stays]) expect((await table.open(one, open, HOW)).outcome).toBe(Outcome.GRANTED);
    expect(await table.letGo(one, SHARD, [goes], identityText(two))).toEqual([Outcome.GRANTED]);
    await hadBack(table, goes);
    for (const [server, open] of [[one, stays] as const, [two, goes] as const]) {
      expect((await table.close(server, FILE, open.openId)).outcome).toBe(Outcome.GRANTED);
    }
    expect(await store.data.exists(file)).toBe(0);
    expect(await contents(keys, file)).toEqual({ fields: [], members: [[], [], []], due: [] });
  });

  test('goes with the others of its file: had back and closed, nothing is left of any', async () => {
    const { table, keys, file } = await newTable();
    const opens = [1, 2, 3, 3].map((key) => ({ ...lease(key), ownershipVersion: 1n }));
    for (const open of opens) expect((await table.open(one, open, HOW)).outcome).toBe(Outcome.GRANTED);
    const granted = opens.map(() => Outcome.GRANTED);
    expect(await table.letGo(one, SHARD, opens, identityText(two))).toEqual(granted);
    for (const open of opens) await hadBack(table, open);
    for (const { openId } of opens) expect((await table.close(two, FILE, openId)).outcome).toBe(Outcome.GRANTED);
    expect(await store.data.exists(file)).toBe(0);
    expect(await contents(keys, file)).toEqual({ fields: [], members: [[], [], []], due: [] });
  });
});

/** Its client comes to the other server for it. */
async function hadBack(
  table: Table,
  { openId, createGuid, clientGuid, user, share, lease }: OpenRecord,
): Promise<void> {
  const named = { openId, createGuid, clientGuid, user, share, sessionId: 9n };
  const reclaim = Reclaim.create({ ...named, persistent: true, leaseKey: lease?.key ?? NOTHING });
  expect((await table.reclaim(two, FILE, reclaim)).outcome).toBe(Outcome.GRANTED);
}

let ids = 0;

/** A persistent open for reading, with a lease that lets others read. */
function lease(key: number): OpenRecord {
  return OpenRecord.create({
    openId: (BigInt(one.epoch) << 36n) | (BigInt(SHARD) << 30n) | BigInt(++ids),
    ...{
      fileId: FILE,
      share: 'projects',
      path: 'file',
      access: 0x120089,
      shareAccess: 7,
      durability: 2,
      timeoutMs: 9000,
    },
    ...{
      createGuid: Buffer.alloc(16, ++ids),
      clientGuid: Buffer.alloc(16, 7),
      user: 'alice',
      sessionId: 7n,
      oplock: 4,
    },
    lease: { key: Buffer.alloc(16, key), state: 1, epoch: 3, version: 2, parentKey: NOTHING, breaking: false },
  });
}
