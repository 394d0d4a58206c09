import { compileWildcard } from '../../smb/fscc/wildcard.ts';
import { isReserved, wireName } from './names.ts';
import { checked, type DirectoryName, Errno, O, type Posix, PosixError } from './posix.ts';

/** Bytes of names that are read at once. What is returned as one listing stays in memory until it was sent. */
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
export class DirectoryScan {
  readonly #posix: Posix;
  readonly #fd: number;
  readonly #isRoot: boolean;
  #pattern = '*';
  #matches: (name: string) => boolean = () => true;
  #chunk: DirectoryName[] = [];
  #next = 0;
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
    this.#chunk = [];
    this.#next = 0;
    this.#dots = 0;
    this.#ended = false;
    this.#pushedBack = undefined;
    this.returnedAny = false;
    checked(await this.#posix.rewind(this.#fd), 'lseek');
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
      const entry = this.#chunk[this.#next++];
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
    const read = await this.#posix.nextNames(this.#fd, CHUNK_SIZE);
    // A directory that was removed has no names any more; Linux says so with ENOENT.
    const chunk = read === -Errno.ENOENT ? [] : read;
    if (typeof chunk === 'number') throw new PosixError(-chunk, 'getdents64');
    this.#chunk = chunk;
    this.#next = 0;
    this.#ended = chunk.length === 0;
    return !this.#ended;
  }

  async close(): Promise<void> {
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
