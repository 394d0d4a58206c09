import { HoldfastError } from '../../common/errors.ts';
import { Channel, Command, Dialect } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Handler, type Reply, type Request, StatusError, statusReply } from '../session/request.ts';
import { PosixError } from '../volume/posix.ts';
import { statusOfErrno } from '../volume/status.ts';

/**
 * The open that a request is about; undefined is STATUS_FILE_CLOSED. Throws StatusError where the channel sequence forbids the
 * request.
 */
export function openOf(request: Request, fromBody: FileId): OpenFile | undefined {
  const fileId = request.fileIdOf(fromBody);
  const open = request.services.opens.find(fileId, request.tree);
  if (open === undefined) return undefined;
  request.setCompoundFileId(fileId);
  if (request.connection.dialect >= Dialect.SMB_3_0) {
    if (open.replayKey !== undefined) request.services.opens.creations.remove(open);
    verifyChannelSequence(request, open);
  }
  return open;
}

/** A READ or WRITE whose data would travel by RDMA, which no connection here does (MS-SMB2 3.3.5.12, .13); 2.x knows no channels. */
export function wantsRdma(request: Request, channel: number): boolean {
  return channel !== Channel.NONE && request.connection.dialect >= Dialect.SMB_3_0;
}

/** MS-SMB2 3.3.5.2.10: what comes from before a failover changes nothing any more; reading is harmless. */
function verifyChannelSequence(request: Request, open: OpenFile): void {
  if (open.channel.admits(request.channelSequence, request.isReplay)) {
    request.channel = open.channel;
    return;
  }
  const { command } = request.header;
  if (command === Command.WRITE || command === Command.SET_INFO || command === Command.IOCTL) {
    throw new StatusError(Status.FILE_NOT_AVAILABLE);
  }
}

/** Gives a handler's failures on the volume the status that Windows would answer. */
export function onVolume(handler: Handler): Handler {
  return (request) => {
    try {
      const reply = handler(request);
      return reply instanceof Promise ? reply.catch((error) => failed(request, error)) : reply;
    } catch (error) {
      return failed(request, error);
    }
  };
}

function failed(request: Request, error: unknown): Reply {
  if (error instanceof PosixError) return statusReply(statusOfErrno(error.code));
  if (error instanceof HoldfastError && (error.code === 'SHARE' || error.code === 'VOLUME')) {
    request.services.log.error({ share: request.tree.share.name, reason: error.message }, 'a share cannot be served');
    return statusReply(Status.BAD_NETWORK_NAME);
  }
  throw error;
}
