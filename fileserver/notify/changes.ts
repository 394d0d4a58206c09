import { NotifyAction, NotifyFilter } from '../../smb/fscc/constants.ts';
import { Status } from '../../smb/status.ts';
import type { OpenFile } from '../opens/open-file.ts';
import type { Share } from '../shares.ts';
import { splitStreamPath } from '../volume/names.ts';
import {
  type Change,
  ChangeKind,
  directoryOf,
  entriesFor,
  nameFilter,
  type VolumePath,
  volumePathOf,
} from './change.ts';
import { NoOtherServers, type OtherServers, type WatchedScope } from './other-servers.ts';
import { KeptBudget, Watch } from './watch.ts';

/** OpenRecord.ownershipVersion of an open that is where it was made. */
const FIRST_OWNER = 1n;
/** While a file is written to, those who watch it hear of it so often, ms. */
const WRITE_INTERVAL_MS = 500;
/** Scopes that other servers are told of one by one; more are told as whole volumes. */
const MAX_SCOPES = 128;

/** Who watches entries of one directory. */
interface Watched {
  readonly watches: Set<Watch>;
  /** Servers elsewhere want to hear of its entries; of everything beneath. */
  remote: boolean;
  remoteTree: boolean;
}

/** Somebody of this server who hears of every change to the entries of one directory. */
interface Observer {
  readonly volume: string;
  readonly directory: VolumePath;
  /** `by`: the open that it was made through, if that is one of this server and known. */
  readonly changed: (by: OpenFile | undefined) => void;
  /** The directory has another path now. */
  readonly moved: () => void;
}

/** A file that is being written to. */
interface Written {
  share: Share;
  path: string;
  /** Written to since it was last told. */
  again: boolean;
}

/**
 * The changes that this server makes to its volumes, and who wants to hear of them: opens with a CHANGE_NOTIFY here, and servers
 * elsewhere. As long as nobody watches anything, a change costs one comparison.
 */
export class Changes {
  readonly #others: OtherServers;
  /** By volume and directory. */
  readonly #directories = new Map<string, Map<VolumePath, Watched>>();
  readonly #watches = new Map<OpenFile, Watch>();
  readonly #budget = new KeptBudget();
  /** By volume and directory. */
  readonly #observers = new Map<string, Set<Observer>>();
  #remoteScopes = 0;
  readonly #written = new Map<OpenFile, Written>();
  /** Filters that a file's CLOSE is told with (see `renamed`). */
  readonly #atClose = new WeakMap<OpenFile, number>();
  #writeTimer: NodeJS.Timeout | undefined;

