// READ (MS-SMB2 2.2.19, 2.2.20). The server's hot path: the data is read from the volume straight into the reply, behind
// a header and fixed part that are written around it.
import { openBody, variablePartAt } from './body.ts';
import { EMPTY, type FileId, readPosition, WireWriter } from './cursor.ts';
import { HEADER_SIZE } from './header.ts';

export interface ReadRequest {
  /** ReadFlags.* */
  flags: number;
  /** Bytes wanted. */
  length: number;
  /** Bytes from the start of the file, at most Number.MAX_SAFE_INTEGER (see readPosition); ignored for pipes. */
  offset: number;
  fileId: FileId;
  /** Fewer bytes than this are an error (STATUS_END_OF_FILE). */
  minimumCount: number;
  /** Channel.* */
  channel: number;
  /** Bytes the caller means to read after this; a hint. */
  remainingBytes: number;
  /** RDMA descriptors; empty on TCP. */
  channelInfo: Buffer;
}

export interface ReadResponse {
  data: Buffer;
  /** Bytes sent on an RDMA channel; 0 on TCP. */
  dataRemaining: number;
  /** Reserved before 3.1.1. */
  flags: number;
}

const REQUEST_SIZE = 49;
const RESPONSE_SIZE = 17;
const REQUEST_FIXED_END = variablePartAt(REQUEST_SIZE);

/** Where the data of a READ response lies, counted from its SMB2 header: behind the header and 16 fixed bytes. */
export const READ_RESPONSE_DATA_OFFSET = 80;

export function decodeReadRequest(message: Buffer): ReadRequest {
  const reader = openBody(message, REQUEST_SIZE, 'READ request');
  const length = message.readUInt32LE(HEADER_SIZE + 4);
  const channelInfoLength = message.readUInt16LE(HEADER_SIZE + 46);
  return {
    flags: message.readUInt8(HEADER_SIZE + 3),
    length,
    offset: readPosition(message, HEADER_SIZE + 8, length),
    fileId: {
      persistent: message.readBigUInt64LE(HEADER_SIZE + 16),
      volatile: message.readBigUInt64LE(HEADER_SIZE + 24),
    },
    minimumCount: message.readUInt32LE(HEADER_SIZE + 32),
    channel: message.readUInt32LE(HEADER_SIZE + 36),
    remainingBytes: message.readUInt32LE(HEADER_SIZE + 40),
    channelInfo:
      channelInfoLength === 0
        ? EMPTY
        : reader.range(message.readUInt16LE(HEADER_SIZE + 44), channelInfoLength, REQUEST_FIXED_END),
  };
}

export function encodeReadRequest(request: ReadRequest): Buffer {
  const writer = new WireWriter(49 + request.channelInfo.length);
  // Padding asks for where the data lies in the response, which spares the client a copy.
  writer.u16(REQUEST_SIZE).u8(READ_RESPONSE_DATA_OFFSET).u8(request.flags).u32(request.length);
  writer.size64(request.offset).fileId(request.fileId).u32(request.minimumCount).u32(request.channel);
  writer.u32(request.remainingBytes).u16(request.channelInfo.length === 0 ? 0 : REQUEST_FIXED_END);
  writer.u16(request.channelInfo.length);
  return request.channelInfo.length === 0 ? writer.u8(0).finish() : writer.raw(request.channelInfo).finish();
}

export function decodeReadResponse(message: Buffer): ReadResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'READ response');
  const dataOffset = reader.u8();
  reader.skip(1);
  const dataLength = reader.u32();
  const dataRemaining = reader.u32();
  const flags = reader.u32();
  return { data: reader.range(dataOffset, dataLength, READ_RESPONSE_DATA_OFFSET), dataRemaining, flags };
}

/**
 * Writes the 16 fixed bytes of a READ response at `at`, which is 64 bytes behind its header; the data follows at once.
 * Allocates nothing. `into` must have room.
 */
export function writeReadResponseFixed(into: Buffer, at: number, dataLength: number, dataRemaining: number): void {
  into.writeUInt16LE(RESPONSE_SIZE, at);
  into.writeUInt16LE(READ_RESPONSE_DATA_OFFSET, at + 2);
  into.writeUInt32LE(dataLength, at + 4);
  into.writeUInt32LE(dataRemaining, at + 8);
  into.writeUInt32LE(0, at + 12);
}

export function encodeReadResponse(response: ReadResponse): Buffer {
  const body = Buffer.allocUnsafe(READ_RESPONSE_DATA_OFFSET - HEADER_SIZE + response.data.length);
  writeReadResponseFixed(body, 0, response.data.length, response.dataRemaining);
  body.writeUInt32LE(response.flags, 12);
  body.set(response.data, READ_RESPONSE_DATA_OFFSET - HEADER_SIZE);
  return body;
}
