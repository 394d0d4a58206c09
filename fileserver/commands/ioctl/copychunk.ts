// FSCTL_SRV_REQUEST_RESUME_KEY, FSCTL_SRV_COPYCHUNK and FSCTL_SRV_COPYCHUNK_WRITE (MS-SMB2 3.3.5.15.5, 3.3.5.15.6).
import { Fsctl } from '../../../smb/constants.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import {
  type CopychunkRange,
  type CopychunkResponse,
  decodeCopychunkRequest,
  encodeCopychunkResponse,
  encodeResumeKeyResponse,
  RESUME_KEY_SIZE,
} from '../../../smb/wire/ioctl-payloads.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, StatusError, statusReply } from '../../session/request.ts';
import { Errno, PosixError } from '../../volume/posix.ts';
import { statusOfErrno } from '../../volume/status.ts';
import { statOf } from '../../volume/volume.ts';
import { changeData, refuseLocked, stabilize } from './change.ts';
import { ioctlReply, wholeReply } from './reply.ts';

/** ServerSideCopyMaxNumberofChunks, ServerSideCopyMaxChunkSize and ServerSideCopyMaxDataSize (3.3.3), as Windows has them. */
export const COPY_LIMITS = { chunks: 256, chunkBytes: 1024 * 1024, totalBytes: 16 * 1024 * 1024 } as const;

const RESPONSE_SIZE = 12;
/** What copy_file_range(2) says where it cannot copy between these two files, or not these ranges: reading and writing can. */
const cannotCopy = new Set<number>([Errno.EXDEV, Errno.EINVAL, Errno.EOPNOTSUPP, Errno.ENOSYS, Errno.EPERM]);

/** Open.ResumeKey: the open's FileId, which no other open ever has. */
export function requestResumeKey(open: OpenFile, ioctl: IoctlRequest): Reply {
  if (ioctl.maxOutputResponse < RESUME_KEY_SIZE + 8) return statusReply(Status.INVALID_PARAMETER);
  const key = Buffer.alloc(RESUME_KEY_SIZE);
  key.writeBigUInt64LE(open.fileId.persistent, 0);
  key.writeBigUInt64LE(open.fileId.volatile, 8);
  return wholeReply(ioctl, encodeResumeKeyResponse(key));
}

export async function copychunk(request: Request, target: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (ioctl.maxOutputResponse < RESPONSE_SIZE) return statusReply(Status.INVALID_PARAMETER);
  const { sourceKey, chunks } = decodeCopychunkRequest(ioctl.input);
  const source = sourceOf(request, sourceKey);
  if (!source) return statusReply(Status.OBJECT_NAME_NOT_FOUND);
  if (!withinLimits(chunks)) {
    const limits = {
      chunksWritten: COPY_LIMITS.chunks,
      chunkBytesWritten: COPY_LIMITS.chunkBytes,
      totalBytesWritten: COPY_LIMITS.totalBytes,
    };
    return ioctlReply(ioctl, encodeCopychunkResponse(limits), Status.INVALID_PARAMETER);
  }
  const refusal = checkAccess(source, target, ioctl.ctlCode);
  if (refusal !== Status.SUCCESS) return statusReply(refusal);
  const done: CopychunkResponse = { chunksWritten: 0, chunkBytesWritten: 0, totalBytesWritten: 0 };
  let status: number = Status.SUCCESS;
  source.begin(false);
  target.begin(true);
  try {
    for (const chunk of chunks) {
      status = await statusOfChunk(request, source, target, chunk);
      if (status !== Status.SUCCESS) break;
      done.totalBytesWritten += chunk.length;
      done.chunksWritten++;
    }
    if (chunks.length > 0) await stabilize(target);
  } finally {
    target.end(true);
    source.end(false);
  }
  // Also of a copy that failed: the client learns how far it came.
  return ioctlReply(ioctl, encodeCopychunkResponse(done), status);
}

