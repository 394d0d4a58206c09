import type { OpenRecord } from '../../proto/generated/handles.ts';
import { Access } from '../../smb/security/access-mask.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import type { Connection, Session } from '../session/session.ts';
import type { TreeConnect } from '../session/tree-connect.ts';
import type { DirectoryScan } from '../volume/directory-scan.ts';
import type { Folder } from '../volume/folder.ts';
import { checked, O } from '../volume/posix.ts';
import { type Attachment, decodeAttachment } from './attachment.ts';
import { ChannelSequence } from './channel-sequence.ts';
import { leaseNameOf } from './lease-name.ts';
import type { SharedFile } from './shared-file.ts';

export interface OpenFileInit {
  volatileId: number;
  record: OpenRecord;
  folder: Folder;
  file: SharedFile;
  fd: number;
  /** The descriptor writes through: what is written is stable when the call returns. */
  writesThrough: boolean;
  base?: StreamBase | undefined;
  session: Session;
  tree: TreeConnect;
  /** Of the CREATE that makes it or brings it here. */
  channelSequence: number;
  /** By which a replay of its CREATE finds it. */
  replayKey: string | undefined;
}

/** The file that an open's stream belongs to: attributes and times are the file's (MS-FSA 2.1.1.4, 2.1.1.5). */
export interface StreamBase {
  /** O_PATH. */
  readonly fd: number;
  /** Stands in the table for the stream's open, on the file: it keeps the file from being removed meanwhile. */
  readonly pin: OpenRecord;
  /** Of the stream, FILETIME: what was written later through this open was written to the file. */
  readonly writeTimeAtOpen: bigint;
}

/** An Open (MS-SMB2 3.3.1.10) in this process. */
export class OpenFile {
  readonly volatileId: number;
  readonly folder: Folder;
  readonly file: SharedFile;
  readonly attachment: Attachment;
  /** Open for I/O, or O_PATH where the open has no access to data; -1 when closed. */
  fd: number;
  record: OpenRecord;
  readonly writesThrough: boolean;
  /** Of an alternate data stream. */
  base: StreamBase | undefined;
  /** Of its client; undefined while it is disconnected. */
  session: Session | undefined;
  tree: TreeConnect | undefined;
  /** Open.Connection: that its client made it by, or came back by. */
  connection: Connection | undefined;
  /** The state of QUERY_DIRECTORY. */
  scan: DirectoryScan | undefined;
  /** Its data was changed through this open while somebody wanted to know. */
  hasWritten = false;
  /** What was written may not be stable yet. */
  unstable = false;
  /** -errno of a sync that no request waited for: what was written before may be lost. The next FLUSH or the CLOSE says so; 0: none. */
  lostWrites = 0;
  /** Set by CLOSE, and when the open leaves this server: no operation begins any more. */
  closing = false;
  /** Index of the extended attribute that the next QUERY_INFO begins with. */
  nextEa = 0;
  readonly channel: ChannelSequence;
  /** Set while the open is Open.IsReplayEligible, see Creations. */
  replayKey: string | undefined;
  #inFlight = 0;
  #changes = 0;
  readonly #idle: (() => void)[] = [];
  #abort: AbortController | undefined;

  constructor(init: OpenFileInit) {
    this.volatileId = init.volatileId;
    this.record = init.record;
    this.folder = init.folder;
    this.file = init.file;
    this.fd = init.fd;
    this.writesThrough = init.writesThrough;
    this.base = init.base;
    this.session = init.session;
    this.tree = init.tree;
    this.channel = new ChannelSequence(init.channelSequence);
    this.replayKey = init.replayKey;
    this.attachment = { ...decodeAttachment(init.record.attachment) };
  }

  get fileId(): FileId {
    return { persistent: this.record.openId, volatile: BigInt(this.volatileId) };
  }

  get isDirectory(): boolean {
    return this.record.isDirectory;
  }

  /** What holds the file's attributes and times; for a stream that is its file. */
  get metadataFd(): number {
    return this.base?.fd ?? this.fd;
  }

  get path(): string {
    return this.file.path;
  }

  /** Somebody else caches what a change through this open would change: they have to hear of it first. */
  get breaksCaching(): boolean {
    const { readCached, cachedBy } = this.file;
    return readCached && (cachedBy === '' || cachedBy !== this.#holder());
  }

  /** The holder of what it caches, as FileState.cachedBy names it. */
  #holder(): string {
    const { lease, clientGuid, openId } = this.record;
    if (lease) return leaseNameOf(clientGuid, lease.key);
    const id = Buffer.allocUnsafe(8);
    id.writeBigUInt64BE(openId);
    return id.toString('latin1');
  }

  /** Makes what was written stable, for others to see; that it could not be is told to who flushes or closes this open. */
  async stabilize(): Promise<boolean> {
    const result = await this.folder.posix.sync(this.fd);
    if (result < 0) this.lostWrites = result;
    return result >= 0;
  }

  /**
   * Has this node drop what it cached of the file where another node has changed it since: that is what opening a file does on volumes
   * whose nodes cache on their own. The descriptor that operations use stays: caches are the file's.
   */
  async revalidate(): Promise<void> {
    const { posix } = this.folder;
    const fd = checked(await posix.reopen(this.fd, this.isReadable ? O.RDONLY : O.WRONLY), 'open');
    await posix.close(fd);
  }

  /** Throws PosixError where writes of before were lost, once. */
  reportLostWrites(): void {
    const result = this.lostWrites;
    this.lostWrites = 0;
    checked(result, 'fsync');
  }

  /** Whether all of these rights were granted. */
  may(access: number): boolean {
    return (this.record.access & access) === access;
  }

  mayAny(access: number): boolean {
    return (this.record.access & access) !== 0;
  }

  /** The descriptor can be read from (written to). */
  get isReadable(): boolean {
    return this.mayAny(Access.readData | Access.execute);
  }

  get isWritable(): boolean {
    return this.mayAny(Access.writeData | Access.appendData);
  }

  get changesInFlight(): number {
    return this.#changes;
  }

  /** An operation begins; `change`: it changes the volume. Every begin needs one end. */
  begin(change: boolean): void {
    this.#inFlight++;
    if (change) this.#changes++;
  }

  end(change: boolean): void {
    this.#inFlight--;
    if (change) this.#changes--;
    if (this.#idle.length > 0) for (const wake of this.#idle.splice(0)) wake();
  }

  /** An operation is in flight. */
  get isBusy(): boolean {
    return this.#inFlight > 0;
  }

  /** Resolves when no operation is in flight. */
  async drained(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Resolves when no change is in flight. */
  async changesDrained(): Promise<void> {
    while (this.#changes > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Aborted when the open is closed: what waits for a lock gives up. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return this.#abort.signal;
  }

  /** No operation begins any more, and none waits for somebody else. */
  startClosing(): void {
    this.closing = true;
    this.#abort?.abort();
  }
}
