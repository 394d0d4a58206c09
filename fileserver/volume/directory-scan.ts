import { compileWildcard } from '../../smb/fscc/wildcard.ts';
import type { DirectoryChunk } from './directory-chunk.ts';
import { type Keeper, keptChunks } from './kept-chunks.ts';
import { isReserved, wireName } from './names.ts';
import { checked, Errno, O, type Posix, PosixError } from './posix.ts';

/** Bytes of names that are read at once. */
const CHUNK_SIZE = 128 * 1024;

/** Names are on disk and on the wire. */
export interface ScannedName {
  disk: string;
  wire: string;
}

/**
 * Walks through a directory's names. The kernel keeps the place: a name that is there all the time comes exactly once, whatever
 * is created and removed meanwhile, and memory does not grow with the directory.
 */
export class DirectoryScan implements Keeper {
  readonly #posix: Posix;
  readonly #fd: number;
  readonly #isRoot: boolean;
  #pattern = '*';
  #matches: (name: string) => boolean = () => true;
  #chunk: DirectoryChunk | undefined;
  /** Where names are read next, when that is not where the kernel is. */
  #place: bigint | undefined;
  /** `.` and `..` come first, as clients expect. */
  #dots = 0;
  #ended = false;
  #pushedBack: ScannedName | undefined;
  /** A name was returned since the scan began: decides between STATUS_NO_SUCH_FILE and STATUS_NO_MORE_FILES. */
  returnedAny = false;

  private constructor(posix: Posix, fd: number, isRoot: boolean) {
    this.#posix = posix;
    this.#fd = fd;
    this.#isRoot = isRoot;
  }

  /** `dirFd` may be O_PATH. Throws PosixError. */
  static async open(posix: Posix, dirFd: number, isRoot: boolean): Promise<DirectoryScan> {
    return new DirectoryScan(
      posix,
      checked(await posix.reopen(dirFd, O.RDONLY | O.DIRECTORY), 'open directory'),
      isRoot,
    );
  }

  get pattern(): string {
    return this.#pattern;
  }

  /** The descriptor, to look at entries from; open until close(). */
  get fd(): number {
    return this.#fd;
  }

  /** Begins again. */
  async restart(pattern: string): Promise<void> {
    this.#pattern = pattern;
    const wanted = pattern === '' || pattern === '*.*' ? '*' : pattern;
    this.#matches = compileWildcard(wanted);
    this.#chunk = undefined;
    this.#place = 0n;
    this.#dots = 0;
    this.#ended = false;
    this.#pushedBack = undefined;
    this.returnedAny = false;
  }

  /** The next name that matches, or undefined at the end. Throws PosixError. */
  async next(): Promise<ScannedName | undefined> {
    const again = this.#pushedBack;
    this.#pushedBack = undefined;
    if (again) return again;
    while (this.#dots < 2) {
      const name = this.#dots++ === 0 ? '.' : '..';
      if (this.#matches(name)) return { disk: name, wire: name };
    }
    for (;;) {
      const entry = this.#chunk?.next();
      if (entry === undefined) {
        if (!(await this.#readOn())) return undefined;
        continue;
      }
      const disk = entry.name;
      if (disk === undefined || disk === '.' || disk === '..') continue;
      if (this.#isRoot && isReserved(disk)) continue;
      const wire = wireName(disk);
      if (this.#matches(wire)) return { disk, wire };
    }
  }

  /** The name did not fit into the answer: it comes first the next time. */
  pushBack(name: ScannedName): void {
    this.#pushedBack = name;
  }

  async #readOn(): Promise<boolean> {
    if (this.#ended) return false;
    if (this.#place !== undefined) {
      checked(await this.#posix.seekNames(this.#fd, this.#place), 'lseek');
      this.#place = undefined;
    }
    const read = await this.#posix.nextNames(this.#fd, CHUNK_SIZE);
    // A directory that was removed has no names any more; Linux says so with ENOENT.
    if (typeof read === 'number' && read !== -Errno.ENOENT) throw new PosixError(-read, 'getdents64');
    this.#chunk = typeof read === 'number' ? undefined : read;
    this.#ended = this.#chunk?.isEmpty ?? true;
    return !this.#ended;
  }

  // ---- between two requests ----------------------------------------------------------------------------------------

  get keptBytes(): number {
    return this.#chunk?.size ?? 0;
  }

  /** A request is answered: what was read ahead stays while there is room for it. */
  rest(): void {
    if (this.#chunk?.isSpent) this.#chunk = undefined;
    keptChunks.keep(this);
  }

  resume(): void {
    keptChunks.release(this);
  }

  /** What was read ahead is read again when it is asked for. */
  forget(): void {
    const place = this.#chunk?.place;
    if (place === undefined) return;
    this.#place = place;
    this.#chunk = undefined;
  }

  async close(): Promise<void> {
    keptChunks.release(this);
    this.#chunk = undefined;
    await this.#posix.close(this.#fd);
  }
}

/** Whether a directory has no names but `.` and `..`. `dirFd` may be O_PATH. Throws PosixError. */
export async function isEmptyDirectory(posix: Posix, dirFd: number): Promise<boolean> {
  const scan = await DirectoryScan.open(posix, dirFd, false);
  try {
    for (;;) {
      const name = await scan.next();
      if (name === undefined) return true;
      if (name.disk !== '.' && name.disk !== '..') return false;
    }
  } finally {
    await scan.close();
  }
}
