import { ChurningMap } from '../../common/churning-map.ts';
import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import {
  type Break,
  type ComingOpen,
  Durability,
  type FileState,
  type OpenRecord,
  OpenState,
  OplockLevel,
  Outcome,
} from '../../proto/generated/handles.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import type { Handles } from '../handles.ts';
import type { Changes } from '../notify/changes.ts';
import type { DeadlineGate } from '../session/deadline-gate.ts';
import type { OpenTable } from '../session/open-table.ts';
import type { Session } from '../session/session.ts';
import type { TreeConnect } from '../session/tree-connect.ts';
import type { Share, Shares } from '../shares.ts';
import { isEmptyDirectory } from '../volume/directory-scan.ts';
import type { Folder } from '../volume/folder.ts';
import { Folders } from '../volume/folders.ts';
import type { Eventually } from '../volume/posix.ts';
import { diskPathOf } from './adoption.ts';
import { encodeAttachment } from './attachment.ts';
import { breakBody } from './break.ts';
import { Creations } from './creations.ts';
import { DirectoryLeases } from './directory-leases.ts';
import { EarlyBreaks } from './early-breaks.ts';
import { Leases } from './leases.ts';
import { OpenFile, type StreamBase } from './open-file.ts';
import { keyOf, type LockCount, SharedFile } from './shared-file.ts';
import { WarmDescriptors } from './warm-descriptors.ts';

export interface OpensOptions {
  handles: Handles;
  shares: Shares;
  deadline: DeadlineGate;
  changes: Changes;
  log: Logger;
}

/** So long the table waits for the acknowledgement of a break, ms (MS-SMB2 3.3.2.1). */
const BREAK_TIMEOUT_MS = 35_000;

/** What CREATE knows of a new Open. */
export interface NewOpen {
  record: OpenRecord;
  folder: Folder;
  fd: number;
  writesThrough: boolean;
  /** Of an alternate data stream. */
  base?: StreamBase | undefined;
  session: Session;
  tree: TreeConnect;
  channelSequence: number;
  /** Of Creations; undefined: its CREATE cannot be replayed. */
  replayKey: string | undefined;
  fileState: FileState | undefined;
}

/** The opens of this process, in memory. What they may do was decided by the sidecar. */
export class Opens implements OpenTable {
  readonly warm: WarmDescriptors;
  readonly leases = new Leases();
  readonly directoryLeases: DirectoryLeases;
  readonly creations = new Creations();
  readonly #earlyBreaks = new EarlyBreaks(BREAK_TIMEOUT_MS);
  /** Of all files that are open here. */
  readonly lockCount: LockCount = { locks: 0 };
  readonly #handles: Handles;
  readonly #shares: Shares;
  readonly #log: Logger;
  readonly #folders: Folders;
  readonly #changes: Changes;
  readonly #byVolatile = new ChurningMap<number, OpenFile>();
  readonly #byPersistent = new ChurningMap<bigint, OpenFile>();
  readonly #bySession = new ChurningMap<bigint, ChurningMap<number, OpenFile>>();
  /** By keyOf the file id. */
  readonly #files = new ChurningMap<string, SharedFile>();
  /** Volatile halves are never used again in the life of the process. */
  #nextVolatile = 1;

  constructor({ handles, shares, deadline, changes, log }: OpensOptions) {
    this.#changes = changes;
    this.directoryLeases = new DirectoryLeases(handles, changes, this.leases);
    this.#handles = handles;
    this.#shares = shares;
    this.#log = log;
    this.#folders = new Folders(deadline);
    this.warm = new WarmDescriptors();
  }

  /** The folder of a share. Rejects with HoldfastError where it cannot be served; TREE_CONNECT may ask ahead. */
  folderOf(share: Share): Promise<Folder> {
    return this.#folders.of(share);
  }

  /** The open that a client names (MS-SMB2 3.3.5.2.7 and every command); undefined is STATUS_FILE_CLOSED. */
  find(fileId: FileId, tree: TreeConnect): OpenFile | undefined {
    const open = this.#byVolatile.get(Number(fileId.volatile));
    if (open === undefined || open.tree !== tree || open.closing) return undefined;
    return open.record.openId === fileId.persistent ? open : undefined;
  }

