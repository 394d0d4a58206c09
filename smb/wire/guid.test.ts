import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from './errors.ts';
import { guidFromString, guidToString } from './guid.ts';

test('the first three fields are little-endian on the wire', () => {
  const bytes = Buffer.from('33221100554477668899aabbccddeeff', 'hex');
  expect(guidToString(bytes)).toBe('00112233-4455-6677-8899-aabbccddeeff');
  expect(guidFromString('{00112233-4455-6677-8899-AABBCCDDEEFF}')).toEqual(bytes);
});

test('bytes to text and back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const guid = Buffer.from(bytes);
      expect(guidFromString(guidToString(guid))).toEqual(guid);
    }),
  );
});

test('what is no GUID is refused', () => {
  expect(() => guidFromString('00112233-4455-6677-8899')).toThrow(WireError);
  expect(() => guidToString(Buffer.alloc(15))).toThrow(WireError);
});
