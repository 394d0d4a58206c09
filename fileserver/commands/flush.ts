import { Access } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import { decodeFlushRequest, encodeFlushResponse } from '../../smb/wire/flush.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { checked } from '../volume/posix.ts';
import { onVolume, openOf } from './open-of.ts';

/** FLUSH (MS-SMB2 3.3.5.11). */
export const flush = onVolume((request: Request): Reply | Promise<Reply> => {
  const { fileId } = decodeFlushRequest(request.message);
  const open = openOf(request, fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  // MS-SMB2 3.3.5.11: write or append access; on a directory the right to add to it.
  if (!open.mayAny(Access.writeData | Access.appendData)) return statusReply(Status.ACCESS_DENIED);
  return open.isDirectory ? flushDirectory(open) : flushFile(open);
});

async function flushFile(open: OpenFile): Promise<Reply> {
  open.begin(true);
  try {
    // What comes in while this runs is not covered by it.
    open.unstable = false;
    const result = await open.folder.posix.sync(open.fd);
    if (result < 0) open.unstable = true;
    checked(result, 'fsync');
    open.reportLostWrites();
    return reply(encodeFlushResponse());
  } finally {
    open.end(true);
  }
}

async function flushDirectory(open: OpenFile): Promise<Reply> {
  open.begin(true);
  try {
    await open.folder.syncDirectory(open.fd);
    return reply(encodeFlushResponse());
  } finally {
    open.end(true);
  }
}