  /** An open of a session, on whatever tree connect of it: the source of a server-side copy (3.3.5.15.6). */
  ofSession(fileId: FileId, session: Session): OpenFile | undefined {
    const open = this.#byVolatile.get(Number(fileId.volatile));
    if (open === undefined || open.session !== session || open.closing) return undefined;
    return open.record.openId === fileId.persistent ? open : undefined;
  }

  /** The opens of a session. */
  opensOf(session: Session): Iterable<OpenFile> {
    return this.#bySession.get(session.id)?.values() ?? [];
  }

  /** An open by its id in the table, connected or not. */
  byId(openId: bigint): OpenFile | undefined {
    return this.#byPersistent.get(openId);
  }

  /** The open of this process that a CreateGuid belongs to. */
  get size(): number {
    return this.#byVolatile.size;
  }

  add(init: NewOpen): OpenFile {
    const file = this.#fileOf(init.record);
    if (init.fileState) file.take(init.fileState);
    const open = new OpenFile({ ...init, file, volatileId: this.#nextVolatile++ });
    file.opens++;
    this.#byVolatile.set(open.volatileId, open);
    this.#byPersistent.set(open.record.openId, open);
    if (open.record.lease) this.leases.join(open);
    this.creations.add(open);
    this.#joinSession(open, init.session);
    return open;
  }

  /** Gives an open that waited here to its client's new session. */
  reconnect(
    open: OpenFile,
    record: OpenRecord,
    session: Session,
    tree: TreeConnect,
    state: FileState | undefined,
  ): void {
    if (open.session) this.#leaveSession(open, open.session);
    this.leases.leave(open);
    open.record = record;
    this.leases.join(open);
    open.session = session;
    open.tree = tree;
    if (state) open.file.take(state);
    this.#joinSession(open, session);
  }

  #fileOf(record: OpenRecord): SharedFile {
    const key = keyOf(record.fileId);
    let file = this.#files.get(key);
    if (!file) {
      file = new SharedFile(record.fileId, diskPathOf(record.path), this.lockCount);
      this.#files.set(key, file);
    }
    return file;
  }

  #joinSession(open: OpenFile, session: Session): void {
    const opens = this.#bySession.get(session.id);
    if (session.usage) session.usage.opens++;
    if (opens) opens.set(open.volatileId, open);
    else this.#bySession.set(session.id, new ChurningMap<number, OpenFile>().set(open.volatileId, open));
    if (open.record.lease) this.leases.joinSession(open, session);
  }

