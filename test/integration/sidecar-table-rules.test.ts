// Rules of single scripts that histories do not come to: who may have an open back, locks of several ranges, how time goes on.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Durability, type OpenRecord, OplockLevel, Outcome, Reclaim } from '../../proto/generated/handles.ts';
import { type Identity, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import type { Store } from '../../sidecar/table/store.ts';
import { Internal, Table } from '../../sidecar/table/table.ts';
import { sampleRecord } from '../../sidecar/testing/file-server.ts';
import { OpenStore } from '../../sidecar/testing/open-store.ts';

const FILE = Buffer.from('volume:file');
const SHARD = shardOf(FILE);
const NOTHING = Buffer.alloc(0);
const LEASE = { key: Buffer.alloc(16, 5), state: 3, epoch: 0, version: 2, parentKey: NOTHING, breaking: false };
const LEASED: Partial<OpenRecord> = { oplock: OplockLevel.OPLOCK_LEASE, lease: LEASE };
const NO_SEQUENCE = { index: 0, number: 0 };
const one: Identity = { serverId: 'one', epoch: 5 };
const two: Identity = { serverId: 'two', epoch: 6 };

let opened: OpenStore;
let store: Store;
let table: Table;
let ids: OpenIds;
let runs = 0;

beforeAll(async () => {
  opened = await OpenStore.start();
  ({ store } = opened);
}, 20_000);
afterAll(() => opened.stop());

beforeEach(async () => {
  const keys = new Keys(`reclaim-${++runs}`);
  table = new Table(store, keys, 5000);
  ids = new OpenIds(one.epoch, 0);
  await opened.enter(keys, [one, two]);
});

async function open(fields: Partial<OpenRecord> = {}): Promise<OpenRecord> {
  const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n, ...fields });
  const decided = await table.open(one, record, { truncates: false, again: false, guidAgain: false });
  expect(decided.outcome).toBe(Outcome.GRANTED);
  return record;
}

/** An open whose client is away, let go to whoever it comes to. */
async function away(fields: Partial<OpenRecord> = {}): Promise<OpenRecord> {
  const record = await open(fields);
  expect(await table.letGo(one, SHARD, [{ ...record, ownershipVersion: 1n }], undefined)).toEqual([Outcome.GRANTED]);
  return record;
}

/** What the client of an open says of it. */
const said = ({ openId, createGuid, clientGuid, user, share, durability, lease }: OpenRecord): Reclaim =>
  Reclaim.create({
    ...{ openId, createGuid, clientGuid, user, share, sessionId: 77n },
    ...{ persistent: durability === Durability.PERSISTENT, leaseKey: lease?.key ?? NOTHING },
  });

const asked = async (reclaim: Reclaim, server = two) => (await table.reclaim(server, FILE, reclaim)).outcome;

