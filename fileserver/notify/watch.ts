import { NotifyAction } from '../../smb/fscc/constants.ts';
import { encodeNotifyList, type NotifyEntry } from '../../smb/fscc/notify.ts';
import { Status } from '../../smb/status.ts';
import type { Scope, VolumePath } from './change.ts';

/** What a CHANGE_NOTIFY is answered with. */
export interface Notified {
  status: number;
  /** FILE_NOTIFY_INFORMATION list; empty unless the status is STATUS_SUCCESS. */
  output: Buffer;
}

/** A CHANGE_NOTIFY that waits. */
export interface Waiting {
  /** The most that its answer may carry, bytes. */
  readonly outputBufferLength: number;
  answer(notified: Notified): void;
}

/** The most that is kept for a directory between two requests, whatever size the client asked for; bytes. */
const MAX_KEPT = 64 * 1024;
/** The most that is kept for all directories together, bytes of memory. */
const MAX_KEPT_TOGETHER = 16 * 1024 * 1024;
/** What an entry takes in memory besides its name, bytes (estimated). */
const ENTRY_MEMORY = 100;
/** Fixed part of FILE_NOTIFY_INFORMATION, and what it is aligned to. */
const ENTRY_SIZE = 12;
const ALIGNMENT = 4;

const NOTHING = Buffer.alloc(0);

/** Memory that the watches of a process share. */
export class KeptBudget {
  #left: number;

  constructor(bytes = MAX_KEPT_TOGETHER) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

/**
 * What an open of a directory watches, from its first CHANGE_NOTIFY to its end. The first request's filter, WATCH_TREE flag and buffer
 * size hold for all (MS-FSA 2.1.5.11.1): changes between two requests are kept in a buffer of that size, and when they
 * do not fit the client is told to look for itself (STATUS_NOTIFY_ENUM_DIR).
 */
export class Watch implements Scope {
  directory: VolumePath;
  readonly volume: string;
  readonly recursive: boolean;
  /** NotifyFilter. */
  readonly filter: number;
  /** Changes of other servers that come now were made after the watch began. */
  hearsOthers = false;
  readonly #capacity: number;
  readonly #budget: KeptBudget;
  #kept: NotifyEntry[] = [];
  #keptSize = 0;
  #keptMemory = 0;
  #overflown = false;
  /** Once set, every request is answered with it. */
  #ended: number | undefined;
  readonly #waiting: Waiting[] = [];

  constructor(
    options: { volume: string; directory: VolumePath; recursive: boolean; filter: number; capacity: number },
    budget: KeptBudget = new KeptBudget(),
  ) {
    this.#budget = budget;
    this.volume = options.volume;
    this.directory = options.directory;
    this.recursive = options.recursive;
    this.filter = options.filter;
    this.#capacity = Math.min(options.capacity, MAX_KEPT);
  }

  /** Takes what one change brought; the request that waits longest is answered with it. */
  take(entries: readonly NotifyEntry[]): void {
    if (this.#ended !== undefined || this.#overflown) return;
    for (const entry of entries) this.#keep(entry);
    this.#serve();
  }

  #keep(entry: NotifyEntry): void {
    const last = this.#kept.at(-1);
    // A file that is written to again and again is one entry.
    const isKnown =
      last !== undefined && last.action === entry.action && last.fileName === entry.fileName && isRepeatable(entry);
    if (isKnown || this.#overflown) return;
    this.#keptSize = aligned(this.#keptSize) + ENTRY_SIZE + 2 * entry.fileName.length;
    const memory = ENTRY_MEMORY + 2 * entry.fileName.length;
    if (this.#keptSize > this.#capacity || !this.#budget.take(memory)) {
      this.#overflow();
      return;
    }
    this.#keptMemory += memory;
    this.#kept.push(entry);
  }

  #empty(): void {
    this.#kept = [];
    this.#keptSize = 0;
    this.#budget.give(this.#keptMemory);
    this.#keptMemory = 0;
  }

  /** Changes may have been missed: the client has to look for itself. */
  lose(): void {
    if (this.#ended !== undefined) return;
    this.#overflow();
    this.#serve();
  }

  #overflow(): void {
    this.#overflown = true;
    this.#empty();
  }

  #serve(): void {
    if (this.#kept.length === 0 && !this.#overflown) return;
    const next = this.#waiting.shift();
    if (next) next.answer(this.#collect(next.outputBufferLength));
  }

  #collect(outputBufferLength: number): Notified {
    const output = this.#overflown ? undefined : encodeNotifyList(this.#kept, outputBufferLength);
    this.#overflown = false;
    this.#empty();
    return output ? { status: Status.SUCCESS, output } : { status: Status.NOTIFY_ENUM_DIR, output: NOTHING };
  }

  /** What a request is answered with at once; undefined: it has to wait. */
  collect(outputBufferLength: number): Notified | undefined {
    if (this.#ended !== undefined) return { status: this.#ended, output: NOTHING };
    if (this.#kept.length === 0 && !this.#overflown) return undefined;
    return this.#collect(outputBufferLength);
  }

  wait(waiting: Waiting): void {
    this.#waiting.push(waiting);
  }

  /** The request gave up. */
  leave(waiting: Waiting): void {
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** Nothing is watched any more: every request gets `status`. */
  end(status: number): void {
    this.#ended ??= status;
    this.#empty();
    for (const waiting of this.#waiting.splice(0)) waiting.answer({ status, output: NOTHING });
  }
}

const isRepeatable = ({ action }: NotifyEntry): boolean =>
  action === NotifyAction.modified || action === NotifyAction.modifiedStream;

const aligned = (size: number): number => Math.ceil(size / ALIGNMENT) * ALIGNMENT;
