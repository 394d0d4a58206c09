import { monotonicMs } from '../../common/time.ts';
import { foldedName, wireName } from './names.ts';
import { checked, O, type Posix, PosixError, type Stat } from './posix.ts';
import { mayBeShortName, shortName } from './short-name.ts';

/** Names that all cached directories of a volume may have together; some 150 bytes each. */
const MAXIMUM_NAMES = 1_000_000;
/** Directories that are known to be changed by several servers; some 100 bytes each. */
const MAXIMUM_SHARED = 10_000;
const CHUNK_SIZE = 64 * 1024;
/**
 * How long a directory's names may rest on more than one scan with an unchanged time stamp: own changes are taken over
 * without a new scan, and another server's change in the same instant would not show in the time stamp.
 */
const RECHECK_MS = 1000;
/** A recheck may take at most this part of the time. */
const RECHECK_COST_FACTOR = 20;

interface Listing {
  /** The directory's write and change time when the names were right. */
  stamp: string;
  /** When it was first seen, monotonic ms. */
  stampSeenMs: number;
  /** Of it the change time: who looked before is behind, and has seen nothing new. */
  changeTime: Stat['changeTime'];
  /** Folded name -> name on disk. Of names that differ in case only, the first found. */
  readonly names: Map<string, string>;
  scannedAtMs: number;
  scanCostMs: number;
  /** Rests on scans that began when the stamp was new, or was changed by us since: to be scanned again when RECHECK_MS are over. */
  doubtful: boolean;
}

/**
 * A directory that another server was seen to change is looked at again before a name in it is given away: what that one changes between two looks at
 * the time stamp, around a change of our own, shows in neither. Forgotten after so long.
 */
const SHARED_MS = 60_000;

/** A name that is reserved in the cluster, and given away if it is free: no other server changes it from now on. */
export interface NameHold {
  /** Another server has reserved names of the directory not long ago, since this one did: it may have changed it. */
  readonly elsewhere: boolean;
}

/** Changes that this server is making to the names of a directory. */
interface OwnChanges {
  running: number;
  /** Several at once: a time stamp that is not the expected one may be ours. */
  overlapped: boolean;
}

const stampOf = (directory: Stat): string => `${directory.writeTime}.${directory.changeTime}`;

/**
 * Finds names without regard to case at a cost that does not grow with the directory: its names are read once, kept under the
 * directory's time stamps, and updated with what this server itself changes.
 */
export class NameCache {
  readonly #posix: Posix;
  readonly #listings = new Map<bigint, Listing>();
  readonly #scans = new Map<bigint, Promise<Listing>>();
  readonly #own = new Map<bigint, OwnChanges>();
  /** When another server was seen to change a directory, monotonic ms. */
  readonly #shared = new Map<bigint, number>();
  #names = 0;

  constructor(posix: Posix) {
    this.#posix = posix;
  }

  /**
   * The name on disk that equals `name` but for case. `dirFd` (O_PATH) and `directory` are of the directory.
   * @param hold where the name is reserved
   */
  async find(dirFd: number, directory: Stat, name: string, hold?: NameHold): Promise<string | undefined> {
    if (hold?.elsewhere) this.#changedElsewhere(directory.inode);
    const valid = this.#valid(directory);
    const isCertain = hold === undefined || valid?.doubtful === false || !this.#isShared(directory.inode);
    const listing = (isCertain ? valid : undefined) ?? (await this.#scan(dirFd, directory, hold !== undefined));
    const folded = foldedName(name);
    return listing.names.get(folded) ?? (mayBeShortName(folded) ? byShortName(listing.names, folded) : undefined);
  }

  #valid(directory: Stat): Listing | undefined {
    const listing = this.#listings.get(directory.inode);
    if (listing === undefined) return undefined;
    if (listing.stamp !== stampOf(directory)) {
      if (!this.#own.has(directory.inode)) this.#differs(listing, directory);
      return undefined;
    }
    if (!listing.doubtful) return listing;
    const age = monotonicMs() - listing.scannedAtMs;
    return age < Math.max(RECHECK_MS, RECHECK_COST_FACTOR * listing.scanCostMs) ? listing : undefined;
  }

  /** @param isNew not one that runs already: it may have passed the name before it was reserved */
  async #scan(dirFd: number, directory: Stat, isNew: boolean): Promise<Listing> {
    const running = this.#scans.get(directory.inode);
    if (running && !isNew) return running;
    if (running) {
      await running.catch(() => {});
      const next = this.#scans.get(directory.inode);
      if (next) return next; // begun since
    }
    const scan = this.#read(dirFd, directory).finally(() => this.#scans.delete(directory.inode));
    this.#scans.set(directory.inode, scan);
    return scan;
  }

