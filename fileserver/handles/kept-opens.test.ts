import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  Break,
  type BreakAck,
  type Close,
  type CloseOpens,
  CloseReply,
  FileState,
  type Open,
  OpenRecord,
  OpenReply,
  OplockLevel,
  Outcome,
  type UpdateOpen,
} from '../../proto/generated/handles.ts';
import type { Handles } from '../handles.ts';
import type { SidecarCommands } from './commands.ts';
import { KeptOpens } from './kept-opens.ts';

const SESSION = 77n;
const fileId = Buffer.from('file');
const GRANTED = { outcome: Outcome.GRANTED, value: undefined };

/** A table that grants every open, an oplock too where `oplocks` says so. */
class Table {
  readonly opened: OpenRecord[] = [];
  readonly closed: bigint[] = [];
  /** How many were closed with each request. */
  readonly together: number[] = [];
  readonly acknowledged: BreakAck[] = [];
  readonly updated: UpdateOpen[] = [];
  oplocks = true;
  isAway = false;
  removes = false;
  /** How long a CLOSE takes, ms. */
  takesMs = 0;
  /** Knows of no request that closes many. */
  isOlder = false;
  #next = 1n;

  readonly handles = {
    open: async ({ record }: Open) => {
      if (!record) throw new Error('an open without a record');
      const oplock = this.oplocks ? record.oplock : OplockLevel.OPLOCK_NONE;
      const granted = { ...record, openId: this.#next++, oplock };
      this.opened.push(granted);
      const fileState = FileState.create({ fileId, version: 1n });
      return { outcome: Outcome.GRANTED, value: OpenReply.create({ record: granted, fileState }) };
    },
    close: async ({ openId }: Close) => {
      if (this.takesMs > 0) await new Promise((resolve) => setTimeout(resolve, this.takesMs));
      this.closed.push(openId);
      if (this.isAway) return { outcome: Outcome.STORE_UNAVAILABLE, value: undefined };
      const close = this.removes ? { remove: true, share: 'share', path: 'now' } : {};
      return { outcome: Outcome.GRANTED, value: CloseReply.create(close) };
    },
    closeAll: async ({ closes }: CloseOpens) => {
      if (this.takesMs > 0) await new Promise((resolve) => setTimeout(resolve, this.takesMs));
      this.together.push(closes.length);
      if (this.isOlder) return { outcome: Outcome.INVALID, value: undefined };
      this.closed.push(...closes.map(({ openId }) => openId));
      if (this.isAway) return { outcome: Outcome.STORE_UNAVAILABLE, value: undefined };
      const close = CloseReply.create({ remove: true, share: 'share', path: 'now' });
      const closed = closes.map(({ openId }) => ({ openId, outcome: Outcome.GRANTED, close }));
      return { outcome: Outcome.GRANTED, value: { closed: this.removes ? closed : [] } };
    },
    breakAck: async (ack: BreakAck) => {
      this.acknowledged.push(ack);
      return GRANTED;
    },
    lock: async () => GRANTED,
    setDeletePending: async () => GRANTED,
    updateOpen: async (request: UpdateOpen) => {
      this.updated.push(request);
      return GRANTED;
    },
    beginRename: async () => GRANTED,
    gone: () => {},
  } as unknown as Handles;
}

describe('opens that are kept after their CLOSE', () => {
  let table: Table;
  let kept: KeptOpens;
  let commands: SidecarCommands;
  const passedOn: unknown[] = [];
  const removed: unknown[] = [];

  beforeEach(() => {
    jest.useFakeTimers();
    table = new Table();
    removed.length = 0;
    kept = new KeptOpens(table.handles, async (file) => void removed.push(file));
    passedOn.length = 0;
    const pass = async (command: unknown) => passedOn.push(command) > 0;
    commands = kept.commandsFor({
      fileState: pass,
      break: pass,
      release: pass,
      dropOpen: pass,
      stopAccepting: async () => true,
      resume: pass,
    } as unknown as SidecarCommands);
  });

  afterEach(() => {
    kept.forget();
    jest.useRealTimers();
  });

  const ask = (how: Partial<OpenRecord> = {}) =>
    OpenRecord.create({
      fileId,
      path: 'a',
      access: 1,
      shareAccess: 7,
      user: 'S-1',
      sessionId: SESSION,
      kept: true,
      ...how,
    });

  async function open(how: Partial<OpenRecord> = {}): Promise<OpenRecord> {
    const { value } = await kept.handles.open({
      record: ask(how),
      truncates: false,
      drop: undefined,
      guidAgain: false,
    });
    if (!value?.record) throw new Error('not granted');
    return value.record;
  }

  const close = ({ openId }: OpenRecord) => kept.handles.close({ fileId, openId });
  const broken = ({ openId }: OpenRecord) =>
    commands.break(Break.create({ fileId, openId, toLevel: OplockLevel.OPLOCK_LEVEL_II, ackRequired: true }));

  /** Opened and closed so often that it is kept: closed by its client, open in the table. */
  async function parked(how: Partial<OpenRecord> = {}): Promise<OpenRecord> {
    await close(await open(how));
    const second = await open(how);
    await close(second);
    return second;
  }

  test('an open is asked for with an oplock that its client knows nothing of', async () => {
    const first = await open();
    expect(table.opened).toMatchObject([{ oplock: OplockLevel.OPLOCK_BATCH, sessionId: 0n, kept: true }]);
    expect(first).toMatchObject({ oplock: OplockLevel.OPLOCK_NONE, sessionId: SESSION, kept: undefined });
  });

  test('CLOSEs of files that are opened once are told a moment later, with one request', async () => {
    const files = ['a', 'b', 'c'].map((name) => Buffer.from(name));
    const opens: OpenRecord[] = [];
    for (const fileId of files) opens.push(await open({ fileId }));
    for (const one of opens) await kept.handles.close({ fileId: one.fileId, openId: one.openId });
    expect(table.closed).toEqual([]);
    jest.advanceTimersByTime(10);
    expect(table.closed).toEqual(opens.map(({ openId }) => openId));
    expect(table.together).toEqual([3]);
    expect(kept.parked).toBe(0);
  });

  test('of many, as soon as there are enough for a request', async () => {
    for (let i = 0; i < 65; i++) {
      const fileId = Buffer.from(`file ${i}`);
      const { openId } = await open({ fileId });
      await kept.handles.close({ fileId, openId });
    }
    expect(table.together).toEqual([64]);
    expect(kept.parked).toBe(1);
  });

  test('a sidecar that knows of no such request closes them one by one', async () => {
    table.isOlder = true;
    const first = await open();
    const second = await open({ fileId: Buffer.from('other') });
    await close(first);
    await kept.handles.close({ fileId: second.fileId, openId: second.openId });
    await jest.advanceTimersByTimeAsync(10);
    expect(table.closed).toEqual([first.openId, second.openId]);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(table.closed).toHaveLength(2);
  });

  test('what could not be closed with others is closed later, each once', async () => {
    const first = await open();
    const second = await open({ fileId: Buffer.from('other') });
    await close(first);
    await kept.handles.close({ fileId: second.fileId, openId: second.openId });
    table.isAway = true;
    await jest.advanceTimersByTimeAsync(10);
    table.isAway = false;
    table.closed.length = 0;
    table.removes = true;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(table.closed).toEqual([first.openId, second.openId]);
    expect(removed).toHaveLength(2);
  });

  test('a file that is to be deleted with one of many that are closed together is removed', async () => {
    const first = await open();
    const second = await open({ fileId: Buffer.from('other') });
    table.removes = true;
    await close(first);
    await kept.handles.close({ fileId: second.fileId, openId: second.openId });
    await jest.advanceTimersByTimeAsync(10);
    expect(removed).toMatchObject([{ path: 'now' }, { path: 'now' }]);
  });

  test('who waits to be closed and is asked for again is not closed', async () => {
    const first = await open();
    await close(first);
    expect((await open()).openId).toBe(first.openId);
    jest.advanceTimersByTime(1000);
    expect(table.closed).toEqual([]);
    await close(first);
    jest.advanceTimersByTime(1000);
    expect(table.closed).toEqual([]);
    expect(table.opened).toHaveLength(1);
  });

  test('who waits to be closed is closed ahead of an open of the same file for its attributes only', async () => {
    const first = await open();
    await close(first);
    await open({ access: 0x0010_0080 });
    expect(table.closed).toEqual([first.openId]);
    jest.advanceTimersByTime(1000);
    expect(table.closed).toEqual([first.openId]);
  });

  test('who waits to be closed when somebody else wants the file is closed at once, and once', async () => {
    const first = await open();
    await close(first);
    expect(await broken(first)).toBe(true);
    expect(table.closed).toEqual([first.openId]);
    jest.advanceTimersByTime(1000);
    expect(table.closed).toEqual([first.openId]);
  });

  test.each([1, 2])(
    'a break while the CLOSE of %d is on its way is answered when the table was told',
    async (count) => {
      table.takesMs = 5;
      const opens: OpenRecord[] = [];
      for (let i = 0; i < count; i++) opens.push(await open({ fileId: Buffer.from(`file ${i}`) }));
      for (const { fileId, openId } of opens) await kept.handles.close({ fileId, openId });
      await jest.advanceTimersByTimeAsync(11);
      let isAnswered = false;
      const answered = broken(opens[0] as OpenRecord).then((answer) => {
        isAnswered = true;
        return answer;
      });
      await jest.advanceTimersByTimeAsync(1);
      expect([isAnswered, table.closed]).toEqual([false, []]);
      await jest.advanceTimersByTimeAsync(5);
      expect(table.closed).toHaveLength(count);
      expect(await answered).toBe(true);
    },
  );

  test('a break whose CLOSE a fence has overtaken is answered', async () => {
    table.takesMs = 5;
    const first = await open();
    await close(first);
    await jest.advanceTimersByTimeAsync(11);
    const answered = broken(first);
    kept.forget();
    expect(await answered).toBe(true);
  });

  test('the second CLOSE of a file that is opened the same way is not told, and the same again is not asked for, by another session either', async () => {
    const second = await parked();
    jest.advanceTimersByTime(1000);
    expect(table.closed).not.toContain(second.openId);
    const third = await open({ sessionId: 78n });
    expect(table.opened).toHaveLength(1);
    expect(third).toMatchObject({ openId: second.openId, oplock: OplockLevel.OPLOCK_NONE, sessionId: 78n });
    expect([kept.parked, kept.timesReused]).toEqual([0, 2]);
  });

  test.each([
    ['other access', { access: 3 }],
    ['another share mode', { shareAccess: 1 }],
    ['another name of the file', { path: 'b' }],
    ['another user', { user: 'S-2' }],
    ['caching or durability', { kept: undefined }],
  ])('%s is another open: what is parked is closed ahead of it', async (_, how) => {
    const second = await parked();
    await open(how);
    expect(table.closed).toContain(second.openId);
    expect(table.opened).toHaveLength(2);
    expect(kept.parked).toBe(0);
  });

  test('an open for attributes only leaves what is parked', async () => {
    const second = await parked();
    await open({ access: 0x0010_0080 });
    expect(table.closed).not.toContain(second.openId);
    expect((await open()).openId).toBe(second.openId);
  });

  test('who is parked is closed when somebody else wants the file, and the file is not kept soon again', async () => {
    const second = await parked();
    expect(await broken(second)).toBe(true);
    expect(table.closed).toContain(second.openId);
    expect(table.acknowledged).toEqual([]);
    await close(await open());
    await close(await open());
    expect(table.opened.slice(1).map(({ oplock }) => oplock)).toEqual([
      OplockLevel.OPLOCK_NONE,
      OplockLevel.OPLOCK_NONE,
    ]);
    jest.advanceTimersByTime(61_000);
    const again = await parked();
    expect(table.opened.at(-1)).toMatchObject({ openId: again.openId, oplock: OplockLevel.OPLOCK_BATCH });
  });

  test('who has a client when somebody else wants the file stays as an open without oplock, until its CLOSE', async () => {
    await close(await open());
    const second = await open();
    expect(await broken(second)).toBe(true);
    expect(table.acknowledged).toMatchObject([{ openId: second.openId, level: OplockLevel.OPLOCK_NONE }]);
    expect(table.closed).not.toContain(second.openId);
    await close(second);
    expect(table.closed).toContain(second.openId);
  });

  test('breaks of what clients cache are passed on', async () => {
    await commands.break(Break.create({ fileId, openId: 99n, ackRequired: true }));
    expect(passedOn).toHaveLength(1);
  });

  test('a break that comes with the answer to the open, or before it, is of that open', async () => {
    const opened = open();
    const told = commands.break(Break.create({ fileId, openId: 1n, ackRequired: true }));
    const first = await opened;
    await told;
    expect(first.openId).toBe(1n);
    expect(table.acknowledged).toMatchObject([{ openId: 1n, level: OplockLevel.OPLOCK_NONE }]);
    await close(first);
    expect(table.closed).toContain(1n);
  });

  test('a file that others have open is not asked to be kept again soon', async () => {
    table.oplocks = false;
    await close(await open());
    expect(table.opened[0]).toMatchObject({ kept: true });
    await close(await open());
    expect(table.opened[1]).toMatchObject({ oplock: OplockLevel.OPLOCK_NONE, kept: undefined });
  });

  test('what the store could not be told is told again, and not had meanwhile', async () => {
    const second = await parked();
    table.isAway = true;
    jest.advanceTimersByTime(7000);
    const times = () => table.closed.filter((openId) => openId === second.openId).length;
    await Promise.resolve();
    expect(times()).toBe(1);
    expect((await open()).openId).not.toBe(second.openId);
    table.isAway = false;
    await jest.advanceTimersByTimeAsync(3000);
    expect(times()).toBe(2);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(times()).toBe(2);
  });

  test('who wants the file while the store could not be told has it told again', async () => {
    const second = await parked();
    table.isAway = true;
    await jest.advanceTimersByTimeAsync(6000);
    table.isAway = false;
    const before = table.closed.length;
    expect(await broken(second)).toBe(true);
    expect(table.closed.slice(before)).toEqual([second.openId]);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(table.closed).toHaveLength(before + 1);
  });

  test('a file that is to be deleted with its last open goes with one that no client closes', async () => {
    await close(await open());
    const second = await open();
    table.removes = true;
    kept.handles.gone(second.openId);
    await jest.advanceTimersByTimeAsync(1);
    expect(removed).toEqual([{ fileId, share: 'share', path: 'now' }]);
  });

  test.each([
    ['when it is told again', (_open: OpenRecord) => jest.advanceTimersByTimeAsync(3000)],
    ['when somebody wants the file', (open: OpenRecord) => broken(open)],
  ])('also where a client closed it and the store could not be told: it goes %s, once', async (_when, comesAgain) => {
    await close(await open());
    const second = await open();
    await broken(second); // it is the client's alone now, and its CLOSE is told
    table.isAway = true;
    expect((await close(second)).outcome).toBe(Outcome.STORE_UNAVAILABLE);
    table.isAway = false;
    table.removes = true;
    await comesAgain(second);
    expect(removed).toEqual([{ fileId, share: 'share', path: 'now' }]);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(removed).toHaveLength(1);
  });

  test('a resilient open is one of its session: the sidecar is told of which, and goes with it', async () => {
    await close(await open());
    const second = await open();
    await kept.handles.updateOpen({ fileId, openId: second.openId, resilientTimeoutMs: 1000 });
    expect(table.updated).toMatchObject([{ resilientTimeoutMs: 1000, sessionId: SESSION }]);
    expect(kept.records([second])).toMatchObject([
      { sessionId: SESSION, oplock: OplockLevel.OPLOCK_BATCH, kept: undefined },
    ]);
    kept.handles.gone(second.openId);
    expect(table.closed).not.toContain(second.openId);
  });

  test('without the oplock nothing is kept', async () => {
    table.oplocks = false;
    const second = await parked();
    expect(table.closed).toContain(second.openId);
  });

  test.each([
    ['a lock', (handles: Handles, openId: bigint) => handles.lock({ openId } as never)],
    ['a deletion', (handles: Handles, openId: bigint) => handles.setDeletePending({ openId } as never)],
    ['an update', (handles: Handles, openId: bigint) => handles.updateOpen({ openId } as never)],
    ['a rename', (handles: Handles, openId: bigint) => handles.beginRename({ openId } as never)],
  ])('%s through the open ends with its CLOSE', async (_, change) => {
    await close(await open());
    const second = await open();
    await change(kept.handles, second.openId);
    await close(second);
    expect(table.closed).toContain(second.openId);
  });

  test('what nobody asks for again is closed after a while', async () => {
    const second = await parked();
    jest.advanceTimersByTime(4000);
    expect(table.closed).not.toContain(second.openId);
    jest.advanceTimersByTime(3000);
    expect(table.closed).toContain(second.openId);
    expect(kept.parked).toBe(0);
  });

  test('a client that has the open keeps it however long', async () => {
    await parked();
    const third = await open();
    jest.advanceTimersByTime(60_000);
    expect(table.closed).not.toContain(third.openId);
  });

  test('the next client has the newest state of the file', async () => {
    await parked();
    await commands.fileState(FileState.create({ fileId, version: 9n }));
    await commands.fileState(FileState.create({ fileId, version: 8n }));
    const { value } = await kept.handles.open({ record: ask(), truncates: false, drop: undefined, guidAgain: false });
    expect(value?.fileState?.version).toBe(9n);
  });

  test('a sidecar that was restarted hears of all of them as the table has them', async () => {
    const parkedOpen = await parked();
    await close(await open({ fileId: Buffer.from('other') }));
    const inUse = await open({ fileId: Buffer.from('other') });
    const plain = await open({ fileId: Buffer.from('third'), kept: undefined });
    const records = kept.records([inUse, plain]);
    expect(records.map(({ openId }) => openId).sort()).toEqual([parkedOpen.openId, inUse.openId, plain.openId].sort());
    const oplocks = records.map(({ openId, oplock }) => [openId, oplock]);
    expect(oplocks).toContainEqual([parkedOpen.openId, OplockLevel.OPLOCK_BATCH]);
    expect(oplocks).toContainEqual([inUse.openId, OplockLevel.OPLOCK_BATCH]);
    expect(oplocks).toContainEqual([plain.openId, OplockLevel.OPLOCK_NONE]);
  });

  test('a server on its way out keeps nothing', async () => {
    const second = await parked();
    await commands.stopAccepting();
    expect(table.closed).toContain(second.openId);
    const third = await parked();
    expect(table.closed).toContain(third.openId);
  });

  test('an open that went with its session to another server is closed: it was of no session', async () => {
    await close(await open());
    const second = await open();
    kept.handles.gone(second.openId);
    expect(table.closed).toContain(second.openId);
  });

  test('an open that its client has when the sidecar ends it is not kept at its CLOSE', async () => {
    await close(await open());
    const second = await open();
    await commands.dropOpen({ fileId, openId: second.openId });
    await close(second);
    expect(table.closed).toContain(second.openId);
    expect(kept.parked).toBe(0);
  });

  test('an open that is about to be had is among what the sidecar hears of', async () => {
    await close(await open());
    const second = await open();
    expect(kept.records([])).toMatchObject([{ openId: second.openId, kept: true, sessionId: 0n }]);
  });

  test('a server that ends tells of all that no client has', async () => {
    const second = await parked();
    await kept.leave();
    expect(table.closed).toContain(second.openId);
  });

  test('what the sidecar has ended is not had again', async () => {
    const second = await parked();
    await commands.release({ openIds: [second.openId], sessionIds: [] });
    const third = await open();
    expect(third.openId).not.toBe(second.openId);
    expect(table.closed).not.toContain(second.openId);
  });

  test('an open whose answer comes with a fence is not had', async () => {
    const request = { record: ask(), truncates: false, drop: undefined, guidAgain: false };
    const asked = kept.handles.open(request);
    kept.forget();
    expect((await asked).outcome).toBe(Outcome.FENCED);
    expect(kept.records([])).toEqual([]);
  });

  test('after a fence nothing is kept from before', async () => {
    const second = await parked();
    kept.forget();
    expect((await open()).openId).not.toBe(second.openId);
    expect(kept.records([]).map(({ openId }) => openId)).not.toContain(second.openId);
  });
});
