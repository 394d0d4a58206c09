// Fleeting records (decision 27): opens that end with their server, and that nobody else needs, are told neither to the append-only file
// nor to replicas. What a copy of the store has of everything else is what the store has.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Durability, type OpenRecord, OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import { type Identity, identityText, Keys, OpenIds, shardOf, shardOfId } from '../../sidecar/table/keys.ts';
import type { Store } from '../../sidecar/table/store.ts';
import { Internal, Table } from '../../sidecar/table/table.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { sampleRecord } from '../../sidecar/testing/file-server.ts';
import { copied, FLEETING, isFleeting, recordsOf } from '../../sidecar/testing/fleeting.ts';
import { OpenStore } from '../../sidecar/testing/open-store.ts';
import { until } from '../../sidecar/testing/redis.ts';

const FILE = Buffer.from('volume:file');
const SHARD = shardOf(FILE);
const NOTHING = Buffer.alloc(0);
const HOW = { truncates: false, again: false, guidAgain: false, mayBeFleeting: true };
const PLAIN: Partial<OpenRecord> = { durability: Durability.NOT_DURABLE, createGuid: NOTHING };
const lease = (key: number, state: number) => ({
  oplock: OplockLevel.OPLOCK_LEASE,
  lease: { key: Buffer.alloc(16, key), state, epoch: 0, version: 2, parentKey: NOTHING, breaking: false },
});
const one: Identity = { serverId: 'one', epoch: 300 };
const two: Identity = { serverId: 'two', epoch: 70_000 };

/** Of two servers, about one file each. */
const HISTORIES = 400;

let opened: OpenStore;
let store: Store;
let runs = 0;

beforeAll(async () => {
  opened = await OpenStore.start();
  ({ store } = opened);
}, 20_000);
afterAll(() => opened.stop());

interface Own {
  table: Table;
  keys: Keys;
  file: string;
  ids: OpenIds;
}

async function newTable(): Promise<Own> {
  const keys = new Keys(`fleeting-${++runs}`);
  await opened.enter(keys, [one, two]);
  const table = new Table(store, keys, 5000);
  return { table, keys, file: keys.file(SHARD, FILE.toString('hex')), ids: new OpenIds(one.epoch, 0) };
}

async function open({ table, ids }: Own, server: Identity, fields: Partial<OpenRecord>): Promise<OpenRecord> {
  const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n, ...fields });
  const decided = await table.open(server, record, HOW);
  expect(decided.outcome).toBe(Outcome.GRANTED);
  return decided.record as OpenRecord;
}

const isFleetingIn = ({ file }: Own) => isFleeting(store.data, file);

/** Bytes in the append-only file. */
async function written(): Promise<number> {
  return Number(/aof_current_size:(\d+)/.exec(await store.data.info('persistence'))?.[1]);
}

type Fields = Record<string, string>;
interface Contents {
  fields: Fields;
  owned: Record<string, string[]>;
  due: string[];
}

async function contents({ keys, file }: Own): Promise<Contents> {
  const hash = await store.data.hgetallBuffer(file);
  const fields = Object.fromEntries(Object.entries(hash).map(([name, value]) => [name, value.toString('hex')]));
  const owned: Record<string, string[]> = {};
  for (const owner of [identityText(one), identityText(two), '-']) {
    const members = await store.data.smembersBuffer(keys.own(SHARD, owner));
    owned[owner] = members.map((member) => member.toString('hex')).sort();
  }
  return { fields, owned, due: await store.data.zrange(keys.due(SHARD), 0, '-1', 'WITHSCORES') };
}

