import { randomBytes } from 'node:crypto';
import { checked, FileFlag, O, type Posix, PosixError } from './posix.ts';

/** What a file system may be able to do, beyond what each of them can. */
export interface Abilities {
  /** Files may share blocks (FICLONERANGE). */
  clonesExtents: boolean;
  /** Files may be kept compressed, each as it is asked for (FS_IOC_SETFLAGS); new ones take it from their directory. */
  compresses: boolean;
}

const BTRFS = 0x9123683e;

/** Magic numbers of statfs(2) of file systems whose files may share blocks, if they were made so. */
const candidates = new Set([
  BTRFS,
  0x58465342, // xfs
  0xca451a4e, // bcachefs
  0x2fc12fc1, // zfs
  0x7461636f, // ocfs2
  0x6969, // nfs 4.2
]);
const PROBE_SIZE = 64 * 1024;

/** Tried with a file that is gone at once. Where nothing can be written, a volume is able to do nothing. */
export async function abilitiesOf(posix: Posix, rootFd: number, type: number): Promise<Abilities> {
  const none = { clonesExtents: false, compresses: false };
  if (!candidates.has(type)) return none;
  const name = `.holdfast-volume.${randomBytes(8).toString('hex')}`;
  try {
    const fd = checked(await posix.createFile(rootFd, name, O.RDWR, 0o600), 'create');
    try {
      return { clonesExtents: await canClone(posix, fd), compresses: type === BTRFS && (await canCompress(posix, fd)) };
    } finally {
      await posix.unlink(rootFd, name, false);
      await posix.close(fd);
    }
  } catch (error) {
    if (error instanceof PosixError) return none;
    throw error;
  }
}

async function canClone(posix: Posix, fd: number): Promise<boolean> {
  checked(await posix.write(fd, Buffer.alloc(PROBE_SIZE, 1), 0), 'pwrite');
  return (await posix.cloneRange(fd, 0, fd, PROBE_SIZE, PROBE_SIZE)) === 0;
}

/** Other file systems take the flag and do nothing about it. */
async function canCompress(posix: Posix, fd: number): Promise<boolean> {
  const flags = await posix.getFlags(fd);
  if (flags < 0 || (await posix.setFlags(fd, flags | FileFlag.compress)) < 0) return false;
  return ((await posix.getFlags(fd)) & FileFlag.compress) !== 0;
}
