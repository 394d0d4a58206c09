// What the input and output of file system controls hold (MS-FSCC 2.3).
import { WireError } from '../wire/errors.ts';
import { requireBytes } from './fields.ts';

/** Bytes of a file: `offset` and `length` are not negative, and their sum is at most 2^63 - 1 on the wire. */
export interface ByteRange {
  offset: number;
  length: number;
}

const MAX_SIZE = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * A signed 64-bit offset or length. What lies beyond 2^53 - 1, where no file has data, becomes 2^53 - 1.
 * Throws WireError when it is negative.
 */
function readExtent(input: Buffer, at: number, what: string): number {
  const value = input.readBigInt64LE(at);
  if (value < 0n) throw new WireError(`${what}: ${value} is negative`);
  return Number(value > MAX_SIZE ? MAX_SIZE : value);
}

/** FILE_SET_SPARSE_BUFFER (2.3.69). Without a buffer the file becomes sparse. */
export function decodeSetSparse(input: Buffer): boolean {
  return input.length === 0 || input[0] !== 0;
}

/** FILE_ZERO_DATA_INFORMATION (2.3.71). Throws WireError, also where the range ends before it begins. */
export function decodeZeroData(input: Buffer): ByteRange {
  requireBytes(input, 0, 16, 'FILE_ZERO_DATA_INFORMATION');
  const offset = readExtent(input, 0, 'FILE_ZERO_DATA_INFORMATION');
  const beyond = readExtent(input, 8, 'FILE_ZERO_DATA_INFORMATION');
  if (beyond < offset) throw new WireError('FILE_ZERO_DATA_INFORMATION: ends before it begins');
  return { offset, length: beyond - offset };
}

export function encodeZeroData({ offset, length }: ByteRange): Buffer {
  return encodeRanges([{ offset, length: offset + length }]);
}

/** Input of FSCTL_QUERY_ALLOCATED_RANGES (2.3.52). Throws WireError, also where the range leaves the signed 64-bit numbers. */
export function decodeQueryAllocatedRanges(input: Buffer): ByteRange {
  requireBytes(input, 0, 16, 'FILE_ALLOCATED_RANGE_BUFFER');
  const offset = readExtent(input, 0, 'FILE_ALLOCATED_RANGE_BUFFER');
  const length = readExtent(input, 8, 'FILE_ALLOCATED_RANGE_BUFFER');
  if (input.readBigInt64LE(0) + input.readBigInt64LE(8) > 0x7fff_ffff_ffff_ffffn) {
    throw new WireError('FILE_ALLOCATED_RANGE_BUFFER: range leaves the 64-bit integers');
  }
  return { offset, length };
}

export const ALLOCATED_RANGE_SIZE = 16;

/** Output of FSCTL_QUERY_ALLOCATED_RANGES (2.3.53). */
export function encodeRanges(ranges: readonly ByteRange[]): Buffer {
  const output = Buffer.alloc(ranges.length * ALLOCATED_RANGE_SIZE);
  for (const [i, { offset, length }] of ranges.entries()) {
    output.writeBigInt64LE(BigInt(offset), i * ALLOCATED_RANGE_SIZE);
    output.writeBigInt64LE(BigInt(length), i * ALLOCATED_RANGE_SIZE + 8);
  }
  return output;
}

export function decodeRanges(output: Buffer): ByteRange[] {
  const ranges: ByteRange[] = [];
  for (let at = 0; at + ALLOCATED_RANGE_SIZE <= output.length; at += ALLOCATED_RANGE_SIZE) {
    const offset = readExtent(output, at, 'FILE_ALLOCATED_RANGE_BUFFER');
    ranges.push({ offset, length: readExtent(output, at + 8, 'FILE_ALLOCATED_RANGE_BUFFER') });
  }
  return ranges;
}

/** SMB2_DUPLICATE_EXTENTS_DATA (2.3.8): the source is named by its FileId. */
export interface DuplicateExtents {
  source: { persistent: bigint; volatile: bigint };
  sourceOffset: number;
  targetOffset: number;
  length: number;
}

const DUPLICATE_EXTENTS_SIZE = 40;

/** Throws WireError. */
export function decodeDuplicateExtents(input: Buffer): DuplicateExtents {
  const what = 'SMB2_DUPLICATE_EXTENTS_DATA';
  requireBytes(input, 0, DUPLICATE_EXTENTS_SIZE, what);
  return {
    source: { persistent: input.readBigUInt64LE(0), volatile: input.readBigUInt64LE(8) },
    sourceOffset: readExtent(input, 16, what),
    targetOffset: readExtent(input, 24, what),
    length: readExtent(input, 32, what),
  };
}

/** Ranges that one FSCTL_FILE_LEVEL_TRIM may name: what is worked on without a word to the client stays bounded. */
const MAX_TRIM_RANGES = 1024;

/** FILE_LEVEL_TRIM (2.3.13). Throws WireError: also for a Key, which must be 0. */
export function decodeFileLevelTrim(input: Buffer): ByteRange[] {
  requireBytes(input, 0, 8, 'FILE_LEVEL_TRIM');
  const count = input.readUInt32LE(4);
  if (input.readUInt32LE(0) !== 0 || count === 0 || count > MAX_TRIM_RANGES) {
    throw new WireError(`FILE_LEVEL_TRIM: ${count} ranges`);
  }
  requireBytes(input, 8, count * ALLOCATED_RANGE_SIZE, 'FILE_LEVEL_TRIM');
  return decodeRanges(input.subarray(8, 8 + count * ALLOCATED_RANGE_SIZE));
}

/** FILE_LEVEL_TRIM_OUTPUT (2.3.14). */
export function encodeFileLevelTrimOutput(rangesProcessed: number): Buffer {
  const output = Buffer.alloc(4);
  output.writeUInt32LE(rangesProcessed);
  return output;
}

/** CompressionState of FSCTL_GET_COMPRESSION and FSCTL_SET_COMPRESSION (2.3.18, 2.3.67). */
export const CompressionFormat = { none: 0, default: 1, lznt1: 2 } as const;

/** Throws WireError. */
export function decodeCompression(input: Buffer): number {
  requireBytes(input, 0, 2, 'FSCTL_SET_COMPRESSION');
  return input.readUInt16LE(0);
}

export function encodeCompression(format: number): Buffer {
  const output = Buffer.alloc(2);
  output.writeUInt16LE(format);
  return output;
}

/** FILE_OBJECTID_BUFFER type 1 (2.1.3.1), without the ids of birth that link tracking would set. `objectId`: 16 bytes. */
export function encodeObjectId(objectId: Buffer): Buffer {
  const output = Buffer.alloc(64);
  objectId.copy(output, 0, 0, 16);
  return output;
}
