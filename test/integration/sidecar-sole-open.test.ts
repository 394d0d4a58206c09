import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Durability, OpenRecord, type OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import { type Identity, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import { Packer } from '../../sidecar/table/packed.ts';
import type { Store } from '../../sidecar/table/store.ts';
import { type OpenDecision, Table } from '../../sidecar/table/table.ts';
import { OpenStore } from '../../sidecar/testing/open-store.ts';

let opened: OpenStore;
let store: Store;

beforeAll(async () => {
  opened = await OpenStore.start();
  ({ store } = opened);
}, 20_000);
afterAll(() => opened.stop());

const me: Identity = { serverId: 'pod/0', epoch: 300 };
const FILE = Buffer.from('volume:file');
const SHARD = shardOf(FILE);
const HOW = { truncates: false, again: false, guidAgain: false };
let runs = 0;

/** A table of its own, some ticks old. */
async function newTable(ticks: number): Promise<{ table: Table; keys: Keys; file: string }> {
  const keys = new Keys(`sole-${++runs}`);
  const table = new Table(store, keys, 5000);
  await opened.enter(keys, [me]);
  await store.data.hset(keys.fence(SHARD), '#tick', ticks);
  return { table, keys, file: keys.file(SHARD, FILE.toString('hex')) };
}

/** Everything that the store holds of the file and of what the server owns. */
async function contents(keys: Keys, file: string): Promise<unknown> {
  const fields = await store.data.hgetallBuffer(file);
  const owned = await store.data.smembers(keys.own(SHARD, `${me.serverId}@${me.epoch}`));
  return { fields: Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)), owned };
}

const guid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
const asked = fc
  .record({
    access: fc.constantFrom(0x1, 0x3, 0x80, 0x10000, 0x12019f, 0x80_0080, 0xffff_ffff),
    shareAccess: fc.nat(7),
    durability: fc.constantFrom(Durability.NOT_DURABLE, Durability.DURABLE, Durability.PERSISTENT),
    timeoutMs: fc.constantFrom(1, 255, 60_000, 300_000),
    caching: fc.oneof(
      fc.record({ oplock: fc.nat(3), state: fc.constant(0), epoch: fc.constant(0) }),
      fc.record({ oplock: fc.constant(4), state: fc.nat(7), epoch: fc.constantFrom(0, 254, 65_535) }),
    ),
    version: fc.constantFrom(1, 2),
    key: guid,
    parentKey: fc.oneof(fc.constant(Buffer.alloc(0)), guid),
    createGuid: guid,
    clientGuid: guid,
    isDirectory: fc.boolean(),
    deleteOnClose: fc.boolean(),
    share: fc.string({ unit: 'binary', maxLength: 80 }),
    path: fc.string({ unit: 'binary', maxLength: 300 }),
    user: fc.string({ maxLength: 60 }),
    attachment: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  })
  .map(({ caching, version, key, parentKey, createGuid, ...fields }) => {
    const lease = { key, state: caching.state, epoch: caching.epoch, version, parentKey, breaking: false };
    return OpenRecord.create({
      ...fields,
      openId: new OpenIds(me.epoch, 0).next(SHARD) ?? 0n,
      fileId: FILE,
      oplock: caching.oplock as OplockLevel,
      lease: caching.oplock === 4 ? lease : undefined,
      createGuid: fields.durability === Durability.NOT_DURABLE ? Buffer.alloc(0) : createGuid,
      sessionId: 0x1234_5678_9abc_def0n,
    });
  });

describe('an open of a file that nobody else has open', () => {
  test('is granted and stored as if it had been arbitrated', async () => {
    await fc.assert(
      fc.asyncProperty(asked, fc.constantFrom(0, 1, 70_000), async (record, ticks) => {
        const short = await newTable(ticks);
        const alone = await short.table.open(me, record, HOW);
        // A record that holds nobody: as long as it is there, the whole script decides.
        const long = await newTable(ticks);
        const empty = new Packer()
          .list(6)
          .number(1)
          .number(ticks * 65_536)
          .number(0)
          .no()
          .list(0)
          .no();
        await store.data.hset(long.file, 'm', empty.take());
        const arbitrated = await long.table.open(me, record, HOW);

        const plain = ({ record, ...decision }: OpenDecision) => ({
          ...decision,
          record: record && Buffer.from(OpenRecord.encode(record).finish()).toString('hex'),
        });
        expect(plain(alone)).toEqual(plain(arbitrated));
        expect(await contents(short.keys, short.file)).toEqual(await contents(long.keys, long.file));
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test('goes with its record and its hint when it is closed', async () => {
    await fc.assert(
      fc.asyncProperty(asked, async (record) => {
        const { table, keys, file } = await newTable(7);
        const opened = await table.open(me, record, HOW);
        const closed = await table.close(me, FILE, record.openId, opened.record, true);
        expect([closed.outcome, closed.close.remove]).toEqual([Outcome.GRANTED, record.deleteOnClose]);
        expect(closed.state === undefined).toBe(!record.deleteOnClose);
        expect(await store.data.exists(keys.own(SHARD, 'pod/0@300'), keys.create(record.createGuid))).toBe(0);
        expect(await store.data.exists(file)).toBe(record.deleteOnClose ? 1 : 0);
      }),
      { numRuns: 50 },
    );
  }, 60_000);
});
