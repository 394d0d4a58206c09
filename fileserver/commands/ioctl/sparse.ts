// FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA, FSCTL_QUERY_ALLOCATED_RANGES and FSCTL_FILE_LEVEL_TRIM (MS-FSA 2.1.5.10).
import { FileAttribute, NotifyFilter } from '../../../smb/fscc/constants.ts';
import {
  ALLOCATED_RANGE_SIZE,
  type ByteRange,
  decodeFileLevelTrim,
  decodeQueryAllocatedRanges,
  decodeSetSparse,
  decodeZeroData,
  encodeFileLevelTrimOutput,
  encodeRanges,
} from '../../../smb/fscc/fsctl.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { defaultAttributes } from '../../volume/attributes.ts';
import {
  Errno,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  type Posix,
  PosixError,
} from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeMetadata } from '../set-info/metadata.ts';
import { changeData, isSparse, stabilize } from './change.ts';
import { emptyReply, ioctlReply } from './reply.ts';

/** Where neither a hole can be punched nor a range be zeroed, zeros are written, so many bytes at once. */
const ZEROS_AT_ONCE = 1024 * 1024;
/** Holes are made of whole blocks of this size. */
const BLOCK_SIZE = 4096;

/** The file's data and attributes may be changed by whoever may change one of them (MS-FSA 2.1.5.10.35). */
export async function setSparse(request: Request, open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (open.isDirectory) return statusReply(Status.INVALID_PARAMETER);
  if (!open.mayAny(Access.writeData | Access.appendData | Access.writeAttributes)) {
    return statusReply(Status.ACCESS_DENIED);
  }
  const sparse = decodeSetSparse(ioctl.input);
  open.begin(true);
  try {
    await changeMetadata(open, async (stored) => {
      const before = stored.attributes ?? defaultAttributes(await statOf(open.folder.posix, open.metadataFd));
      const attributes = sparse ? before | FileAttribute.sparse : before & ~FileAttribute.sparse;
      return attributes === before ? undefined : { ...stored, attributes };
    });
  } finally {
    open.end(true);
  }
  request.services.changes.modified(request.tree.share, open.path, NotifyFilter.attributes);
  return emptyReply(ioctl);
}

/** MS-FSA 2.1.5.10.36: what lies behind the end of the file is left alone. */
export async function setZeroData(request: Request, open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (open.isDirectory) return statusReply(Status.INVALID_PARAMETER);
  if (!open.may(Access.writeData)) return statusReply(Status.ACCESS_DENIED);
  const wanted = decodeZeroData(ioctl.input);
  if (wanted.length === 0) return emptyReply(ioctl);
  const punches = await isSparse(open);
  await changeData(request, open, wanted, async () => {
    const range = await withinFile(open, wanted);
    if (range.length === 0) return;
    await zero(open.folder.posix, open.fd, range, punches);
    await stabilize(open);
  });
  return emptyReply(ioctl);
}

async function withinFile(open: OpenFile, { offset, length }: ByteRange): Promise<ByteRange> {
  const { size } = await statOf(open.folder.posix, open.fd);
  return { offset, length: Math.max(0, Math.min(length, size - offset)) };
}

/** A sparse file loses its blocks there; any other keeps them where the volume can do that. Throws PosixError. */
async function zero(posix: Posix, fd: number, { offset, length }: ByteRange, punches: boolean): Promise<void> {
  const ways = punches ? [FALLOC_PUNCH_HOLE] : [FALLOC_ZERO_RANGE, FALLOC_PUNCH_HOLE];
  for (const way of ways) {
    const result = await posix.allocate(fd, way | FALLOC_KEEP_SIZE, offset, length);
    if (result === 0) return;
    if (result !== -Errno.EOPNOTSUPP && result !== -Errno.ENOSYS) throw new PosixError(-result, 'fallocate');
  }
  const zeros = Buffer.alloc(Math.min(length, ZEROS_AT_ONCE));
  for (let done = 0; done < length; ) {
    const count = await posix.write(fd, zeros.subarray(0, Math.min(zeros.length, length - done)), offset + done);
    if (count < 0) throw new PosixError(-count, 'pwrite');
    done += count;
  }
}

/** MS-FSA 2.1.5.10.22. */
export async function queryAllocatedRanges(open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (open.isDirectory) return statusReply(Status.INVALID_PARAMETER);
  if (!open.may(Access.readData)) return statusReply(Status.ACCESS_DENIED);
  const wanted = decodeQueryAllocatedRanges(ioctl.input);
  open.begin(false);
  try {
    const range = await withinFile(open, wanted);
    if (range.length === 0) return emptyReply(ioctl);
    const most = Math.floor(ioctl.maxOutputResponse / ALLOCATED_RANGE_SIZE);
    if (most === 0) return statusReply(Status.BUFFER_TOO_SMALL);
    // All of a file that is not sparse counts as allocated, whatever the volume does.
    const ranges = (await isSparse(open)) ? await allocatedRanges(open, range, most + 1) : [range];
    if (ranges.length <= most) return ioctlReply(ioctl, encodeRanges(ranges));
    return ioctlReply(ioctl, encodeRanges(ranges.slice(0, most)), Status.BUFFER_OVERFLOW);
  } finally {
    open.end(false);
  }
}

/** At most `most` of the ranges that hold data, from the first on. Throws PosixError. */
async function allocatedRanges(open: OpenFile, { offset, length }: ByteRange, most: number): Promise<ByteRange[]> {
  const { posix } = open.folder;
  const end = offset + length;
  const ranges: ByteRange[] = [];
  for (let at = offset; at < end && ranges.length < most; ) {
    const data = await posix.seek(open.fd, at, 'data');
    if (data === -Errno.ENXIO || data >= end) break;
    // A volume that does not tell holes has none.
    if (data === -Errno.EINVAL || data === -Errno.EOPNOTSUPP) return [{ offset, length }];
    if (data < 0) throw new PosixError(-data, 'lseek');
    const hole = await posix.seek(open.fd, data, 'hole');
    if (hole < 0) throw new PosixError(-hole, 'lseek');
    const stop = Math.min(hole, end);
    ranges.push({ offset: data, length: stop - data });
    at = stop;
  }
  return ranges;
}

/** MS-FSA 2.1.5.10.5: the client has no use for these bytes any more; the volume gets whole blocks of them back. */
export async function fileLevelTrim(request: Request, open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (open.isDirectory) return statusReply(Status.INVALID_PARAMETER);
  if (!open.may(Access.writeData)) return statusReply(Status.ACCESS_DENIED);
  const ranges = decodeFileLevelTrim(ioctl.input);
  let processed = 0;
  for (const range of ranges) {
    await changeData(request, open, range, async () => {
      const { offset, length } = wholeBlocks(await withinFile(open, range));
      if (length === 0) return;
      const mode = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE;
      const result = await open.folder.posix.allocate(open.fd, mode, offset, length);
      if (result < 0) throw new PosixError(-result, 'fallocate');
      await stabilize(open);
    });
    processed++;
  }
  const output = encodeFileLevelTrimOutput(processed);
  return ioctlReply(ioctl, ioctl.maxOutputResponse < output.length ? Buffer.alloc(0) : output);
}

/** The blocks that lie within a range as a whole. Pure. */
export function wholeBlocks({ offset, length }: ByteRange): ByteRange {
  const first = Math.ceil(offset / BLOCK_SIZE) * BLOCK_SIZE;
  const end = Math.floor((offset + length) / BLOCK_SIZE) * BLOCK_SIZE;
  return { offset: first, length: Math.max(0, end - first) };
}
