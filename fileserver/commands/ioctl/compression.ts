// FSCTL_GET_COMPRESSION and FSCTL_SET_COMPRESSION (MS-FSA 2.1.5.10.9, 2.1.5.10.30).
import { NotifyFilter } from '../../../smb/fscc/constants.ts';
import { CompressionFormat, decodeCompression, encodeCompression } from '../../../smb/fscc/fsctl.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import type { Folder } from '../../volume/folder.ts';
import { checked, FileFlag, O } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { emptyReply, ioctlReply } from './reply.ts';

export async function getCompression(open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  open.begin(false);
  try {
    // On a volume that compresses nothing, nothing is: that is an answer, too.
    const { isCompressed } = await statOf(open.folder.posix, open.metadataFd);
    const output = encodeCompression(isCompressed ? CompressionFormat.lznt1 : CompressionFormat.none);
    if (ioctl.maxOutputResponse < output.length) return statusReply(Status.INVALID_PARAMETER);
    return ioctlReply(ioctl, output);
  } finally {
    open.end(false);
  }
}

export async function setCompression(request: Request, open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  const format = decodeCompression(ioctl.input);
  if (!open.may(Access.writeData)) return statusReply(Status.ACCESS_DENIED);
  if (format > CompressionFormat.lznt1) return statusReply(Status.INVALID_PARAMETER);
  const compressed = format !== CompressionFormat.none;
  // A file may be asked to stay as it is on every volume.
  if (!open.folder.volume.abilities.compresses) {
    return compressed ? statusReply(Status.NOT_SUPPORTED) : emptyReply(ioctl);
  }
  open.begin(true);
  try {
    await compress(open.folder, open.metadataFd, compressed);
  } finally {
    open.end(true);
  }
  request.services.changes.modified(request.tree.share, open.path, NotifyFilter.attributes);
  return emptyReply(ioctl);
}

/** From now on what is written to the file, or created in the directory, is compressed or is not. Throws PosixError. */
export async function compress({ posix }: Folder, fd: number, compressed: boolean): Promise<void> {
  // Flags belong to a file that is open for I/O: this may be a descriptor of its path.
  const ioFd = checked(await posix.reopen(fd, O.RDONLY | O.NONBLOCK), 'open');
  try {
    const before = checked(await posix.getFlags(ioFd), 'FS_IOC_GETFLAGS');
    const flags = compressed ? before | FileFlag.compress : before & ~FileFlag.compress;
    if (flags === before) return;
    checked(await posix.setFlags(ioFd, flags), 'FS_IOC_SETFLAGS');
    checked(await posix.sync(ioFd), 'fsync');
  } finally {
    await posix.close(ioFd);
  }
}
