// CHANGE_NOTIFY (MS-SMB2 2.2.35, 2.2.36). The output is a list of FILE_NOTIFY_INFORMATION (MS-FSCC 2.7.1).
import { openBody } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';
import { decodeOutputBuffer, encodeOutputBuffer, type OutputBuffer } from './output-buffer.ts';

export interface ChangeNotifyRequest {
  /** ChangeNotifyFlags.* */
  flags: number;
  /** Most bytes of the answer. */
  outputBufferLength: number;
  fileId: FileId;
  /** CompletionFilter.* */
  completionFilter: number;
}

export type ChangeNotifyResponse = OutputBuffer;

const REQUEST_SIZE = 32;

export function decodeChangeNotifyRequest(message: Buffer): ChangeNotifyRequest {
  const reader = openBody(message, REQUEST_SIZE, 'CHANGE_NOTIFY request');
  const flags = reader.u16();
  const outputBufferLength = reader.u32();
  const fileId = reader.fileId();
  const completionFilter = reader.u32();
  reader.skip(4);
  return { flags, outputBufferLength, fileId, completionFilter };
}

export function encodeChangeNotifyRequest(request: ChangeNotifyRequest): Buffer {
  const writer = new WireWriter(REQUEST_SIZE);
  writer.u16(REQUEST_SIZE).u16(request.flags).u32(request.outputBufferLength).fileId(request.fileId);
  return writer.u32(request.completionFilter).u32(0).finish();
}

export function decodeChangeNotifyResponse(message: Buffer): ChangeNotifyResponse {
  return decodeOutputBuffer(message, 'CHANGE_NOTIFY response');
}

export function encodeChangeNotifyResponse(response: ChangeNotifyResponse): Buffer {
  return encodeOutputBuffer(response);
}