async function statusOfChunk(request: Request, source: OpenFile, target: OpenFile, chunk: CopychunkRange) {
  try {
    await copyChunk(request, source, target, chunk);
    return Status.SUCCESS;
  } catch (error) {
    if (error instanceof StatusError) return error.status;
    if (error instanceof PosixError) return statusOfErrno(error.code);
    throw error;
  }
}

/** The source is an open of the same session, on whatever share. */
function sourceOf(request: Request, key: Buffer): OpenFile | undefined {
  const fileId = { persistent: key.readBigUInt64LE(0), volatile: key.readBigUInt64LE(8) };
  return request.services.opens.ofSession(fileId, request.session);
}

/** Pure; no chunks at all are within the limits: nothing is copied. */
export function withinLimits(chunks: readonly CopychunkRange[]): boolean {
  const total = chunks.reduce((sum, { length }) => sum + length, 0);
  return (
    chunks.length <= COPY_LIMITS.chunks &&
    total <= COPY_LIMITS.totalBytes &&
    chunks.every(({ length }) => length > 0 && length <= COPY_LIMITS.chunkBytes)
  );
}

/** 3.3.5.15.6: FSCTL_SRV_COPYCHUNK also wants the right to read what it writes to. */
function checkAccess(source: OpenFile, target: OpenFile, ctlCode: number): number {
  if (source.isDirectory || target.isDirectory) return Status.INVALID_DEVICE_REQUEST;
  if (!source.isReadable || !target.isWritable) return Status.ACCESS_DENIED;
  if (ctlCode === Fsctl.SRV_COPYCHUNK && !target.may(Access.readData)) return Status.ACCESS_DENIED;
  return Status.SUCCESS;
}

/** Throws StatusError and PosixError. */
async function copyChunk(
  request: Request,
  source: OpenFile,
  target: OpenFile,
  { sourceOffset, targetOffset, length }: CopychunkRange,
): Promise<void> {
  const { size } = await statOf(source.folder.posix, source.fd);
  // Windows copies through views of the file, and a view cannot begin or reach beyond its end.
  if (sourceOffset + length > size) throw new StatusError(Status.INVALID_VIEW_SIZE);
  refuseLocked(source, { offset: sourceOffset, length }, false);
  const reading = source.file.begin(sourceOffset, length, false, source.record.openId);
  try {
    await changeData(request, target, { offset: targetOffset, length }, () =>
      copyBytes(source, target, { sourceOffset, targetOffset, length }),
    );
  } finally {
    source.file.end(reading);
  }
}

/** Throws PosixError; StatusError when the source was cut off meanwhile. */
async function copyBytes(source: OpenFile, target: OpenFile, range: CopychunkRange): Promise<void> {
  const { posix } = target.folder;
  for (let done = 0; done < range.length; ) {
    const from = range.sourceOffset + done;
    const to = range.targetOffset + done;
    const count = await posix.copyRange(source.fd, from, target.fd, to, range.length - done);
    if (count === 0) throw new StatusError(Status.INVALID_VIEW_SIZE);
    if (count > 0) {
      done += count;
      continue;
    }
    if (!cannotCopy.has(-count)) throw new PosixError(-count, 'copy_file_range');
    const rest = { sourceOffset: from, targetOffset: to, length: range.length - done };
    return copyThroughMemory(source, target, rest);
  }
}

/** The whole chunk is read before any of it is written: its ranges may overlap. */
async function copyThroughMemory(source: OpenFile, target: OpenFile, range: CopychunkRange): Promise<void> {
  const bytes = Buffer.allocUnsafe(range.length);
  for (let have = 0; have < bytes.length; ) {
    const rest = bytes.length - have;
    const count = await source.folder.posix.read(source.fd, bytes, have, rest, range.sourceOffset + have);
    if (count < 0) throw new PosixError(-count, 'pread');
    if (count === 0) throw new StatusError(Status.INVALID_VIEW_SIZE);
    have += count;
  }
  for (let done = 0; done < bytes.length; ) {
    const count = await target.folder.posix.write(target.fd, bytes.subarray(done), range.targetOffset + done);
    if (count < 0) throw new PosixError(-count, 'pwrite');
    done += count;
  }
}
