import { describe, expect, test } from '@jest/globals';
import { ReplyBuffers } from './reply-buffers.ts';

describe('the pool of reply buffers', () => {
  test('gives what is large enough', () => {
    const pool = new ReplyBuffers();
    for (const size of [1, 8192, 8192 + 512, 8192 + 513, 1_048_576 + 144, 8_388_608 + 512, 20_000_000]) {
      expect(pool.take(size).length).toBeGreaterThanOrEqual(size);
    }
  });

  test('uses a buffer again once it was given back, by any view on it', () => {
    const pool = new ReplyBuffers();
    const first = pool.take(100_000);
    expect(pool.take(100_000)).not.toBe(first);
    pool.release(first.subarray(60, 500));
    expect(pool.take(70_000)).toBe(first);
  });

  test('never lends a buffer twice, even if it is given back twice', () => {
    const pool = new ReplyBuffers();
    const first = pool.take(100_000);
    pool.release(first);
    pool.release(first);
    expect(pool.take(100_000)).toBe(first);
    expect(pool.take(100_000)).not.toBe(first);
  });

  test('leaves buffers of others alone', () => {
    const pool = new ReplyBuffers();
    const foreign = Buffer.alloc(100_000);
    pool.release(foreign);
    expect(pool.owns(foreign)).toBe(false);
    expect(pool.take(100_000)).not.toBe(foreign);
  });
});
