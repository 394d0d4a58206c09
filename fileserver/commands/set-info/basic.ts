import { FileAttribute } from '../../../smb/fscc/constants.ts';
import type { FileBasicInformation } from '../../../smb/fscc/file-info.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { settableAttributes } from '../../volume/attributes.ts';
import { checked } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';

/** Times with a meaning of their own (MS-FSCC 2.4.7; 0 leaves it): stop changing it on this handle, change it again. */
const FREEZE = -1n;
const THAW = -2n;

/** FileBasicInformation (MS-FSA 2.1.5.15.2). Gives the status; throws PosixError. */
export async function setBasic(open: OpenFile, value: FileBasicInformation): Promise<number> {
  if (!open.may(Access.writeAttributes)) return Status.ACCESS_DENIED;
  const { creationTime, lastAccessTime, lastWriteTime, changeTime, fileAttributes } = value;
  if ([creationTime, lastAccessTime, lastWriteTime, changeTime].some((time) => time < THAW)) {
    return Status.INVALID_PARAMETER;
  }
  if ((fileAttributes & FileAttribute.directory) !== 0 && !open.isDirectory) return Status.INVALID_PARAMETER;
  if ((fileAttributes & FileAttribute.temporary) !== 0 && open.isDirectory) return Status.INVALID_PARAMETER;
  await storeAttributes(open, fileAttributes, creationTime);
  await setTimes(open, lastAccessTime, lastWriteTime);
  if (open.writesThrough && open.isWritable) checked(await open.folder.posix.sync(open.fd), 'fsync');
  return Status.SUCCESS;
}

async function storeAttributes(open: OpenFile, attributes: number, creationTime: bigint): Promise<void> {
  const setsCreation = creationTime > 0n;
  if (attributes === 0 && !setsCreation) return;
  const stored = await open.folder.attributes(open.fd);
  await open.folder.setAttributes(open.fd, {
    ...stored,
    // FILE_ATTRIBUTE_NORMAL takes all others away.
    attributes: attributes === 0 ? stored.attributes : attributes & settableAttributes,
    creationTime: setsCreation ? creationTime : stored.creationTime,
  });
}

async function setTimes(open: OpenFile, access: bigint, write: bigint): Promise<void> {
  const newAccess = access > 0n ? access : undefined;
  const newWrite = write > 0n ? write : undefined;
  if (newAccess !== undefined || newWrite !== undefined) {
    checked(await open.folder.posix.setTimes(open.fd, newAccess, newWrite), 'utimensat');
  }
  // A time that was set stays as it is when this handle writes later (MS-FSA, UserSetModificationTime).
  if (newWrite !== undefined) open.frozenWriteTime = newWrite;
  else if (write === FREEZE) open.frozenWriteTime = (await statOf(open.folder.posix, open.fd)).writeTime;
  else if (write === THAW) open.frozenWriteTime = undefined;
}
