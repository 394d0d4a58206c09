import { Outcome } from '../../proto/generated/handles.ts';
import { WriteFlags } from '../../smb/constants.ts';
import { Access } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import {
  decodeWriteRequest,
  WRITE_RESPONSE_BODY_SIZE,
  type WriteRequest,
  writeWriteResponse,
} from '../../smb/wire/write.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, reply, StatusError, statusReply } from '../session/request.ts';
import { checked, PosixError } from '../volume/posix.ts';
import { statOf } from '../volume/volume.ts';
import { changeStatusOf } from './change-status.ts';
import { onVolume, openOf, wantsRdma } from './open-of.ts';

/** No file system holds a byte beyond it. */
const MAXIMUM_OFFSET = Number.MAX_SAFE_INTEGER;

/** WRITE (MS-SMB2 3.3.5.13). The data goes to the file from where it was received. */
export const write = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeWriteRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const { data, offset } = wanted;
  if (data.length > request.connection.maxWriteSize || !request.paysFor(data.length)) {
    return statusReply(Status.INVALID_PARAMETER);
  }
  if (wantsRdma(request, wanted.channel)) return statusReply(Status.INVALID_PARAMETER);
  if (open.isDirectory) return statusReply(Status.INVALID_DEVICE_REQUEST);
  if (!open.may(Access.writeData) && !open.may(Access.appendData)) return statusReply(Status.ACCESS_DENIED);
  if (data.length > 0 && offset > MAXIMUM_OFFSET - data.length) return statusReply(Status.DISK_FULL);
  if (open.file.isLocked(offset, data.length, true, open.record.openId)) {
    return statusReply(Status.FILE_LOCK_CONFLICT);
  }
  if (data.length === 0) return answer(0);
  if (!open.may(Access.writeData)) return append(request, open, wanted);
  return writeNow(request, open, wanted) ?? writeData(request, open, wanted, 0);
});

/** An open that may only append changes nothing that is there. */
async function append(request: Request, open: OpenFile, wanted: WriteRequest): Promise<Reply> {
  const { size } = await statOf(open.folder.posix, open.fd);
  return wanted.offset < size ? statusReply(Status.ACCESS_DENIED) : writeData(request, open, wanted, 0);
}

/** A write that nothing has to be waited for. undefined where there is something. */
function writeNow(request: Request, open: OpenFile, wanted: WriteRequest): Reply | Promise<Reply> | undefined {
  if (open.writesThrough || open.breaksCaching || open.attachment.frozenWriteTime !== undefined) return undefined;
  if ((wanted.flags & WriteFlags.WRITE_THROUGH) !== 0) return undefined;
  const { data, offset } = wanted;
  const count = open.folder.posix.writeNow(open.fd, data, offset);
  if (count === undefined) return undefined;
  if (count < 0) throw new PosixError(-count, 'pwrite');
  open.unstable = true;
  if (count < data.length) return writeData(request, open, wanted, count);
  return written(request, open, wanted);
}

function written(request: Request, open: OpenFile, { data, offset }: WriteRequest): Reply {
  open.attachment.position = offset + data.length;
  if (request.services.changes.active) request.services.changes.wrote(open);
  return answer(data.length);
}

function answer(count: number): Reply {
  const body = Buffer.allocUnsafe(WRITE_RESPONSE_BODY_SIZE);
  writeWriteResponse(body, 0, count);
  return reply(body);
}

/** In the thread pool, from byte `from` of the data. */
async function writeData(request: Request, open: OpenFile, wanted: WriteRequest, from: number): Promise<Reply> {
  const { data, offset } = wanted;
  open.begin(true);
  try {
    if (open.breaksCaching) await breakReadCaching(request, open);
    const io = open.file.begin(offset, data.length, true, open.record.openId);
    try {
      // Locks may have come while caching was broken.
      if (open.file.isLocked(offset, data.length, true, open.record.openId)) {
        return statusReply(Status.FILE_LOCK_CONFLICT);
      }
      await writeAll(open, data, offset, from);
    } finally {
      open.file.end(io);
    }
    const through = (wanted.flags & WriteFlags.WRITE_THROUGH) !== 0;
    if (through && !open.writesThrough) checked(await open.folder.posix.syncData(open.fd), 'fdatasync');
    return written(request, open, wanted);
  } finally {
    open.end(true);
  }
}

async function writeAll(open: OpenFile, data: Buffer, offset: number, from: number): Promise<void> {
  if (!open.writesThrough) open.unstable = true;
  for (let done = from; done < data.length; ) {
    const rest = done === 0 ? data : data.subarray(done);
    const count = await open.folder.posix.write(open.fd, rest, offset + done);
    if (count < 0) throw new PosixError(-count, 'pwrite');
    done += count;
  }
  if (open.attachment.frozenWriteTime !== undefined)
    await open.folder.posix.setTimes(open.fd, undefined, open.attachment.frozenWriteTime);
}

/** Somebody else caches what is about to change: they hear of it first (MS-FSA 2.1.5.4, the break of read caching). */
export async function breakReadCaching(request: Request, open: OpenFile): Promise<void> {
  const { fileId, openId } = open.record;
  const { outcome, value } = await request.services.handles.breakReadCaching({ fileId, openId }, request);
  if (value) open.file.take(value);
  if (outcome !== Outcome.GRANTED) throw new StatusError(changeStatusOf(outcome));
}
