// Which servers the table refuses, script by script, and what becomes of the opens of one that was fenced.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createLogger } from '../../common/logging.ts';
import { delay } from '../../common/time.ts';
import { Durability, type OpenRecord, OplockLevel, Outcome, Reclaim } from '../../proto/generated/handles.ts';
import { SHARDS } from '../../sidecar/constants.ts';
import { Registry } from '../../sidecar/fencing/registry.ts';
import { createSidecarMetrics } from '../../sidecar/metrics.ts';
import { type Identity, idBytes, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import { SCRIPT_NAMES } from '../../sidecar/table/scripts.ts';
import { Store } from '../../sidecar/table/store.ts';
import { StoreUnavailableError } from '../../sidecar/table/store-errors.ts';
import { Internal, Table } from '../../sidecar/table/table.ts';
import { sampleRecord } from '../../sidecar/testing/file-server.ts';
import { TestRedis, until } from '../../sidecar/testing/redis.ts';

const FILE = Buffer.from('volume:file');
const SHARD = shardOf(FILE);
const SESSION = 77n;
const READ = 0x1;
const READ_WRITE = 0x3;
const HOW = { truncates: false, again: false, guidAgain: false };
const WAIT_MS = 5000;

let redis: TestRedis;
let store: Store;
let keys: Keys;
let table: Table;
let ids: OpenIds;
let runs = 0;
/** By shard. */
let runIds: string[];
const fenced: Identity = { serverId: 'fenced', epoch: 5 };
const other: Identity = { serverId: 'other', epoch: 6 };

beforeAll(async () => {
  redis = await TestRedis.start();
  const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
  store = new Store(config, () => undefined, createLogger('test'), createSidecarMetrics());
  ({ runIds } = await store.whereabouts(new Keys('fencing').stores()));
}, 20_000);
afterAll(async () => {
  store.end();
  await redis.stop();
});

beforeEach(async () => {
  keys = new Keys(`fencing-${++runs}`);
  table = new Table(store, keys, WAIT_MS);
  ids = new OpenIds(fenced.epoch, 0);
  store.openWith(await store.load(runIds, '1'));
  await writtenUnder(`${runIds[0]}:1`);
  await Promise.all([enter(fenced), enter(other)]);
});

/** In all shards at once. */
const everywhere = <T>(act: (shard: number) => Promise<T>) =>
  Promise.all(Array.from({ length: SHARDS }, (_, shard) => act(shard)));
const enter = (server: Identity) => everywhere((shard) => table.fence(shard, server, 'enter', 'alive'));
/** Which life of the store the shards say that their state is of. */
const writtenUnder = (life: string) => everywhere((shard) => store.data.set(keys.store(shard), life));

async function open(fields: Partial<OpenRecord> = {}): Promise<OpenRecord> {
  const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n, access: READ_WRITE, ...fields });
  const decided = await table.open(fenced, record, HOW);
  if (decided.outcome !== Outcome.GRANTED || !decided.record) throw new Error(`not granted: ${decided.outcome}`);
  return decided.record;
}

const fence = (what: 'settle' | 'fence', node: 'lost' | 'alive') =>
  everywhere((shard) => table.fence(shard, fenced, what, node));

function reclaimed(record: OpenRecord): Promise<number> {
  const { openId, createGuid, clientGuid, user, share } = record;
  const persistent = record.durability === Durability.PERSISTENT;
  const leaseKey = Buffer.alloc(0);
  const asked = Reclaim.create({
    openId,
    createGuid,
    clientGuid,
    user,
    share,
    persistent,
    sessionId: SESSION,
    leaseKey,
  });
  return table.reclaim(other, FILE, asked).then(({ outcome }) => outcome);
}

