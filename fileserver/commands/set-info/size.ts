import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import type { Request } from '../../session/request.ts';
import { checked, Errno, FALLOC_KEEP_SIZE } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { breakReadCaching } from '../write.ts';

/** FileEndOfFileInformation (MS-FSA 2.1.5.15.4). Gives the status; throws PosixError. */
export async function setEndOfFile(request: Request, open: OpenFile, size: number): Promise<number> {
  const refusal = checkOpen(open);
  if (refusal !== Status.SUCCESS) return refusal;
  await truncate(request, open, size);
  return Status.SUCCESS;
}

/** FileAllocationInformation (MS-FSA 2.1.5.15.1): less than the data cuts it off, more reserves space. */
export async function setAllocation(request: Request, open: OpenFile, size: number): Promise<number> {
  const refusal = checkOpen(open);
  if (refusal !== Status.SUCCESS) return refusal;
  if (open.breaksCaching) await breakReadCaching(request, open);
  const { posix } = open.folder;
  const { size: dataSize } = await statOf(posix, open.fd);
  if (size < dataSize) {
    await truncate(request, open, size);
  } else if (size > dataSize) {
    const result = await posix.allocate(open.fd, FALLOC_KEEP_SIZE, 0, size);
    // Where space cannot be reserved, writing takes it.
    if (result !== -Errno.EOPNOTSUPP) checked(result, 'fallocate');
  }
  return Status.SUCCESS;
}

function checkOpen(open: OpenFile): number {
  if (open.isDirectory) return Status.INVALID_PARAMETER;
  return open.may(Access.writeData) ? Status.SUCCESS : Status.ACCESS_DENIED;
}

async function truncate(request: Request, open: OpenFile, size: number): Promise<void> {
  if (open.breaksCaching) await breakReadCaching(request, open);
  const { posix } = open.folder;
  checked(await posix.truncate(open.fd, size), 'ftruncate');
  if (open.attachment.frozenWriteTime !== undefined)
    await posix.setTimes(open.metadataFd, undefined, open.attachment.frozenWriteTime);
  if (open.writesThrough) checked(await posix.sync(open.fd), 'fsync');
  else open.unstable = true;
}
