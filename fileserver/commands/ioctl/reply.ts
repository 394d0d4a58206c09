import { Status } from '../../../smb/status.ts';
import { encodeIoctlResponse, type IoctlRequest } from '../../../smb/wire/ioctl.ts';
import { type Reply, reply, statusReply } from '../../session/request.ts';

const NOTHING = Buffer.alloc(0);

/** The response of an IOCTL with its output, which may be empty. */
export function ioctlReply({ ctlCode, fileId }: IoctlRequest, output: Buffer, status: number = Status.SUCCESS): Reply {
  return reply(encodeIoctlResponse({ ctlCode, fileId, input: NOTHING, output, flags: 0 }), status);
}

/** The same, if the client left room for all of it. */
export function wholeReply(ioctl: IoctlRequest, output: Buffer): Reply {
  return ioctl.maxOutputResponse < output.length ? statusReply(Status.BUFFER_TOO_SMALL) : ioctlReply(ioctl, output);
}

/** The response of an IOCTL that gives nothing back. */
export const emptyReply = (ioctl: IoctlRequest): Reply => ioctlReply(ioctl, NOTHING);
