import type { FileState } from '../../proto/generated/handles.ts';
import type { DiskPath } from '../volume/folder.ts';

interface Lock {
  start: number;
  /** Exclusive. */
  end: number;
  exclusive: boolean;
  openId: bigint;
}

/** An I/O that is under way, in the thread pool. */
export interface PendingIo {
  readonly start: number;
  readonly end: number;
  readonly write: boolean;
  readonly openId: bigint;
}

/** A file id as a key of maps. */
export const keyOf = (fileId: Buffer): string => fileId.toString('latin1');

/** Byte-range locks that this process keeps, of all its files. */
export interface LockCount {
  locks: number;
}

/** What the opens of one file in this process share: its path, and what READ and WRITE check without asking anybody. */
export class SharedFile {
  readonly fileId: Buffer;
  /** The file id as a key of maps. */
  readonly key: string;
  /** As of the last open or rename that this server knows of. */
  path: DiskPath;
  /** How many opens of this process refer to it. */
  opens = 0;
  /** Somebody caches reads: handles.breakReadCaching before the next change to the data. */
  readCached = false;
  /** Who alone does, and breaks nothing by its own changes: FileState.cachedBy as a key of maps; empty: nobody, or several. */
  cachedBy = '';
  /** To be removed when its last open goes, as far as this server was told. */
  deletePending = false;
  #version = -1n;
  #locks: Lock[] = [];
  /** The last state, from the first that had locks on. */
  #told: FileState | undefined;
  #isForgotten = false;
  readonly #pending = new Set<PendingIo>();
  readonly #waiters: (() => void)[] = [];
  readonly #together: LockCount;

  /** `together`: counts the locks of this file with those of others. */
  constructor(fileId: Buffer, path: DiskPath, together: LockCount = { locks: 0 }) {
    this.#together = together;
    this.fileId = fileId;
    this.key = keyOf(fileId);
    this.path = path;
  }

  /** Nobody here has it open any more. */
  forget(): void {
    this.#together.locks -= this.#locks.length;
    this.#locks = [];
    this.#told = undefined;
    this.#isForgotten = true;
  }

  /** What this server was told last, where the file has, or had, locks. */
  get lockState(): FileState | undefined {
    return this.#told;
  }

  /** Takes a newer state; older ones are dropped. */
  take(state: FileState): void {
    if (state.version < this.#version || this.#isForgotten) return;
    this.#version = state.version;
    if (this.#told || state.locks.length > 0) this.#told = state;
    this.readCached = state.readCached;
    this.cachedBy = state.cachedBy.length > 0 ? keyOf(state.cachedBy) : '';
    if (state.locks.length === 0 && this.#locks.length === 0) return;
    this.#together.locks += state.locks.length - this.#locks.length;
    this.#locks = state.locks.map(({ offset, length, exclusive, openId }) => ({
      start: Number(offset),
      end: Number(offset + length),
      exclusive,
      openId,
    }));
  }

  /**
   * Whether byte-range locks forbid the I/O (MS-FSA 2.1.4.10): an exclusive lock of another open always does, a shared one
   * forbids every write, also its owner's.
   */
  isLocked(start: number, length: number, write: boolean, openId: bigint): boolean {
    if (this.#locks.length === 0 || length === 0) return false;
    const end = start + length;
    for (const lock of this.#locks) {
      if (conflicts(lock, start, end, write, openId)) return true;
    }
    return false;
  }

  /** The I/O begins; `end` it when it has returned. */
  begin(start: number, length: number, write: boolean, openId: bigint): PendingIo {
    const io = { start, end: start + length, write, openId };
    this.#pending.add(io);
    return io;
  }

  end(io: PendingIo): void {
    this.#pending.delete(io);
    if (this.#waiters.length > 0) for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Resolves when no I/O is under way that the locks, as they are now, would forbid. */
  async settled(): Promise<void> {
    while (this.#hasForbidden()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  #hasForbidden(): boolean {
    for (const { start, end, write, openId } of this.#pending) {
      if (this.isLocked(start, end - start, write, openId)) return true;
    }
    return false;
  }
}

function conflicts(lock: Lock, start: number, end: number, write: boolean, openId: bigint): boolean {
  if (lock.start >= end || lock.end <= start) return false;
  return lock.exclusive ? lock.openId !== openId : write;
}
