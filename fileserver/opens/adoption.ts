import type { ComingOpen, OpenRecord } from '../../proto/generated/handles.ts';
import { Access } from '../../smb/security/access-mask.ts';
import type { DiskPath, Folder } from '../volume/folder.ts';
import { splitStreamPath } from '../volume/names.ts';
import { checked, Errno, isDirectory, O, PosixError, type Stat } from '../volume/posix.ts';
import { statOf } from '../volume/volume.ts';

async function findRecordedStream(
  folder: Folder,
  record: ComingOpen,
  baseFd: number,
  name: string,
): Promise<{ fd: number; stat: Stat; base: FoundBase }> {
  try {
    const ofBase = await statOf(folder.posix, baseFd);
    const fileId = await folder.fileId(baseFd, ofBase);
    const found = await folder.volume.streams.find(fileId, name);
    if (found === undefined) throw new PosixError(2, 'the stream of an open is not there any more');
    try {
      const stat = await statOf(folder.posix, found.fd);
      if (!(await folder.fileId(found.fd, stat)).equals(record.fileId)) {
        throw new PosixError(2, 'the stream of an open is not there any more');
      }
      return { fd: found.fd, stat, base: { fd: baseFd, fileId, isDirectory: isDirectory(ofBase) } };
    } catch (error) {
      await folder.posix.close(found.fd);
      throw error;
    }
  } catch (error) {
    await folder.posix.close(baseFd);
    throw error;
  }
}

/** Records name the share's root by the empty path. */
export const diskPathOf = (recordPath: string): DiskPath => (recordPath === '' ? '.' : recordPath);
export const recordPathOf = (path: DiskPath): string => (path === '.' ? '' : path);

const READS = Access.readData | Access.execute;
const WRITES = Access.writeData | Access.appendData;

/** Flags of open(2) for an open with this access; undefined: none of it touches data, O_PATH is enough. */
export function openFlags(access: number, directory: boolean, writeThrough: boolean): number | undefined {
  if (directory) return undefined;
  const writes = (access & WRITES) !== 0;
  const reads = (access & READS) !== 0;
  if (!writes && !reads) return undefined;
  const stable = writes && writeThrough ? O.DSYNC : 0;
  return (writes ? (reads ? O.RDWR : O.WRONLY) : O.RDONLY) | stable;
}

/**
 * Opens for I/O what `pathFd` (O_PATH) stands for, as the access asks; closes `pathFd` unless it is what is returned. Throws
 * PosixError; `pathFd` is closed then.
 */
export async function openForAccess(
  folder: Folder,
  pathFd: number,
  want: { access: number; directory: boolean; writeThrough: boolean },
): Promise<number> {
  const flags = openFlags(want.access, want.directory, want.writeThrough);
  if (flags === undefined) return pathFd;
  const fd = await folder.posix.reopen(pathFd, flags);
  await folder.posix.close(pathFd);
  return checked(fd, 'open');
}

/** The file of a stream that was found: a descriptor (O_PATH) that is the caller's to close. */
export interface FoundBase {
  fd: number;
  fileId: Buffer;
  isDirectory: boolean;
}

/**
 * What a record names, by the path that it has or, where it is not there, by the one that a server was giving it when it was lost
 * ('': none). Throws PosixError with ENOENT if it is at neither. Descriptors are O_PATH.
 */
export async function findRenamed(
  folder: Folder,
  record: OpenRecord,
  renamingTo: string,
): Promise<{ fd: number; stat: Stat; base?: FoundBase; path: string }> {
  try {
    return { ...(await findRecorded(folder, record)), path: record.path };
  } catch (error) {
    if (renamingTo === '' || !(error instanceof PosixError) || error.errno !== Errno.ENOENT) throw error;
    return { ...(await findRecorded(folder, { ...record, path: renamingTo })), path: renamingTo };
  }
}

/** What a record names, if it still is that file. Throws PosixError with ENOENT if not. Descriptors are O_PATH. */
export async function findRecorded(
  folder: Folder,
  record: ComingOpen,
): Promise<{ fd: number; stat: Stat; base?: FoundBase }> {
  const { file, stream } = splitStreamPath(diskPathOf(record.path));
  const fd = checked(await folder.open(file, O.PATH), 'openat2');
  if (stream !== undefined) return findRecordedStream(folder, record, fd, stream);
  try {
    const stat = await statOf(folder.posix, fd);
    if (isDirectory(stat) !== record.isDirectory || !(await folder.fileId(fd, stat)).equals(record.fileId)) {
      throw new PosixError(2, 'the file of an open is not there any more');
    }
    return { fd, stat };
  } catch (error) {
    await folder.posix.close(fd);
    throw error;
  }
}
