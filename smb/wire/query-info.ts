// QUERY_INFO (MS-SMB2 2.2.37, 2.2.38).
import { openBody, variablePartAt } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';
import { decodeOutputBuffer, encodeOutputBuffer, type OutputBuffer } from './output-buffer.ts';

export interface QueryInfoRequest {
  /** InfoType.* */
  infoType: number;
  /** FileInfoClass.* or FsInfoClass.*, by `infoType`; 0 for security and quota. */
  fileInfoClass: number;
  /** Most bytes of the answer. */
  outputBufferLength: number;
  /** SecurityInformation.* for security; the index of the first attribute for extended attributes. */
  additionalInformation: number;
  /** QueryInfoFlags.* */
  flags: number;
  fileId: FileId;
  /** Names of attributes or a quota query. */
  input: Buffer;
}

export type QueryInfoResponse = OutputBuffer;

const REQUEST_SIZE = 41;

export function decodeQueryInfoRequest(message: Buffer): QueryInfoRequest {
  const reader = openBody(message, REQUEST_SIZE, 'QUERY_INFO request');
  const infoType = reader.u8();
  const fileInfoClass = reader.u8();
  const outputBufferLength = reader.u32();
  const inputOffset = reader.u16();
  reader.skip(2);
  const inputLength = reader.u32();
  const additionalInformation = reader.u32();
  const flags = reader.u32();
  const fileId = reader.fileId();
  const input = reader.range(inputOffset, inputLength, variablePartAt(REQUEST_SIZE));
  return { infoType, fileInfoClass, outputBufferLength, additionalInformation, flags, fileId, input };
}

export function encodeQueryInfoRequest(request: QueryInfoRequest): Buffer {
  const writer = new WireWriter(41 + request.input.length);
  writer.u16(REQUEST_SIZE).u8(request.infoType).u8(request.fileInfoClass).u32(request.outputBufferLength);
  writer
    .u16(request.input.length === 0 ? 0 : variablePartAt(REQUEST_SIZE))
    .u16(0)
    .u32(request.input.length);
  writer.u32(request.additionalInformation).u32(request.flags).fileId(request.fileId);
  return request.input.length === 0 ? writer.u8(0).finish() : writer.raw(request.input).finish();
}

export function decodeQueryInfoResponse(message: Buffer): QueryInfoResponse {
  return decodeOutputBuffer(message, 'QUERY_INFO response');
}

export function encodeQueryInfoResponse(response: QueryInfoResponse): Buffer {
  return encodeOutputBuffer(response);
}