  async #read(dirFd: number, directory: Stat): Promise<Listing> {
    const startedMs = monotonicMs();
    const names = new Map<string, string>();
    const fd = checked(await this.#posix.reopen(dirFd, O.RDONLY | O.DIRECTORY), 'open directory');
    try {
      for (;;) {
        const chunk = await this.#posix.nextNames(fd, CHUNK_SIZE);
        if (typeof chunk === 'number') throw new PosixError(-chunk, 'getdents64');
        if (chunk.isEmpty) break;
        for (const { name } of chunk) {
          if (name === undefined) continue;
          const folded = foldedName(name);
          if (!names.has(folded)) names.set(folded, name);
        }
      }
    } finally {
      await this.#posix.close(fd);
    }
    const now = monotonicMs();
    const stamp = stampOf(directory);
    const earlier = this.#listings.get(directory.inode);
    const stampSeenMs = earlier?.stamp === stamp ? earlier.stampSeenMs : startedMs;
    const listing: Listing = {
      stamp,
      stampSeenMs,
      changeTime: directory.changeTime,
      names,
      scannedAtMs: now,
      scanCostMs: now - startedMs,
      // Final when it began later than any granularity of time stamps: whatever changes from then on has another one. Two scans for names
      // that are given away may follow each other within one.
      doubtful: startedMs - stampSeenMs < RECHECK_MS,
    };
    this.#keep(directory.inode, listing);
    return listing;
  }

  #keep(inode: bigint, listing: Listing): void {
    this.forget(inode);
    if (listing.names.size > MAXIMUM_NAMES) return;
    this.#listings.set(inode, listing);
    this.#names += listing.names.size;
    for (const [oldest, { names }] of this.#listings) {
      if (this.#names <= MAXIMUM_NAMES) break;
      this.#listings.delete(oldest);
      this.#names -= names.size;
    }
  }

  #isShared(inode: bigint): boolean {
    const seenMs = this.#shared.get(inode);
    if (seenMs === undefined) return false;
    if (monotonicMs() - seenMs < SHARED_MS) return true;
    this.#shared.delete(inode);
    return false;
  }

  /** Somebody else has changed a directory, if it was looked at after it was as is known here. */
  #differs({ changeTime }: Listing, { inode, changeTime: seen }: Stat): void {
    if (seen > changeTime) this.#changedElsewhere(inode);
  }

  #changedElsewhere(inode: bigint): void {
    this.#shared.delete(inode);
    this.#shared.set(inode, monotonicMs());
    const [oldest] = this.#shared.keys();
    if (oldest !== undefined && this.#shared.size > MAXIMUM_SHARED) this.#shared.delete(oldest);
  }

  /** This server begins to change names of a directory. @returns to be called when that is over, and `changed` was told of it */
  changing(inode: bigint): () => void {
    const own = this.#own.get(inode) ?? { running: 0, overlapped: false };
    this.#own.set(inode, own);
    own.running++;
    own.overlapped ||= own.running > 1;
    return () => {
      if (--own.running === 0) this.#own.delete(inode);
    };
  }

  forget(inode: bigint): void {
    const listing = this.#listings.get(inode);
    if (listing === undefined) return;
    this.#listings.delete(inode);
    this.#names -= listing.names.size;
  }

  /**
   * Takes over a change that this server made: `before` and `after` are the directory's state around it. If the names were not
   * known right before, they are forgotten.
   */
  changed(before: Stat, after: Stat, change: { added?: string; removed?: string }): void {
    const listing = this.#listings.get(before.inode);
    if (listing === undefined) return;
    if (listing.stamp !== stampOf(before)) {
      if (!this.#own.get(before.inode)?.overlapped) this.#differs(listing, before);
      this.forget(before.inode);
      return;
    }
    const sizeBefore = listing.names.size;
    if (change.removed !== undefined) {
      const folded = foldedName(change.removed);
      if (listing.names.get(folded) === change.removed) listing.names.delete(folded);
    }
    if (change.added !== undefined) {
      const folded = foldedName(change.added);
      if (!listing.names.has(folded)) listing.names.set(folded, change.added);
    }
    this.#names += listing.names.size - sizeBefore;
    listing.stamp = stampOf(after);
    listing.stampSeenMs = monotonicMs();
    listing.changeTime = after.changeTime;
    listing.doubtful = true;
  }
}

/** Goes through all names: 8.3 names are asked for by old programs only. */
function byShortName(names: ReadonlyMap<string, string>, short: string): string | undefined {
  for (const name of names.values()) {
    if (shortName(wireName(name)) === short) return name;
  }
  return undefined;
}
