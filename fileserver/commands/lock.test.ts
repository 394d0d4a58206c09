import { expect, test } from '@jest/globals';
import { LockFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { checkElements } from './lock.ts';

const { SHARED_LOCK, EXCLUSIVE_LOCK, UNLOCK, FAIL_IMMEDIATELY } = LockFlags;
const element = (flags: number, offset = 0n, length = 1n) => ({ flags, offset, length });

test.each([
  ['nothing', [], 0, Status.INVALID_PARAMETER],
  ['one lock that waits', [element(EXCLUSIVE_LOCK)], 1, Status.SUCCESS],
  ['two that do not wait', [element(SHARED_LOCK | FAIL_IMMEDIATELY), element(SHARED_LOCK | FAIL_IMMEDIATELY)], 2, 0],
  [
    'two of which one waits',
    [element(SHARED_LOCK | FAIL_IMMEDIATELY), element(SHARED_LOCK)],
    0,
    Status.INVALID_PARAMETER,
  ],
  ['both kinds at once', [element(SHARED_LOCK | EXCLUSIVE_LOCK)], 0, Status.INVALID_PARAMETER],
  ['no kind', [element(FAIL_IMMEDIATELY)], 0, Status.INVALID_PARAMETER],
  ['an unlock that fails immediately', [element(UNLOCK | FAIL_IMMEDIATELY)], 0, Status.INVALID_PARAMETER],
  ['unlocks, the second of which is none', [element(UNLOCK), element(SHARED_LOCK)], 1, Status.INVALID_PARAMETER],
  ['a range up to the last byte', [element(EXCLUSIVE_LOCK, 2n ** 64n - 1n, 1n)], 1, Status.SUCCESS],
  ['a range beyond it', [element(EXCLUSIVE_LOCK, 2n ** 64n - 1n, 2n)], 0, Status.INVALID_LOCK_RANGE],
])('%s', (_what, locks, valid, refusal) => {
  expect(checkElements(locks)).toEqual({ valid, refusal });
});
