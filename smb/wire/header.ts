// The SMB2 packet header (MS-SMB2 2.2.1), compounding (3.2.4.1.4, 3.3.5.2.7), the transform header (2.2.41) and what
// kind of message a frame holds.
import { Command, Flags } from '../constants.ts';
import { readSafeU64, WireReader, writeSafeU64 } from './cursor.ts';
import { WireError } from './errors.ts';

/** Size of the SMB2 header, in bytes; message bodies begin here. */
export const HEADER_SIZE = 64;
/** Where the 16-byte signature lies in the header. */
export const SIGNATURE_OFFSET = 48;
export const SIGNATURE_SIZE = 16;
/** Size of SMB2 TRANSFORM_HEADER, in bytes. */
export const TRANSFORM_HEADER_SIZE = 52;
/** MessageId 0xFFFFFFFFFFFFFFFF, which a server puts into oplock and lease break notifications, as a number. */
export const UNSOLICITED_MESSAGE_ID = -1;

/** 0xFE 'S' 'M' 'B', read as a little-endian 32-bit integer. */
const PROTOCOL_SMB2 = 0x424d53fe;
const PROTOCOL_TRANSFORM = 0x424d53fd;
const PROTOCOL_COMPRESSED = 0x424d53fc;
const PROTOCOL_SMB1 = 0x424d53ff;
/** Flags of a transform header: encrypted (3.1.1); the same number is AES-128-CCM as EncryptionAlgorithm (3.0, 3.0.2). */
export const TRANSFORM_ENCRYPTED = 0x0001;
const ALL_ONES_64 = 0xffff_ffff_ffff_ffffn;

export interface Header {
  /** Command.* */
  command: number;
  creditCharge: number;
  /** NTSTATUS of a response. In a request these four bytes hold `channelSequence` (3.x) or zero. */
  status: number;
  /** ChannelSequence of a request (dialects 3.x). Meaningless in a response. */
  channelSequence: number;
  /** CreditRequest in a request, CreditResponse (credits granted) in a response. */
  credits: number;
  /** Flags.* */
  flags: number;
  /** Bytes from this header to the next of the compound, 0 for the last. */
  nextCommand: number;
  /** UNSOLICITED_MESSAGE_ID (-1) stands for 0xFFFFFFFFFFFFFFFF. */
  messageId: number;
  /** Only with Flags.ASYNC_COMMAND; then `processId` and `treeId` are 0, for the header has no room for them. */
  asyncId?: bigint;
  processId: number;
  treeId: number;
  sessionId: bigint;
  /** A view on the 16 bytes in the message. */
  signature: Buffer;
}

/** What encodeHeader needs; everything left out is zero. */
export type HeaderInit = Pick<Header, 'command' | 'messageId'> & Partial<Header>;

/** Which protocol a framed message belongs to, by its first four bytes. */
export type MessageKind = 'smb2' | 'transform' | 'compressed' | 'smb1' | 'unknown';

export function messageKind(message: Buffer): MessageKind {
  if (message.length < 4) return 'unknown';
  switch (message.readUInt32LE(0)) {
    case PROTOCOL_SMB2:
      return 'smb2';
    case PROTOCOL_TRANSFORM:
      return 'transform';
    case PROTOCOL_COMPRESSED:
      return 'compressed';
    case PROTOCOL_SMB1:
      return 'smb1';
    default:
      return 'unknown';
  }
}

/** Decodes the header at byte `at` of `message`. Throws WireError if there is none. NextCommand is checked by splitCompound. */
export function decodeHeader(message: Buffer, at = 0): Header {
  if (at < 0 || message.length - at < HEADER_SIZE) {
    throw new WireError(`SMB2 header: needs ${HEADER_SIZE} bytes at ${at}, the message has ${message.length}`);
  }
  if (message.readUInt32LE(at) !== PROTOCOL_SMB2) throw new WireError('SMB2 header: not the protocol id of SMB2');
  const structureSize = message.readUInt16LE(at + 4);
  if (structureSize !== HEADER_SIZE) throw new WireError(`SMB2 header: StructureSize is ${structureSize}, not 64`);
  const flags = message.readUInt32LE(at + 16);
  const isAsync = (flags & Flags.ASYNC_COMMAND) !== 0;
  return {
    command: message.readUInt16LE(at + 12),
    creditCharge: message.readUInt16LE(at + 6),
    status: message.readUInt32LE(at + 8),
    channelSequence: message.readUInt16LE(at + 8),
    credits: message.readUInt16LE(at + 14),
    flags,
    nextCommand: message.readUInt32LE(at + 20),
    messageId: readMessageId(message, at + 24),
    asyncId: isAsync ? message.readBigUInt64LE(at + 32) : undefined,
    processId: isAsync ? 0 : message.readUInt32LE(at + 32),
    treeId: isAsync ? 0 : message.readUInt32LE(at + 36),
    sessionId: message.readBigUInt64LE(at + 40),
    signature: message.subarray(at + SIGNATURE_OFFSET, at + HEADER_SIZE),
  };
}

