import { FsInfoClass, localFsInfoClasses } from '../../../smb/fscc/constants.ts';
import { fileFsControlInformation, fileFsObjectIdInformation } from '../../../smb/fscc/fs-info.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';

/**
 * What a file system information class is refused with (MS-SMB2 3.3.5.21.2): label, quotas and object id are the volume's own affair.
 * @param access what the open was granted
 * @param length bytes of the input
 */
export function statusToSetFileSystem(infoClass: number, access: number, length: number): number {
  switch (infoClass) {
    case FsInfoClass.control:
      return optional(access, length >= fileFsControlInformation.minimumSize, Status.INFO_LENGTH_MISMATCH);
    case FsInfoClass.objectId:
      return optional(access, length >= fileFsObjectIdInformation.minimumSize, Status.INVALID_INFO_CLASS);
    default:
      return localFsInfoClasses.has(infoClass) ? Status.NOT_SUPPORTED : Status.INVALID_INFO_CLASS;
  }
}

/** A class that SET_INFO has and file systems need not (MS-FSA 2.1.5.16.6, 2.1.5.16.8). */
function optional(access: number, isWhole: boolean, ofLength: number): number {
  if ((access & Access.writeData) === 0) return Status.ACCESS_DENIED;
  return isWhole ? Status.INVALID_PARAMETER : ofLength;
}
