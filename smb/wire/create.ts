// CREATE (MS-SMB2 2.2.13, 2.2.14). The contexts that ride on it are in create-contexts.ts.
import { openBody, variablePartAt } from './body.ts';
import { type CreateContext, decodeCreateContexts, encodeCreateContexts } from './create-contexts.ts';
import { type FileId, WireWriter } from './cursor.ts';
import { HEADER_SIZE } from './header.ts';

export interface CreateRequest {
  /** OplockLevel.* */
  requestedOplockLevel: number;
  /** ImpersonationLevel.* */
  impersonationLevel: number;
  /** FileAccess.* */
  desiredAccess: number;
  /** FileAttributes.* */
  fileAttributes: number;
  /** ShareAccess.* */
  shareAccess: number;
  /** CreateDisposition.* */
  createDisposition: number;
  /** CreateOptions.* */
  createOptions: number;
  /** Relative to the share, with backslashes, none in front; empty is the root. */
  name: string;
  createContexts: CreateContext[];
}

/** The times (FILETIME), sizes (bytes) and attributes that CREATE and CLOSE answer with. */
export interface FileFacts {
  creationTime: bigint;
  lastAccessTime: bigint;
  lastWriteTime: bigint;
  changeTime: bigint;
  allocationSize: number;
  endOfFile: number;
  /** FileAttributes.* */
  fileAttributes: number;
}

export interface CreateResponse extends FileFacts {
  /** OplockLevel.* */
  oplockLevel: number;
  /** CreateResponseFlags.* */
  flags: number;
  /** CreateAction.* */
  createAction: number;
  fileId: FileId;
  createContexts: CreateContext[];
}

const REQUEST_SIZE = 57;
const RESPONSE_SIZE = 89;

export function decodeCreateRequest(message: Buffer): CreateRequest {
  const reader = openBody(message, REQUEST_SIZE, 'CREATE request');
  reader.skip(1);
  const requestedOplockLevel = reader.u8();
  const impersonationLevel = reader.u32();
  reader.skip(16);
  const desiredAccess = reader.u32();
  const fileAttributes = reader.u32();
  const shareAccess = reader.u32();
  const createDisposition = reader.u32();
  const createOptions = reader.u32();
  const nameOffset = reader.u16();
  const nameLength = reader.u16();
  const contextsOffset = reader.u32();
  const contextsLength = reader.u32();
  const least = variablePartAt(REQUEST_SIZE);
  return {
    requestedOplockLevel,
    impersonationLevel,
    desiredAccess,
    fileAttributes,
    shareAccess,
    createDisposition,
    createOptions,
    name: reader.textRange(nameOffset, nameLength, least),
    createContexts: decodeCreateContexts(reader.range(contextsOffset, contextsLength, least)),
  };
}

export function encodeCreateRequest(request: CreateRequest): Buffer {
  const writer = new WireWriter(64 + request.name.length * 2 + request.createContexts.length * 80);
  writer.u16(REQUEST_SIZE).u8(0).u8(request.requestedOplockLevel).u32(request.impersonationLevel).zeros(16);
  writer.u32(request.desiredAccess).u32(request.fileAttributes).u32(request.shareAccess);
  writer.u32(request.createDisposition).u32(request.createOptions);
  writer
    .u16(variablePartAt(REQUEST_SIZE))
    .u16(request.name.length * 2)
    .u32(0)
    .u32(0)
    .text(request.name);
  if (request.createContexts.length > 0) {
    writer.align(8);
    const contexts = encodeCreateContexts(request.createContexts);
    writer
      .patchU32(48, HEADER_SIZE + writer.length)
      .patchU32(52, contexts.length)
      .raw(contexts);
  } else if (request.name.length === 0) {
    writer.u8(0); // The variable part has at least one byte.
  }
  return writer.finish();
}

export function decodeCreateResponse(message: Buffer): CreateResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'CREATE response');
  const oplockLevel = reader.u8();
  const flags = reader.u8();
  const createAction = reader.u32();
  const creationTime = reader.u64();
  const lastAccessTime = reader.u64();
  const lastWriteTime = reader.u64();
  const changeTime = reader.u64();
  const allocationSize = reader.size64();
  const endOfFile = reader.size64();
  const fileAttributes = reader.u32();
  reader.skip(4);
  const fileId = reader.fileId();
  const contexts = reader.range(reader.u32(), reader.u32(), variablePartAt(RESPONSE_SIZE));
  return {
    oplockLevel,
    flags,
    createAction,
    creationTime,
    lastAccessTime,
    lastWriteTime,
    changeTime,
    allocationSize,
    endOfFile,
    fileAttributes,
    fileId,
    createContexts: decodeCreateContexts(contexts),
  };
}

export function encodeCreateResponse(response: CreateResponse): Buffer {
  const writer = new WireWriter(88 + response.createContexts.length * 80);
  writer.u16(RESPONSE_SIZE).u8(response.oplockLevel).u8(response.flags).u32(response.createAction);
  writer.u64(response.creationTime).u64(response.lastAccessTime).u64(response.lastWriteTime).u64(response.changeTime);
  writer.size64(response.allocationSize).size64(response.endOfFile).u32(response.fileAttributes).u32(0);
  writer.fileId(response.fileId);
  if (response.createContexts.length === 0) return writer.u32(0).u32(0).finish();
  const contexts = encodeCreateContexts(response.createContexts);
  return writer.u32(variablePartAt(RESPONSE_SIZE)).u32(contexts.length).raw(contexts).finish();
}
