import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';

const LOCK_EX = 2;
const LOCK_NB = 4;
const flock = koffi.load(null).func('int flock(int fd, int operation)') as (fd: number, operation: number) => number;

/**
 * Whether the process that holds this lock file's flock is dead: the kernel frees a lock only after the last thread of its holder is
 * gone, so being able to take it proves the death. A missing file proves nothing.
 */
export function isProvenDead(lockPath: string): boolean {
  let fd: number;
  try {
    fd = openSync(lockPath, 'r+');
  } catch {
    return false;
  }
  try {
    return flock(fd, LOCK_EX | LOCK_NB) === 0;
  } finally {
    closeSync(fd); // frees the lock again
  }
}