const ELEMENT = { offset: 0n, length: 1n, exclusive: true, unlock: false, failImmediately: true };
/** Everything that a server can ask of the table. */
const ASKS: Record<string, (me: Identity, record: OpenRecord) => Promise<number>> = {
  open: async (me) => (await table.open(me, sampleRecord('file', { openId: ids.next(SHARD) ?? 0n }), HOW)).outcome,
  reclaim: async (me, { openId, createGuid }) =>
    (await table.reclaim(me, FILE, Reclaim.create({ openId, createGuid, persistent: true }))).outcome,
  find: async (me, { openId }) => (await table.find(me, FILE, Buffer.alloc(0), openId)).outcome,
  close: async (me, { openId }) => (await table.close(me, FILE, openId)).outcome,
  closeFleeting: async (me, record) => (await table.closeFleeting(me, [record])).outcome,
  disconnect: async (me, { openId }) => (await table.disconnect(me, FILE, openId)).outcome,
  expire: async (me, { openId }) => (await table.expire(me, FILE, openId, 'due')).outcome,
  lock: async (me, { openId }) =>
    (await table.lock(me, FILE, openId, 1, { index: 0, number: 0 }, [ELEMENT], false)).outcome,
  state: async (me, { openId }) => (await table.state(me, FILE, 'look', openId)).outcome,
  break: async (me, { openId }) =>
    (await table.breakCaching(me, FILE, { openId }, { keep: 0, waitFor: 4, again: false })).outcome,
  acknowledge: async (me, { openId }) => (await table.acknowledge(me, FILE, idBytes(openId), 0, 0)).outcome,
  change: async (me, { openId }) => (await table.change(me, FILE, openId, 'deletePending', 1)).outcome,
  gone: (me) => table.gone(me, FILE, 'gone'),
  purge: async (me) => (await table.purgeable(me, FILE)).outcome,
  instances: async (me) => (await table.instances(me, FILE, Buffer.alloc(16, 1))).outcome,
  letGo: async (me, record) => {
    const outcomes = await table.letGo(me, SHARD, [record], undefined);
    return typeof outcomes === 'number' ? outcomes : (outcomes[0] ?? -1);
  },
  name: async (me) => (await table.name(me, 'reserve', Buffer.from('directory'), 'a.txt', 'token')).outcome,
  session: async (me) => (await table.session(me, 'store', SESSION, 'alice')).outcome,
  tick: async (me) => (await table.tick(me, SHARD, 0, 10)).outcome,
  unhint: (me, record) => table.forget(me, record),
  forgetFence: (me) => table.forgetFence(me, SHARD, { serverId: 'nobody', epoch: 9 }),
};

/** What asks a script whose name says something else. */
const ASKED_BY: Record<string, string> = {
  ack: 'acknowledge',
  'close-all': 'closeFleeting',
  'let-go': 'letGo',
  'forget-fence': 'forgetFence',
};

describe('each decision', () => {
  test('is among those that are asked here', () => {
    const scripts = join(import.meta.dirname, '../../sidecar/table/scripts');
    const refusing = SCRIPT_NAMES.filter((name) =>
      readFileSync(join(scripts, `${name}.lua`), 'utf8').includes('= refused()'),
    );
    expect(refusing.length).toBeGreaterThan(15);
    expect(refusing.filter((name) => !(name in ASKS) && !((ASKED_BY[name] ?? '') in ASKS))).toEqual([]);
  });

  test.each(Object.entries(ASKS))(
    '%s is refused to who was fenced, and to who never registered',
    async (_name, ask) => {
      const record = await open();
      await fence('fence', 'alive');
      expect(await ask(fenced, record)).toBe(Outcome.FENCED);
      expect(await ask({ serverId: 'nobody', epoch: 9 }, record)).toBe(Outcome.FENCED);
      // Nothing came of it, and its next life is served.
      expect(await reclaimed(record)).toBe(Outcome.GRANTED);
      const anew = { ...fenced, epoch: 8 };
      await enter(anew);
      expect(await ask(anew, record)).not.toBe(Outcome.FENCED);
    },
  );

  test('waits while the shard holds the state of another life of the store', async () => {
    const record = await open();
    await writtenUnder(`${runIds[0]}:0`);
    const reopened = async () => {
      await writtenUnder(`${runIds[0]}:1`);
      store.openWith(await store.load(runIds, '1'));
    };
    for (const [name, ask] of Object.entries(ASKS)) {
      store.openWith(await store.load(runIds, '1')); // as far as this process knows
      let decided = false;
      const asked = ask(other, record).finally(() => {
        decided = true;
      });
      await until(() => decided || !store.open);
      expect([name, decided]).toEqual([name, false]);
      await reopened();
      await asked;
      await writtenUnder(`${runIds[0]}:0`);
    }
  });
});