  #leaveSession(open: OpenFile, session: Session): void {
    const opens = this.#bySession.get(session.id);
    if (!opens?.delete(open.volatileId)) return;
    if (session.usage) session.usage.opens--;
    if (opens.size === 0) this.#bySession.delete(session.id);
    if (open.record.lease) this.leases.leaveSession(open, session);
  }

  /** Takes an open out of the table, once, whatever ends it and how often; its descriptor stays open. */
  #remove(open: OpenFile): void {
    if (!this.#byVolatile.delete(open.volatileId)) return;
    if (open.record.lease) this.leases.leave(open);
    this.creations.remove(open);
    if (this.#byPersistent.get(open.record.openId) === open) this.#byPersistent.delete(open.record.openId);
    if (open.session) this.#leaveSession(open, open.session);
    if (--open.file.opens === 0) {
      open.file.forget();
      const { key } = open.file;
      if (this.#files.get(key) === open.file) this.#files.delete(key);
    }
  }

  /** 0, or the -errno of close(2), by which network file systems tell of writes that were lost. */
  #closeDescriptors(open: OpenFile): Eventually<number> {
    const { fd, scan } = open;
    open.fd = -1;
    open.scan = undefined;
    const closed = fd < 0 ? 0 : open.folder.posix.close(fd);
    return scan ? Promise.all([closed, scan.close()]).then(([result]) => result) : closed;
  }

  /**
   * Ends an open for good (CLOSE, or the end of a session of an open that is not durable): operations in flight end first, the
   * table is told, a file that is to be deleted is removed. `beforeClose` runs when nothing is in flight any more. Throws PosixError
   * where what was written through the open could not be made stable: it is closed all the same.
   */
  async close(open: OpenFile, beforeClose?: () => Promise<void>): Promise<void> {
    open.startClosing();
    if (open.isBusy) await open.drained();
    try {
      if (beforeClose) await beforeClose();
      if (this.#changes.active) this.#changes.closed(open);
      if (open.isDirectory && open.record.deleteOnClose) await this.#keepIfFull(open);
      if (open.unstable && !open.folder.volume.coherent) await open.stabilize();
      if (open.base) await passOnWriteTime(open, open.base);
    } finally {
      this.#remove(open);
      const closed = this.#closeDescriptors(open);
      const { outcome, value } = await this.#handles.close({
        fileId: open.record.fileId,
        openId: open.record.openId,
      });
      const closedWith = closed instanceof Promise ? await closed : closed;
      if (closedWith < 0 && open.unstable) open.lostWrites = closedWith;
      if (outcome === Outcome.GRANTED && value?.remove) {
        await this.#removeClosed(open.record, open.folder, diskPathOf(value.path || open.record.path), open.tree, open);
      }
      if (open.base) await this.#releaseBase(open, open.base);
    }
    open.reportLostWrites();
  }

  /** An open of a stream ended, and lets go of the file: the last one to do so may be what its removal waits for. */
  async #releaseBase(open: OpenFile, base: StreamBase): Promise<void> {
    open.base = undefined;
    const closed = open.folder.posix.close(base.fd);
    const { fileId, openId } = base.pin;
    const { outcome, value } = await this.#handles.close({ fileId, openId });
    await closed;
    if (outcome !== Outcome.GRANTED || !value?.remove) return;
    await this.#removeClosed(base.pin, open.folder, diskPathOf(value.path || base.pin.path), open.tree);
  }

  /** FILE_DELETE_ON_CLOSE of a directory that is not empty has no effect (MS-FSA 2.1.5.5). */
  async #keepIfFull(open: OpenFile): Promise<void> {
    if (await isEmptyDirectory(open.folder.posix, open.fd)) {
      if (open.tree) this.#changes.deleting(open.tree.share, open.path);
      return;
    }
    const { fileId, openId } = open.record;
    await this.#handles.setDeletePending({ fileId, openId, pending: false, onClose: true });
  }

  /** The last open of a file that is to be deleted went. */
  async #removeClosed(
    { fileId, isDirectory }: { fileId: Buffer; isDirectory: boolean },
    folder: Folder,
    path: string,
    tree: TreeConnect | undefined,
    by?: OpenFile,
  ): Promise<void> {
    let isLast = false;
    try {
      const share = tree?.share;
      isLast = (await folder.removal(path, fileId, share?.continuouslyAvailable ?? true)) === 'last';
      if (share) this.#changes.removed(share, path, isDirectory, by);
    } catch (error) {
      this.#log.warn({ path, reason: reasonOf(error) }, 'a file that was to be deleted could not be removed');
    }
    const told = this.#handles.fileGone({ fileId, ahead: false });
    // Nobody can come to the file any more: nobody waits for the table to forget it, and should this be lost, a custodian sees to it.
    if (!isLast) await told;
  }

  // ---- what sessions ask (session/open-table.ts) ---------------------------------------------------------------

  async endTree(tree: TreeConnect): Promise<void> {
    const opens = [...this.opensOf(tree.session)].filter((open) => open.tree === tree);
    await Promise.all(opens.map((open) => this.#end(open, false)));
  }

  async endSession(session: Session): Promise<void> {
    const opens = [...this.opensOf(session)];
    await Promise.all(opens.map((open) => this.#end(open)));
  }

  /**
   * MS-SMB2 3.3.7.1, 3.3.5.6: an open that is durable waits for its client where `mayWait`, any other is closed. Never rejects.
   */
  async #end(open: OpenFile, mayWait = true): Promise<void> {
    if (open.closing) return;
    try {
      if (mayWait && open.record.durability !== Durability.NOT_DURABLE) await this.#disconnect(open);
      else await this.close(open);
    } catch (error) {
      this.#log.error({ openId: String(open.record.openId), reason: reasonOf(error) }, 'an open could not be ended');
    }
  }

  async #disconnect(open: OpenFile): Promise<void> {
    const { session, tree } = open;
    if (session) this.#leaveSession(open, session);
    open.session = undefined;
    open.tree = undefined;
    open.connection = undefined;
    await open.drained();
    if (open.scan) {
      await open.scan.close();
      open.scan = undefined;
    }
    // What a sidecar that is started anew is told of it: it waits for its client, and its session is nobody's here any more.
    const { record } = open;
    record.state = OpenState.DISCONNECTED;
    record.attachment = encodeAttachment(open.attachment);
    const { fileId, openId, attachment } = record;
    const { outcome, value } = await this.#handles.disconnect({ fileId, openId, attachment });
    if (outcome === Outcome.GRANTED && !value?.remove) return;
    // The table does not keep it (it knew better, or this server has lost it): neither do we, unless its client is back.
    if (open.session !== undefined) return;
    this.#remove(open);
    await this.#closeDescriptors(open);
    if (value?.remove) {
      await this.#removeClosed(open.record, open.folder, diskPathOf(value.path || open.record.path), tree);
    }
    if (open.base) await this.#releaseBase(open, open.base);
  }

  records(): OpenRecord[] {
    return [...this.#byPersistent.values()].flatMap((open) =>
      open.base ? [open.record, open.base.pin] : [open.record],
    );
  }

  /** What this server was told of a file that has, or had, locks; undefined: it has none, or is not open here. */
  lockState(fileId: Uint8Array): FileState | undefined {
    return this.#files.get(keyOf(Buffer.from(fileId)))?.lockState;
  }

  dropAll(): Promise<void> {
    return this.drop([...this.#byPersistent.keys()]);
  }

  async drop(openIds: readonly bigint[]): Promise<void> {
    await Promise.all(
      openIds.map(async (openId) => {
        const open = this.#byPersistent.get(openId);
        if (!open) return;
        open.startClosing();
        await open.drained();
        this.#remove(open);
        this.#handles.gone(openId);
        await this.#closeDescriptors(open);
        if (open.base) await this.#releaseBase(open, open.base);
      }),
    );
  }

  dropSession(session: Session): Promise<void> {
    return this.drop([...this.opensOf(session)].map((open) => open.record.openId));
  }

  async settle(sessions: readonly Session[], timeoutMs: number, finished: (openId: bigint) => void): Promise<bigint[]> {
    const unsettled = new Set<OpenFile>();
    const settling: Promise<void>[] = [];
    for (const session of sessions) {
      for (const open of this.opensOf(session)) {
        if (open.changesInFlight === 0 && !open.unstable) continue;
        unsettled.add(open);
        settling.push(this.#settleOne(open).then(() => void unsettled.delete(open)));
      }
    }
    if (unsettled.size === 0) return [];
    await withinTime(Promise.all(settling), timeoutMs);
    const late = [...unsettled];
    for (const open of late) void this.#whenSettled(open, finished);
    return late.map((open) => open.record.openId);
  }

  async #settleOne(open: OpenFile): Promise<void> {
    await open.changesDrained();
    if (!open.unstable || open.fd < 0) return;
    if (await open.stabilize()) open.unstable = false;
    else this.#log.warn({ openId: String(open.record.openId), errno: -open.lostWrites }, 'fsync failed');
  }

  async #whenSettled(open: OpenFile, finished: (openId: bigint) => void): Promise<void> {
    await this.#settleOne(open);
    finished(open.record.openId);
  }

  /** @returns false: with these there would be more than `most` */
  async warmUp(records: readonly ComingOpen[], most: number): Promise<boolean> {
    const coming = records.filter(({ openId }) => !this.#byPersistent.has(openId) && !this.warm.has(openId));
    if (this.size + this.warm.size + coming.length > most) return false;
    for (const record of coming) {
      const share = this.#shares.find(record.share);
      if (!share) continue;
      try {
        await this.warm.open(record, await this.folderOf(share));
      } catch (error) {
        this.#log.debug({ openId: String(record.openId), reason: reasonOf(error) }, 'not opened ahead');
      }
    }
    return true;
  }

  async removeFile(fileId: Buffer, shareName: string, path: string): Promise<boolean> {
    const share = this.#shares.find(shareName);
    if (!share) return false;
    try {
      const folder = await this.folderOf(share);
      const isGone = await folder.removeIfSame(diskPathOf(path), fileId, share.continuouslyAvailable);
      if (isGone) this.#changes.gone(share, path);
      return isGone;
    } catch (error) {
      this.#log.warn({ share: shareName, path, reason: reasonOf(error) }, 'a custodian could not remove a file');
      return false;
    }
  }

  async takeFileState(state: FileState): Promise<void> {
    const file = this.#files.get(keyOf(state.fileId));
    if (!file) return;
    file.take(state);
    await file.settled();
  }

  /**
   * Tells a client of a break: of an oplock by the connection, or else the session, of its open (MS-SMB2 3.3.4.6), of a lease by the first connection of its
   * client (3.3.4.7). Where there is none the client is away, or it is just being granted what is to be broken: then it hears of that next.
   */
  async deliverBreak(wanted: Break): Promise<boolean> {
    const { lease } = wanted;
    const shared = lease && this.leases.find(wanted.clientGuid, lease.key);
    const one = this.#byPersistent.get(wanted.openId);
    const opens = shared ? [...shared.opens] : one ? [one] : [];
    // A reader elsewhere must find what was written here.
    for (const open of opens) if (!open.folder.volume.coherent && open.unstable) await this.#settleOne(open);
    if (shared && lease) {
      Object.assign(shared.lease, { epoch: lease.epoch, breaking: wanted.ackRequired });
      if (!wanted.ackRequired) shared.lease.state = lease.state;
    } else if (one && !wanted.ackRequired) one.record.oplock = wanted.toLevel;
    const isTold = this.#sendBreak(wanted, performance.now() + BREAK_TIMEOUT_MS);
    if (!isTold) this.#earlyBreaks.keep(wanted);
    return isTold;
  }

  /** The client is about to be answered what it was granted: what is to be broken of that already, it is told next. */
  granted({ record }: OpenFile): void {
    const wanted = this.#earlyBreaks.take(record);
    if (wanted) setImmediate(() => void this.deliverBreak(wanted));
  }

  /** One that is lost with its channel is sent on another as long as it is waited for. */
  #sendBreak(wanted: Break, untilMs: number): boolean {
    const open = this.#byPersistent.get(wanted.openId);
    const session = wanted.lease ? this.leases.sessionOf(wanted.clientGuid) : open?.session;
    const body = breakBody(wanted, open?.fileId ?? NO_OPEN);
    const lost = () => {
      if (performance.now() < untilMs && this.#isBreaking(wanted)) this.#sendBreak(wanted, untilMs);
    };
    return session?.sendBreak(body, lost, open?.connection) ?? false;
  }

  /** The client has not answered the break, and it has not been overtaken by another. */
  #isBreaking({ lease, clientGuid, openId, ackRequired }: Break): boolean {
    if (lease) {
      const now = this.leases.find(clientGuid, lease.key)?.lease;
      return now?.epoch === lease.epoch && now.breaking === ackRequired;
    }
    const oplock = this.#byPersistent.get(openId)?.record.oplock;
    return !ackRequired || oplock === OplockLevel.OPLOCK_EXCLUSIVE || oplock === OplockLevel.OPLOCK_BATCH;
  }
}

/** Writing to a stream is writing to its file (MS-FSA 2.1.5.4): the file's time of last write becomes the stream's. */
async function passOnWriteTime(open: OpenFile, base: StreamBase): Promise<void> {
  if (!open.isWritable || open.attachment.frozenWriteTime !== undefined) return;
  const stat = await open.folder.posix.stat(open.fd);
  if (typeof stat === 'number' || stat.writeTime === base.writeTimeAtOpen) return;
  await open.folder.posix.setTimes(base.fd, undefined, stat.writeTime);
}

/** A lease's notification names no open. */
const NO_OPEN: FileId = { persistent: 0n, volatile: 0n };

/** Resolves when the promise does, or when the time is over. */
async function withinTime(promise: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