function readMessageId(message: Buffer, at: number): number {
  if (message.readUInt32LE(at + 4) === 0xffff_ffff && message.readUInt32LE(at) === 0xffff_ffff) {
    return UNSOLICITED_MESSAGE_ID;
  }
  return readSafeU64(message, at);
}

/**
 * Writes the 64 bytes of a header at byte `at` of `into`. With Flags.SERVER_TO_REDIR the status is written, without it
 * the channel sequence; with Flags.ASYNC_COMMAND the AsyncId, without it process and tree ids.
 */
export function encodeHeader(header: HeaderInit, into: Buffer, at: number): void {
  if (at < 0 || into.length - at < HEADER_SIZE)
    throw new WireError(`SMB2 header: no room at ${at} of ${into.length} bytes`);
  const flags = header.flags ?? 0;
  into.writeUInt32LE(PROTOCOL_SMB2, at);
  into.writeUInt16LE(HEADER_SIZE, at + 4);
  into.writeUInt16LE(header.creditCharge ?? 0, at + 6);
  into.writeUInt32LE(
    (flags & Flags.SERVER_TO_REDIR) !== 0 ? (header.status ?? 0) : (header.channelSequence ?? 0),
    at + 8,
  );
  into.writeUInt16LE(header.command, at + 12);
  into.writeUInt16LE(header.credits ?? 0, at + 14);
  into.writeUInt32LE(flags, at + 16);
  into.writeUInt32LE(header.nextCommand ?? 0, at + 20);
  if (header.messageId === UNSOLICITED_MESSAGE_ID) into.writeBigUInt64LE(ALL_ONES_64, at + 24);
  else writeSafeU64(into, header.messageId, at + 24);
  if ((flags & Flags.ASYNC_COMMAND) !== 0) {
    into.writeBigUInt64LE(header.asyncId ?? 0n, at + 32);
  } else {
    into.writeUInt32LE(header.processId ?? 0, at + 32);
    into.writeUInt32LE(header.treeId ?? 0, at + 36);
  }
  into.writeBigUInt64LE(header.sessionId ?? 0n, at + 40);
  if (header.signature) into.set(header.signature.subarray(0, SIGNATURE_SIZE), at + SIGNATURE_OFFSET);
  else into.fill(0, at + SIGNATURE_OFFSET, at + HEADER_SIZE);
}

/** Header and body in one new buffer: one whole message, not yet signed. */
export function encodeMessage(header: HeaderInit, body: Buffer): Buffer {
  const message = Buffer.allocUnsafe(HEADER_SIZE + body.length);
  encodeHeader(header, message, 0);
  message.set(body, HEADER_SIZE);
  return message;
}

/**
 * The messages of a compound as views: each from its header to its NextCommand (with the padding, which the signature
 * covers), the last to the end. A single message gives one view. Throws WireError if a NextCommand is not a multiple of
 * 8, cuts a header or leads out of the message (MS-SMB2 3.3.5.2.7), or if there are more than `most` messages.
 */
export function splitCompound(message: Buffer, most = Number.POSITIVE_INFINITY): Buffer[] {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    if (message.length - at < HEADER_SIZE)
      throw new WireError(`compound: no header at ${at} of ${message.length} bytes`);
    if (message.readUInt32LE(at) !== PROTOCOL_SMB2) throw new WireError(`compound: no SMB2 protocol id at ${at}`);
    if (parts.length === most) throw new WireError(`compound: more than ${most} messages`);
    const next = message.readUInt32LE(at + 20);
    if (next === 0) {
      parts.push(at === 0 ? message : message.subarray(at));
      return parts;
    }
    if (next % 8 !== 0 || next < HEADER_SIZE || next > message.length - at) {
      throw new WireError(`compound: NextCommand ${next} at ${at} of ${message.length} bytes`);
    }
    parts.push(message.subarray(at, at + next));
    at += next;
  }
}

