// CLOSE (MS-SMB2 2.2.15, 2.2.16).
import { openBody } from './body.ts';
import type { FileFacts } from './create.ts';
import { type FileId, WireWriter } from './cursor.ts';

export interface CloseRequest {
  /** CloseFlags.* */
  flags: number;
  fileId: FileId;
}

/** The facts count only with CloseFlags.POSTQUERY_ATTRIB, else all are zero. */
export interface CloseResponse extends FileFacts {
  flags: number;
}

const REQUEST_SIZE = 24;
const RESPONSE_SIZE = 60;

export function decodeCloseRequest(message: Buffer): CloseRequest {
  const reader = openBody(message, REQUEST_SIZE, 'CLOSE request');
  const flags = reader.u16();
  reader.skip(4);
  return { flags, fileId: reader.fileId() };
}

export function encodeCloseRequest(request: CloseRequest): Buffer {
  return new WireWriter(REQUEST_SIZE).u16(REQUEST_SIZE).u16(request.flags).u32(0).fileId(request.fileId).finish();
}

export function decodeCloseResponse(message: Buffer): CloseResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'CLOSE response');
  const flags = reader.u16();
  reader.skip(4);
  return {
    flags,
    creationTime: reader.u64(),
    lastAccessTime: reader.u64(),
    lastWriteTime: reader.u64(),
    changeTime: reader.u64(),
    allocationSize: reader.size64(),
    endOfFile: reader.size64(),
    fileAttributes: reader.u32(),
  };
}

/** Without facts (the request did not ask for them), all fields but StructureSize are zero. */
export function encodeCloseResponse(response?: CloseResponse): Buffer {
  const writer = new WireWriter(RESPONSE_SIZE).u16(RESPONSE_SIZE);
  if (!response) return writer.zeros(RESPONSE_SIZE - 2).finish();
  writer.u16(response.flags).u32(0).u64(response.creationTime).u64(response.lastAccessTime);
  writer.u64(response.lastWriteTime).u64(response.changeTime);
  return writer.size64(response.allocationSize).size64(response.endOfFile).u32(response.fileAttributes).finish();
}