describe('the opens of a server that went silent', () => {
  test('may be had at once where they only read, and where they write when its last writes have settled', async () => {
    const [reader, writer] = [await open({ access: READ }), await open({ access: READ_WRITE })];
    expect(await reclaimed(reader)).toBe(Internal.ELSEWHERE);
    await fence('settle', 'lost');
    expect(await reclaimed(reader)).toBe(Outcome.GRANTED);
    expect(await reclaimed(writer)).toBe(Internal.SETTLING);
    expect((await table.expire(other, FILE, writer.openId, 'fenced')).mayWaitTicks).toBe(1);
    await fence('fence', 'lost');
    expect(await reclaimed(writer)).toBe(Outcome.GRANTED);
  });

  test('keep others out until its last writes have settled, where they end with it', async () => {
    await open({ durability: Durability.NOT_DURABLE, createGuid: Buffer.alloc(0), shareAccess: 0 });
    const newcomer = async () => {
      const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n, access: READ_WRITE });
      return (await table.open(other, record, HOW)).outcome;
    };
    expect(await newcomer()).toBe(Outcome.SHARING_VIOLATION);
    await fence('settle', 'lost');
    expect(await newcomer()).toBe(Internal.WAITING);
    await fence('fence', 'lost');
    expect(await newcomer()).toBe(Outcome.GRANTED);
  });

  test('leave the names that it reserved to others when its last changes have settled', async () => {
    const directory = Buffer.from('directory');
    await table.name(fenced, 'reserve', directory, 'a.txt', '1');
    await table.name(fenced, 'reserve', directory, 'b.txt', '2 a creation');
    const asked = async () => {
      const decisions = [
        await table.name(other, 'reserve', directory, 'a.txt', '3'),
        await table.name(other, 'resume', directory, 'b.txt', '4 a creation'),
      ];
      return decisions.map(({ outcome }) => outcome);
    };
    expect(await asked()).toEqual([Outcome.NAME_BUSY, Outcome.NAME_BUSY]);
    await fence('settle', 'lost');
    expect(await asked()).toEqual([Outcome.NAME_BUSY, Outcome.NAME_BUSY]);
    await fence('fence', 'lost');
    expect(await asked()).toEqual([Outcome.GRANTED, Outcome.GRANTED]);
  });

  test.each([
    ['lost', { reader: true, writer: false }],
    ['alive', { reader: true, writer: true }],
  ] as const)('stay where they are durable and the node is %s: %j', async (node, stay) => {
    const durable = { durability: Durability.DURABLE, oplock: OplockLevel.OPLOCK_BATCH, fileId: FILE };
    for (const [kind, access] of [
      ['reader', READ],
      ['writer', READ_WRITE],
    ] as const) {
      const record = await open({ ...durable, access });
      expect(record.durability).toBe(Durability.DURABLE);
      await fence('fence', node);
      const ended = (await table.expire(other, FILE, record.openId, 'fenced')).outcome === Outcome.GRANTED;
      expect([kind, !ended]).toEqual([kind, stay[kind]]);
      if (!ended) await table.expire(other, FILE, record.openId, 'instance');
      await everywhere((shard) => store.data.del(keys.fence(shard)));
      await Promise.all([enter(fenced), enter(other)]);
    }
  });
});

describe('the opens of a server whose next life died before it had come to the shard', () => {
  const { serverId } = fenced;
  test.each([
    ['are seen to when another life comes', 'enter', 9],
    ['are seen to when the one that never came is fenced', 'fence', 8],
  ] as const)('%s', async (_name, what, epoch) => {
    const { openId } = await open();
    await table.fence(SHARD, { serverId, epoch }, what, 'alive');
    const { tick } = await table.tick(other, SHARD, -1, 10);
    const { due } = await table.tick(other, SHARD, tick, 10);
    expect(due.map(String)).toContain(`server:${serverId}@${fenced.epoch}`);
    // Counted from then on, its time comes to an end.
    expect((await table.expire(other, FILE, openId, 'fenced')).mayWaitTicks).toBeLessThan(400);
  });
});

test('an open whose answer was lost can be asked for when its server is fenced before it hears the answer', async () => {
  const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n });
  expect((await table.open(fenced, record, HOW)).outcome).toBe(Outcome.GRANTED);
  await fence('fence', 'alive');
  expect((await table.open(fenced, record, HOW)).outcome).toBe(Outcome.FENCED); // asked again
  expect(await table.hinted(record)).toEqual(FILE);
});

test('word that an open was not granted, late from a server that was fenced, leaves the way to what another granted since', async () => {
  const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n });
  await fence('fence', 'alive');
  const again = { ...record, openId: ids.next(SHARD) ?? 0n }; // its client repeats the CREATE there
  expect((await table.open(other, again, HOW)).outcome).toBe(Outcome.GRANTED);
  await table.forget(fenced, record);
  expect(await table.hinted(record)).toEqual(FILE);
  await table.forget(other, record);
  expect(await table.hinted(record)).toBeUndefined();
});

