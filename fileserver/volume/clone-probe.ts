import { randomBytes } from 'node:crypto';
import { checked, O, type Posix, PosixError } from './posix.ts';

/** Magic numbers of statfs(2) of file systems whose files may share blocks, if they were made so. */
const candidates = new Set([
  0x9123683e, // btrfs
  0x58465342, // xfs
  0xca451a4e, // bcachefs
  0x2fc12fc1, // zfs
  0x7461636f, // ocfs2
  0x6969, // nfs 4.2
]);
const PROBE_SIZE = 64 * 1024;

/** Whether FICLONERANGE works on a volume: tried with a file that is gone at once. Where nothing can be written, it does not. */
export async function canClone(posix: Posix, rootFd: number, type: number): Promise<boolean> {
  if (!candidates.has(type)) return false;
  const name = `.holdfast-volume.${randomBytes(8).toString('hex')}`;
  try {
    const fd = checked(await posix.createFile(rootFd, name, O.RDWR, 0o600), 'create');
    try {
      checked(await posix.write(fd, Buffer.alloc(PROBE_SIZE, 1), 0), 'pwrite');
      return (await posix.cloneRange(fd, 0, fd, PROBE_SIZE, PROBE_SIZE)) === 0;
    } finally {
      await posix.unlink(rootFd, name, false);
      await posix.close(fd);
    }
  } catch (error) {
    if (error instanceof PosixError) return false;
    throw error;
  }
}
