import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import { monotonicMs } from '../../common/time.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

const flock = koffi.load('libc.so.6').func('int flock(int fd, int operation)');

/**
 * Takes the exclusive flock that proves this process alive: the kernel frees it when its last thread is gone, and not before.
 * The descriptor stays open for the life of the process.
 * @param waitMs how long to wait for a former process that is still dying
 * @throws HoldfastError LOCK_FILE when the file cannot be made or another process keeps it locked
 */
export async function lockForLife(path: string, waitMs = 10_000): Promise<void> {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'a', 0o660);
  } catch (error) {
    throw new HoldfastError('LOCK_FILE', `cannot open the lock file ${path}: ${reasonOf(error)}`, { cause: error });
  }
  const giveUpAtMs = monotonicMs() + waitMs;
  while (flock(descriptor, LOCK_EX | LOCK_NB) !== 0) {
    if (monotonicMs() >= giveUpAtMs) {
      closeSync(descriptor);
      throw new HoldfastError('LOCK_FILE', `another process holds ${path}; end it, or give this one another --worker`);
    }
    await sleep(20);
  }
  ftruncateSync(descriptor, 0);
  writeSync(descriptor, `${process.pid}\n`);
}
