import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  Break,
  type BreakAck,
  type Close,
  CloseReply,
  FileState,
  type Open,
  OpenRecord,
  OpenReply,
  OplockLevel,
  Outcome,
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
  readonly acknowledged: BreakAck[] = [];
  oplocks = true;
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
      this.closed.push(openId);
      return { outcome: Outcome.GRANTED, value: CloseReply.create() };
    },
    breakAck: async (ack: BreakAck) => {
      this.acknowledged.push(ack);
      return GRANTED;
    },
    lock: async () => GRANTED,
    setDeletePending: async () => GRANTED,
    updateOpen: async () => GRANTED,
    beginRename: async () => GRANTED,
    gone: () => {},
  } as unknown as Handles;
}

describe('opens that are kept after their CLOSE', () => {
  let table: Table;
  let kept: KeptOpens;
  let commands: SidecarCommands;
  const passedOn: unknown[] = [];

  beforeEach(() => {
    jest.useFakeTimers();
    table = new Table();
    kept = new KeptOpens(table.handles);
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

  test('the second time a file is opened the same way its open is asked for with an oplock that its client knows nothing of', async () => {
    const first = await open();
    expect(table.opened[0]).toMatchObject({ oplock: OplockLevel.OPLOCK_NONE, sessionId: SESSION, kept: undefined });
    await close(first);
    expect(table.closed).toEqual([first.openId]);
    const second = await open();
    expect(table.opened[1]).toMatchObject({ oplock: OplockLevel.OPLOCK_BATCH, sessionId: 0n, kept: true });
    expect(second).toMatchObject({ oplock: OplockLevel.OPLOCK_NONE, sessionId: SESSION, kept: undefined });
  });

  test('its CLOSE is not told, and the same again is not asked for, by another session either', async () => {
    const second = await parked();
    expect(table.closed).not.toContain(second.openId);
    const third = await open({ sessionId: 78n });
    expect(table.opened).toHaveLength(2);
    expect(third).toMatchObject({ openId: second.openId, oplock: OplockLevel.OPLOCK_NONE, sessionId: 78n });
    expect([kept.parked, kept.timesReused]).toEqual([0, 1]);
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
    expect(table.opened).toHaveLength(3);
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
    expect(table.opened.slice(2).map(({ oplock }) => oplock)).toEqual([
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
    const plain = await open({ fileId: Buffer.from('third') });
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

  test('what the sidecar has ended is not had again', async () => {
    const second = await parked();
    await commands.release({ openIds: [second.openId], sessionIds: [] });
    const third = await open();
    expect(third.openId).not.toBe(second.openId);
    expect(table.closed).not.toContain(second.openId);
  });

  test('an open whose answer comes with a fence is not had', async () => {
    await close(await open());
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
    expect(kept.records([])).toEqual([]);
  });
});
