import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import type { Request } from '../../session/request.ts';
import { checked, Errno, FALLOC_KEEP_SIZE } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { breakReadCaching } from '../write.ts';

/** Of a size that no file of the volume can have (EFBIG); it is not full for that (MS-FSA 2.1.5.15.1, 2.1.5.15.4). */
const TOO_LARGE = Status.INVALID_PARAMETER;

/** FileEndOfFileInformation (MS-FSA 2.1.5.15.4). Gives the status; throws PosixError. */
export async function setEndOfFile(request: Request, open: OpenFile, size: number): Promise<number> {
  const refusal = checkOpen(open);
  if (refusal !== Status.SUCCESS) return refusal;
  return truncate(request, open, size);
}

/** FileAllocationInformation (MS-FSA 2.1.5.15.1): less than the data cuts it off, more reserves space. */
export async function setAllocation(request: Request, open: OpenFile, size: number): Promise<number> {
  const refusal = checkOpen(open);
  if (refusal !== Status.SUCCESS) return refusal;
  if (open.breaksCaching) await breakReadCaching(request, open);
  const { posix } = open.folder;
  const { size: dataSize } = await statOf(posix, open.fd);
  if (size < dataSize) return truncate(request, open, size);
  if (size > dataSize) {
    const result = await posix.allocate(open.fd, FALLOC_KEEP_SIZE, 0, size);
    if (result === -Errno.EFBIG) return TOO_LARGE;
    // Where space cannot be reserved, writing takes it.
    if (result !== -Errno.EOPNOTSUPP) checked(result, 'fallocate');
  }
  return Status.SUCCESS;
}

function checkOpen(open: OpenFile): number {
  if (open.isDirectory) return Status.INVALID_PARAMETER;
  return open.may(Access.writeData) ? Status.SUCCESS : Status.ACCESS_DENIED;
}

/** Gives the status; throws PosixError. */
async function truncate(request: Request, open: OpenFile, size: number): Promise<number> {
  if (open.breaksCaching) await breakReadCaching(request, open);
  const { posix } = open.folder;
  const result = await posix.truncate(open.fd, size);
  if (result === -Errno.EFBIG) return TOO_LARGE;
  checked(result, 'ftruncate');
  if (open.attachment.frozenWriteTime !== undefined)
    await posix.setTimes(open.metadataFd, undefined, open.attachment.frozenWriteTime);
  if (open.writesThrough) checked(await posix.sync(open.fd), 'fsync');
  else open.unstable = true;
  return Status.SUCCESS;
}
