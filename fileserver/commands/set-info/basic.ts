import { FileAttribute } from '../../../smb/fscc/constants.ts';
import type { FileBasicInformation } from '../../../smb/fscc/file-info.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { statOfOpen } from '../../opens/stat.ts';
import type { Request } from '../../session/request.ts';
import { attributesAfter, changeTime as changeTimeOf, type SetChangeTime } from '../../volume/attributes.ts';
import { checked } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeMetadata } from './metadata.ts';
import { storeAttachment } from './store-attachment.ts';

/** Times with a meaning of their own (MS-FSCC 2.4.7; 0 leaves it): stop changing it on this handle, change it again. */
const FREEZE = -1n;
const THAW = -2n;

/** FileBasicInformation (MS-FSA 2.1.5.15.2). Gives the status; throws PosixError. */
export async function setBasic(request: Request, open: OpenFile, value: FileBasicInformation): Promise<number> {
  if (!open.may(Access.writeAttributes)) return Status.ACCESS_DENIED;
  const { creationTime, lastAccessTime, lastWriteTime, changeTime, fileAttributes } = value;
  if ([creationTime, lastAccessTime, lastWriteTime, changeTime].some((time) => time < THAW)) {
    return Status.INVALID_PARAMETER;
  }
  if ((fileAttributes & FileAttribute.directory) !== 0 && !open.isDirectory) return Status.INVALID_PARAMETER;
  if ((fileAttributes & FileAttribute.temporary) !== 0 && open.isDirectory) return Status.INVALID_PARAMETER;
  const { frozenWriteTime, keepsChangeTime } = open.attachment;
  await changeMetadata(open, async (stored) => {
    const before = await statOfOpen(open);
    await setTimes(open, lastAccessTime, lastWriteTime);
    const isFrozen = open.attachment.keepsChangeTime;
    if (changeTime !== 0n) open.attachment.keepsChangeTime = changeTime !== THAW;
    const setsStored = fileAttributes !== 0 || creationTime > 0n || changeTime !== 0n;
    const setsTimes = lastAccessTime > 0n || lastWriteTime > 0n;
    if (!setsStored && !(setsTimes && stored.changeTime !== undefined)) return undefined;
    const { writeTime } = await statOf(open.folder.posix, open.metadataFd);
    return {
      ...stored,
      attributes: fileAttributes === 0 ? stored.attributes : attributesAfter(stored, fileAttributes),
      creationTime: creationTime > 0n ? creationTime : stored.creationTime,
      changeTime: changeTimeAfter({ set: changeTime, isFrozen }, changeTimeOf(before, stored), writeTime),
    };
  });
  const now = open.attachment;
  const isSame = now.frozenWriteTime === frozenWriteTime && now.keepsChangeTime === keepsChangeTime;
  return isSame ? Status.SUCCESS : storeAttachment(request, open);
}

/**
 * What is kept of the change time: what the client sets now; what it was, where this handle freezes it, thaws it or set it before
 * (MS-FSA, Open.UserSetChangeTime); otherwise nothing, it is now.
 */
function changeTimeAfter(
  { set, isFrozen }: { set: bigint; isFrozen: boolean },
  before: bigint,
  atWriteTime: bigint,
): SetChangeTime | undefined {
  if (set > 0n) return { value: set, atWriteTime };
  return set !== 0n || isFrozen ? { value: before, atWriteTime } : undefined;
}

async function setTimes(open: OpenFile, access: bigint, write: bigint): Promise<void> {
  const newAccess = access > 0n ? access : undefined;
  const newWrite = write > 0n ? write : undefined;
  if (newAccess !== undefined || newWrite !== undefined) {
    checked(await open.folder.posix.setTimes(open.metadataFd, newAccess, newWrite), 'utimensat');
  }
  // A time that was set stays as it is when this handle writes later (MS-FSA, UserSetModificationTime).
  if (newWrite !== undefined) open.attachment.frozenWriteTime = newWrite;
  else if (write === FREEZE) open.attachment.frozenWriteTime = (await statOfOpen(open)).writeTime;
  else if (write === THAW) open.attachment.frozenWriteTime = undefined;
}
