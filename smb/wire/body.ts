import { WireReader } from './cursor.ts';
import { HEADER_SIZE } from './header.ts';

/**
 * A reader behind StructureSize of a message's body, after checking that the body's fixed part is there and that it says
 * `structureSize`. Odd sizes count one byte of a variable part that may be missing (MS-SMB2 2.2).
 */
export function openBody(message: Buffer, structureSize: number, what: string): WireReader {
  if (message.length < HEADER_SIZE) return new WireReader(message, what, HEADER_SIZE);
  const reader = new WireReader(message, what, HEADER_SIZE);
  const fixed = structureSize & ~1;
  if (reader.remaining < fixed) throw reader.error(`body has ${reader.remaining} bytes, needs ${fixed}`);
  const said = reader.u16();
  if (said !== structureSize) throw reader.error(`StructureSize is ${said}, not ${structureSize}`);
  return reader;
}

/** Where the variable part of a body with this StructureSize begins, counted from the header. */
export function variablePartAt(structureSize: number): number {
  return HEADER_SIZE + (structureSize & ~1);
}

/** A body of four bytes, StructureSize and a reserved field: LOGOFF, TREE_DISCONNECT, ECHO, CANCEL, and some responses. */
export function encodeEmptyBody(): Buffer {
  return Buffer.from([4, 0, 0, 0]);
}

/** Checks that a message has the four-byte body. */
export function decodeEmptyBody(message: Buffer, what: string): void {
  openBody(message, 4, what);
}
