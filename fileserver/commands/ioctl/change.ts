import { FileAttribute } from '../../../smb/fscc/constants.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Request, StatusError } from '../../session/request.ts';
import { checked } from '../../volume/posix.ts';
import { breakReadCaching } from '../write.ts';

/**
 * Does a change to a file's data that an IOCTL asks for, in the way of WRITE: others' read caching is broken, byte-range locks
 * are kept to, and on opens that write through it is stable before it is answered.
 * Throws StatusError and PosixError.
 */
export async function changeData<T>(
  request: Request,
  open: OpenFile,
  range: { offset: number; length: number },
  change: () => Promise<T>,
  keepsToLocks = true,
): Promise<T> {
  open.begin(true);
  try {
    if (keepsToLocks) refuseLocked(open, range, true);
    if (open.breaksCaching) await breakReadCaching(request, open);
    const io = open.file.begin(range.offset, range.length, true, open.record.openId);
    try {
      // Locks may have come while caching was broken.
      if (keepsToLocks) refuseLocked(open, range, true);
      if (!open.writesThrough) open.unstable = true;
      const changed = await change();
      if (request.services.changes.active) request.services.changes.wrote(open);
      return changed;
    } finally {
      open.file.end(io);
    }
  } finally {
    open.end(true);
  }
}

/** Makes stable what an open that writes through has changed other than by writing. Throws PosixError. */
export async function stabilize(open: OpenFile): Promise<void> {
  if (open.writesThrough) checked(await open.folder.posix.sync(open.fd), 'fsync');
}

/** Throws StatusError where a byte-range lock forbids to read (or write) the range. */
export function refuseLocked(open: OpenFile, { offset, length }: { offset: number; length: number }, write: boolean) {
  if (open.file.isLocked(offset, length, write, open.record.openId)) throw new StatusError(Status.FILE_LOCK_CONFLICT);
}

/** FSCTL_SET_SPARSE was done to the file. */
export async function isSparse(open: OpenFile): Promise<boolean> {
  const { attributes } = await open.folder.attributes(open.metadataFd);
  return attributes !== undefined && (attributes & FileAttribute.sparse) !== 0;
}
