// From a reply to the bytes of a frame: header, signature or encryption, prefix.
import { Flags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeErrorResponse } from '../../smb/wire/error.ts';
import { FRAME_PREFIX_SIZE, writeFramePrefix } from '../../smb/wire/framing.ts';
import { encodeHeader, HEADER_SIZE, TRANSFORM_HEADER_SIZE } from '../../smb/wire/header.ts';
import type { Call } from './call.ts';
import { REPLY_ROOM, type Reply } from './request.ts';
import type { Session } from './session.ts';

/** Bytes in front of a message: frame prefix and transform header. */
const LEAD = FRAME_PREFIX_SIZE + TRANSFORM_HEADER_SIZE;
const ERROR_BODY = encodeErrorResponse();

/** A message with room for prefix and transform header before it. */
export interface Outgoing {
  bytes: Buffer;
  /** Where the SMB2 header begins. */
  at: number;
}

/** Puts header and body together. Statuses without a body get the ERROR response. */
export function outgoing(call: Call, reply: Reply, credits: number): Outgoing {
  let bytes: Buffer;
  let at: number;
  if (reply.room === REPLY_ROOM) {
    bytes = reply.body;
    at = REPLY_ROOM - HEADER_SIZE;
  } else {
    const body = reply.body.length === 0 ? ERROR_BODY : reply.body;
    bytes = Buffer.allocUnsafe(LEAD + HEADER_SIZE + body.length);
    at = LEAD;
    bytes.set(body, LEAD + HEADER_SIZE);
  }
  const { header } = call;
  const isAsync = call.asyncId !== 0n;
  encodeHeader(
    {
      command: header.command,
      creditCharge: header.creditCharge,
      status: reply.status,
      credits,
      flags:
        Flags.SERVER_TO_REDIR |
        (isAsync ? Flags.ASYNC_COMMAND : 0) |
        // There is no key to sign with where there is no session; clients that want every answer signed look at the flag alone then.
        (reply.status === Status.USER_SESSION_DELETED && !call.signing ? header.flags & Flags.SIGNED : 0) |
        (header.flags & (Flags.RELATED_OPERATIONS | Flags.PRIORITY_MASK)),
      messageId: header.messageId,
      asyncId: isAsync ? call.asyncId : undefined,
      processId: header.processId,
      treeId: call.treeId,
      sessionId: call.sessionId,
    },
    bytes,
    at,
  );
  return { bytes, at };
}

/** Encrypts the message from `at` to the end; gives the whole frame. */
export function sealedFrame(out: Outgoing, session: Session): Buffer {
  const start = out.at - TRANSFORM_HEADER_SIZE;
  session.sealer?.sealInPlace({ sessionId: session.id }, out.bytes, start, out.bytes.length - out.at);
  return framed(out.bytes, start);
}

/** The message from `at` to the end behind its prefix. @param more bytes of the message that come behind these */
export function framed(bytes: Buffer, at: number, more = 0): Buffer {
  writeFramePrefix(bytes, at - FRAME_PREFIX_SIZE, bytes.length - at + more);
  return bytes.subarray(at - FRAME_PREFIX_SIZE);
}
