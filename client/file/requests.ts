import { CloseFlags, InfoType } from '../../smb/constants.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { EMPTY, type FileId } from '../../smb/wire/cursor.ts';
import { HEADER_SIZE } from '../../smb/wire/header.ts';
import { encodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { encodeReadRequest } from '../../smb/wire/read.ts';
import { encodeSetInfoRequest } from '../../smb/wire/set-info.ts';
import { WRITE_REQUEST_DATA_OFFSET, writeWriteRequestFixed } from '../../smb/wire/write.ts';

export function closeRequest(fileId: FileId): Buffer {
  return encodeCloseRequest({ flags: 0, fileId });
}

export function closeAndQueryRequest(fileId: FileId): Buffer {
  return encodeCloseRequest({ flags: CloseFlags.POSTQUERY_ATTRIB, fileId });
}

export function readRequest(fileId: FileId, offset: number, length: number): Buffer {
  return encodeReadRequest({
    flags: 0,
    length,
    offset,
    fileId,
    minimumCount: 0,
    channel: 0,
    remainingBytes: 0,
    channelInfo: EMPTY,
  });
}

/** The fixed part of a WRITE; the data goes as the request's tail. */
export function writeRequest(fileId: FileId, offset: number, dataLength: number, flags: number): Buffer {
  const fixed = Buffer.allocUnsafe(WRITE_REQUEST_DATA_OFFSET - HEADER_SIZE);
  writeWriteRequestFixed(fixed, 0, { offset, fileId, dataLength, remainingBytes: 0, flags });
  return fixed;
}

export function queryFileInfoRequest(fileId: FileId, fileInfoClass: number, outputBufferLength: number): Buffer {
  return encodeQueryInfoRequest({
    infoType: InfoType.FILE,
    fileInfoClass,
    outputBufferLength,
    additionalInformation: 0,
    flags: 0,
    fileId,
    input: EMPTY,
  });
}

export function setFileInfoRequest(fileId: FileId, fileInfoClass: number, input: Buffer): Buffer {
  return encodeSetInfoRequest({ infoType: InfoType.FILE, fileInfoClass, additionalInformation: 0, fileId, input });
}
