import { ChurningMap } from '../../common/churning-map.ts';
import { CloseReply, type FileState, type OpenRecord, OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import { Access } from '../../smb/security/access-mask.ts';
import type { Handles } from '../handles.ts';
import { Closings, type RemoveFile } from './closings.ts';
import type { SidecarCommands } from './commands.ts';

/** An open that nobody has asked for again is closed in the table after so long, ms. */
const KEEP_MS = 5000;
/** An open that is asked for twice within this time is kept the second time, ms. */
const REPEATED_WITHIN_MS = 10_000;
/** CLOSEs of opens that nobody has asked for twice are told together, after at most so long, ms. */
const GATHER_MS = 10;
/** As many are told before that. */
const MOST_GATHERED = 64;
/** A file that somebody else wanted is kept by nobody here for so long, ms. */
const CONTENDED_MS = 60_000;
/** Opens that are kept while no client has them. */
const MOST_PARKED = 4096;
/** Of what was opened lately, and of contended files. */
const MOST_REMEMBERED = 8192;

/** What attributes are read and written with: such an open disturbs nobody's caching (MS-FSA 2.1.5.1.2). */
const ATTRIBUTES_ONLY = Access.readAttributes | Access.writeAttributes | Access.synchronize;

/** An open that the table holds for this server itself, whether a client has it just now or not. */
interface Kept {
  /** As the table has it. */
  readonly record: OpenRecord;
  /** The file as this server was last told of it. */
  state: FileState | undefined;
  /** Nobody has asked for it to be given up, and nothing was done through it that ends with its CLOSE. */
  mayStay: boolean;
  /** When its client closed it, monotonic ms; undefined while one has it. */
  parkedMs: number | undefined;
  /** The session that has it, or had it last. */
  sessionId: bigint;
  /** It was asked for twice: it is worth keeping. Else its CLOSE only waits to be told together with others. */
  isRepeated: boolean;
  /** It waits for that session's client, as any resilient open: the server may not keep it any more. */
  isResilient: boolean;
}

/**
 * Opens that nothing but their files' sharing depends on are asked for with a batch oplock that is this server's own: their clients
 * know of none. When the client closes one the table is not told at once. That of a file that is opened the same way over and over is kept: when a
 * client asks for the same again nobody is asked, as the open was there all the time. Others are closed a moment later, many
 * with one request. Whoever else wants the file breaks the oplock, and the open is closed, or, where a client has it, stays as one without an
 * oplock.
 *
 * So the table knows of every open that a client has, and decides about every other as if there were nothing special about it.
 */
export class KeptOpens {
  /** What commands ask. */
  readonly handles: Handles;
  readonly #inner: Handles;
  readonly #byId = new ChurningMap<bigint, Kept>();
  /** A file has one at most: its oplock is a batch oplock. */
  readonly #byFile = new ChurningMap<string, Kept>();
  /** Those that no client has; who was parked first comes first. */
  readonly #parked = new ChurningMap<bigint, Kept>();
  /** Those of them whose CLOSEs are told with the next ones. */
  #gathered: Kept[] = [];
  #gathering: NodeJS.Timeout | undefined;
  readonly #closings: Closings;
  /** Opens that are asked for now. */
  #asking = 0;
  /** Breaks, and whether they are to be acknowledged, of opens that are not known here: the answer to one asked for may be behind. */
  readonly #early = new Map<bigint, boolean>();
  /** When something was opened in a way, monotonic ms. */
  readonly #opened = new Map<string, number>();
  /** Until when files are contended, monotonic ms. */
  readonly #contended = new Map<string, number>();
  #isLeaving = false;
  /** Counts the identities of this server: what was asked for under one before is none of this one's. */
  #life = 0;
  #sweep: NodeJS.Timeout | undefined;
  #timesReused = 0;

  constructor(inner: Handles, removeFile: RemoveFile) {
    this.#inner = inner;
    this.#closings = new Closings(inner, removeFile);
    const spoiling =
      <A extends { openId: bigint }, R extends unknown[], T>(ask: (request: A, ...rest: R) => T) =>
      (request: A, ...rest: R): T => {
        const kept = this.#byId.get(request.openId);
        if (kept) kept.mayStay = false;
        return ask(request, ...rest);
      };
    this.handles = {
      ...inner,
      open: (request, waiter) => this.#open(request, waiter),
      close: (request) => this.#close(request),
      gone: (openId) => this.#gone(openId),
      lock: spoiling(inner.lock),
      updateOpen: spoiling((request) => this.#update(request)),
      disconnect: (request) => {
        this.#ended(request.openId, true);
        return inner.disconnect(request);
      },
      setDeletePending: spoiling(inner.setDeletePending),
      beginRename: spoiling(inner.beginRename),
    };
  }

  /** Opens that no client has. */
  get parked(): number {
    return this.#parked.size;
  }

  /** How often an open was had without anybody being asked. */
  get timesReused(): number {
    return this.#timesReused;
  }

  /** What the sidecar tells, less what is about opens that no client knows of. */
  commandsFor(commands: SidecarCommands): SidecarCommands {
    return {
      fileState: (state) => {
        this.#takeState(state);
        return commands.fileState(state);
      },
      break: (wanted) =>
        (wanted.lease ? undefined : this.#break(wanted.openId, wanted.ackRequired)) ?? commands.break(wanted),
      dropSession: (command) => commands.dropSession(command),
      stopAccepting: () => {
        void this.leave();
        return commands.stopAccepting();
      },
      quiesce: (command) => commands.quiesce(command),
      release: (command) => {
        for (const openId of command.openIds) this.#ended(openId);
        return commands.release(command);
      },
      resume: (command) => {
        if (command.sessionIds.length === 0) this.#isLeaving = false;
        return commands.resume(command);
      },
      warmUp: (command) => commands.warmUp(command),
      removeFile: (command) => commands.removeFile(command),
      dropOpen: (command) => {
        this.#ended(command.openId);
        return commands.dropOpen(command);
      },
    };
  }

  /** All that the table holds for this server. @param opens what clients have open, and wait for */
  records(opens: readonly OpenRecord[]): OpenRecord[] {
    const known = new Set<bigint>();
    const records = opens.map((record) => {
      const kept = this.#byId.get(record.openId);
      if (!kept) return record;
      known.add(record.openId);
      const { oplock, clientGuid } = kept.record;
      if (kept.isResilient) return { ...record, oplock, clientGuid };
      return { ...record, oplock, clientGuid, kept: true, sessionId: 0n };
    });
    // Parked ones, and those that are about to be had.
    for (const [openId, { record }] of this.#byId) if (!known.has(openId)) records.push(record);
    return records;
  }

  /** The server is on its way out, or it is not any more. */
  set isLeaving(isLeaving: boolean) {
    this.#isLeaving = isLeaving;
  }

  /** Keeps nothing any more. Resolves when the table was told of all that no client has. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
    await this.#end([...this.#parked.values()]);
  }

  /** This server was fenced: nothing is open under its identity any more. */
  forget(): void {
    this.#life++;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    this.#byId.clear();
    this.#byFile.clear();
    this.#parked.clear();
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    this.#gathered = [];
    this.#closings.forget();
  }

  #open: Handles['open'] = (request, waiter) => {
    const asked = request.record;
    if (!asked || (asked.kept !== true && this.#parked.size === 0)) return this.#inner.open(request, waiter);
    const file = keyOf(asked.fileId);
    const kept = this.#byFile.get(file);
    if (kept && kept.parkedMs !== undefined) {
      if (asked.kept === true && isSame(kept.record, asked)) return Promise.resolve(this.#reuse(kept, asked));
      const wants = (asked.access & ~ATTRIBUTES_ONLY) !== 0 || asked.oplock !== OplockLevel.OPLOCK_NONE;
      // Ahead of what is asked for now, in the same frame.
      if (wants || !kept.isRepeated) void this.#end([kept]);
    }
    if (asked.kept !== true) return this.#inner.open(request, waiter);
    asked.kept = undefined;
    const isRepeated = this.#isRepeated(file, asked);
    if (!this.#mayKeep(file)) return this.#inner.open(request, waiter);
    return this.#openToKeep(file, { ...request, record: asked }, isRepeated, waiter);
  };

  async #openToKeep(
    file: string,
    request: Parameters<Handles['open']>[0] & { record: OpenRecord },
    isRepeated: boolean,
    waiter: Parameters<Handles['open']>[1],
  ): ReturnType<Handles['open']> {
    const asked = request.record;
    // Of no session: it outlives the one that it is asked for by.
    const record: OpenRecord = { ...asked, oplock: OplockLevel.OPLOCK_BATCH, kept: true, sessionId: 0n };
    const life = this.#life;
    this.#asking++;
    const { outcome, value } = await this.#inner.open({ ...request, record }, waiter);
    const ackRequired = this.#early.get(value?.record?.openId ?? 0n);
    if (--this.#asking === 0) this.#early.clear();
    if (life !== this.#life) return { outcome: Outcome.FENCED, value: undefined };
    const granted = value?.record;
    if (outcome !== Outcome.GRANTED || !granted) return { outcome, value };
    const mayStay = granted.oplock === OplockLevel.OPLOCK_BATCH;
    const { sessionId } = asked;
    const kept: Kept = {
      record: granted,
      state: value.fileState,
      mayStay,
      parkedMs: undefined,
      sessionId,
      isRepeated,
      isResilient: false,
    };
    this.#byId.set(granted.openId, kept);
    if (mayStay) this.#byFile.set(file, kept);
    else this.#isContended(file); // somebody has it open
    if (ackRequired !== undefined) void this.#giveUp(kept, ackRequired);
    return { outcome, value: { ...value, record: asClient(granted, asked) } };
  }

  #reuse(kept: Kept, asked: OpenRecord): Awaited<ReturnType<Handles['open']>> {
    this.#timesReused++;
    this.#parked.delete(kept.record.openId);
    kept.parkedMs = undefined;
    kept.isRepeated = true;
    kept.sessionId = asked.sessionId;
    const record = asClient(kept.record, asked);
    return { outcome: Outcome.GRANTED, value: { record, fileState: kept.state, replayed: false, renamingTo: '' } };
  }

  /** Nobody else wants the file, and nothing of it is kept yet. */
  #mayKeep(file: string): boolean {
    if (this.#isLeaving || this.#byFile.has(file)) return false;
    const untilMs = this.#contended.get(file);
    if (untilMs === undefined) return true;
    if (performance.now() < untilMs) return false;
    this.#contended.delete(file);
    return true;
  }

  /** It was opened like this not long ago. */
  #isRepeated(file: string, { access, shareAccess, path }: OpenRecord): boolean {
    const nowMs = performance.now();
    const way = `${access} ${shareAccess} ${file} ${path}`;
    const openedMs = this.#opened.get(way);
    remember(this.#opened, way, nowMs);
    return openedMs !== undefined && nowMs - openedMs < REPEATED_WITHIN_MS;
  }

  #close: Handles['close'] = (request) => {
    const kept = this.#byId.get(request.openId);
    if (!kept) return this.#inner.close(request);
    if (!kept.mayStay || this.#isLeaving) {
      this.#ended(request.openId, true);
      return this.#closings.close(kept.record);
    }
    kept.parkedMs = performance.now();
    this.#parked.set(kept.record.openId, kept);
    if (kept.isRepeated) this.#startSweep();
    else this.#gather(kept);
    if (this.#parked.size > MOST_PARKED) {
      for (const oldest of this.#parked.values()) {
        void this.#end([oldest]);
        break;
      }
    }
    return Promise.resolve({ outcome: Outcome.GRANTED, value: CloseReply.create() });
  };

  #gather(kept: Kept): void {
    this.#gathered.push(kept);
    if (this.#gathered.length >= MOST_GATHERED) this.#endGathered();
    else this.#gathering ??= setTimeout(() => this.#endGathered(), GATHER_MS);
  }

  #endGathered(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    const gathered = this.#gathered;
    this.#gathered = [];
    // Some have ended meanwhile, or were asked for again.
    void this.#end(gathered.filter(({ record, isRepeated }) => !isRepeated && this.#parked.has(record.openId)));
  }

  #startSweep(): void {
    this.#sweep ??= setInterval(() => this.#endOld(), KEEP_MS / 5).unref();
  }

  #endOld(): void {
    const beforeMs = performance.now() - KEEP_MS;
    const old: Kept[] = [];
    for (const kept of this.#parked.values()) {
      if ((kept.parkedMs ?? 0) > beforeMs) break;
      old.push(kept);
    }
    void this.#end(old);
    if (this.#parked.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  /** No client has them. Resolves when the table was told. */
  #end(ending: readonly Kept[]): Promise<void> {
    for (const { record } of ending) this.#ended(record.openId, true);
    return this.#closings.end(ending.map(({ record }) => record));
  }

  /** The table does not hold it any more. @param always also where a client has it, as far as that knows */
  #ended(openId: bigint, always = false): void {
    const kept = this.#byId.get(openId);
    if (!kept) return;
    kept.mayStay = false;
    const file = keyOf(kept.record.fileId);
    if (this.#byFile.get(file) === kept) this.#byFile.delete(file);
    if (!always && kept.parkedMs === undefined) return;
    this.#byId.delete(openId);
    this.#parked.delete(kept.record.openId);
  }

  /** Its client lost it with the session: what is of no session is nobody else's to close. */
  #gone(openId: bigint): void {
    const kept = this.#byId.get(openId);
    if (!kept) this.#inner.gone(openId);
    else if (kept.isResilient) this.#ended(openId, true);
    else if (kept.parkedMs === undefined) void this.#end([kept]);
  }

  /** A resilient open is its session's, and goes with it. */
  #update(request: Parameters<Handles['updateOpen']>[0]): ReturnType<Handles['updateOpen']> {
    const kept = this.#byId.get(request.openId);
    if (!kept || request.resilientTimeoutMs === undefined) return this.#inner.updateOpen(request);
    return this.#inner.updateOpen({ ...request, sessionId: kept.sessionId }).then((decision) => {
      if (decision.outcome === Outcome.GRANTED) kept.isResilient = true;
      return decision;
    });
  }

  /** Somebody else wants the file. Undefined: the oplock is a client's, as far as is known. */
  #break(openId: bigint, ackRequired: boolean): Promise<boolean> | undefined {
    const kept = this.#byId.get(openId);
    if (kept) return this.#giveUp(kept, ackRequired);
    const ending = this.#closings.hurry(openId);
    if (ending) return ending;
    if (this.#asking > 0) remember(this.#early, openId, ackRequired);
    return undefined;
  }

  #giveUp(kept: Kept, ackRequired: boolean): Promise<boolean> {
    kept.mayStay = false;
    const file = keyOf(kept.record.fileId);
    this.#isContended(file);
    if (kept.parkedMs !== undefined) return this.#end([kept]).then(() => true);
    if (this.#byFile.get(file) === kept) this.#byFile.delete(file);
    kept.record.oplock = OplockLevel.OPLOCK_NONE;
    if (!ackRequired) return Promise.resolve(true);
    const { fileId, openId, clientGuid } = kept.record;
    const level = OplockLevel.OPLOCK_NONE;
    return this.#inner.breakAck({ fileId, openId, level, lease: undefined, clientGuid }).then(() => true);
  }

  #isContended(file: string): void {
    remember(this.#contended, file, performance.now() + CONTENDED_MS);
  }

  #takeState(state: FileState): void {
    if (this.#byFile.size === 0) return;
    const kept = this.#byFile.get(keyOf(state.fileId));
    if (kept && state.version >= (kept.state?.version ?? 0n)) kept.state = state;
  }
}

const keyOf = (fileId: Buffer): string => fileId.toString('latin1');

/** As its client has it: without an oplock. */
function asClient(record: OpenRecord, { sessionId, clientGuid, attachment }: OpenRecord): OpenRecord {
  return { ...record, oplock: OplockLevel.OPLOCK_NONE, kept: undefined, sessionId, clientGuid, attachment };
}

/** Whether the table could not tell the two apart, except by whose they are. */
function isSame(one: OpenRecord, other: OpenRecord): boolean {
  return (
    one.access === other.access &&
    one.shareAccess === other.shareAccess &&
    one.path === other.path &&
    one.share === other.share &&
    one.user === other.user
  );
}

/** Makes `key` the newest of at most MOST_REMEMBERED. */
function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= MOST_REMEMBERED) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
