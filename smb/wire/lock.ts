// LOCK (MS-SMB2 2.2.26, 2.2.27).
import { decodeEmptyBody, encodeEmptyBody, openBody } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';

/** Offset and length use all 64 bits: programs lock ranges beyond any file as signals to one another. */
export interface LockElement {
  offset: bigint;
  length: bigint;
  /** LockFlags.* */
  flags: number;
}

export interface LockRequest {
  fileId: FileId;
  /** 0..15 (2.1 and up): tells a replay of a lock request from a new one. */
  lockSequenceNumber: number;
  /** 0..64; 0 means no sequence. 28 bits on the wire. */
  lockSequenceIndex: number;
  locks: LockElement[];
}

const REQUEST_SIZE = 48;
const LOCK_ELEMENT_SIZE = 24;

/** StructureSize counts one lock: an empty list is a WireError (3.3.5.14 has the server refuse it with the same status). */
export function decodeLockRequest(message: Buffer): LockRequest {
  const reader = openBody(message, REQUEST_SIZE, 'LOCK request');
  const lockCount = reader.u16();
  const sequence = reader.u32();
  const fileId = reader.fileId();
  if (lockCount * LOCK_ELEMENT_SIZE > reader.remaining) throw reader.error(`has no room for ${lockCount} locks`);
  const locks: LockElement[] = [];
  for (let i = 0; i < lockCount; i++) {
    locks.push({ offset: reader.u64(), length: reader.u64(), flags: reader.u32() });
    reader.skip(4);
  }
  return { fileId, lockSequenceNumber: sequence & 0xf, lockSequenceIndex: sequence >>> 4, locks };
}

export function encodeLockRequest(request: LockRequest): Buffer {
  const writer = new WireWriter(24 + request.locks.length * LOCK_ELEMENT_SIZE);
  writer.u16(REQUEST_SIZE).u16(request.locks.length);
  writer.u32(((request.lockSequenceIndex << 4) | (request.lockSequenceNumber & 0xf)) >>> 0).fileId(request.fileId);
  for (const lock of request.locks) writer.u64(lock.offset).u64(lock.length).u32(lock.flags).u32(0);
  return writer.finish();
}

export function decodeLockResponse(message: Buffer): void {
  decodeEmptyBody(message, 'LOCK response');
}

export function encodeLockResponse(): Buffer {
  return encodeEmptyBody();
}
