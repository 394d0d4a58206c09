import { Dialect, ErrorId, InfoType } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeErrorResponse } from '../../smb/wire/error.ts';
import { encodeOutputBuffer } from '../../smb/wire/output-buffer.ts';
import { decodeQueryInfoRequest, type QueryInfoRequest } from '../../smb/wire/query-info.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { onVolume, openOf } from './open-of.ts';
import type { Answer, Found } from './query-info/answer.ts';
import { queryExtendedAttributes } from './query-info/extended-attributes.ts';
import { queryFile } from './query-info/file.ts';
import { queryFileSystem } from './query-info/file-system.ts';
import { querySecurity } from './query-info/security.ts';

/** QUERY_INFO (MS-SMB2 3.3.5.20). */
export const queryInfo = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeQueryInfoRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const { outputBufferLength, input } = wanted;
  if (outputBufferLength > request.connection.maxTransactSize) return statusReply(Status.INVALID_PARAMETER);
  if (!request.paysFor(Math.max(outputBufferLength, input.length))) return statusReply(Status.INVALID_PARAMETER);
  return query(request, open, wanted);
});

async function query(request: Request, open: OpenFile, wanted: QueryInfoRequest): Promise<Reply> {
  open.begin(false);
  try {
    const answer = await answerTo(open, wanted);
    if ('status' in answer) return statusReply(answer.status);
    const room = wanted.outputBufferLength;
    if (wanted.infoType === InfoType.SECURITY && answer.output.length > room) {
      return tooSmall(answer.output.length, request.connection.dialect);
    }
    return fitted(answer, room);
  } finally {
    open.end(false);
  }
}

async function answerTo(open: OpenFile, wanted: QueryInfoRequest): Promise<Answer> {
  switch (wanted.infoType) {
    case InfoType.FILE:
      return wanted.fileInfoClass === FileInfoClass.fullEa
        ? queryExtendedAttributes(open, wanted)
        : queryFile(open, wanted.fileInfoClass);
    case InfoType.FILESYSTEM:
      return queryFileSystem(open, wanted.fileInfoClass);
    case InfoType.SECURITY:
      return querySecurity(open, wanted.additionalInformation);
    case InfoType.QUOTA:
      return { status: Status.NOT_SUPPORTED };
    default:
      return { status: Status.INVALID_PARAMETER };
  }
}

/** Cuts an answer to the client's buffer with STATUS_BUFFER_OVERFLOW; what its fixed part does not fit is refused (3.3.5.20.1, .2). */
function fitted({ output, minimumSize, isCut = false }: Found, room: number): Reply {
  if (room < minimumSize) return statusReply(Status.INFO_LENGTH_MISMATCH);
  if (output.length <= room) return reply(encodeOutputBuffer({ output }), isCut ? Status.BUFFER_OVERFLOW : undefined);
  return reply(encodeOutputBuffer({ output: output.subarray(0, room) }), Status.BUFFER_OVERFLOW);
}

/** A descriptor is returned whole or not at all; the error says how much room it takes (3.3.5.20.3, 2.2.2). */
function tooSmall(needed: number, dialect: number): Reply {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(needed, 0);
  const body =
    dialect === Dialect.SMB_3_1_1
      ? encodeErrorResponse({ contexts: [{ errorId: ErrorId.DEFAULT, data }], data: Buffer.alloc(0) })
      : encodeErrorResponse({ contexts: [], data });
  return reply(body, Status.BUFFER_TOO_SMALL);
}
