import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FileAttribute } from '../../smb/fscc/constants.ts';
import { encodeSid } from '../../smb/security/sid.ts';
import {
  attributesAfter,
  decodeAttributes,
  encodeAttributes,
  noAttributes,
  type StoredAttributes,
} from './attributes.ts';

const time = fc.bigInt(0n, 0x7fff_ffff_ffff_ffffn);
const stored: fc.Arbitrary<StoredAttributes> = fc.record({
  attributes: fc.option(fc.nat(0xffff_ffff), { nil: undefined }),
  creationTime: fc.option(time, { nil: undefined }),
  changeTime: fc.option(fc.record({ value: time, atWriteTime: time }), { nil: undefined }),
  hasDescriptor: fc.boolean(),
  owner: fc.option(fc.constantFrom('S-1-5-32-544', 'S-1-5-21-1-2-3-1001').map(encodeSid), { nil: undefined }),
  eaSize: fc.nat(0xffff),
  createGuid: fc.option(
    fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
    { nil: undefined },
  ),
  otherFlags: fc.constantFrom(0, 0x80),
  rest: fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
});

describe('stored attributes', () => {
  test('come back as they were, with what a newer version added', () => {
    fc.assert(fc.property(stored, (value) => expect(decodeAttributes(encodeAttributes(value))).toEqual(value)));
  });

  test('of the first version are read: attributes and creation time in 16 bytes', () => {
    const bytes = Buffer.from('0103000002000000' + '2a00000000000000', 'hex');
    expect(decodeAttributes(bytes)).toEqual({ ...noAttributes, attributes: FileAttribute.hidden, creationTime: 42n });
  });

  test('that are cut off or damaged are read as far as they go, and never throw', () => {
    const damaged = fc.tuple(stored, fc.nat(80), fc.nat(79), fc.nat(255)).map(([value, length, at, byte]) => {
      const bytes = encodeAttributes(value);
      if (at < bytes.length) bytes[at] = byte;
      return bytes.subarray(0, length);
    });
    fc.assert(fc.property(damaged, (bytes) => void decodeAttributes(bytes)));
  });

  test('setting attributes leaves what only a control code sets', () => {
    const sparse = { ...noAttributes, attributes: FileAttribute.sparse | FileAttribute.hidden };
    expect(attributesAfter(sparse, FileAttribute.normal)).toBe(FileAttribute.sparse);
    expect(attributesAfter(noAttributes, FileAttribute.readonly | FileAttribute.directory)).toBe(
      FileAttribute.readonly,
    );
  });
});
