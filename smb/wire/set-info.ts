// SET_INFO (MS-SMB2 2.2.39, 2.2.40).
import { openBody, variablePartAt } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';

export interface SetInfoRequest {
  /** InfoType.* */
  infoType: number;
  /** FileInfoClass.* or FsInfoClass.*, by `infoType`. */
  fileInfoClass: number;
  /** SecurityInformation.* for security. */
  additionalInformation: number;
  fileId: FileId;
  input: Buffer;
}

const REQUEST_SIZE = 33;
const RESPONSE_SIZE = 2;

export function decodeSetInfoRequest(message: Buffer): SetInfoRequest {
  const reader = openBody(message, REQUEST_SIZE, 'SET_INFO request');
  const infoType = reader.u8();
  const fileInfoClass = reader.u8();
  const inputLength = reader.u32();
  const inputOffset = reader.u16();
  reader.skip(2);
  const additionalInformation = reader.u32();
  const fileId = reader.fileId();
  const input = reader.range(inputOffset, inputLength, variablePartAt(REQUEST_SIZE));
  return { infoType, fileInfoClass, additionalInformation, fileId, input };
}

export function encodeSetInfoRequest(request: SetInfoRequest): Buffer {
  const writer = new WireWriter(33 + request.input.length);
  writer.u16(REQUEST_SIZE).u8(request.infoType).u8(request.fileInfoClass).u32(request.input.length);
  writer.u16(variablePartAt(REQUEST_SIZE)).u16(0).u32(request.additionalInformation).fileId(request.fileId);
  return request.input.length === 0 ? writer.u8(0).finish() : writer.raw(request.input).finish();
}

export function decodeSetInfoResponse(message: Buffer): void {
  openBody(message, RESPONSE_SIZE, 'SET_INFO response');
}

export function encodeSetInfoResponse(): Buffer {
  return Buffer.from([RESPONSE_SIZE, 0]);
}
