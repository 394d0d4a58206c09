import { describe, expect, test } from '@jest/globals';
import { COPY_LIMITS, withinLimits } from './copychunk.ts';
import { wholeBlocks } from './sparse.ts';

const chunks = (count: number, length: number) =>
  Array.from({ length: count }, () => ({ sourceOffset: 0, targetOffset: 0, length }));

describe('the limits of a server-side copy (MS-SMB2 3.3.5.15.6)', () => {
  test('hold for the number of chunks, for each of them and for all together', () => {
    expect(withinLimits(chunks(COPY_LIMITS.chunks, 1))).toBe(true);
    expect(withinLimits(chunks(COPY_LIMITS.chunks + 1, 1))).toBe(false);
    expect(withinLimits(chunks(1, COPY_LIMITS.chunkBytes))).toBe(true);
    expect(withinLimits(chunks(1, COPY_LIMITS.chunkBytes + 1))).toBe(false);
    expect(withinLimits(chunks(16, COPY_LIMITS.chunkBytes))).toBe(true);
    expect(withinLimits(chunks(17, COPY_LIMITS.chunkBytes))).toBe(false);
  });

  test('a chunk of nothing is outside of them', () => {
    expect(withinLimits(chunks(1, 0))).toBe(false);
  });
});

describe('what a trim gives back', () => {
  test('is whole blocks within the range', () => {
    expect(wholeBlocks({ offset: 0, length: 4096 })).toEqual({ offset: 0, length: 4096 });
    expect(wholeBlocks({ offset: 1, length: 8192 })).toEqual({ offset: 4096, length: 4096 });
    expect(wholeBlocks({ offset: 100, length: 1000 }).length).toBe(0);
  });
});
