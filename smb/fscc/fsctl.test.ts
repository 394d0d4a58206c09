import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from '../wire/errors.ts';
import {
  decodeCompression,
  decodeDuplicateExtents,
  decodeFileLevelTrim,
  decodeQueryAllocatedRanges,
  decodeRanges,
  decodeSetSparse,
  decodeZeroData,
  encodeRanges,
  encodeZeroData,
} from './fsctl.ts';

function int64s(...values: bigint[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [i, value] of values.entries()) bytes.writeBigInt64LE(value, i * 8);
  return bytes;
}

describe('input of file system controls', () => {
  test('a file becomes sparse without a buffer, and by any byte but zero', () => {
    expect(decodeSetSparse(Buffer.alloc(0))).toBe(true);
    expect(decodeSetSparse(Buffer.from([1, 0, 0]))).toBe(true);
    expect(decodeSetSparse(Buffer.from([0, 1]))).toBe(false);
  });

  test('a range to zero is given by its first byte and the one behind its last', () => {
    expect(decodeZeroData(int64s(100n, 300n))).toEqual({ offset: 100, length: 200 });
    expect(decodeZeroData(encodeZeroData({ offset: 7, length: 0 }))).toEqual({ offset: 7, length: 0 });
    expect(() => decodeZeroData(int64s(300n, 100n))).toThrow(WireError);
    expect(() => decodeZeroData(int64s(-1n, 100n))).toThrow(WireError);
    expect(() => decodeZeroData(Buffer.alloc(15))).toThrow(WireError);
  });

  test('a range to query must stay within the signed 64-bit numbers', () => {
    expect(decodeQueryAllocatedRanges(int64s(0n, 4096n))).toEqual({ offset: 0, length: 4096 });
    expect(decodeQueryAllocatedRanges(int64s(0n, 0x7fff_ffff_ffff_ffffn)).length).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => decodeQueryAllocatedRanges(int64s(1n, 0x7fff_ffff_ffff_ffffn))).toThrow(WireError);
    expect(() => decodeQueryAllocatedRanges(int64s(0n, -1n))).toThrow(WireError);
  });

  test('ranges come back as they were written', () => {
    const range = fc.record({ offset: fc.maxSafeNat(), length: fc.maxSafeNat() });
    fc.assert(fc.property(fc.array(range), (ranges) => expect(decodeRanges(encodeRanges(ranges))).toEqual(ranges)));
  });

  test('extents to duplicate name their source by its FileId', () => {
    const input = Buffer.concat([int64s(5n, 6n), int64s(4096n, 8192n, 65536n)]);
    expect(decodeDuplicateExtents(input)).toEqual({
      source: { persistent: 5n, volatile: 6n },
      sourceOffset: 4096,
      targetOffset: 8192,
      length: 65536,
    });
    expect(() => decodeDuplicateExtents(input.subarray(1))).toThrow(WireError);
  });

  test('a trim has ranges, no key, and no more than its bytes hold', () => {
    const head = Buffer.from([0, 0, 0, 0, 1, 0, 0, 0]);
    expect(decodeFileLevelTrim(Buffer.concat([head, int64s(0n, 4096n)]))).toEqual([{ offset: 0, length: 4096 }]);
    expect(() => decodeFileLevelTrim(head)).toThrow(WireError);
    expect(() => decodeFileLevelTrim(Buffer.from([1, 0, 0, 0, 1, 0, 0, 0]))).toThrow(WireError);
    expect(() => decodeFileLevelTrim(Buffer.from([0, 0, 0, 0, 255, 255, 255, 255]))).toThrow(WireError);
  });

  test('whatever the bytes are, the outcome is a value or a WireError', () => {
    const decoders = [
      decodeSetSparse,
      decodeZeroData,
      decodeQueryAllocatedRanges,
      decodeDuplicateExtents,
      decodeFileLevelTrim,
      decodeCompression,
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom(...decoders), (bytes, decode) => {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
    );
  });
});
