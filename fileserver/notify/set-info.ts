import { InfoType } from '../../smb/constants.ts';
import { FileInfoClass, NotifyFilter } from '../../smb/fscc/constants.ts';
import { fileBasicInformation } from '../../smb/fscc/file-info.ts';
import type { SetInfoRequest } from '../../smb/wire/set-info.ts';
import type { OpenFile } from '../opens/open-file.ts';
import type { Share } from '../shares.ts';
import type { Changes } from './changes.ts';

/** Tells of what a SET_INFO has changed (MS-FSA 2.1.5.15); renames and links are told of where they are carried out. */
export function tellSetInfo(changes: Changes, share: Share, open: OpenFile, done: SetInfoRequest): void {
  if (done.infoType === InfoType.SECURITY) {
    changes.modified(share, open.path, NotifyFilter.security, open);
    return;
  }
  if (done.infoType !== InfoType.FILE) return;
  switch (done.fileInfoClass) {
    case FileInfoClass.basic:
      changes.modified(share, open.path, filterOfBasic(done.input), open);
      break;
    case FileInfoClass.fullEa:
      changes.modified(share, open.path, NotifyFilter.ea, open);
      break;
    case FileInfoClass.endOfFile:
    case FileInfoClass.allocation:
      changes.wrote(open);
      break;
    case FileInfoClass.disposition:
    case FileInfoClass.dispositionEx:
      if (open.isDirectory && open.file.deletePending) changes.deleting(share, open.path);
      break;
    default:
      break;
  }
}

/** The fields that are not 0 are those that were set; -1 and -2 set none (MS-FSCC 2.4.7). */
export function filterOfBasic(input: Buffer): number {
  const { creationTime, lastAccessTime, lastWriteTime, fileAttributes } = fileBasicInformation.decode(input);
  return (
    (fileAttributes === 0 ? 0 : NotifyFilter.attributes) |
    (creationTime > 0n ? NotifyFilter.creation : 0) |
    (lastAccessTime > 0n ? NotifyFilter.lastAccess : 0) |
    (lastWriteTime > 0n ? NotifyFilter.lastWrite : 0)
  );
}
