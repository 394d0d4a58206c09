// IOCTL (MS-SMB2 2.2.31, 2.2.32). What the buffers hold is in ioctl-payloads.ts.
import { openBody, variablePartAt } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';
import { HEADER_SIZE } from './header.ts';

export interface IoctlRequest {
  /** Fsctl.* */
  ctlCode: number;
  /** ALL_ONES_FILE_ID where the control is not about an open. */
  fileId: FileId;
  input: Buffer;
  /** Most bytes of input that the answer may carry back. */
  maxInputResponse: number;
  /** Most bytes of output that the answer may carry. */
  maxOutputResponse: number;
  /** IoctlFlags.*; anything but IS_FSCTL is refused with STATUS_NOT_SUPPORTED. */
  flags: number;
  /** Normally empty. */
  output: Buffer;
}

export interface IoctlResponse {
  ctlCode: number;
  fileId: FileId;
  /** Normally empty. */
  input: Buffer;
  output: Buffer;
  flags: number;
}

const REQUEST_SIZE = 57;
const RESPONSE_SIZE = 49;

export function decodeIoctlRequest(message: Buffer): IoctlRequest {
  const reader = openBody(message, REQUEST_SIZE, 'IOCTL request');
  reader.skip(2);
  const ctlCode = reader.u32();
  const fileId = reader.fileId();
  const inputOffset = reader.u32();
  const inputCount = reader.u32();
  const maxInputResponse = reader.u32();
  const outputOffset = reader.u32();
  const outputCount = reader.u32();
  const maxOutputResponse = reader.u32();
  const flags = reader.u32();
  const least = variablePartAt(REQUEST_SIZE);
  const input = reader.range(inputOffset, inputCount, least);
  const output = reader.range(outputOffset, outputCount, least);
  return { ctlCode, fileId, input, maxInputResponse, maxOutputResponse, flags, output };
}

export function encodeIoctlRequest(request: IoctlRequest): Buffer {
  const least = variablePartAt(REQUEST_SIZE);
  const writer = new WireWriter(72 + request.input.length + request.output.length);
  writer.u16(REQUEST_SIZE).u16(0).u32(request.ctlCode).fileId(request.fileId);
  writer
    .u32(request.input.length === 0 ? 0 : least)
    .u32(request.input.length)
    .u32(request.maxInputResponse);
  writer.u32(0).u32(request.output.length).u32(request.maxOutputResponse).u32(request.flags).u32(0);
  writer.raw(request.input);
  if (request.output.length > 0) {
    writer
      .align(8)
      .patchU32(36, HEADER_SIZE + writer.length)
      .raw(request.output);
  }
  return writer.length < REQUEST_SIZE ? writer.u8(0).finish() : writer.finish();
}

export function decodeIoctlResponse(message: Buffer): IoctlResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'IOCTL response');
  reader.skip(2);
  const ctlCode = reader.u32();
  const fileId = reader.fileId();
  const inputOffset = reader.u32();
  const inputCount = reader.u32();
  const outputOffset = reader.u32();
  const outputCount = reader.u32();
  const flags = reader.u32();
  const least = variablePartAt(RESPONSE_SIZE);
  const input = reader.range(inputOffset, inputCount, least);
  return { ctlCode, fileId, input, output: reader.range(outputOffset, outputCount, least), flags };
}

export function encodeIoctlResponse(response: IoctlResponse): Buffer {
  const least = variablePartAt(RESPONSE_SIZE);
  const writer = new WireWriter(64 + response.input.length + response.output.length);
  writer.u16(RESPONSE_SIZE).u16(0).u32(response.ctlCode).fileId(response.fileId);
  writer.u32(least).u32(response.input.length).u32(0).u32(response.output.length).u32(response.flags).u32(0);
  writer.raw(response.input).align(8);
  return writer
    .patchU32(32, HEADER_SIZE + writer.length)
    .raw(response.output)
    .finish();
}
