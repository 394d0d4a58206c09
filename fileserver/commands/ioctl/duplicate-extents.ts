// FSCTL_DUPLICATE_EXTENTS_TO_FILE (MS-FSA 2.1.5.10.4): the target shares the source's blocks.
import { type DuplicateExtents, decodeDuplicateExtents } from '../../../smb/fscc/fsctl.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { checked } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeData, isSparse, stabilize } from './change.ts';
import { emptyReply } from './reply.ts';

export async function duplicateExtents(request: Request, target: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (!target.folder.volume.abilities.clonesExtents) return statusReply(Status.INVALID_DEVICE_REQUEST);
  const wanted = decodeDuplicateExtents(ioctl.input);
  const source = request.services.opens.ofSession(wanted.source, request.session);
  if (!source) return statusReply(Status.INVALID_HANDLE);
  if (source.folder.volume !== target.folder.volume) return statusReply(Status.INVALID_PARAMETER);
  if (source.isDirectory || target.isDirectory) return statusReply(Status.INVALID_PARAMETER);
  if (!source.isReadable || !target.may(Access.writeData)) return statusReply(Status.ACCESS_DENIED);
  const { sourceOffset, targetOffset, length } = wanted;
  if (length === 0) return emptyReply(ioctl);
  const sameFile = source.file === target.file;
  if (sameFile && Math.abs(sourceOffset - targetOffset) < length) return statusReply(Status.NOT_SUPPORTED);
  source.begin(false);
  try {
    const refusal = await checkExtents(source, target, wanted);
    if (refusal !== Status.SUCCESS) return statusReply(refusal);
    const clone = async () => {
      const { posix } = target.folder;
      checked(await posix.cloneRange(source.fd, sourceOffset, target.fd, targetOffset, length), 'FICLONERANGE');
      await stabilize(target);
    };
    // Byte-range locks are about READ and WRITE: nothing is read or written here, and Windows does not look at them.
    await changeData(request, target, { offset: targetOffset, length }, clone, false);
    return emptyReply(ioctl);
  } finally {
    source.end(false);
  }
}

/** The source's range lies within it; the target's too, unless it is sparse; what is sparse stays so (MS-FSCC 2.3.8). */
async function checkExtents(source: OpenFile, target: OpenFile, wanted: DuplicateExtents): Promise<number> {
  const { sourceOffset, targetOffset, length } = wanted;
  const targetIsSparse = await isSparse(target);
  const isWithin = async (open: OpenFile, offset: number) =>
    offset + length <= (await statOf(open.folder.posix, open.fd)).size;
  if (!(await isWithin(source, sourceOffset))) return Status.NOT_SUPPORTED;
  if (!targetIsSparse && (await isSparse(source))) return Status.NOT_SUPPORTED;
  return targetIsSparse || (await isWithin(target, targetOffset)) ? Status.SUCCESS : Status.NOT_SUPPORTED;
}