  constructor(others: OtherServers = new NoOtherServers()) {
    this.#others = others;
    others.receive({
      changes: (changes) => {
        for (const change of changes) {
          this.#tellHere(change, true);
          if (this.#observers.size > 0) this.#tellObservers(change, undefined);
        }
      },
      lost: () => {
        for (const watch of this.#watches.values()) watch.lose();
        for (const observers of this.#observers.values()) for (const one of observers) one.changed(undefined);
      },
      watched: (scopes) => this.#watchedElsewhere(scopes),
    });
  }

  /** Whether anybody watches anything, here or elsewhere. */
  get active(): boolean {
    return this.#watches.size > 0 || this.#remoteScopes > 0 || this.#observers.size > 0;
  }

  // ---- what happened -----------------------------------------------------------------------------------------------

  added(share: Share, path: string, isDirectory: boolean, by?: OpenFile): void {
    if (this.active) this.#tell(share, path, NotifyAction.added, nameFilter(isDirectory), by);
  }

  removed(share: Share, path: string, isDirectory: boolean, by?: OpenFile): void {
    if (!this.active) return;
    if (isDirectory) this.#tell(share, path, ChangeKind.deleting, 0);
    this.#tell(share, path, NotifyAction.removed, nameFilter(isDirectory), by);
  }

  /** A file or directory was removed by a custodian, who does not know which it was. */
  gone(share: Share, path: string): void {
    if (!this.active) return;
    this.#tell(share, path, ChangeKind.deleting, 0);
    this.#tell(share, path, NotifyAction.removed, NotifyFilter.fileName | NotifyFilter.dirName);
  }

  /** The directory was marked to be deleted. */
  deleting(share: Share, path: string): void {
    if (this.active) this.#tell(share, path, ChangeKind.deleting, 0);
  }

  renamed(share: Share, open: OpenFile, from: string, to: string): void {
    if (!this.active) return;
    if (open.base) {
      this.removed(share, from, false);
      this.added(share, to, false);
      return;
    }
    const change = this.#change(share, from, ChangeKind.renamed, nameFilter(open.isDirectory));
    this.#told({ ...change, to: volumePathOf(share, to) }, open);
    // A file's change of name is a change of its attributes too, which NTFS tells when the file is closed.
    if (!open.isDirectory) this.#atClose.set(open, NotifyFilter.attributes | NotifyFilter.creation);
  }

  /** `filter`: NotifyFilter, what of the file was changed. */
  modified(share: Share, path: string, filter: number, by?: OpenFile): void {
    if (this.active && filter !== 0) this.#tell(share, path, NotifyAction.modified, filter, by);
  }

  /** Data was written, cut off or zeroed: told at once, then at intervals while it goes on, and at the end. */
  wrote(open: OpenFile): void {
    if (!this.active || open.tree === undefined) return;
    open.hasWritten = true;
    const known = this.#written.get(open);
    if (known) {
      known.again = true;
      return;
    }
    const written = { share: open.tree.share, path: open.path, again: false };
    this.#written.set(open, written);
    this.#tellWritten(written);
    this.#writeTimer ??= setInterval(() => this.#tellWrites(), WRITE_INTERVAL_MS).unref();
  }

  #tellWrites(): void {
    for (const [open, written] of this.#written) {
      if (written.again) {
        written.again = false;
        this.#tellWritten(written);
      } else {
        this.#written.delete(open);
      }
    }
    if (this.#written.size > 0) return;
    clearInterval(this.#writeTimer);
    this.#writeTimer = undefined;
  }

  #tellWritten({ share, path }: Written): void {
    const change = this.#change(share, path, NotifyAction.modified, NotifyFilter.size | NotifyFilter.lastWrite);
    this.#told(change, undefined, true);
  }

  /** An open is closed: what was not told yet is. */
  closed(open: OpenFile): void {
    const written = this.#written.get(open);
    if (written) {
      this.#written.delete(open);
      if (written.again) this.#tellWritten(written);
    }
    if (open.hasWritten && open.tree && this.#observers.size > 0) {
      const { share } = open.tree;
      const filter = NotifyFilter.size | NotifyFilter.lastWrite;
      this.#tellObservers(this.#change(share, open.path, NotifyAction.modified, filter), open);
    }
    const filter = this.#atClose.get(open);
    if (filter !== undefined && open.tree) this.modified(open.tree.share, open.path, filter);
  }

  // ---- who hears of it ---------------------------------------------------------------------------------------------

  #tell(share: Share, path: string, kind: number, filter: number, by?: OpenFile): void {
    this.#told(this.#change(share, path, kind, filter), by);
  }

  #change(share: Share, path: string, kind: number, filter: number): Change {
    const { file, stream = '' } = splitStreamPath(path);
    const change = { volume: share.volume?.name ?? '', path: volumePathOf(share, file), to: '', stream, kind, filter };
    return stream === '' ? change : ofStream(change);
  }

  /** `goesOn`: observers hear of it when the file is closed. */
  #told(change: Change, by?: OpenFile, goesOn = false): void {
    this.#tellHere(change);
    if (!goesOn && this.#observers.size > 0) this.#tellObservers(change, by);
    if (this.#remoteScopes > 0 && this.#isWatchedElsewhere(change)) this.#others.tell(change);
  }

  /** `isFromElsewhere`: of another server, in its own time. */
  #tellHere(change: Change, isFromElsewhere = false): void {
    const directories = this.#directories.get(change.volume);
    if (!directories || this.#watches.size === 0) return;
    if (change.kind === ChangeKind.deleting) {
      for (const watch of directories.get(change.path)?.watches ?? []) watch.end(Status.DELETE_PENDING);
      return;
    }
    for (const watch of watchesOf(directories, change)) {
      if ((watch.filter & change.filter) === 0 || (isFromElsewhere && !watch.hearsOthers)) continue;
      watch.take(entriesFor(watch, change));
    }
    if (change.kind === ChangeKind.renamed && change.filter === NotifyFilter.dirName) this.#follow(change);
  }

  /** A watched directory got another name. */
  #follow({ volume, path, to }: Change): void {
    for (const watch of [...(this.#directories.get(volume)?.get(path)?.watches ?? [])]) {
      this.#forget(watch);
      watch.directory = to;
      this.#at(volume, to).watches.add(watch);
    }
  }

  #isWatchedElsewhere(change: Change): boolean {
    const directories = this.#directories.get(change.volume);
    if (!directories) return false;
    if (change.kind === ChangeKind.deleting) {
      const itself = directories.get(change.path);
      if (itself?.remote || itself?.remoteTree) return true;
    }
    const paths = change.kind === ChangeKind.renamed ? [change.path, change.to] : [change.path];
    return paths.some((path) => {
      for (let at = directoryOf(path), nearest = true; at !== undefined; at = directoryOf(at), nearest = false) {
        const watched = directories.get(at);
        if (watched && (watched.remoteTree || (nearest && watched.remote))) return true;
      }
      return false;
    });
  }

  // ---- watching ----------------------------------------------------------------------------------------------------

  /** The watch of a directory's open, if there is one. */
  watchOf(open: OpenFile): Watch | undefined {
    return this.#watches.get(open);
  }

  /**
   * Begins to watch. Resolves when the servers elsewhere know of it: what they change from then on is told.
   * `filter`: NotifyFilter; `capacity`: bytes that are kept between two requests.
   */
  async watch(
    open: OpenFile,
    share: Share,
    options: { recursive: boolean; filter: number; capacity: number },
  ): Promise<Watch> {
    const volume = share.volume?.name ?? '';
    const watch = new Watch({ ...options, volume, directory: volumePathOf(share, open.path) }, this.#budget);
    // An open that came from another server was watched there, maybe: what happened on its way is not known.
    if (open.record.ownershipVersion > FIRST_OWNER) watch.lose();
    this.#watches.set(open, watch);
    this.#at(volume, watch.directory).watches.add(watch);
    open.signal.addEventListener('abort', () => this.#unwatch(open, watch), { once: true });
    await this.#others.watch(this.#scopes());
    watch.hearsOthers = true;
    return watch;
  }

  /**
   * Tells of every change to the entries of a directory, but for what is written to them while they are open. Resolves when the
   * servers elsewhere know of it, with what ends it.
   */
  async observe(share: Share, path: string, told: Pick<Observer, 'changed' | 'moved'>): Promise<() => void> {
    const observer: Observer = { volume: share.volume?.name ?? '', directory: volumePathOf(share, path), ...told };
    const key = observerKey(observer.volume, observer.directory);
    const known = this.#observers.get(key);
    if (known) known.add(observer);
    else this.#observers.set(key, new Set([observer]));
    // Also where the others know of the directory: what they changed before comes before their answer.
    await this.#others.watch(this.#scopes());
    return () => {
      const observers = this.#observers.get(key);
      observers?.delete(observer);
      if (observers?.size === 0) this.#observers.delete(key);
      this.#others.unwatch(this.#scopes());
    };
  }

  #tellObservers({ volume, path, to, kind, filter }: Change, by: OpenFile | undefined): void {
    for (const directory of new Set([directoryOf(path), kind === ChangeKind.renamed ? directoryOf(to) : undefined])) {
      if (directory === undefined) continue;
      for (const { changed } of this.#observers.get(observerKey(volume, directory)) ?? []) changed(by);
    }
    if (kind !== ChangeKind.renamed || filter !== NotifyFilter.dirName) return;
    for (const observers of [...this.#observers.values()]) {
      for (const one of [...observers]) {
        if (one.volume === volume && (one.directory === path || one.directory.startsWith(`${path}/`))) one.moved();
      }
    }
  }

  #unwatch(open: OpenFile, watch: Watch): void {
    watch.end(Status.NOTIFY_CLEANUP);
    this.#watches.delete(open);
    this.#forget(watch);
    this.#others.unwatch(this.#scopes());
  }

  /** What this server watches, for the others. */
  #scopes(): WatchedScope[] {
    const scopes = new Map<string, WatchedScope>();
    for (const { volume, directory, recursive } of this.#watches.values()) {
      const key = `${volume}\0${directory}`;
      scopes.set(key, { volume, directory, recursive: recursive || scopes.get(key)?.recursive === true });
    }
    for (const [{ volume, directory } = NOWHERE] of this.#observers.values()) {
      const key = `${volume}\0${directory}`;
      if (!scopes.has(key)) scopes.set(key, { volume, directory, recursive: false });
    }
    if (scopes.size <= MAX_SCOPES) return [...scopes.values()];
    const volumes = new Set([...scopes.values()].map(({ volume }) => volume));
    return [...volumes].map((volume) => ({ volume, directory: '', recursive: true }));
  }

  #watchedElsewhere(scopes: readonly WatchedScope[]): void {
    for (const directories of this.#directories.values()) {
      for (const [path, watched] of directories) {
        watched.remote = false;
        watched.remoteTree = false;
        if (watched.watches.size === 0) directories.delete(path);
      }
    }
    for (const { volume, directory, recursive } of scopes) {
      const watched = this.#at(volume, directory);
      watched.remote = true;
      if (recursive) watched.remoteTree = true;
    }
    this.#remoteScopes = scopes.length;
  }

  #at(volume: string, directory: VolumePath): Watched {
    let directories = this.#directories.get(volume);
    if (!directories) {
      directories = new Map();
      this.#directories.set(volume, directories);
    }
    let watched = directories.get(directory);
    if (!watched) {
      watched = { watches: new Set(), remote: false, remoteTree: false };
      directories.set(directory, watched);
    }
    return watched;
  }

  #forget(watch: Watch): void {
    const directories = this.#directories.get(watch.volume);
    const watched = directories?.get(watch.directory);
    if (!watched) return;
    watched.watches.delete(watch);
    if (watched.watches.size === 0 && !watched.remote) directories?.delete(watch.directory);
  }
}

