import { ChurningMap } from '../../common/churning-map.ts';
import { monotonicMs } from '../../common/time.ts';
import { type FileState, type Lease, type OpenRecord, OpenState } from '../../proto/generated/handles.ts';
import type { ServerRecord } from '../fencing/registry.ts';
import { bytesId, hex, type Identity, identityText, type OpenIds } from '../table/keys.ts';
import { Asking } from './asking.ts';
import type { FileServerStream } from './stream.ts';
import { UnfinishedChanges } from './unfinished-changes.ts';

/** An open of a file server of this pod, as its owner remembers it (invariant 8: losing Redis loses no handle). */
export interface OwnOpen {
  record: OpenRecord;
  fileHex: string;
  /** Number of its last operation. */
  operation: number;
  /** Known by what its file server said alone: the table may know more of its locks, and of its operations. */
  isReported: boolean;
  /** Operations on one open follow one another, so that a repeated one is known. */
  turn: Promise<unknown>;
  readonly file: OwnFile;
  readonly lease: SharedLease | undefined;
}

export interface OwnSession {
  user: string;
  clientGuid: Uint8Array;
}

interface OwnFile {
  /** undefined: nothing was said of it yet. */
  state: FileState | undefined;
  opens: OwnOpen[];
}

/** A lease, and how many opens have it in common. */
interface SharedLease {
  readonly name: string;
  readonly lease: Lease;
  opens: number;
}

const NO_TURN = Promise.resolve();

/** States that came before the open they matter to was answered are kept so long, ms. */
const EARLY_STATE_MS = 10_000;

/** One incarnation of a file server process of this pod: a member of the table. */
export class Member {
  readonly worker: string;
  readonly identity: Identity;
  /** identity, as the table writes it */
  readonly owner: string;
  readonly lockPath: string;
  readonly opens = new ChurningMap<bigint, OwnOpen>();
  readonly sessions = new Map<bigint, OwnSession>();
  /** Opens by session: a handoff looks at one session after the other. */
  readonly #bySession = new ChurningMap<bigint, ChurningMap<bigint, OwnOpen>>();
  readonly #files = new ChurningMap<string, OwnFile>();
  readonly #early = new Map<string, FileState>();
  /** Leases by ClientGuid and key: the opens of one have one lease in common. */
  readonly #leases = new ChurningMap<string, SharedLease>();
  /** Opens whose decision is under way: the table may hold them already. */
  readonly asking = new Asking();
  /** CreateGuids of opens that are asked for now, hex. */
  readonly askingGuids = new Set<string>();
  /** The Hello that it was registered by; empty: it resumed, or its file server is older. */
  attempt = Buffer.alloc(0);
  stream: FileServerStream | undefined;
  ids: OpenIds;
  smbAddress: string;
  /** Heartbeat since the last renewal: without one a worker is not renewed. */
  alive = true;
  /** When the last heartbeat came, monotonic ms. */
  heartbeatMs = monotonicMs();
  /** When the last renewal was sent, monotonic ms. */
  renewedMs = monotonicMs();
  counter = 0;
  /** CLOCK_MONOTONIC ns until which it may serve. */
  deadlineNs = 0n;
  /** The deadline that its last renewal brought, without what peers promised. */
  leaseEndNs = 0n;
  /** Whom that renewal named, one server a pod: all of them have to promise before it is extended. */
  peers: readonly ServerRecord[] = [];
  /** The highest epoch at that renewal: later servers are not among the peers. */
  knows = 0;
  /** The store says that it may go on without it, so that others wait. */
  mayBeExtended = false;
  /** It gives its handles away; no new session. */
  draining = false;
  /** Shares that it cannot serve, and why, as it said last. */
  troubles: string[] = [];
  #over = false;
  /** Opens that a resuming file server still has to report on this stream. */
  reportsExpected = 0;
  /** How often it began to report: what an earlier report led to is over then. */
  reporting = 0;
  /** Opens as they were reported on this stream. */
  readonly #reported = new Map<bigint, OwnOpen>();
  /** Opens that were reported on streams that broke before all was said, and on this one not yet. */
  readonly #saidBefore = new Map<bigint, OwnOpen>();
  /** After a restart of this sidecar: what the file server holds was reported and compared with the table, or it is over. */
  settled: Promise<void> = Promise.resolve();
  #hasSettled: (() => void) | undefined;
  readonly unfinished = new UnfinishedChanges();
  /** Names that are reserved for creations, renames and removals under way, with the requests they are reserved for. */
  readonly names = new Map<string, { directoryId: Uint8Array; name: string; token: string }>();

