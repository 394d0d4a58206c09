// The ERROR response (MS-SMB2 2.2.2), which any command may get, its contexts of 3.1.1 (2.2.2.1) and the data that
// some statuses carry (2.2.2.2).
import { ErrorId, ReparseTag } from '../constants.ts';
import { openBody } from './body.ts';
import { EMPTY, WireReader, WireWriter } from './cursor.ts';

export interface ErrorContext {
  /** ErrorId.* */
  errorId: number;
  data: Buffer;
}

export interface ErrorResponse {
  /** Dialect 3.1.1 wraps error data in contexts; empty in all others. */
  contexts: ErrorContext[];
  /** The plain error data; empty where there are contexts. */
  data: Buffer;
}

const RESPONSE_SIZE = 9;

/** Also takes the body that Windows sends for plain errors: 9 bytes, the last of them padding. */
export function decodeErrorResponse(message: Buffer): ErrorResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'ERROR response');
  const contextCount = reader.u8();
  reader.skip(1);
  const byteCount = reader.u32();
  const data = byteCount === 0 ? EMPTY : reader.view(byteCount);
  return contextCount === 0
    ? { contexts: [], data }
    : { contexts: decodeErrorContexts(data, contextCount), data: EMPTY };
}

function decodeErrorContexts(data: Buffer, count: number): ErrorContext[] {
  const reader = new WireReader(data, 'error contexts');
  const contexts: ErrorContext[] = [];
  for (let i = 0; i < count; i++) {
    if (i > 0) reader.skip((8 - (reader.at % 8)) % 8);
    const length = reader.u32();
    const errorId = reader.u32();
    contexts.push({ errorId, data: reader.view(length) });
  }
  return contexts;
}

/** Without an argument: the plain error that most statuses get. */
export function encodeErrorResponse(response: ErrorResponse = { contexts: [], data: EMPTY }): Buffer {
  const writer = new WireWriter(16 + response.data.length);
  writer.u16(RESPONSE_SIZE).u8(response.contexts.length).u8(0).u32(0);
  if (response.contexts.length === 0) {
    writer.patchU32(4, response.data.length);
    return response.data.length === 0 ? writer.u8(0).finish() : writer.raw(response.data).finish();
  }
  response.contexts.forEach((context, i) => {
    if (i > 0) writer.align(8);
    writer.u32(context.data.length).u32(context.errorId).raw(context.data);
  });
  return writer.patchU32(4, writer.length - 8).finish();
}

/** The data of an error in the way that the dialect wants it: wrapped in one context in 3.1.1, plain before. */
export function errorDataFor(dialect: number, data: Buffer): ErrorResponse {
  return dialect >= 0x0311 ? { contexts: [{ errorId: ErrorId.DEFAULT, data }], data: EMPTY } : { contexts: [], data };
}

/** The error data whichever way it came: plain, or in the first context with ErrorId.DEFAULT. */
export function errorDataOf(response: ErrorResponse): Buffer {
  if (response.contexts.length === 0) return response.data;
  return response.contexts.find((context) => context.errorId === ErrorId.DEFAULT)?.data ?? EMPTY;
}

/** Data of STATUS_BUFFER_TOO_SMALL and STATUS_INFO_LENGTH_MISMATCH: the size needed, in bytes. */
export function encodeBufferTooSmall(neededSize: number): Buffer {
  return new WireWriter(4).u32(neededSize).finish();
}

export function decodeBufferTooSmall(data: Buffer): number {
  return new WireReader(data, 'buffer too small error').u32();
}

/** Symbolic Link Error Response (2.2.2.2.1): data of STATUS_STOPPED_ON_SYMLINK. */
export interface SymlinkError {
  /** Bytes of the path, from its end, that were not resolved yet. */
  unparsedPathLength: number;
  substituteName: string;
  printName: string;
  /** 1: `substituteName` is relative to the directory of the link. */
  flags: number;
}

/** 'SYML' */
const SYMLINK_ERROR_TAG = 0x4c4d5953;
const SYMLINK_FIXED_SIZE = 28;

export function decodeSymlinkError(data: Buffer): SymlinkError {
  const reader = new WireReader(data, 'symbolic link error');
  reader.skip(4);
  if (reader.u32() !== SYMLINK_ERROR_TAG) throw reader.error('not its tag');
  if (reader.u32() !== ReparseTag.SYMLINK) throw reader.error('not a symbolic link reparse tag');
  reader.skip(2);
  const unparsedPathLength = reader.u16();
  const substituteOffset = reader.u16();
  const substituteLength = reader.u16();
  const printOffset = reader.u16();
  const printLength = reader.u16();
  const flags = reader.u32();
  const pathBuffer = new WireReader(data.subarray(reader.at), 'symbolic link error');
  return {
    unparsedPathLength,
    substituteName: pathBuffer.textRange(substituteOffset, substituteLength, 0),
    printName: pathBuffer.textRange(printOffset, printLength, 0),
    flags,
  };
}

export function encodeSymlinkError(error: SymlinkError): Buffer {
  const substituteLength = error.substituteName.length * 2;
  const printLength = error.printName.length * 2;
  const writer = new WireWriter(SYMLINK_FIXED_SIZE + substituteLength + printLength);
  writer
    .u32(SYMLINK_FIXED_SIZE - 4 + substituteLength + printLength)
    .u32(SYMLINK_ERROR_TAG)
    .u32(ReparseTag.SYMLINK);
  // ReparseDataLength counts from behind UnparsedPathLength: 12 fixed bytes and the names.
  writer.u16(12 + substituteLength + printLength).u16(error.unparsedPathLength);
  writer.u16(0).u16(substituteLength).u16(substituteLength).u16(printLength).u32(error.flags);
  return writer.text(error.substituteName).text(error.printName).finish();
}