test('nothing of what was not granted is under way any more when that is said', async () => {
  await open({ shareAccess: 0 });
  const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n, createGuid: Buffer.alloc(16, 9) });
  const gate = Promise.withResolvers<void>();
  const run = store.run.bind(store);
  const slow = jest.spyOn(store, 'run').mockImplementation(async (name, ...args) => {
    if (name === 'unhint') await gate.promise;
    return run(name, ...args);
  });
  try {
    let answered = false;
    const asked = table.open(other, record, HOW).finally(() => {
      answered = true;
    });
    await until(() => slow.mock.calls.some(([name]) => name === 'unhint'));
    await delay(20);
    expect(answered).toBe(false);
    gate.resolve();
    expect((await asked).outcome).toBe(Outcome.SHARING_VIOLATION);
    expect(await table.hinted(record)).toBeUndefined();
  } finally {
    slow.mockRestore();
  }
});

describe('a fenced server that the shards forget', () => {
  const forget = () => table.forgetFence(other, SHARD, fenced);
  const forgetEverywhere = () => everywhere((shard) => table.forgetFence(other, shard, fenced));
  const remembered = async (shard: number) => [
    ...(await store.data.hkeys(keys.fence(shard))).filter((field) => field.startsWith(fenced.serverId)),
    ...(await redis.admin.zrange(keys.due(shard), 0, '-1')),
  ];

  test('leaves nothing behind, and is refused as before; what it left holds nobody up', async () => {
    const record = await open();
    const directory = Buffer.from('directory');
    await table.name(fenced, 'reserve', directory, 'a.txt', 'its token');
    const itself = `${fenced.serverId}@${fenced.epoch}`;
    await table.session(fenced, 'store', SESSION, 'alice');
    // As the version before stored it: listed nowhere, so that it stays.
    await redis.admin.del(keys.session(SESSION).key.replace(/session:.*/, `sessions:${itself}`));
    await table.session(fenced, 'store', SESSION + 1n, 'alice');
    await fence('fence', 'alive');
    expect(await reclaimed(record)).toBe(Outcome.GRANTED);
    // Another may do it at the same time.
    expect(new Set([...(await forgetEverywhere()), ...(await forgetEverywhere())])).toEqual(new Set([Outcome.GRANTED]));
    expect((await everywhere(remembered)).flat()).toEqual([]);

    const held = await table.find(other, FILE, Buffer.alloc(0), record.openId);
    expect(await table.letGo(other, SHARD, held.record ? [held.record] : [], itself)).toBe(Outcome.INVALID);
    expect(await table.session(other, 'look', SESSION, 'alice')).toMatchObject({ owner: itself, standing: 'fenced' });
    expect((await table.session(other, 'look', SESSION + 1n, 'alice')).outcome).toBe(Outcome.NOT_FOUND);
    expect((await table.name(other, 'reserve', directory, 'a.txt', 'another token')).outcome).toBe(Outcome.GRANTED);
    // It wakes up, and puts its state back as if the store had lost it.
    await everywhere((shard) => table.fence(shard, fenced, 'reenter', 'alive'));
    for (const [name, ask] of Object.entries(ASKS)) {
      expect([name, await ask(fenced, record)]).toEqual([name, Outcome.FENCED]);
    }
    expect((await everywhere(remembered)).flat()).toEqual([]);
  });

  test('is waited for while an open of it waits, whatever is said of it', async () => {
    const record = await open();
    await fence('fence', 'alive');
    expect(await forget()).toBe(Internal.WAITING);
    await table.again(other, SHARD, Buffer.from(`server:${fenced.serverId}@${fenced.epoch}`), undefined);
    expect(await forget()).toBe(Internal.WAITING);
    expect(await reclaimed(record)).toBe(Outcome.GRANTED);
    expect(await forget()).toBe(Outcome.GRANTED);
  });

  test('is waited for while its last writes settle', async () => {
    await fence('settle', 'lost');
    expect(await forget()).toBe(Internal.WAITING);
    await fence('fence', 'lost');
    expect(await forget()).toBe(Outcome.GRANTED);
  });

  test('is not forgotten before it is fenced, nor in the place of its next life; others are not touched', async () => {
    expect(await forget()).toBe(Internal.STALE);
    const record = await open();
    await fence('fence', 'alive');
    const anew = { ...fenced, epoch: 8 };
    await enter(anew);
    expect(await forget()).toBe(Outcome.GRANTED);
    expect(await remembered(SHARD)).toContain(fenced.serverId);
    expect((await table.find(anew, FILE, Buffer.alloc(0), record.openId)).outcome).toBe(Outcome.GRANTED);
    expect((await table.find(other, FILE, Buffer.alloc(0), record.openId)).outcome).toBe(Outcome.GRANTED);
  });

  test('comes back with a new epoch, and so does one that lives into a store that has lost it', async () => {
    await fence('fence', 'alive');
    await forgetEverywhere();
    const [anew, later] = [
      { ...fenced, epoch: 8 },
      { serverId: 'later', epoch: 9 },
    ];
    await enter(anew);
    await everywhere((shard) => table.fence(shard, later, 'reenter', 'alive'));
    const record = sampleRecord('file', { openId: ids.next(SHARD) ?? 0n });
    expect((await table.open(anew, record, HOW)).outcome).toBe(Outcome.GRANTED);
    expect((await table.find(later, FILE, Buffer.alloc(0), record.openId)).outcome).toBe(Outcome.GRANTED);
  });
});

