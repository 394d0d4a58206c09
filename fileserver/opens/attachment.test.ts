import { describe, expect, test } from '@jest/globals';
import { decodeAttachment, emptyAttachment, encodeAttachment } from './attachment.ts';

const plain = {
  ...emptyAttachment,
  createOptions: 0x40,
  createAction: 2,
  mode: 2,
  position: 2 ** 40,
  timeoutMs: 60_000,
};

describe('what goes with an open from server to server', () => {
  test.each([
    ['without times', plain],
    ['with a write time that holds', { ...plain, frozenWriteTime: 132_000_000_000_000_000n }],
    ['with a change time that holds', { ...plain, keepsChangeTime: true }],
  ])('comes back as it was: %s', (_kind, attachment) => {
    expect(decodeAttachment(encodeAttachment(attachment))).toEqual(attachment);
  });

  test('is read as far as a server knows it, of an older and of a newer one', () => {
    const newer = encodeAttachment({ ...plain, keepsChangeTime: true });
    expect(decodeAttachment(newer.subarray(0, 28))).toEqual(plain);
    expect(decodeAttachment(Buffer.concat([newer, Buffer.alloc(8)]))).toEqual({ ...plain, keepsChangeTime: true });
    expect(decodeAttachment(Buffer.from('mine'))).toEqual(emptyAttachment);
  });
});