/**
 * Puts whole messages together to one compound: pads all but the last to 8 bytes and sets their NextCommand. To be done
 * before signing; `parts` are the views to sign. `padLast`: pads the last too, as Windows does in compounds of responses.
 */
export function joinCompound(messages: readonly Buffer[], padLast = false): { message: Buffer; parts: Buffer[] } {
  const last = messages.length - 1;
  const sizes = messages.map((one, i) => (i === last && !padLast ? one.length : Math.ceil(one.length / 8) * 8));
  const message = Buffer.alloc(sizes.reduce((sum, size) => sum + size, 0));
  const parts: Buffer[] = [];
  let at = 0;
  messages.forEach((one, i) => {
    const size = sizes[i] ?? one.length;
    message.set(one, at);
    message.writeUInt32LE(i === last ? 0 : size, at + 20);
    parts.push(message.subarray(at, at + size));
    at += size;
  });
  return { message, parts };
}

/** SMB2 TRANSFORM_HEADER (MS-SMB2 2.2.41): what precedes an encrypted message. */
export interface TransformHeader {
  /** The 16-byte tag, a view. */
  signature: Buffer;
  /** All 16 bytes of the field, a view; CCM uses 11, GCM 12 of them. */
  nonce: Buffer;
  /** Size of the message before encryption, in bytes. */
  originalMessageSize: number;
  /** TRANSFORM_ENCRYPTED, or the message is none that MS-SMB2 knows. */
  flags: number;
  sessionId: bigint;
}

/** Decodes the transform header at the beginning of `message`, and checks that it says the size of what follows. */
export function decodeTransformHeader(message: Buffer): TransformHeader {
  const reader = new WireReader(message, 'TRANSFORM_HEADER');
  if (reader.u32() !== PROTOCOL_TRANSFORM) throw reader.error('not its protocol id');
  const signature = reader.view(SIGNATURE_SIZE);
  const nonce = reader.view(16);
  const originalMessageSize = reader.u32();
  reader.skip(2);
  const flags = reader.u16();
  const sessionId = reader.u64();
  if (originalMessageSize !== reader.remaining) {
    throw reader.error(`OriginalMessageSize is ${originalMessageSize}, ${reader.remaining} bytes follow`);
  }
  return { signature, nonce, originalMessageSize, flags, sessionId };
}

/** Writes the 52 bytes of a transform header at `at`; the signature is filled in by who encrypts. `nonce`: at most 16 bytes. */
export function encodeTransformHeader(
  header: { nonce: Buffer; originalMessageSize: number; sessionId: bigint },
  into: Buffer,
  at: number,
): void {
  into.writeUInt32LE(PROTOCOL_TRANSFORM, at);
  into.fill(0, at + 4, at + 36);
  into.set(header.nonce, at + 20);
  into.writeUInt32LE(header.originalMessageSize, at + 36);
  into.writeUInt16LE(0, at + 40);
  into.writeUInt16LE(TRANSFORM_ENCRYPTED, at + 42);
  into.writeBigUInt64LE(header.sessionId, at + 44);
}

/** Bytes that one credit pays for (MS-SMB2 3.1.5.2). */
export const CREDIT_SIZE = 65536;

/** CreditCharge of a request that sends or asks for `payloadSize` bytes, whichever is more (MS-SMB2 3.1.5.2). */
export function creditChargeOf(payloadSize: number): number {
  return payloadSize <= CREDIT_SIZE ? 1 : Math.ceil(payloadSize / CREDIT_SIZE);
}

/** Whether a decoded header is a response's. */
export function isResponse(header: Header): boolean {
  return (header.flags & Flags.SERVER_TO_REDIR) !== 0;
}

/** Whether this message is a CANCEL, which has neither credits nor a response (MS-SMB2 2.2.30). */
export function isCancel(header: Header): boolean {
  return header.command === Command.CANCEL;
}