describe('an open that is not durable, of a file that nobody else has open', () => {
  test.each([
    ['without caching', {}],
    ['with an oplock', { oplock: OplockLevel.OPLOCK_BATCH }],
    ['with a lease', lease(1, 7)],
  ])('is written to no disk, nor is its close: %s', async (_, caching) => {
    const own = await newTable();
    const before = await written();
    const record = await open(own, one, { ...PLAIN, ...caching });
    expect(await isFleetingIn(own)).toBe(true);
    expect((await contents(own)).owned[identityText(one)]).toHaveLength(1);
    expect((await own.table.close(one, FILE, record.openId, record)).outcome).toBe(Outcome.GRANTED);
    expect(await written()).toBe(before);
    expect(await contents(own)).toEqual({ fields: {}, owned: { 'one@300': [], 'two@70000': [], '-': [] }, due: [] });
  });

  test.each([
    ['is durable', { ...lease(1, 7), durability: Durability.DURABLE, createGuid: NOTHING }],
    ['is persistent', { durability: Durability.PERSISTENT }],
    ['has a CreateGuid', { ...PLAIN, createGuid: Buffer.alloc(16, 3) }],
    ['deletes the file', { ...PLAIN, deleteOnClose: true }],
  ])('lasts if it %s', async (_, fields) => {
    const own = await newTable();
    const before = await written();
    await open(own, one, fields);
    expect(await isFleetingIn(own)).toBe(false);
    expect(await written()).toBeGreaterThan(before);
  });

  test('lasts where not all understand that', async () => {
    const own = await newTable();
    const record = sampleRecord('file', { openId: own.ids.next(SHARD) ?? 0n, ...PLAIN });
    expect((await own.table.open(one, record, { ...HOW, mayBeFleeting: false })).outcome).toBe(Outcome.GRANTED);
    expect(await isFleetingIn(own)).toBe(false);
  });

  test('keeps others out, and lasts from then on', async () => {
    const own = await newTable();
    await open(own, one, { ...PLAIN, shareAccess: 0 });
    const record = sampleRecord('file', { openId: own.ids.next(SHARD) ?? 0n, ...PLAIN });
    expect((await own.table.open(two, record, HOW)).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect(await isFleetingIn(own)).toBe(false);
  });

  test('is closed by its owner, however long the name of that is, and by nobody else', async () => {
    for (const length of [3, 26, 27, 60, 150]) {
      const owner: Identity = { serverId: 'n'.repeat(length), epoch: 4000 };
      const other: Identity = { serverId: `${owner.serverId}o`, epoch: 4000 };
      const own = await newTable();
      await opened.enter(own.keys, [owner, other]);
      const record = await open(own, owner, { ...PLAIN, ...lease(1, 7) });
      const before = await written();
      expect((await own.table.close(owner, FILE, record.openId, record)).outcome).toBe(Outcome.GRANTED);
      expect(await written()).toBe(before);
      const next = await open(own, owner, PLAIN);
      expect((await own.table.close(other, FILE, next.openId, next)).outcome).toBe(Internal.ELSEWHERE);
      expect((await contents(own)).fields).toHaveProperty(['c']);
    }
  });

  test('does not go with what a sidecar has added to it that does not know such records', async () => {
    const own = await newTable();
    const record = await open(own, one, PLAIN);
    const waiter = identityText(two);
    const waiters = Buffer.concat([
      Buffer.from([0x81, 0xa0 + waiter.length]),
      Buffer.from(waiter),
      Buffer.from([0xc3]),
    ]);
    await store.data.hset(own.file, 'w', waiters);
    const closed = await own.table.close(one, FILE, record.openId, record);
    expect(closed).toMatchObject({ outcome: Outcome.GRANTED, state: { locks: [] } }); // all of the record was looked at
  });

  test('is asked for again when its answer was lost', async () => {
    const own = await newTable();
    const record = await open(own, one, { ...PLAIN, ...lease(1, 7) });
    const again = await own.table.open(one, record, HOW);
    expect([again.outcome, again.record?.lease?.state]).toEqual([Outcome.GRANTED, 7]);
  });

  test('is void in another life of the data: its owner puts it back', async () => {
    const [away, back, closed] = [await newTable(), await newTable(), await newTable()];
    const [lost, kept, gone] = [
      await open(away, one, { ...PLAIN, shareAccess: 0 }),
      await open(back, one, { ...PLAIN, shareAccess: 0 }),
      await open(closed, one, PLAIN),
    ];
    await copied(store.data); // a copy that has all three
    await closed.table.close(one, FILE, gone.openId, gone); // and is told nothing of this
    await opened.restart();
    for (const own of [away, back, closed]) expect(await isFleetingIn(own)).toBe(true);

    expect(await back.table.restore(one, kept, 0, 0n, { isStale: false })).toBe(Outcome.GRANTED);
    await opened.enter(back.keys, [one, two]);
    expect(await isFleetingIn(back)).toBe(false);
    const asked = () => sampleRecord('file', { openId: back.ids.next(SHARD) ?? 0n, ...PLAIN });
    expect((await back.table.open(two, asked(), HOW)).outcome).toBe(Outcome.SHARING_VIOLATION);

    await opened.enter(away.keys, [one, two]);
    expect((await away.table.open(two, asked(), HOW)).outcome).toBe(Outcome.GRANTED);
    expect((await away.table.find(one, FILE, NOTHING, lost.openId)).outcome).toBe(Outcome.NOT_FOUND);
    expect((await contents(away)).owned['one@300']).toEqual([]);

    // What is left of the third is an entry among what its owner owns, until somebody looks: its owner, or the custodian of a fenced one.
    await opened.enter(closed.keys, [one, two]);
    expect((await contents(closed)).owned['one@300']).toHaveLength(1);
    expect((await closed.table.expire(two, FILE, gone.openId, 'fenced', 'one@300')).outcome).toBe(Outcome.NOT_FOUND);
    expect(await contents(closed)).toEqual({ fields: {}, owned: { 'one@300': [], 'two@70000': [], '-': [] }, due: [] });
    await store.data.sadd(closed.keys.own(SHARD, 'one@300'), member(gone));
    expect((await closed.table.close(one, FILE, gone.openId)).outcome).toBe(Outcome.NOT_FOUND);
    expect((await contents(closed)).owned['one@300']).toEqual([]);
  }, 20_000);
});

describe('opens that are closed together', () => {
  interface Many extends Own {
    records: OpenRecord[];
  }

  /** One each of as many files, in whatever shards. */
  async function openMany(count: number, fields: Partial<OpenRecord> = PLAIN): Promise<Many> {
    const own = await newTable();
    const records: OpenRecord[] = [];
    for (let i = 0; i < count; i++) {
      const { fileId } = sampleRecord(`file ${i}`);
      const record = sampleRecord(`file ${i}`, { openId: own.ids.next(shardOf(fileId)) ?? 0n, ...fields });
      const decided = await own.table.open(one, record, HOW);
      records.push(decided.record as OpenRecord);
    }
    return { ...own, records };
  }

  const keysLeft = ({ keys }: Own) => store.data.keys(`${keys.prefix(0).replace(/0}:$/, '*')}:file:*`);
  const owned = ({ keys }: Own) => store.data.keys(`${keys.prefix(0).replace(/0}:$/, '*')}:own:*`);

  test('go with one decision, of whatever shards, and it is written to no disk', async () => {
    const many = await openMany(40, { ...PLAIN, oplock: OplockLevel.OPLOCK_BATCH });
    expect(new Set(many.records.map(({ openId }) => shardOfId(openId))).size).toBeGreaterThan(10);
    const before = await written();
    const decided = await many.table.closeFleeting(one, many.records);
    expect(decided).toEqual({ outcome: Outcome.GRANTED, ended: many.records.map(() => true) });
    expect(await written()).toBe(before);
    expect([await keysLeft(many), await owned(many)]).toEqual([[], []]);
  });

  test.each<[string, (many: Many, record: OpenRecord) => Promise<unknown>]>([
    [
      'others have the file open',
      ({ table, ids }, { fileId }) =>
        table.open(two, sampleRecord('', { fileId, openId: ids.next(shardOf(fileId)) ?? 0n, ...PLAIN }), HOW),
    ],
    [
      'something else was done to the file',
      ({ table }, { fileId, openId }) => table.change(one, fileId, openId, 'deletePending', 1),
    ],
    ['it has ended already', ({ table }, record) => table.close(one, record.fileId, record.openId, record)],
  ])('are left, but for the others, where %s', async (_, disturb) => {
    const many = await openMany(3);
    const [, second] = many.records as [OpenRecord, OpenRecord];
    await disturb(many, second);
    const before = await store.data.exists(many.keys.file(shardOf(second.fileId), second.fileId.toString('hex')));
    const decided = await many.table.closeFleeting(one, many.records);
    expect(decided).toEqual({ outcome: Outcome.GRANTED, ended: [true, false, true] });
    const after = await store.data.exists(many.keys.file(shardOf(second.fileId), second.fileId.toString('hex')));
    expect([before, after, (await keysLeft(many)).length]).toEqual([before, before, before]);
  });

  test('are left where they are of another server', async () => {
    const many = await openMany(3);
    expect(await many.table.closeFleeting(two, many.records)).toEqual({
      outcome: Outcome.GRANTED,
      ended: [false, false, false],
    });
    expect(await keysLeft(many)).toHaveLength(3);
  });

  test('are not closed by a server that was fenced in the shard of one of them', async () => {
    const many = await openMany(3);
    const [first, , last] = many.records as [OpenRecord, OpenRecord, OpenRecord];
    expect(shardOf(last.fileId)).not.toBe(shardOf(first.fileId));
    await many.table.fence(shardOf(last.fileId), one, 'fence', 'alive');
    const decided = await many.table.closeFleeting(one, many.records);
    expect(decided).toEqual({ outcome: Outcome.FENCED, ended: [false, false, false] });
    expect(await keysLeft(many)).toHaveLength(1); // the others went before
  });
});

test('what a copy has of a fleeting record is not seen in what came after', async () => {
  const [another, removed] = [await newTable(), await newTable()];
  for (const own of [another, removed]) {
    const record = await open(own, one, { ...PLAIN, ...lease(1, 7) });
    await copied(store.data);
    await own.table.close(one, FILE, record.openId, record);
  }
  await open(another, one, { durability: Durability.PERSISTENT, shareAccess: 0 });
  await removed.table.gone(two, FILE, 'replace');
  const before = [await contents(another), await contents(removed)];
  await opened.restart();
  const after = [await contents(another), await contents(removed)];
  expect(after.map(({ fields }) => fields)).toEqual(before.map(({ fields }) => fields));
  expect(after.map(({ due }) => due)).toEqual(before.map(({ due }) => due));
});

test('what a copy has of fleeting records keeps no fenced server from being forgotten, nor stays when it is', async () => {
  const [waiting, forgotten] = [await newTable(), await newTable()];
  const itself = identityText(one);
  const records = [await open(waiting, one, PLAIN), await open(forgotten, one, PLAIN)];
  await copied(store.data);
  for (const [i, own] of [waiting, forgotten].entries()) {
    const record = records[i] as OpenRecord;
    await own.table.close(one, FILE, record.openId, record);
    // It is fenced, and seen to: nothing of it is left.
    await own.table.fence(SHARD, one, 'fence', 'alive');
    await own.table.again(two, SHARD, Buffer.from(`server:${itself}`), undefined);
  }
  expect(await forgotten.table.forgetFence(two, SHARD, one)).toBe(Outcome.GRANTED);
  await opened.restart();
  expect((await contents(forgotten)).owned[itself]).toEqual([]);

  await opened.enter(waiting.keys, [two]);
  const [left] = await store.data.smembersBuffer(waiting.keys.own(SHARD, itself));
  if (!left) throw new Error('the copy does not name the open');
  expect(await waiting.table.forgetFence(two, SHARD, one)).toBe(Internal.WAITING);
  expect((await contents(waiting)).due).toContain(`server:${itself}`); // so it is seen to again
  await waiting.table.expire(two, FILE, left.readBigUInt64BE(), 'fenced', itself);
  expect(await waiting.table.forgetFence(two, SHARD, one)).toBe(Outcome.GRANTED);
  expect(await contents(waiting)).toEqual({ fields: {}, owned: { [itself]: [], 'two@70000': [], '-': [] }, due: [] });
}, 20_000);

const member = ({ openId }: OpenRecord) => {
  const id = Buffer.alloc(8);
  id.writeBigUInt64BE(openId);
  return Buffer.concat([id, Buffer.from(FILE.toString('hex'))]);
};

interface Step {
  what: 'open' | 'close' | 'known' | 'drop' | 'lock' | 'delete' | 'go' | 'end';
  server: number;
  kind: number;
  which: number;
}

const KINDS: Partial<OpenRecord>[] = [
  PLAIN,
  { ...PLAIN, shareAccess: 0 },
  { ...PLAIN, ...lease(1, 7) },
  { ...PLAIN, ...lease(2, 3) },
  { ...PLAIN, oplock: OplockLevel.OPLOCK_BATCH },
  { ...PLAIN, deleteOnClose: true },
  { durability: Durability.PERSISTENT, ...lease(3, 7) },
  { durability: Durability.DURABLE, oplock: OplockLevel.OPLOCK_BATCH },
];

async function carriedOut(own: Own, open: OpenRecord[], { what, server, kind, which }: Step): Promise<void> {
  const { table } = own;
  const me = server === 0 ? one : two;
  if (what === 'open') {
    const createGuid = Buffer.alloc(16, open.length + 1);
    const record = sampleRecord('file', { openId: own.ids.next(SHARD) ?? 0n, createGuid, ...KINDS[kind] });
    const decided = await table.open(me, record, HOW);
    if (decided.record) open.push(decided.record);
    return;
  }
  const record = open[which % Math.max(open.length, 1)];
  if (what === 'end') await table.gone(me, FILE, kind < 2 ? 'gone' : kind < 4 ? 'keep' : 'replace');
  if (!record || what === 'end') return;
  const owner = record.owner?.serverId === one.serverId ? one : two;
  const { openId } = record;
  if (what === 'close') await table.close(owner, FILE, openId);
  else if (what === 'known') await table.close(owner, FILE, openId, record);
  else if (what === 'drop') await table.state(owner, FILE, 'drop', openId);
  else if (what === 'delete') await table.change(owner, FILE, openId, 'deletePending', String(kind % 2));
  else if (what === 'go') await table.letGo(owner, SHARD, [record], kind % 2 === 0 ? identityText(me) : undefined);
  else {
    const range = { offset: BigInt(kind), length: 1n, exclusive: true, unlock: false, failImmediately: true };
    await table.lock(owner, FILE, openId, 1, { index: 0, number: 0 }, [range], false);
  }
}

const step = fc.record<Step>({
  what: fc.constantFrom('open', 'open', 'open', 'close', 'known', 'known', 'drop', 'lock', 'delete', 'go', 'end'),
  server: fc.nat(1),
  kind: fc.nat(KINDS.length - 1),
  which: fc.nat(5),
});
const steps = fc.array(step, { minLength: 1, maxLength: 6 });

/** Fields of a record that lasts; none of one that is fleeting. */
const lasting = ({ fields }: Contents): Fields => (fields.m?.startsWith(FLEETING.toString(16)) ? {} : fields);

test('whatever happens, a copy has all that lasts as it is, and nothing besides but fleeting records', async () => {
  const histories = fc.sample(fc.tuple(steps, steps), HISTORIES);
  const all: { own: Own; open: OpenRecord[]; before: Contents | undefined }[] = [];
  for (const [first] of histories) {
    const [own, open] = [await newTable(), [] as OpenRecord[]];
    for (const one of first) await carriedOut(own, open, one);
    all.push({ own, open, before: undefined });
  }
  await copied(store.data); // one copy for all: another one later would mend what is wrong with the first
  for (const [i, { own, open }] of all.entries()) {
    // Of every other history the copy has what is over by then.
    const ends: Step[] = i % 2 === 0 ? [] : open.map((_, which) => ({ what: 'known', server: 0, kind: 0, which }));
    for (const one of [...ends, ...(histories[i]?.[1] ?? [])]) await carriedOut(own, open, one);
  }
  for (const history of all) history.before = await contents(history.own);
  await opened.restart();

  let fleeting = 0;
  for (const [i, { own, before }] of all.entries()) {
    if (!before) continue;
    const after = await contents(own);
    const said = (histories[i] ?? []).map((half) => half.map((one) => Object.values(one).join(' ')));
    const isFleeting = before.fields.m !== undefined && lasting(before).m === undefined;
    if (isFleeting) fleeting++;
    expect({ said, fields: lasting(after), due: after.due }).toEqual({
      said,
      fields: lasting(before),
      due: before.due,
    });
    // More may stand there: what was closed while its record was fleeting.
    for (const [owner, members] of Object.entries(isFleeting ? {} : before.owned)) {
      expect({ said, owned: after.owned[owner] }).toEqual({ said, owned: expect.arrayContaining(members) });
    }
  }
  expect(fleeting).toBeGreaterThan(5);
}, 120_000);

describe('fleeting opens of servers', () => {
  let cluster: TestCluster;
  beforeEach(async () => {
    cluster = await TestCluster.start(2, 2000);
    for (const [i, pod] of cluster.pods.entries()) await pod.server.session(BigInt(i + 1));
  });
  afterEach(() => cluster.stop());

  const server = (index: number) => cluster.pod(index).server;

  const records = () => recordsOf(cluster.redis.admin);
  const owned = async () => (await cluster.redis.admin.keys('hf:*:own:*')).length;

  test('keep others out before Redis was killed and after, and leave nothing when they are closed', async () => {
    const { record } = await server(0).open('file', { ...PLAIN, shareAccess: 0 });
    const { record: other } = await server(1).open('other', PLAIN);
    expect(await records()).toEqual([true, true]);
    await cluster.redis.kill();
    await cluster.redis.up();
    expect((await server(1).open('file', PLAIN)).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect((await server(0).close(record)).outcome).toBe(Outcome.GRANTED);
    expect((await server(1).close(other)).outcome).toBe(Outcome.GRANTED);
    expect([await records(), await owned()]).toEqual([[], 0]);
  });

  test('that were closed do not come back with a Redis that has a copy from before', async () => {
    const { record } = await server(0).open('file', { ...PLAIN, shareAccess: 0 });
    await copied(cluster.redis.admin);
    await server(0).close(record);
    await cluster.redis.kill();
    await cluster.redis.up();
    expect((await server(1).open('file', { ...PLAIN, shareAccess: 0 })).outcome).toBe(Outcome.GRANTED);
    await until(async () => (await owned()) === 1);
  });

  test('are known to a sidecar that was started again', async () => {
    const { record } = await server(0).open('file', { ...PLAIN, shareAccess: 0 });
    cluster.pod(0).sidecar?.halt();
    server(0).detach();
    await cluster.pod(0).startSidecar();
    await server(0).resume();
    expect((await server(1).open('file', PLAIN)).outcome).toBe(Outcome.SHARING_VIOLATION);
    await until(async () => (await server(0).close(record)).outcome === Outcome.GRANTED);
    expect([await records(), await owned()]).toEqual([[], 0]);
  });

  test('are closed with one request, as each by itself would be', async () => {
    const opens: OpenRecord[] = [];
    for (const name of ['one', 'two', 'both', 'deleted']) opens.push((await server(0).open(name, PLAIN)).record);
    const [, , both, deleted] = opens as [OpenRecord, OpenRecord, OpenRecord, OpenRecord];
    await server(1).open('both', PLAIN);
    await server(0).ask({
      $case: 'setDeletePending',
      value: { fileId: deleted.fileId, openId: deleted.openId, pending: true, onClose: false },
    });
    const closes = [...opens, { ...both, openId: both.openId + 1n }].map(({ fileId, openId }) => ({ fileId, openId }));
    const { outcome, body } = await server(0).ask({ $case: 'closeOpens', value: { closes } });
    expect(outcome).toBe(Outcome.GRANTED);
    const closed = body?.$case === 'closedOpens' ? body.value.closed : [];
    expect(closed).toHaveLength(2);
    expect(closed).toContainEqual(
      expect.objectContaining({
        openId: deleted.openId,
        outcome: Outcome.GRANTED,
        close: expect.objectContaining({ remove: true }),
      }),
    );
    expect(closed).toContainEqual(expect.objectContaining({ openId: both.openId + 1n, outcome: Outcome.NOT_FOUND }));
    expect(await owned()).toBe(1);
    const members = [...(cluster.pod(0).sidecar?.components.cluster.members.values() ?? [])];
    expect(members.map(({ opens: known }) => known.size)).toEqual([0]);
    const many = Array.from({ length: 257 }, (_, i) => ({ fileId: both.fileId, openId: BigInt(i) }));
    expect((await server(0).ask({ $case: 'closeOpens', value: { closes: many } })).outcome).toBe(Outcome.INVALID);
  });

  test('end with their server', async () => {
    await server(0).open('file', { ...PLAIN, shareAccess: 0 });
    await server(0).open('another', PLAIN);
    server(0).kill();
    await until(async () => (await server(1).open('file', { ...PLAIN, shareAccess: 0 })).outcome === Outcome.GRANTED);
    await until(async () => (await owned()) === 1);
    expect(await records()).toHaveLength(1);
  });
});