  constructor(worker: string, identity: Identity, lockPath: string, ids: OpenIds, smbAddress: string) {
    this.worker = worker;
    this.identity = identity;
    this.owner = identityText(identity);
    this.lockPath = lockPath;
    this.ids = ids;
    this.smbAddress = smbAddress;
  }

  /** Fenced, or proven dead: nothing is decided for it any more. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether a client has anything open here; what a file server keeps for itself goes nowhere. */
  get holdsOpens(): boolean {
    return [...this.opens.values()].some(({ record }) => !record.kept);
  }

  /**
   * Nothing may be moved until what the file server holds is known. It tells all of it from the beginning, also when an earlier stream
   * broke in the middle: what came through that one counts no more.
   * @param opens how many it will report
   */
  expectReports(opens: number): void {
    this.reporting++;
    this.reportsExpected = opens;
    for (const [openId, open] of this.#reported) this.#saidBefore.set(openId, open);
    this.#reported.clear();
    if (opens === 0) this.#forgetUnsaid();
    // Who waits since the stream before waits on.
    if (this.#hasSettled) return;
    this.settled = new Promise((resolve) => {
      this.#hasSettled = resolve;
    });
  }

  /**
   * Takes opens that the file server holds, as it reports them.
   * @param states what it was told last of files with locks
   * @returns those that were not known
   */
  report(records: readonly OpenRecord[], states: readonly FileState[]): OwnOpen[] {
    const added: OwnOpen[] = [];
    for (const record of records) {
      const { openId } = record;
      if (record.state === OpenState.ACTIVE && record.sessionId !== 0n && !this.sessions.has(record.sessionId)) {
        this.sessions.set(record.sessionId, { user: record.user, clientGuid: record.clientGuid });
      }
      const known = this.opens.get(openId);
      // What an earlier stream said may have changed since. What was decided since then is not among it.
      if (!known || known === this.#saidBefore.get(openId)) {
        const open = this.add(record, 0);
        open.isReported = true;
        if (!known) added.push(open);
        if (this.isSettling) this.#reported.set(openId, open);
      }
      this.#saidBefore.delete(openId);
    }
    for (const state of states) this.#takeReported(state);
    if (this.reportsExpected === 0) return added;
    this.reportsExpected = Math.max(0, this.reportsExpected - records.length);
    if (this.reportsExpected === 0) this.#forgetUnsaid();
    return added;
  }

  /** What the table says of an open that is known by its file server's report alone. */
  learn(open: OwnOpen, { locks, lockSequences }: OpenRecord, operation: number): void {
    open.operation = Math.max(open.operation, operation);
    if (!open.isReported) return;
    open.isReported = false;
    Object.assign(open.record, { locks, lockSequences });
  }

  /** The locks of a file as its server was told last. */
  #takeReported(state: FileState): void {
    const file = this.#files.get(hex(state.fileId));
    if (!file) return;
    this.takeState(state);
    for (const { isReported, record } of file.opens) {
      if (isReported) record.locks = state.locks.filter(({ openId }) => openId === record.openId);
    }
  }

  /** What the file server held when the stream before broke, and has not named in the report that is complete now. */
  #forgetUnsaid(): void {
    for (const [openId, open] of this.#saidBefore) {
      if (this.opens.get(openId) === open && !this.asking.has(openId)) this.remove(openId);
    }
    this.#saidBefore.clear();
  }

  get isSettling(): boolean {
    return this.#hasSettled !== undefined;
  }

  hasSettled(): void {
    this.#reported.clear();
    this.#saidBefore.clear();
    this.#hasSettled?.();
    this.#hasSettled = undefined;
  }

  end(): void {
    this.#over = true;
    this.hasSettled();
    this.stream?.giveUp();
  }

