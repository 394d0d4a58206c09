import { constants } from 'node:os';
import { describe, expect, test } from '@jest/globals';
import { isError, Status } from '../../smb/status.ts';
import { PosixError } from './posix.ts';
import { statusOfErrno } from './status.ts';

/** What a volume may answer to whatever it is asked for, and what Windows says then. */
const TABLE = {
  ENOSPC: 'DISK_FULL',
  EDQUOT: 'DISK_FULL',
  EFBIG: 'DISK_FULL',
  EROFS: 'MEDIA_WRITE_PROTECTED',
  ESTALE: 'FILE_CLOSED',
  EBADF: 'FILE_CLOSED',
  EIO: 'UNEXPECTED_IO_ERROR',
  ENXIO: 'UNEXPECTED_IO_ERROR',
  ENOTCONN: 'UNEXPECTED_IO_ERROR',
  EREMOTEIO: 'UNEXPECTED_IO_ERROR',
  ECONNABORTED: 'UNEXPECTED_IO_ERROR',
  EUCLEAN: 'DISK_CORRUPT_ERROR',
  EBADMSG: 'DISK_CORRUPT_ERROR',
  ENODEV: 'NO_SUCH_DEVICE',
  ETIMEDOUT: 'IO_TIMEOUT',
  EHOSTDOWN: 'IO_TIMEOUT',
  EACCES: 'ACCESS_DENIED',
  EPERM: 'ACCESS_DENIED',
  ENOENT: 'OBJECT_NAME_NOT_FOUND',
  ENOTDIR: 'OBJECT_PATH_NOT_FOUND',
  EEXIST: 'OBJECT_NAME_COLLISION',
  EISDIR: 'FILE_IS_A_DIRECTORY',
  ENOTEMPTY: 'DIRECTORY_NOT_EMPTY',
  EXDEV: 'ACCESS_DENIED',
  ELOOP: 'ACCESS_DENIED',
  ENAMETOOLONG: 'OBJECT_NAME_INVALID',
  EILSEQ: 'OBJECT_NAME_INVALID',
  EINVAL: 'INVALID_PARAMETER',
  EMFILE: 'TOO_MANY_OPENED_FILES',
  ENFILE: 'TOO_MANY_OPENED_FILES',
  EMLINK: 'TOO_MANY_LINKS',
  ENOMEM: 'INSUFFICIENT_RESOURCES',
  EBUSY: 'SHARING_VIOLATION',
  ETXTBSY: 'SHARING_VIOLATION',
  EAGAIN: 'RETRY',
  EOPNOTSUPP: 'NOT_SUPPORTED',
  ENOSYS: 'NOT_SUPPORTED',
} as const;

/** Of Linux; those that Node does not name. */
const NUMBERS: Record<string, number> = { EUCLEAN: 117, EREMOTEIO: 121, EHOSTDOWN: 112 };

describe('an error of the volume', () => {
  test.each(Object.entries(TABLE))('%s is STATUS_%s', (code, status) => {
    const errno = NUMBERS[code] ?? (constants.errno as Record<string, number>)[code] ?? 0;
    // By its number, as system calls give it.
    expect(statusOfErrno(new PosixError(errno, 'call').code)).toBe(Status[status]);
  });

  test('is an error to the client, whatever it is', () => {
    for (let errno = 1; errno < 134; errno++) {
      expect(isError(statusOfErrno(new PosixError(errno, 'call').code))).toBe(true);
    }
  });
});
