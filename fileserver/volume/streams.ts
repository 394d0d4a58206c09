import { foldedName } from './names.ts';
import { Errno, O, PosixError } from './posix.ts';
import type { SideStore } from './side-store.ts';

/** Streams are the entries of the side store whose names begin so; what follows is the stream's name as it was given. */
const PREFIX = ':';
/** Bytes of UTF-8: what a file system takes as a name (NAME_MAX), without the prefix. */
const LONGEST_NAME = 254;

/** A stream that was found: its name as it was created, and a descriptor (O_PATH), the caller's to close. */
export interface FoundStream {
  name: string;
  fd: number;
}

/** The alternate data streams of a volume's files (MS-FSCC 2.1.5.3): each an ordinary file in the side store. */
export class Streams {
  readonly #store: SideStore;

  constructor(store: SideStore) {
    this.#store = store;
  }

  /** Finds a stream of a file by its name, without regard to case. Throws PosixError. */
  async find(fileId: Buffer, name: string): Promise<FoundStream | undefined> {
    const exact = await this.#open(fileId, name);
    if (exact !== undefined) return { name, fd: exact };
    const folded = foldedName(name);
    for (const other of await this.list(fileId)) {
      if (foldedName(other) !== folded) continue;
      const fd = await this.#open(fileId, other);
      if (fd !== undefined) return { name: other, fd };
    }
    return undefined;
  }

  async #open(fileId: Buffer, name: string): Promise<number | undefined> {
    const fd = await this.#store.open(fileId, entryOf(name), O.PATH);
    if (fd >= 0) return fd;
    if (fd === -Errno.ENOENT) return undefined;
    throw new PosixError(-fd, 'openat2');
  }

  /** The names of a file's streams, in no order. Throws PosixError. */
  async list(fileId: Buffer): Promise<string[]> {
    const entries = await this.#store.entries(fileId);
    return entries.filter((entry) => entry.startsWith(PREFIX)).map((entry) => entry.slice(PREFIX.length));
  }

  /** Creates a stream that must not exist yet (-EEXIST) and opens it. */
  create(fileId: Buffer, name: string, flags: number, sync: boolean): Promise<number> {
    return this.#store.create(fileId, entryOf(name), flags, sync);
  }

  /** -errno. */
  remove(fileId: Buffer, name: string, sync: boolean): Promise<number> {
    return this.#store.remove(fileId, entryOf(name), sync);
  }

  /** -errno; without `replace` -EEXIST when the new name is taken. */
  rename(fileId: Buffer, from: string, to: string, how: { replace: boolean; sync: boolean }): Promise<number> {
    return this.#store.rename(fileId, entryOf(from), entryOf(to), how);
  }
}

function entryOf(name: string): string {
  if (Buffer.byteLength(name) > LONGEST_NAME) throw new PosixError(Errno.ENAMETOOLONG, 'stream');
  return PREFIX + name;
}
