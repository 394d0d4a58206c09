import { Status } from '../../smb/status.ts';
import { HEADER_SIZE } from '../../smb/wire/header.ts';
import {
  decodeReadRequest,
  READ_RESPONSE_DATA_OFFSET,
  type ReadRequest,
  writeReadResponseFixed,
} from '../../smb/wire/read.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { SENT_FROM } from '../session/file-sending.ts';
import {
  allocateRoomy,
  fileReply,
  REPLY_ROOM,
  type Reply,
  type Request,
  roomyReply,
  statusReply,
} from '../session/request.ts';
import { Errno, PosixError } from '../volume/posix.ts';
import { onVolume, openOf, wantsRdma } from './open-of.ts';

/** Bytes of a READ response before its data, counted from the body's start. */
const FIXED_SIZE = READ_RESPONSE_DATA_OFFSET - HEADER_SIZE;
/** Where the data lies in a roomy reply. */
const DATA_AT = REPLY_ROOM + FIXED_SIZE;

/**
 * READ (MS-SMB2 3.3.5.12). What is in the page cache is read at once, straight into the reply: no promise, no thread. Much of it
 * is not even read, where the answer goes out as it is. Only the rest goes to the thread pool.
 */
export const read = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeReadRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const { length, offset } = wanted;
  if (open.isDirectory) return statusReply(Status.INVALID_DEVICE_REQUEST);
  if (!open.isReadable) return statusReply(Status.ACCESS_DENIED);
  if (length > request.connection.maxReadSize || !request.paysFor(length)) return statusReply(Status.INVALID_PARAMETER);
  if (wantsRdma(request, wanted.channel)) return statusReply(Status.INVALID_PARAMETER);
  if (open.file.isLocked(offset, length, false, open.record.openId)) return statusReply(Status.FILE_LOCK_CONFLICT);
  const { posix } = open.folder;
  if (length >= SENT_FROM && request.mayAnswerWithFile && posix.isCached(open.fd, offset, length)) {
    return answerWithFile(open, wanted);
  }
  const into = allocateRoomy(FIXED_SIZE + length);
  const cached = posix.readCached(open.fd, into, DATA_AT, length, offset);
  if (cached === length) return answer(open, into, cached, wanted);
  if (cached < 0) {
    if (cached !== -Errno.EAGAIN) throw new PosixError(-cached, 'preadv2');
    return readRest(open, into, 0, wanted);
  }
  // Fewer bytes: the file ends here, which is cached too, or the rest is not cached.
  const more = cached === 0 ? 0 : posix.readCached(open.fd, into, DATA_AT + cached, length - cached, offset + cached);
  return more === 0 ? answer(open, into, cached, wanted) : readRest(open, into, cached, wanted);
});

function answer(open: OpenFile, into: Buffer, size: number, { length, offset, minimumCount }: ReadRequest): Reply {
  if ((size === 0 && length > 0) || size < minimumCount) return statusReply(Status.END_OF_FILE);
  open.attachment.position = offset + size;
  writeReadResponseFixed(into, REPLY_ROOM, size, 0);
  return roomyReply(into, FIXED_SIZE + size);
}

function answerWithFile(open: OpenFile, { length, offset }: ReadRequest): Reply {
  open.attachment.position = offset + length;
  const body = Buffer.allocUnsafe(FIXED_SIZE);
  writeReadResponseFixed(body, 0, length, 0);
  return fileReply(body, { posix: open.folder.posix, fd: open.fd, offset, length });
}

/** In the thread pool, from byte `done` of what is wanted. */
async function readRest(open: OpenFile, into: Buffer, done: number, wanted: ReadRequest): Promise<Reply> {
  const { length, offset } = wanted;
  open.begin(false);
  const io = open.file.begin(offset + done, length - done, false, open.record.openId);
  try {
    let size = done;
    while (size < length) {
      const more = await open.folder.posix.read(open.fd, into, DATA_AT + size, length - size, offset + size);
      if (more < 0) throw new PosixError(-more, 'pread');
      if (more === 0) break;
      size += more;
    }
    return answer(open, into, size, wanted);
  } finally {
    open.file.end(io);
    open.end(false);
  }
}
