import { randomBytes } from 'node:crypto';
import { checked, Errno, O, type Posix, PosixError } from './posix.ts';
import type { SideStore } from './side-store.ts';

/** A file that something is kept of: its descriptor (O_PATH is enough), and its id, which is worked out only where it is needed. */
export interface Described {
  readonly fd: number;
  fileId(): Promise<Buffer>;
}

/** What is kept, by the name of its extended attribute; in the side store the last part of it is the entry's name. */
export const MetadataName = {
  attributes: 'user.holdfast',
  descriptor: 'user.holdfast.sd',
  extendedAttributes: 'user.holdfast.ea',
} as const;
export type MetadataName = (typeof MetadataName)[keyof typeof MetadataName];

const ENTRIES: Record<MetadataName, string> = {
  'user.holdfast': 'attributes',
  'user.holdfast.sd': 'sd',
  'user.holdfast.ea': 'ea',
};

/** Largest value that Linux keeps in an extended attribute; a file system may keep less, e.g. ext4 4 KiB for all of a file. */
const MAXIMUM_SIZE = 64 * 1024;
const USUAL_SIZE = 4096;
const PRIVATE_FILE_FLAGS = O.WRONLY;

/** The file system has no extended attributes (of users). */
const UNSUPPORTED = new Set<number>([-Errno.EOPNOTSUPP, -Errno.ENOSYS]);
/** It has no room for this one: the side store takes what is too large. */
const TOO_LARGE = new Set<number>([-Errno.ENOSPC, -Errno.E2BIG, -Errno.ERANGE]);

/**
 * What files have beyond what POSIX keeps: in extended attributes of theirs, and where the volume has none, or none so large,
 * in the side store under the file's id, which no rename, copy or crash separates from it.
 */
export class Metadata {
  readonly #posix: Posix;
  readonly #side: SideStore;
  /** False when the volume was found to have no extended attributes. */
  #isSupported = true;

  constructor(posix: Posix, side: SideStore) {
    this.#posix = posix;
    this.#side = side;
  }

  /** Undefined: there is none. `expected`: it is known to be there. Throws PosixError. */
  async read(file: Described, name: MetadataName, expected: boolean): Promise<Buffer | undefined> {
    if (this.#isSupported) {
      const value = await this.#readAttribute(file.fd, name);
      if (typeof value !== 'number') return value;
      if (UNSUPPORTED.has(value)) this.#isSupported = false;
      else if (value !== -Errno.ENODATA) throw new PosixError(-value, 'getxattr');
      else if (!expected) return undefined;
    }
    return this.#readEntry(await file.fileId(), ENTRIES[name]);
  }

  async #readAttribute(fd: number, name: MetadataName): Promise<Buffer | number> {
    const value = await this.#posix.getAttribute(fd, name, USUAL_SIZE);
    return value === -Errno.ERANGE ? this.#posix.getAttribute(fd, name, MAXIMUM_SIZE) : value;
  }

  /** Throws PosixError. */
  async write(file: Described, name: MetadataName, value: Buffer, sync: boolean): Promise<void> {
    if (this.#isSupported) {
      const result = await this.#posix.setAttribute(file.fd, name, value);
      if (result >= 0) return;
      if (UNSUPPORTED.has(result)) this.#isSupported = false;
      else if (!TOO_LARGE.has(result)) throw new PosixError(-result, 'setxattr');
    }
    await this.#writeEntry(await file.fileId(), ENTRIES[name], value, sync);
    // One that is there counts more than the side store's.
    if (this.#isSupported) await this.#removeAttribute(file.fd, name);
  }

  /** Throws PosixError. */
  async remove(file: Described, name: MetadataName, sync: boolean): Promise<void> {
    if (this.#isSupported) await this.#removeAttribute(file.fd, name);
    const result = await this.#side.remove(await file.fileId(), ENTRIES[name], sync);
    if (result !== -Errno.ENOENT) checked(result, 'unlinkat');
  }

  async #removeAttribute(fd: number, name: MetadataName): Promise<void> {
    const result = await this.#posix.removeAttribute(fd, name);
    if (result !== -Errno.ENODATA && !UNSUPPORTED.has(result)) checked(result, 'removexattr');
  }

  async #readEntry(fileId: Buffer, entry: string): Promise<Buffer | undefined> {
    const fd = await this.#side.open(fileId, entry, O.RDONLY);
    if (fd === -Errno.ENOENT) return undefined;
    checked(fd, 'openat2');
    try {
      const bytes = Buffer.alloc(MAXIMUM_SIZE + 1);
      const size = checked(await this.#posix.read(fd, bytes, 0, bytes.length, 0), 'pread');
      if (size > MAXIMUM_SIZE) throw new PosixError(Errno.EFBIG, 'pread');
      return bytes.subarray(0, size);
    } finally {
      await this.#posix.close(fd);
    }
  }

  /** Whole or not at all. */
  async #writeEntry(fileId: Buffer, entry: string, value: Buffer, sync: boolean): Promise<void> {
    const draft = `${entry}.${randomBytes(6).toString('hex')}`;
    const fd = checked(await this.#side.create(fileId, draft, PRIVATE_FILE_FLAGS, sync), 'openat2');
    try {
      try {
        for (let at = 0; at < value.length; ) {
          at += checked(await this.#posix.write(fd, value.subarray(at), at), 'pwrite');
        }
        if (sync) checked(await this.#posix.sync(fd), 'fsync');
      } finally {
        await this.#posix.close(fd);
      }
      checked(await this.#side.rename(fileId, draft, entry, { replace: true, sync }), 'renameat2');
    } catch (error) {
      await this.#side.remove(fileId, draft, sync);
      throw error;
    }
  }
}
