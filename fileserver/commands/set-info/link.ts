import { Outcome } from '../../../proto/generated/handles.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import { recordPathOf } from '../../opens/adoption.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { askerOf } from '../../security/asker.ts';
import { directoryRights } from '../../security/rights.ts';
import type { Request } from '../../session/request.ts';
import { lastNameOf } from '../../volume/folder.ts';
import { foldedName } from '../../volume/names.ts';
import { checked } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeStatusOf } from '../change-status.ts';
import { expectUnchanged, lookingAgain, type RenameOptions, type Target, targetOf, withReserved } from './rename.ts';

/**
 * FileLinkInformation (MS-FSA 2.1.5.15.6): one more name for a file. The name is reserved in the cluster; a file that it would
 * replace must not be open. Gives the status; throws PosixError and StatusError.
 */
export function link(request: Request, open: OpenFile, wireName: string, options: RenameOptions): Promise<number> {
  return lookingAgain(() => linkOnce(request, open, wireName, options));
}

async function linkOnce(request: Request, open: OpenFile, wireName: string, options: RenameOptions): Promise<number> {
  if (open.isDirectory) return Status.FILE_IS_A_DIRECTORY;
  if (open.base || wireName.startsWith(':')) return Status.INVALID_PARAMETER;
  if (open.file.deletePending) return Status.ACCESS_DENIED;
  const { folder } = open;
  const target = await targetOf(open, open.path, wireName, options);
  if (target === 'same') return Status.SUCCESS;
  try {
    const { rights } = await directoryRights(folder, target.parentFd, askerOf(request));
    if ((rights & Access.addFile) === 0) return Status.ACCESS_DENIED;
    const directoryId = await folder.fileId(target.parentFd, await statOf(folder.posix, target.parentFd));
    const name = { directoryId, name: foldedName(lastNameOf(target.path)) };
    return await withReserved(request, [name], async (hold) => {
      await expectUnchanged(open, { from: open.path, target, wireName, options }, hold);
      return target.replaces.length > 0 ? replaceBy(request, open, target) : create(request, open, target, false);
    });
  } finally {
    await folder.posix.close(target.parentFd);
  }
}

async function create(request: Request, open: OpenFile, target: Target, replace: boolean): Promise<number> {
  const { folder } = open;
  checked(await folder.link(open.fd, target.parentFd, lastNameOf(target.path), replace), 'linkat');
  if (open.writesThrough || request.tree.share.continuouslyAvailable) await folder.syncDirectory(target.parentFd);
  request.services.changes.added(request.tree.share, target.path, false);
  return Status.SUCCESS;
}

/** Taking another file's name decides on that file as a rename does. */
async function replaceBy(request: Request, open: OpenFile, target: Target): Promise<number> {
  const { handles } = request.services;
  const { fileId, openId, share } = open.record;
  const path = recordPathOf(open.path);
  const { outcome } = await handles.beginRename(
    { fileId, openId, share, from: path, to: path, isDirectory: false, replacesFileId: target.replaces },
    request,
  );
  if (outcome !== Outcome.GRANTED) return changeStatusOf(outcome);
  let done = false;
  try {
    const status = await target.replacing(() => create(request, open, target, true));
    done = true;
    return status;
  } finally {
    await handles.endRename({ fileId, openId, done, to: path });
  }
}
