import { Outcome } from '../../../proto/generated/handles.ts';
import { FileAttribute } from '../../../smb/fscc/constants.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { statOfOpen } from '../../opens/stat.ts';
import type { Request } from '../../session/request.ts';
import { fileAttributes } from '../../volume/attributes.ts';
import { isEmptyDirectory } from '../../volume/directory-scan.ts';
import { changeStatusOf } from '../change-status.ts';

/** FileDispositionInformation (MS-FSA 2.1.5.15.3): the file goes with its last open. Gives the status; throws PosixError. */
export async function setDisposition(
  request: Request,
  open: OpenFile,
  want: { pending: boolean; onClose: boolean; ignoreReadonly: boolean },
): Promise<number> {
  if (!open.may(Access.delete)) return Status.ACCESS_DENIED;
  if (want.pending) {
    const refusal = await checkDeletable(open, want.ignoreReadonly);
    if (refusal !== Status.SUCCESS) return refusal;
  }
  const { fileId, openId } = open.record;
  const { outcome } = await request.services.handles.setDeletePending(
    { fileId, openId, pending: want.pending, onClose: want.onClose },
    request,
  );
  if (outcome !== Outcome.GRANTED) return changeStatusOf(outcome);
  open.file.deletePending = want.pending;
  return Status.SUCCESS;
}

async function checkDeletable(open: OpenFile, ignoreReadonly: boolean): Promise<number> {
  if (open.path === '.') return Status.CANNOT_DELETE;
  const { folder } = open;
  await folder.expectWritable(open.metadataFd);
  const attributes = fileAttributes(await statOfOpen(open), await folder.attributes(open.metadataFd));
  if ((attributes & FileAttribute.readonly) !== 0 && !ignoreReadonly) return Status.CANNOT_DELETE;
  return open.isDirectory && !(await isEmptyDirectory(folder.posix, open.fd))
    ? Status.DIRECTORY_NOT_EMPTY
    : Status.SUCCESS;
}
