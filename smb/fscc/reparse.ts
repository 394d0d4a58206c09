import { WireError } from '../wire/errors.ts';
import { ReparseTag } from './constants.ts';
import { readUtf16, requireBytes } from './fields.ts';

/** REPARSE_DATA_BUFFER (MS-FSCC 2.1.2.2): the tag and what belongs to it. */
export interface ReparseData {
  /** ReparseTag or another. */
  tag: number;
  data: Buffer;
}

/** Symbolic link (MS-FSCC 2.1.2.4). */
export interface SymlinkReparse {
  substituteName: string;
  printName: string;
  /** SYMLINK_FLAG_RELATIVE. */
  relative: boolean;
}

/** Windows' limit for a reparse data buffer, bytes. */
export const maximumReparseDataSize = 16 * 1024;

/** Decodes the outer structure. Throws WireError. */
export function decodeReparseData(buffer: Buffer): ReparseData {
  requireBytes(buffer, 0, 8, 'REPARSE_DATA_BUFFER');
  const length = buffer.readUInt16LE(4);
  if (length > maximumReparseDataSize) throw new WireError(`REPARSE_DATA_BUFFER: ${length} bytes of data`);
  requireBytes(buffer, 8, length, 'REPARSE_DATA_BUFFER');
  return { tag: buffer.readUInt32LE(0), data: buffer.subarray(8, 8 + length) };
}

export function encodeReparseData({ tag, data }: ReparseData): Buffer {
  const buffer = Buffer.alloc(8 + data.length);
  buffer.writeUInt32LE(tag >>> 0, 0);
  buffer.writeUInt16LE(data.length, 4);
  data.copy(buffer, 8);
  return buffer;
}

/** Decodes the data of a reparse point whose tag is ReparseTag.symlink. Throws WireError. */
export function decodeSymlinkReparse(data: Buffer): SymlinkReparse {
  requireBytes(data, 0, 12, 'symbolic link');
  const pathAt = 12;
  return {
    substituteName: readUtf16(data, pathAt + data.readUInt16LE(0), data.readUInt16LE(2), 'symbolic link'),
    printName: readUtf16(data, pathAt + data.readUInt16LE(4), data.readUInt16LE(6), 'symbolic link'),
    relative: (data.readUInt32LE(8) & 1) !== 0,
  };
}

/** The whole REPARSE_DATA_BUFFER of a symbolic link. */
export function encodeSymlinkReparse(link: SymlinkReparse): Buffer {
  const substitute = Buffer.from(link.substituteName, 'utf16le');
  const print = Buffer.from(link.printName, 'utf16le');
  const head = Buffer.alloc(12);
  head.writeUInt16LE(0, 0);
  head.writeUInt16LE(substitute.length, 2);
  head.writeUInt16LE(substitute.length, 4);
  head.writeUInt16LE(print.length, 6);
  head.writeUInt32LE(link.relative ? 1 : 0, 8);
  return encodeReparseData({ tag: ReparseTag.symlink, data: Buffer.concat([head, substitute, print]) });
}
