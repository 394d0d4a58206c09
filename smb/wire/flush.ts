// FLUSH (MS-SMB2 2.2.17, 2.2.18).
import { decodeEmptyBody, encodeEmptyBody, openBody } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';

export interface FlushRequest {
  fileId: FileId;
}

const REQUEST_SIZE = 24;

export function decodeFlushRequest(message: Buffer): FlushRequest {
  const reader = openBody(message, REQUEST_SIZE, 'FLUSH request');
  reader.skip(6);
  return { fileId: reader.fileId() };
}

export function encodeFlushRequest(request: FlushRequest): Buffer {
  return new WireWriter(REQUEST_SIZE).u16(REQUEST_SIZE).zeros(6).fileId(request.fileId).finish();
}

export function decodeFlushResponse(message: Buffer): void {
  decodeEmptyBody(message, 'FLUSH response');
}

export function encodeFlushResponse(): Buffer {
  return encodeEmptyBody();
}
