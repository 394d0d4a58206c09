// WRITE (MS-SMB2 2.2.21, 2.2.22). The data of a decoded request is a view on the received message.
import { openBody, variablePartAt } from './body.ts';
import { EMPTY, type FileId, readPosition, writeSafeU64 } from './cursor.ts';
import { WireError } from './errors.ts';
import { HEADER_SIZE } from './header.ts';

export interface WriteRequest {
  /** Bytes from the start of the file, at most Number.MAX_SAFE_INTEGER (see readPosition); ignored for pipes. */
  offset: number;
  fileId: FileId;
  /** Channel.* */
  channel: number;
  /** Bytes the caller means to write after this; a hint. */
  remainingBytes: number;
  /** WriteFlags.* */
  flags: number;
  data: Buffer;
  /** RDMA descriptors; empty on TCP. */
  channelInfo: Buffer;
}

export interface WriteResponse {
  /** Bytes written. */
  count: number;
}

const REQUEST_SIZE = 49;
const RESPONSE_SIZE = 17;
const REQUEST_FIXED_END = variablePartAt(REQUEST_SIZE);

/** Where encodeWriteRequest and writeWriteRequestFixed put the data, counted from the SMB2 header. */
export const WRITE_REQUEST_DATA_OFFSET = 112;
/** Data that begins farther from the header is refused (3.3.5.13). */
const MAX_DATA_OFFSET = 0x100;
/** Size of a WRITE response's body, in bytes. */
export const WRITE_RESPONSE_BODY_SIZE = 16;

export function decodeWriteRequest(message: Buffer): WriteRequest {
  const reader = openBody(message, REQUEST_SIZE, 'WRITE request');
  const dataOffset = message.readUInt16LE(HEADER_SIZE + 2);
  const dataLength = message.readUInt32LE(HEADER_SIZE + 4);
  const channelInfoLength = message.readUInt16LE(HEADER_SIZE + 42);
  if (dataLength > 0 && dataOffset > MAX_DATA_OFFSET) throw reader.error(`data begins at ${dataOffset}`);
  return {
    offset: readPosition(message, HEADER_SIZE + 8, dataLength),
    fileId: {
      persistent: message.readBigUInt64LE(HEADER_SIZE + 16),
      volatile: message.readBigUInt64LE(HEADER_SIZE + 24),
    },
    channel: message.readUInt32LE(HEADER_SIZE + 32),
    remainingBytes: message.readUInt32LE(HEADER_SIZE + 36),
    flags: message.readUInt32LE(HEADER_SIZE + 44),
    data: reader.range(dataOffset, dataLength, REQUEST_FIXED_END),
    channelInfo:
      channelInfoLength === 0
        ? EMPTY
        : reader.range(message.readUInt16LE(HEADER_SIZE + 40), channelInfoLength, REQUEST_FIXED_END),
  };
}

/**
 * Writes the 48 fixed bytes of a WRITE request without channel information at `at`, 64 bytes behind its header; the data
 * follows at once. Allocates nothing.
 */
export function writeWriteRequestFixed(
  into: Buffer,
  at: number,
  request: { offset: number; fileId: FileId; dataLength: number; remainingBytes: number; flags: number },
): void {
  into.writeUInt16LE(REQUEST_SIZE, at);
  into.writeUInt16LE(WRITE_REQUEST_DATA_OFFSET, at + 2);
  into.writeUInt32LE(request.dataLength, at + 4);
  writeSafeU64(into, request.offset, at + 8);
  into.writeBigUInt64LE(request.fileId.persistent, at + 16);
  into.writeBigUInt64LE(request.fileId.volatile, at + 24);
  into.writeUInt32LE(0, at + 32);
  into.writeUInt32LE(request.remainingBytes, at + 36);
  into.writeUInt32LE(0, at + 40);
  into.writeUInt32LE(request.flags, at + 44);
}

export function encodeWriteRequest(request: WriteRequest): Buffer {
  const fixed = WRITE_REQUEST_DATA_OFFSET - HEADER_SIZE;
  const { data, channelInfo } = request;
  const body = Buffer.alloc(fixed + Math.max(data.length + channelInfo.length, 1));
  writeWriteRequestFixed(body, 0, { ...request, dataLength: data.length });
  body.writeUInt32LE(request.channel, 32);
  body.set(data, fixed);
  if (channelInfo.length > 0) {
    const channelInfoOffset = WRITE_REQUEST_DATA_OFFSET + data.length;
    if (channelInfoOffset > 0xffff) throw new WireError('WRITE request: channel information lies behind too much data');
    body.writeUInt16LE(channelInfoOffset, 40);
    body.writeUInt16LE(channelInfo.length, 42);
    body.set(channelInfo, fixed + data.length);
  }
  return body;
}

export function decodeWriteResponse(message: Buffer): WriteResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'WRITE response');
  reader.skip(2);
  return { count: reader.u32() };
}

/** Writes the 16 bytes of a WRITE response's body at `at`. Allocates nothing. */
export function writeWriteResponse(into: Buffer, at: number, count: number): void {
  into.writeUInt32LE(RESPONSE_SIZE, at);
  into.writeUInt32LE(count, at + 4);
  into.writeUInt32LE(0, at + 8);
  into.writeUInt32LE(0, at + 12);
}

export function encodeWriteResponse(response: WriteResponse): Buffer {
  const body = Buffer.allocUnsafe(WRITE_RESPONSE_BODY_SIZE);
  writeWriteResponse(body, 0, response.count);
  return body;
}
