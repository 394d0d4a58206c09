import {
  Command,
  CreateDisposition,
  FileAccess,
  Fsctl,
  ImpersonationLevel,
  IoctlFlags,
  OplockLevel,
  ShareAccess,
} from '../../smb/constants.ts';
import {
  expectBindAck,
  netrShareEnumRequest,
  netrShareEnumResponse,
  responseIsComplete,
  srvsvcBind,
} from '../../smb/rpc/client.ts';
import { Status } from '../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import { EMPTY, type FileId } from '../../smb/wire/cursor.ts';
import { WireError } from '../../smb/wire/errors.ts';
import { decodeIoctlResponse, encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import { decodeReadResponse } from '../../smb/wire/read.ts';
import { encodeTreeDisconnectRequest } from '../../smb/wire/tree-disconnect.ts';
import { SmbError } from '../errors.ts';
import type { OutgoingRequest, Response } from '../session/connection.ts';
import type { Link } from './link.ts';
import { closeRequest, readRequest } from './requests.ts';

export interface ShareInfo {
  name: string;
  /** STYPE_* of MS-SRVS 2.2.2.4: 0 disk, 3 IPC, with 0x80000000 for administrative shares. */
  type: number;
  comment: string;
}

/** Most bytes of one piece of an RPC answer. */
const PIPE_BYTES = 65_536;
/** BUFFER_OVERFLOW: there is more to read. */
const PARTIAL = [Status.SUCCESS, Status.BUFFER_OVERFLOW];

/** Asks srvsvc for the shares, over a pipe of IPC$ (MS-SRVS 3.1.4.8). */
export async function listShares(link: Link, signal: AbortSignal): Promise<ShareInfo[]> {
  const tree = await link.session.treeConnect('IPC$', signal);
  const send = async (request: OutgoingRequest, accepted: readonly number[] = [Status.SUCCESS]): Promise<Response> => {
    const response = await link.session.send({ ...request, treeId: tree.treeId, signal });
    if (!accepted.includes(response.status)) throw SmbError.fromStatus(response.status, 'listing the shares');
    return response;
  };
  try {
    const created = await send({ command: Command.CREATE, body: encodeCreateRequest(SRVSVC) });
    const { fileId } = decodeCreateResponse(created.message);
    const transceive = async (input: Buffer): Promise<Buffer> => {
      const { message } = await send(transceiveRequest(fileId, input), PARTIAL);
      return Buffer.from(decodeIoctlResponse(message).output);
    };
    expectBindAck(await transceive(srvsvcBind()));
    let answer = await transceive(netrShareEnumRequest(`\\\\${link.connection.options.serverName}`));
    while (!responseIsComplete(answer)) {
      const more = await send(
        { command: Command.READ, body: readRequest(fileId, 0, PIPE_BYTES), payloadBytes: PIPE_BYTES },
        PARTIAL,
      );
      answer = Buffer.concat([answer, decodeReadResponse(more.message).data]);
    }
    const shares = netrShareEnumResponse(answer);
    await send({ command: Command.CLOSE, body: closeRequest(fileId) });
    return shares;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new SmbError('PROTOCOL_VIOLATION', `listing the shares: ${error.message}`, { cause: error });
  } finally {
    link.session
      .send({ command: Command.TREE_DISCONNECT, body: encodeTreeDisconnectRequest(), treeId: tree.treeId })
      .catch(() => undefined);
  }
}

const SRVSVC = {
  requestedOplockLevel: OplockLevel.NONE,
  impersonationLevel: ImpersonationLevel.IMPERSONATION,
  desiredAccess: FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE,
  fileAttributes: 0,
  shareAccess: ShareAccess.READ | ShareAccess.WRITE,
  createDisposition: CreateDisposition.OPEN,
  createOptions: 0,
  name: 'srvsvc',
  createContexts: [],
};

function transceiveRequest(fileId: FileId, input: Buffer): OutgoingRequest {
  const body = encodeIoctlRequest({
    ctlCode: Fsctl.PIPE_TRANSCEIVE,
    fileId,
    input,
    maxInputResponse: 0,
    maxOutputResponse: PIPE_BYTES,
    flags: IoctlFlags.IS_FSCTL,
    output: EMPTY,
  });
  return { command: Command.IOCTL, body, payloadBytes: PIPE_BYTES };
}