describe('the registry', () => {
  let registry: Registry;
  beforeEach(async () => {
    registry = new Registry(store, keys);
    await store.data.set(keys.opened, `${runIds[0]}:1`);
    registry.serveWith(`${runIds[0]}:1`, runIds);
  });

  test('fences a silent server only while it is as silent as it was seen', async () => {
    const { epoch } = await registry.register('a', {});
    const me = { serverId: 'a', epoch };
    await registry.renew(me, { counter: 7 });
    expect(await registry.beginFencing(me, 6, 'other', true)).toMatchObject({ began: false });
    expect((await registry.renew(me, { counter: 8 })).valid).toBe(true);
    expect(await registry.beginFencing(me, 8, 'other', true)).toMatchObject({ began: true, state: 'fencing' });
    expect((await registry.renew(me, { counter: 9 })).valid).toBe(false);
    expect(await registry.resume(me, {})).toBeUndefined();
  });

  test('keeps nothing for a server that it forgets', async () => {
    const { epoch } = await registry.register('a', {});
    const me = { serverId: 'a', epoch };
    await registry.leaveMessage('a', Buffer.from('too late'));
    await registry.forget(me); // not while it lives
    expect(await store.lease.exists(keys.inbox('a'))).toBe(1);
    await registry.beginFencing(me, -1, 'b', false);
    await registry.endFencing(me);
    await registry.forget(me);
    expect(await registry.list()).toEqual([]);
    expect(await store.lease.exists(keys.inbox('a'))).toBe(0);
    // It was fenced, whoever has forgotten it: it does not come back when the shards are closed for another life of the store.
    expect(await registry.restore(me, { state: 'active' }, 'another life')).toBeUndefined();
    expect(await registry.restore({ serverId: 'b', epoch: epoch + 1 }, { state: 'active' }, 'another life')).toBe(0);
    expect(await registry.restore(me, { state: 'fenced' }, 'another life')).toBe(0);
  });

  test('hands no epoch out before the shards are open: those that live may have it', async () => {
    await store.data.del(keys.opened); // as after a loss
    await expect(registry.register('a', {})).rejects.toThrow(StoreUnavailableError);
    store.openWith(await store.load(runIds, '1'));
    await store.data.set(keys.opened, `${runIds[0]}:1`);
    registry.serveWith(`${runIds[0]}:1`, ['another Redis process']);
    await expect(registry.register('a', {})).rejects.toThrow(StoreUnavailableError);
    store.openWith(await store.load(runIds, '1'));
  });

  test('hands an epoch out once, and fences no later one in the name of an earlier', async () => {
    // Another sidecar's, which has heard of none of these.
    const others = new Registry(store, keys);
    others.serveWith(`${runIds[0]}:1`, runIds);
    const [a, b] = [await registry.register('a', {}), await others.register('b', {})];
    const again = await registry.register('a', {});
    expect(again.replaced).toBe(a.epoch);
    expect(new Set([a.epoch, b.epoch, again.epoch]).size).toBe(3);
    expect(await registry.beginFencing({ serverId: 'a', epoch: a.epoch }, -1, 'b', false)).toMatchObject({
      began: false,
    });
    expect((await registry.renew({ serverId: 'a', epoch: a.epoch }, { counter: 1 })).valid).toBe(false);
    expect((await registry.renew({ serverId: 'a', epoch: again.epoch }, { counter: 1 })).valid).toBe(true);
  });
});
