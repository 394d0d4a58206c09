// FSCTL_DUPLICATE_EXTENTS_TO_FILE (MS-FSA 2.1.5.10.4): the target shares the source's blocks.
import { decodeDuplicateExtents } from '../../../smb/fscc/fsctl.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, StatusError, statusReply } from '../../session/request.ts';
import { checked } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeData, refuseLocked, stabilize } from './change.ts';
import { emptyReply } from './reply.ts';

export async function duplicateExtents(request: Request, target: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (!target.folder.volume.clonesExtents) return statusReply(Status.INVALID_DEVICE_REQUEST);
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
    await checkExtent(source, sourceOffset, length);
    await checkExtent(target, targetOffset, length);
    refuseLocked(source, { offset: sourceOffset, length }, false);
    const reading = source.file.begin(sourceOffset, length, false, source.record.openId);
    try {
      await changeData(request, target, { offset: targetOffset, length }, async () => {
        const { posix } = target.folder;
        checked(await posix.cloneRange(source.fd, sourceOffset, target.fd, targetOffset, length), 'FICLONERANGE');
        await stabilize(target);
      });
    } finally {
      source.file.end(reading);
    }
    return emptyReply(ioctl);
  } finally {
    source.end(false);
  }
}

/** Both ranges lie within their files. Throws StatusError. */
async function checkExtent(open: OpenFile, offset: number, length: number): Promise<void> {
  const { size } = await statOf(open.folder.posix, open.fd);
  if (offset + length > size) throw new StatusError(Status.NOT_SUPPORTED);
}
