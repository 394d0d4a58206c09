// QUERY_DIRECTORY (MS-SMB2 2.2.33, 2.2.34).
import { openBody, variablePartAt } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';
import { decodeOutputBuffer, encodeOutputBuffer, type OutputBuffer } from './output-buffer.ts';

export interface QueryDirectoryRequest {
  /** FileInfoClass.* of the directory kinds. */
  fileInformationClass: number;
  /** QueryDirectoryFlags.* */
  flags: number;
  fileIndex: number;
  fileId: FileId;
  /** What to look for, with wildcards. */
  fileName: string;
  /** Most bytes of the answer. */
  outputBufferLength: number;
}

export type QueryDirectoryResponse = OutputBuffer;

const REQUEST_SIZE = 33;

export function decodeQueryDirectoryRequest(message: Buffer): QueryDirectoryRequest {
  const reader = openBody(message, REQUEST_SIZE, 'QUERY_DIRECTORY request');
  const fileInformationClass = reader.u8();
  const flags = reader.u8();
  const fileIndex = reader.u32();
  const fileId = reader.fileId();
  const nameOffset = reader.u16();
  const nameLength = reader.u16();
  const outputBufferLength = reader.u32();
  const fileName = reader.textRange(nameOffset, nameLength, variablePartAt(REQUEST_SIZE));
  return { fileInformationClass, flags, fileIndex, fileId, fileName, outputBufferLength };
}

export function encodeQueryDirectoryRequest(request: QueryDirectoryRequest): Buffer {
  const writer = new WireWriter(33 + request.fileName.length * 2);
  writer.u16(REQUEST_SIZE).u8(request.fileInformationClass).u8(request.flags).u32(request.fileIndex);
  writer
    .fileId(request.fileId)
    .u16(variablePartAt(REQUEST_SIZE))
    .u16(request.fileName.length * 2);
  writer.u32(request.outputBufferLength);
  return request.fileName.length === 0 ? writer.u8(0).finish() : writer.text(request.fileName).finish();
}

export function decodeQueryDirectoryResponse(message: Buffer): QueryDirectoryResponse {
  return decodeOutputBuffer(message, 'QUERY_DIRECTORY response');
}

export function encodeQueryDirectoryResponse(response: QueryDirectoryResponse): Buffer {
  return encodeOutputBuffer(response);
}
