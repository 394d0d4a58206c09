import { randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import { type FullEa, fileFullEaInformation } from '../../smb/fscc/ea.ts';
import { decodeSecurityDescriptor, type SecurityDescriptor } from '../../smb/security/descriptor.ts';
import { WireError } from '../../smb/wire/errors.ts';
import {
  ATTRIBUTE_MAXIMUM_SIZE,
  decodeAttributes,
  encodeAttributes,
  noAttributes,
  type StoredAttributes,
} from './attributes.ts';
import { type FileDescription, type KnownFile, KnownFiles } from './known-files.ts';
import { type Described, MetadataName } from './metadata.ts';
import type { NameHold } from './name-cache.ts';
import { isReserved, splitStreamPath } from './names.ts';
import {
  checked,
  Errno,
  type Eventually,
  isDirectory,
  isRegular,
  isSymlink,
  O,
  type Posix,
  PosixError,
  procPath,
  RENAME_NOREPLACE,
  Stat,
} from './posix.ts';
import { statOf, type Volume } from './volume.ts';

/** A path within a share, on disk: components separated by "/", "." for the share's root. */
export type DiskPath = string;

export interface FoundFile {
  kind: 'found';
  /** O_PATH, unless `ioFlags` says how it is open. */
  fd: number;
  /** It is open for I/O already, with the flags of open(2) that were asked for, and is a regular file. */
  ioFlags: number | undefined;
  stat: Stat;
  path: DiskPath;
  /** What is known of this very file; its stored attributes only as of its Stat. */
  known: KnownFile | undefined;
}

/** What a name leads to. Descriptors are O_PATH (but see FoundFile) and the caller's to close. */
export type Lookup =
  | FoundFile
  /** All but the last name exist. */
  | { kind: 'missing'; parentFd: number; parent: Stat; parentPath: DiskPath; name: string }
  /** A name before the last does not exist or is no directory. */
  | { kind: 'no-path' };

const joined = (names: readonly string[]): DiskPath => (names.length === 0 ? '.' : names.join('/'));

export function parentOf(path: DiskPath): DiskPath {
  const cut = path.lastIndexOf('/');
  return cut < 0 ? '.' : path.slice(0, cut);
}

export const lastNameOf = (path: DiskPath): string => path.slice(path.lastIndexOf('/') + 1);

export const childOf = (parent: DiskPath, name: string): DiskPath => (parent === '.' ? name : `${parent}/${name}`);

const NOT_FOUND = new Set<number>([-Errno.ENOENT, -Errno.ENOTDIR]);
/** Why an entry is not shown in a listing: it is gone, is nothing for this process, or leads out of the share or into a circle. */
const HIDES = new Set<number>([
  ...NOT_FOUND,
  ...[-Errno.EACCES, -Errno.EPERM, -Errno.EXDEV, -Errno.ELOOP, -Errno.EAGAIN, -Errno.ENAMETOOLONG],
]);

function failed(result: number, call: string): never {
  throw new PosixError(-result, call);
}

/** Of access(2). */
const W_OK = 2;

/** Names that begin so are in the middle of a change. */
const DRAFT = '.holdfast-link-';

/** A lookup that meets a rename may have to begin again (openat2 says EAGAIN). */
const LOOKUP_ATTEMPTS = 16;

/** The folder of a volume that a share offers. No path leads out of it: every name is resolved beneath its descriptor. */
export class Folder {
  readonly volume: Volume;
  readonly posix: Posix;
  readonly rootFd: number;
  readonly #known: KnownFiles | undefined;

  private constructor(volume: Volume, rootFd: number) {
    this.volume = volume;
    this.posix = volume.posix;
    this.rootFd = rootFd;
    if (volume.showsChanges) this.#known = new KnownFiles();
  }

  /**
   * `path` is within the volume and begins with "/".
   * @throws HoldfastError with code SHARE when it does not exist, is no directory or leaves the volume
   */
  static async open(volume: Volume, path: string): Promise<Folder> {
    try {
      const beneath =
        path
          .split('/')
          .filter((name) => name !== '')
          .join('/') || '.';
      const fd = checked(await volume.posix.openBeneath(volume.rootFd, beneath, O.PATH | O.DIRECTORY), 'open');
      return new Folder(volume, fd);
    } catch (error) {
      throw new HoldfastError(
        'SHARE',
        `the folder ${path} of volume "${volume.name}" cannot be shared: ${reasonOf(error)}; it must be a directory within the volume`,
        { cause: error },
      );
    }
  }

  async close(): Promise<void> {
    await this.posix.close(this.rootFd);
  }

  /**
   * Finds a file by its names as they are on disk, without regard to case. Throws PosixError.
   * `ioFlags`: flags of open(2), not to create or truncate: where a regular file is expected at the path, it is opened with
   * them at once. `hold`: the last name is reserved in the cluster, and is given away if it is free.
   */
  lookup(names: readonly string[], ioFlags?: number, hold?: NameHold): Eventually<Lookup> {
    const path = joined(names);
    const known = this.#known?.at(path);
    if (known && ioFlags !== undefined) {
      const found = this.#openKnown(path, known, ioFlags);
      if (found) return found;
    }
    return this.#lookup(names, path, hold);
  }

  /** Only on volumes whose calls are done at once. Undefined: it is not so simple. */
  #openKnown(path: DiskPath, known: KnownFile, ioFlags: number): FoundFile | undefined {
    // Should something else than a regular file be there by now, opening it must neither wait nor change anything.
    const fd = this.posix.openBeneath(this.rootFd, path, ioFlags | O.NONBLOCK | O.NOCTTY);
    if (typeof fd !== 'number' || fd < 0) return undefined;
    const stat = this.posix.stat(fd);
    if (stat instanceof Stat && isRegular(stat)) {
      return { kind: 'found', fd, ioFlags, stat, path, known: known.stat.isSameFile(stat) ? known : undefined };
    }
    this.posix.close(fd);
    return undefined;
  }

  async #lookup(names: readonly string[], path: DiskPath, hold: NameHold | undefined): Promise<Lookup> {
    if (names[0] !== undefined && isReserved(names[0])) throw new PosixError(Errno.EACCES, 'lookup');
    for (let attempt = 1; ; attempt++) {
      const exact = await this.open(path, O.PATH);
      if (exact >= 0) return this.#found(exact, path);
      if (!NOT_FOUND.has(exact)) throw new PosixError(-exact, 'openat2');
      const found = await this.#lookupFolded(names, hold);
      if (found !== 'vanished') return found;
      // Its name leads nowhere: a symbolic link.
      if (attempt === LOOKUP_ATTEMPTS) return { kind: 'no-path' };
    }
  }

  async #found(fd: number, path: DiskPath): Promise<Lookup> {
    const stat = await this.posix.stat(fd);
    if (typeof stat === 'number') {
      await this.posix.close(fd);
      throw new PosixError(-stat, 'statx');
    }
    const known = this.#known?.at(path);
    return {
      kind: 'found',
      fd,
      ioFlags: undefined,
      stat,
      path,
      known: known?.stat.isSameFile(stat) ? known : undefined,
    };
  }

  /** Identity and stored attributes of what was found. Throws PosixError. */
  describe({ known, fd, stat, path }: FoundFile): Eventually<FileDescription> {
    return known?.stat.isUnchanged(stat) ? known : this.#describe(fd, stat, path, known?.fileId);
  }

  async #describe(fd: number, stat: Stat, path: DiskPath, fileId: Buffer | undefined): Promise<FileDescription> {
    const stored = await this.attributes(fd);
    const descriptor = stored.hasDescriptor ? await this.descriptor(fd) : undefined;
    const description = { stored, descriptor, fileId: fileId ?? (await this.fileId(fd, stat)) };
    this.#known?.learn(path, stat, description);
    return description;
  }

  /** Name by name, for paths whose spelling is not that on disk. 'vanished': a name was there, and was gone a moment later. */
  async #lookupFolded(names: readonly string[], hold: NameHold | undefined): Promise<Lookup | 'vanished'> {
    const onDisk: string[] = [];
    for (const [i, name] of names.entries()) {
      const parentPath = joined(onDisk);
      const parentFd = await this.open(parentPath, O.PATH | O.DIRECTORY);
      if (parentFd === -Errno.ENOENT) return 'vanished';
      if (parentFd === -Errno.ENOTDIR) return { kind: 'no-path' };
      checked(parentFd, 'openat2');
      let keep = false;
      try {
        const actual = await this.#nameIn(parentFd, name, i === names.length - 1 ? hold : undefined);
        if (i === 0 && actual !== undefined && isReserved(actual)) throw new PosixError(Errno.EACCES, 'lookup');
        if (actual !== undefined) {
          onDisk.push(actual);
        } else if (i < names.length - 1) {
          return { kind: 'no-path' };
        } else {
          keep = true;
          const parent = await statOf(this.posix, parentFd);
          const longName = this.volume.tunnel.find(parent.inode, name);
          return { kind: 'missing', parentFd, parent, parentPath, name: longName ?? name };
        }
      } finally {
        if (!keep) await this.posix.close(parentFd);
      }
    }
    const path = joined(onDisk);
    const fd = await this.open(path, O.PATH);
    if (NOT_FOUND.has(fd)) {
      await this.#forgetNames(joined(onDisk.slice(0, -1)));
      return 'vanished';
    }
    return this.#found(checked(fd, 'openat2'), path);
  }

  /** The names of this directory are not what they were thought to be. */
  async #forgetNames(path: DiskPath): Promise<void> {
    const fd = await this.open(path, O.PATH | O.DIRECTORY);
    if (fd < 0) return;
    this.volume.names.forget((await statOf(this.posix, fd)).inode);
    await this.posix.close(fd);
  }

  async #nameIn(dirFd: number, name: string, hold: NameHold | undefined): Promise<string | undefined> {
    const exact = await this.posix.statAt(dirFd, name);
    if (typeof exact !== 'number') return name;
    if (!NOT_FOUND.has(exact)) throw new PosixError(-exact, 'statx');
    return this.volume.names.find(dirFd, await statOf(this.posix, dirFd), name, hold);
  }

  /** openat2 beneath the share; -errno. */
  async open(path: DiskPath, flags: number): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const fd = await this.posix.openBeneath(this.rootFd, path, flags);
      if (fd !== -Errno.EAGAIN || attempt === LOOKUP_ATTEMPTS) return fd;
    }
  }

  /** The directory that holds a path's last name, O_PATH; the caller closes it. Throws PosixError. */
  async openParent(path: DiskPath): Promise<number> {
    return checked(await this.open(parentOf(path), O.PATH | O.DIRECTORY), 'openat2');
  }

  /**
   * Where the kernel believes that an open file is, within the share; undefined: outside, or unknown. To be verified: it may
   * have been removed, or renamed on another node.
   */
  pathOf(fd: number): DiskPath | undefined {
    try {
      const root = readlinkSync(procPath(this.rootFd));
      const path = readlinkSync(procPath(fd));
      return path.startsWith(`${root}/`) ? path.slice(root.length + 1) : undefined;
    } catch {
      return undefined;
    }
  }

  fileId(fd: number, stat: Stat): Promise<Buffer> {
    return this.volume.fileId(fd, stat);
  }

  /** Throws PosixError. */
  async attributes(fd: number): Promise<StoredAttributes> {
    const bytes = await this.posix.getAttribute(fd, MetadataName.attributes, ATTRIBUTE_MAXIMUM_SIZE);
    if (typeof bytes !== 'number') return decodeAttributes(bytes);
    return bytes === -Errno.ENODATA ? noAttributes : this.#otherAttributes(fd);
  }

  /**
   * Of a name in a directory, to be shown: none where it is gone, or this process must not read them. A symbolic link is not
   * followed. Throws PosixError where the volume fails.
   */
  async attributesAt(dirFd: number, name: string): Promise<StoredAttributes> {
    const bytes = await this.posix.getAttributeAt(dirFd, name, MetadataName.attributes, ATTRIBUTE_MAXIMUM_SIZE);
    if (typeof bytes !== 'number') return decodeAttributes(bytes);
    if (bytes === -Errno.ENODATA) return noAttributes;
    const fd = await this.posix.openBeneath(dirFd, name, O.PATH | O.NOFOLLOW);
    if (fd < 0) return HIDES.has(fd) ? noAttributes : failed(fd, 'openat2');
    try {
      return await this.#otherAttributes(fd);
    } finally {
      await this.posix.close(fd);
    }
  }

  /** Where the volume keeps no extended attributes; nothing of a file that this process must not read. */
  async #otherAttributes(fd: number): Promise<StoredAttributes> {
    try {
      const bytes = await this.volume.metadata.read(this.#described(fd), MetadataName.attributes, false);
      return bytes === undefined ? noAttributes : decodeAttributes(bytes);
    } catch (error) {
      if (error instanceof PosixError && (error.code === 'EACCES' || error.code === 'EPERM')) return noAttributes;
      throw error;
    }
  }

  #described(fd: number): Described {
    return { fd, fileId: async () => this.fileId(fd, await statOf(this.posix, fd)) };
  }

  /** Throws PosixError. */
  async setAttributes(fd: number, stored: StoredAttributes, sync = false): Promise<void> {
    await this.volume.metadata.write(this.#described(fd), MetadataName.attributes, encodeAttributes(stored), sync);
  }

  /** Of a file whose attributes say that it has one. Throws PosixError, also when it is damaged or gone: nobody gets in then. */
  async descriptor(fd: number): Promise<SecurityDescriptor> {
    const descriptor = await this.#storedDescriptor(fd);
    if (descriptor === undefined) throw new PosixError(Errno.EIO, 'a security descriptor');
    return descriptor;
  }

  /** undefined: it is damaged or gone. Throws PosixError. */
  async #storedDescriptor(fd: number): Promise<SecurityDescriptor | undefined> {
    const bytes = await this.volume.metadata.read(this.#described(fd), MetadataName.descriptor, true);
    try {
      return bytes === undefined ? undefined : decodeSecurityDescriptor(bytes);
    } catch (error) {
      if (error instanceof WireError) return undefined;
      throw error;
    }
  }

  /** `bytes`: encoded, maximumDescriptorSize at most. To be followed by setAttributes with hasDescriptor. Throws PosixError. */
  async setDescriptor(fd: number, bytes: Buffer, sync = false): Promise<void> {
    await this.volume.metadata.write(this.#described(fd), MetadataName.descriptor, bytes, sync);
  }

  /** Of a file whose attributes have an eaSize. Throws PosixError. */
  async extendedAttributes(fd: number): Promise<FullEa[]> {
    const bytes = await this.volume.metadata.read(this.#described(fd), MetadataName.extendedAttributes, true);
    try {
      return bytes === undefined ? [] : fileFullEaInformation.decode(bytes);
    } catch (error) {
      if (error instanceof WireError) throw new PosixError(Errno.EIO, 'extended attributes');
      throw error;
    }
  }

  /** An empty list takes them away. To go with setAttributes and their eaSize. Throws PosixError. */
  async setExtendedAttributes(fd: number, list: FullEa[], sync = false): Promise<void> {
    const file = this.#described(fd);
    const { metadata } = this.volume;
    if (list.length === 0) return metadata.remove(file, MetadataName.extendedAttributes, sync);
    return metadata.write(file, MetadataName.extendedAttributes, fileFullEaInformation.encode(list), sync);
  }

  /** Creates a regular file and opens it with `flags`; -EEXIST when the name is taken. Throws PosixError. */
  async createFile(parentFd: number, name: string, flags: number): Promise<number> {
    return this.#changing(parentFd, { added: name }, () => this.posix.createFile(parentFd, name, flags, 0o666));
  }

  /** 0, or -EEXIST when the name is taken. */
  async createDirectory(parentFd: number, name: string): Promise<number> {
    return this.#changing(parentFd, { added: name }, () => this.posix.makeDirectory(parentFd, name, 0o777));
  }

  /** Removes a name; -errno. */
  async remove(parentFd: number, name: string, directory: boolean): Promise<number> {
    return this.#changing(parentFd, { removed: name }, async () => {
      const result = await this.posix.unlink(parentFd, name, directory);
      // The name is a symbolic link to a directory: the link goes.
      return directory && result === -Errno.ENOTDIR ? this.posix.unlink(parentFd, name, false) : result;
    });
  }

  /** Renames; without `replace` -EEXIST when the new name is taken. */
  async rename(fromDir: number, from: string, toDir: number, to: string, replace: boolean): Promise<number> {
    return this.#changing(fromDir, { removed: from }, () =>
      this.#changing(toDir, { added: to }, async () => {
        const flags = replace ? 0 : RENAME_NOREPLACE;
        const result = await this.posix.rename(fromDir, from, toDir, to, flags);
        if (result !== -Errno.EINVAL || replace) return result;
        // The file system cannot refuse on its own (NFS, FUSE): the name is reserved in the table, so a look is enough.
        const there = await this.posix.statAt(toDir, to);
        return typeof there === 'number' ? this.posix.rename(fromDir, from, toDir, to, 0) : -Errno.EEXIST;
      }),
    );
  }

  /**
   * One more name for a regular file; without `replace` -EEXIST when the name is taken. `fd` may be O_PATH.
   */
  async link(fd: number, toDir: number, to: string, replace: boolean): Promise<number> {
    if (!replace) return this.#changing(toDir, { added: to }, () => this.posix.linkFile(fd, toDir, to));
    // linkat(2) replaces nothing: under another name first.
    const draft = `${DRAFT}${randomBytes(8).toString('hex')}`;
    const linked = await this.posix.linkFile(fd, toDir, draft);
    if (linked < 0) return linked;
    const renamed = await this.rename(toDir, draft, toDir, to, true);
    if (renamed < 0) await this.posix.unlink(toDir, draft, false);
    return renamed;
  }

  /** Runs what takes away the last name of a file; what belongs to the file goes with it, and stays if that fails. */
  async replacing<T>(fileId: Buffer, act: () => Promise<T>): Promise<T> {
    const condemned = await this.volume.side.condemn(fileId);
    if (condemned === undefined) return act();
    let result: T;
    try {
      result = await act();
    } catch (error) {
      await this.volume.side.spare(condemned);
      throw error;
    }
    await this.volume.side.clear(condemned);
    return result;
  }

  /** Does a change to a directory's names and lets the cache of names know. */
  async #changing(
    dirFd: number,
    change: { added?: string; removed?: string },
    act: () => number | Promise<number>,
  ): Promise<number> {
    const before = await this.posix.stat(dirFd);
    const isOver = typeof before === 'number' ? undefined : this.volume.names.changing(before.inode);
    try {
      const result = await act();
      if (result < 0) return result;
      const after = await this.posix.stat(dirFd);
      if (typeof before !== 'number' && typeof after !== 'number') this.volume.names.changed(before, after, change);
      if (change.removed !== undefined && typeof before !== 'number')
        this.volume.tunnel.add(before.inode, change.removed);
      return result;
    } finally {
      isOver?.();
    }
  }

  /**
   * What is to be deleted goes with its last open, and nobody is told then that it stayed: on a volume that is mounted read-only
   * this is found out before (MS-FSA 2.1.5.15.3). Throws PosixError with EROFS.
   */
  async expectWritable(fd: number): Promise<void> {
    const result = await this.posix.access(fd, W_OK);
    if (result === -Errno.EROFS) throw new PosixError(Errno.EROFS, 'access');
  }

  /** Makes a directory's names stable (invariant 5). Throws PosixError. */
  async syncDirectory(dirFd: number): Promise<void> {
    const fd = checked(await this.posix.reopen(dirFd, O.RDONLY | O.DIRECTORY), 'open directory');
    try {
      checked(await this.posix.sync(fd), 'fsync directory');
    } finally {
      await this.posix.close(fd);
    }
  }

  /**
   * Removes `path` (of a file, directory or stream) if it still is `fileId`. A file's last name takes its streams along. True
   * when it is not there any more, also if it was gone before. Throws PosixError (ENOTEMPTY among others).
   */
  async removeIfSame(path: DiskPath, fileId: Buffer, sync: boolean): Promise<boolean> {
    return (await this.removal(path, fileId, sync)) !== 'refused';
  }

  /**
   * What `removeIfSame` comes to: 'last' when nothing leads to the file or its id any more, 'gone' when this name does not, 'refused'
   * when it still does. Throws PosixError.
   */
  async removal(path: DiskPath, fileId: Buffer, sync: boolean): Promise<'last' | 'gone' | 'refused'> {
    if (path === '.') return 'refused';
    const { file, stream } = splitStreamPath(path);
    const fd = await this.open(file, O.PATH);
    if (NOT_FOUND.has(fd)) return 'gone';
    checked(fd, 'openat2');
    try {
      const stat = await statOf(this.posix, fd);
      const found = await this.fileId(fd, stat);
      if (stream !== undefined) return (await this.#removeStream(found, stream, fileId, sync)) ? 'gone' : 'refused';
      if (!found.equals(fileId)) return 'gone';
      await this.#removeName(file, { fd, stat, fileId }, sync);
      return isRegular(stat) && stat.links === 1 && !this.volume.reusesIds ? 'last' : 'gone';
    } finally {
      await this.posix.close(fd);
    }
  }

  async #removeName(path: DiskPath, file: { fd: number; stat: Stat; fileId: Buffer }, sync: boolean): Promise<void> {
    const directory = isDirectory(file.stat);
    const parentFd = await this.openParent(path);
    try {
      const condemned = directory || file.stat.links <= 1 ? await this.volume.side.condemn(file.fileId) : undefined;
      const result = await this.remove(parentFd, lastNameOf(path), directory);
      if (condemned !== undefined) {
        // The name may have been a symbolic link, or a directory that is not empty: then the file is still there.
        const now = await this.posix.stat(file.fd);
        if (now instanceof Stat && now.links > 0) await this.volume.side.spare(condemned);
        else await this.volume.side.clear(condemned);
      }
      if (!NOT_FOUND.has(result)) checked(result, 'unlinkat');
      if (sync) await this.syncDirectory(parentFd);
    } finally {
      await this.posix.close(parentFd);
    }
  }

  async #removeStream(ofFile: Buffer, name: string, fileId: Buffer, sync: boolean): Promise<boolean> {
    const stream = await this.volume.streams.find(ofFile, name);
    if (stream === undefined) return true;
    try {
      if (!(await this.fileId(stream.fd, await statOf(this.posix, stream.fd))).equals(fileId)) return true;
      const result = await this.volume.streams.remove(ofFile, stream.name, sync);
      if (!NOT_FOUND.has(result)) checked(result, 'unlinkat');
      return true;
    } finally {
      await this.posix.close(stream.fd);
    }
  }

  /**
   * Of a directory's entry; symbolic links are followed within the share. undefined: gone, or not to be shown. Throws PosixError
   * where the volume fails: a listing that left names out would say that they are not there.
   */
  async entry(
    dirFd: number,
    dirPath: DiskPath,
    name: string,
  ): Promise<{ stat: Stat; stored: StoredAttributes } | undefined> {
    const stat = await this.posix.statAt(dirFd, name);
    if (typeof stat === 'number') return HIDES.has(stat) ? undefined : failed(stat, 'statx');
    if (!isSymlink(stat)) return { stat, stored: await this.attributesAt(dirFd, name) };
    const fd = await this.open(childOf(dirPath, name), O.PATH);
    if (fd < 0) return HIDES.has(fd) ? undefined : failed(fd, 'openat2');
    try {
      return { stat: await statOf(this.posix, fd), stored: await this.attributes(fd) };
    } finally {
      await this.posix.close(fd);
    }
  }

  /**
   * The descriptor of an entry whose attributes say that it has one; undefined: it went meanwhile, leads out of the share, or what is
   * stored is damaged, so that nobody gets in. Throws PosixError.
   */
  async entryDescriptor(dirPath: DiskPath, name: string): Promise<SecurityDescriptor | undefined> {
    const fd = await this.open(childOf(dirPath, name), O.PATH);
    if (fd < 0) return HIDES.has(fd) ? undefined : failed(fd, 'openat2');
    try {
      return await this.#storedDescriptor(fd);
    } finally {
      await this.posix.close(fd);
    }
  }
}