  add(record: OpenRecord, operation: number): OwnOpen {
    const known = this.opens.get(record.openId);
    const fileHex = hex(record.fileId);
    let file = this.#files.get(fileHex);
    if (!file) {
      file = { state: this.#takeEarly(fileHex), opens: [] };
      this.#files.set(fileHex, file);
    }
    const lease = record.lease && this.#joinLease(record, record.lease);
    const open: OwnOpen = { record, fileHex, operation, isReported: false, turn: known?.turn ?? NO_TURN, file, lease };
    this.opens.set(record.openId, open);
    if (known) this.#leave(known);
    this.#joinSession(open);
    file.opens.push(open);
    return open;
  }

  #takeEarly(fileHex: string): FileState | undefined {
    if (this.#early.size === 0) return undefined;
    const early = this.#early.get(fileHex);
    this.#early.delete(fileHex);
    return early;
  }

  remove(openId: bigint): OwnOpen | undefined {
    const open = this.opens.get(openId);
    if (!open) return undefined;
    this.opens.delete(openId);
    this.unfinished.forget(openId);
    this.#leave(open);
    if (open.file.opens.length === 0) this.#files.delete(open.fileHex);
    return open;
  }

  /** Opens that a session made or got back, also those that wait for their client since; in no order. 0n: those that have none. */
  opensOf(sessionId: bigint): Iterable<OwnOpen> {
    return this.#bySession.get(sessionId)?.values() ?? [];
  }

  /** An open becomes another session's. */
  giveTo(sessionId: bigint, open: OwnOpen): void {
    this.#leaveSession(open);
    open.record.sessionId = sessionId;
    this.#joinSession(open);
  }

  /** Opens of one file, those that wait for their client too. */
  opensOfFile(fileHex: string): readonly OwnOpen[] {
    return this.#files.get(fileHex)?.opens ?? [];
  }

  /** What an open has in common with others. Its file's state stays for whoever comes next. */
  #leave(open: OwnOpen): void {
    this.#leaveSession(open);
    const { lease, file } = open;
    if (lease && --lease.opens === 0) this.#leases.delete(lease.name);
    const at = file.opens.indexOf(open);
    if (at >= 0) file.opens.splice(at, 1);
  }

  #joinSession(open: OwnOpen): void {
    const { sessionId } = open.record;
    const opens = this.#bySession.get(sessionId);
    if (opens) opens.set(open.record.openId, open);
    else this.#bySession.set(sessionId, new ChurningMap<bigint, OwnOpen>().set(open.record.openId, open));
  }

  #leaveSession(open: OwnOpen): void {
    const { sessionId, openId } = open.record;
    const opens = this.#bySession.get(sessionId);
    if (opens?.get(openId) === open) opens.delete(openId);
    if (opens?.size === 0) this.#bySession.delete(sessionId);
  }

  #joinLease(record: OpenRecord, lease: Lease): SharedLease {
    const name = latin1(record.clientGuid) + latin1(lease.key);
    const known = this.#leases.get(name);
    if (known) {
      record.lease = Object.assign(known.lease, lease);
      known.opens++;
      return known;
    }
    const shared = { name, lease, opens: 1 };
    this.#leases.set(name, shared);
    return shared;
  }

  /** What a holder of caching holds from now on: a lease by ClientGuid and key (32 bytes), an oplock by the id of its open (8 bytes). */
  cached(holder: Uint8Array, state: number, epoch: number): void {
    if (holder.length === 8) {
      const open = this.opens.get(bytesId(Buffer.from(holder)));
      if (open) open.record.oplock = state === 0 ? 0 : 1;
      return;
    }
    const known = this.#leases.get(latin1(holder));
    if (known) Object.assign(known.lease, { state, epoch, breaking: false });
  }

  /** Leases that its opens have, once each. */
  *leases(): Generator<Readonly<Lease>> {
    for (const { lease } of this.#leases.values()) yield lease;
  }

  hasFile(fileId: Uint8Array): boolean {
    return this.#files.has(hex(fileId));
  }

  /**
   * Takes a file's state if it is newer than the one known, and says which one counts. One for a file that is not open here (yet) is
   * kept a while: the answer to the open it belongs to may still be on its way from Redis.
   */
  takeState(state: FileState): FileState {
    const key = hex(state.fileId);
    const file = this.#files.get(key);
    if (file) {
      if (!file.state || state.version >= file.state.version) file.state = state;
      return file.state;
    }
    const early = this.#early.get(key);
    if (early && early.version > state.version) return early;
    if (!early) setTimeout(() => this.#early.delete(key), EARLY_STATE_MS).unref();
    this.#early.set(key, state);
    return state;
  }

  stateOf(fileHex: string): FileState | undefined {
    return this.#files.get(fileHex)?.state;
  }

  /** Runs operations on one open one after the other. */
  inTurn<T>(open: OwnOpen, operation: () => Promise<T>): Promise<T> {
    const result = open.turn.then(operation, operation);
    open.turn = result.catch(() => {});
    return result;
  }
}

/** Bytes as a string of as many characters: a name that is short. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