const NOWHERE = { volume: '', directory: '' };
const observerKey = (volume: string, directory: VolumePath): string => `${volume}\0${directory}`;

/** Those whose scope a change may be in: the work is that of the path's depth, whatever the number of watches. */
function watchesOf(directories: Map<VolumePath, Watched>, change: Change): Set<Watch> {
  const found = new Set<Watch>();
  const paths = change.kind === ChangeKind.renamed ? [change.path, change.to] : [change.path];
  for (const path of paths) {
    for (let at = directoryOf(path), nearest = true; at !== undefined; at = directoryOf(at), nearest = false) {
      for (const watch of directories.get(at)?.watches ?? []) if (nearest || watch.recursive) found.add(watch);
    }
  }
  return found;
}

/** What happens to an alternate data stream has actions and filters of its own. */
function ofStream(change: Change): Change {
  switch (change.kind) {
    case NotifyAction.added:
      return { ...change, kind: NotifyAction.addedStream, filter: NotifyFilter.streamName };
    case NotifyAction.removed:
      return { ...change, kind: NotifyAction.removedStream, filter: NotifyFilter.streamName };
    default: {
      const written = change.filter & (NotifyFilter.size | NotifyFilter.lastWrite);
      // Anything but its data is the file's.
      if (written === 0) return { ...change, stream: '' };
      const filter = NotifyFilter.streamSize | NotifyFilter.streamWrite;
      return { ...change, kind: NotifyAction.modifiedStream, filter };
    }
  }
}