// MS-SMB2 3.3.5.9.7 and 3.3.5.9.12
describe('an open is had back by nobody who', () => {
  const { NOT_FOUND, ACCESS_DENIED } = Outcome;
  test.each<[string, Partial<OpenRecord>, Partial<Reclaim>, number]>([
    ['is another user', {}, { user: 'mallory' }, ACCESS_DENIED],
    ['names another CreateGuid', {}, { createGuid: Buffer.alloc(16, 9) }, NOT_FOUND],
    ['names none where it has one', {}, { createGuid: Buffer.alloc(16) }, NOT_FOUND],
    ['takes a persistent one for durable', {}, { persistent: false }, NOT_FOUND],
    [
      'takes a durable one for persistent',
      { ...LEASED, durability: Durability.DURABLE },
      { persistent: true },
      NOT_FOUND,
    ],
    ['names the lease of another', LEASED, { leaseKey: Buffer.alloc(16, 6) }, NOT_FOUND],
    ['names no lease where it has one', LEASED, { leaseKey: NOTHING }, NOT_FOUND],
    ['names a lease where it has none', {}, { leaseKey: LEASE.key }, NOT_FOUND],
    ['is another client than the one with the lease', LEASED, { clientGuid: Buffer.alloc(16, 8) }, NOT_FOUND],
    ['comes by another share', {}, { share: 'others' }, NOT_FOUND],
    ['names another open', {}, { openId: 1n }, NOT_FOUND],
  ])('%s; its own client has it back', async (_who, fields, wrong, refusal) => {
    const right = said(await away(fields));
    expect(await asked({ ...right, ...wrong })).toBe(refusal);
    // Nothing came of it.
    expect(await asked(right)).toBe(Outcome.GRANTED);
  });

  test('comes while its owner serves it; there, while another session has it', async () => {
    const right = said(await open({ sessionId: 76n }));
    expect(await table.reclaim(two, FILE, right)).toMatchObject({ outcome: Internal.ELSEWHERE, owner: 'one@5' });
    expect(await asked(right, one)).toBe(Internal.ELSEWHERE);
    expect(await asked({ ...right, sessionId: 76n }, one)).toBe(Outcome.GRANTED); // repeated
  });

  test('comes when it was closed', async () => {
    const record = await away();
    expect(await asked(said(record))).toBe(Outcome.GRANTED);
    expect((await table.close(two, FILE, record.openId)).outcome).toBe(Outcome.GRANTED);
    for (const server of [one, two]) expect(await asked(said(record), server)).toBe(Outcome.NOT_FOUND);
  });
});

test('an open whose client is away is not ended before its time', async () => {
  const record = await open({ timeoutMs: 60_000 });
  expect((await table.disconnect(one, FILE, record.openId)).outcome).toBe(Outcome.GRANTED);
  for (const server of [one, two]) {
    expect((await table.expire(server, FILE, record.openId, 'due')).outcome).toBe(Outcome.NOT_FOUND);
  }
  expect(await asked(said(record), one)).toBe(Outcome.GRANTED);
});

describe('a lock request', () => {
  let operation = 0;
  async function lock(record: OpenRecord, offsets: number[], as = ++operation): Promise<number> {
    const elements = offsets.map((offset) => ({
      ...{ offset: BigInt(offset), length: 10n, exclusive: true, unlock: false, failImmediately: true },
    }));
    return (await table.lock(one, FILE, record.openId, as, NO_SEQUENCE, elements, false)).outcome;
  }

  test('of several ranges takes all of them or none', async () => {
    const [mine, theirs] = [await open(), await open()];
    expect(await lock(theirs, [20])).toBe(Outcome.GRANTED);
    expect(await lock(mine, [0, 40, 25])).toBe(Outcome.LOCK_NOT_GRANTED);
    expect(await lock(theirs, [0, 40])).toBe(Outcome.GRANTED);
  });

  test('that arrives after a later one of the same open is not carried out', async () => {
    const record = await open();
    expect(await lock(record, [0], 1000)).toBe(Outcome.GRANTED);
    expect(await lock(record, [20], 999)).toBe(Internal.STALE);
    expect(await lock(record, [20], 1001)).toBe(Outcome.GRANTED);
  });
});

test('the time of a shard goes on by one, however many servers count', async () => {
  const { tick: seen } = await table.tick(one, SHARD, -1, 1);
  const counted = await Promise.all([one, two, one].map((server) => table.tick(server, SHARD, seen, 1)));
  expect(counted.map(({ tick }) => tick)).toEqual([seen + 1, seen + 1, seen + 1]);
});

test('of directories in which names are reserved no more are remembered than a shard has room for', async () => {
  const { keys } = table;
  const inShard: Buffer[] = [];
  for (let i = 0; inShard.length < 600; i++) {
    const directory = Buffer.from(`directory ${i}`);
    if (keys.directory(directory).shard === SHARD) inShard.push(directory);
  }
  await Promise.all(
    inShard.map(async (directory) => {
      expect(await table.name(one, 'reserve', directory, 'a.txt', '1')).toMatchObject({ elsewhere: false });
      await table.name(one, 'drop', directory, 'a.txt', '1');
    }),
  );
  expect(
    await store.read((connection) => connection.hlen(keys.store(SHARD).replace(/store$/, 'reservers')), 5000),
  ).toBe(512);
});
