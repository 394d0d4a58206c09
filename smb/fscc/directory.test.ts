import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from '../wire/errors.ts';
import { FileAttribute, FileInfoClass, ReparseTag } from './constants.ts';
import {
  appendDirectoryEntry,
  type DirectoryEntry,
  decodeDirectoryList,
  isDirectoryInfoClass,
  sealDirectoryList,
} from './directory.ts';
import { decodeNotifyList, encodeNotifyList } from './notify.ts';
import { decodeReparseData, decodeSymlinkReparse, encodeSymlinkReparse } from './reparse.ts';

const classes = Object.entries(FileInfoClass).filter(([, number]) => isDirectoryInfoClass(number));

const entry = (fileName: string, more: Partial<DirectoryEntry> = {}): DirectoryEntry => ({
  fileName,
  creationTime: 1n,
  lastAccessTime: 2n,
  lastWriteTime: 3n,
  changeTime: 4n,
  endOfFile: 5000,
  allocationSize: 8192,
  fileAttributes: FileAttribute.archive,
  eaSize: 7,
  reparseTag: 0,
  fileId: 0x1122334455667788n,
  ...more,
});

/** Lists as many entries as fit, as the server does. */
function list(infoClass: number, into: Buffer, entries: DirectoryEntry[]): { bytes: Buffer; listed: number } {
  let at = 0;
  let lastAt = 0;
  let listed = 0;
  for (const each of entries) {
    const used = appendDirectoryEntry(infoClass, into, at, each);
    if (used < 0) break;
    lastAt = at;
    at += used;
    listed++;
  }
  if (listed > 0) sealDirectoryList(into, lastAt);
  return { bytes: into.subarray(0, at), listed };
}

test('all eight directory classes are known', () => {
  expect(classes).toHaveLength(8);
});

describe.each(classes)('%s', (_, infoClass) => {
  test('lists and reads back, entries aligned to 8 whatever the place of the list', () => {
    const names = ['.', '..', 'a', 'ab', 'abc', 'ä long name.txt'];
    const into = Buffer.alloc(4000, 0xee).subarray(3);

    const { bytes, listed } = list(
      infoClass,
      into,
      names.map((fileName) => entry(fileName)),
    );

    expect(listed).toBe(names.length);
    expect(decodeDirectoryList(infoClass, bytes).map(({ fileName }) => fileName)).toEqual(names);
    for (let at = 0, next = -1; next !== 0; at += next) {
      expect(at % 8).toBe(0);
      next = bytes.readUInt32LE(at);
    }
  });

  test('fills a buffer to the last byte and says when an entry does not fit', () => {
    const name = 'abc';
    const size = list(infoClass, Buffer.alloc(1000), [entry(name)]).bytes.length;
    const exact = appendDirectoryEntry(infoClass, Buffer.alloc(size), 0, entry(name));
    expect(exact).toBe(size);

    for (let room = 0; room < 3 * size; room++) {
      const guarded = Buffer.alloc(room + 16, 0xee);
      const { bytes, listed } = list(infoClass, guarded.subarray(0, room), [entry(name), entry(name), entry(name)]);
      expect(guarded.subarray(room).every((byte) => byte === 0xee)).toBe(true);
      expect(decodeDirectoryList(infoClass, bytes)).toHaveLength(listed);
    }
  });

  test('throws nothing but WireError, whatever comes', () => {
    const valid = list(infoClass, Buffer.alloc(1000), [entry('one'), entry('two'), entry('three')]).bytes;
    const damaged = fc
      .tuple(fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 4 }), fc.nat(valid.length))
      .map(([changes, length]) => {
        const copy = Buffer.from(valid);
        for (const [at, byte] of changes) copy[at] = byte;
        return copy.subarray(0, length);
      });
    const random = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(fc.oneof(damaged, random), (input) => {
        try {
          decodeDirectoryList(infoClass, input);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});

test.each([
  [FileInfoClass.directory, 64],
  [FileInfoClass.fullDirectory, 68],
  [FileInfoClass.bothDirectory, 94],
  [FileInfoClass.names, 12],
  [FileInfoClass.idFullDirectory, 80],
  [FileInfoClass.idBothDirectory, 104],
  [FileInfoClass.idExtdDirectory, 88],
  [FileInfoClass.idExtdBothDirectory, 114],
])('the name in class %d starts at %d', (infoClass, offset) => {
  const { bytes } = list(infoClass, Buffer.alloc(200), [entry('xyz')]);
  expect(bytes.subarray(offset, offset + 6).toString('utf16le')).toBe('xyz');
});

// Written down from MS-FSCC 2.4.8 and those after it: encoder and decoder could agree on another layout.
test.each([
  { infoClass: FileInfoClass.directory },
  { infoClass: FileInfoClass.fullDirectory, eaSize: 64 },
  { infoClass: FileInfoClass.bothDirectory, eaSize: 64, shortName: 68 },
  { infoClass: FileInfoClass.idFullDirectory, eaSize: 64, fileId: 72 },
  { infoClass: FileInfoClass.idBothDirectory, eaSize: 64, shortName: 68, fileId: 96 },
  { infoClass: FileInfoClass.idExtdDirectory, eaSize: 64, fileId: 72 },
  { infoClass: FileInfoClass.idExtdBothDirectory, eaSize: 64, fileId: 72, shortName: 88 },
])(
  'the fields of class $infoClass lie where the specification has them',
  ({ infoClass, eaSize, shortName, fileId }) => {
    const given = entry('x', { shortName: 'AB' });
    const { bytes } = list(infoClass, Buffer.alloc(200), [given]);
    expect([8, 16, 24, 32].map((at) => bytes.readBigInt64LE(at))).toEqual([1n, 2n, 3n, 4n]);
    expect([40, 48].map((at) => bytes.readBigInt64LE(at))).toEqual([5000n, 8192n]);
    expect([56, 60].map((at) => bytes.readUInt32LE(at))).toEqual([FileAttribute.archive, 2]);
    if (eaSize !== undefined) expect(bytes.readUInt32LE(eaSize)).toBe(given.eaSize);
    if (fileId !== undefined) expect(bytes.readBigUInt64LE(fileId)).toBe(given.fileId);
    if (shortName !== undefined) {
      expect(bytes.readUInt8(shortName)).toBe(4);
      expect(bytes.subarray(shortName + 2, shortName + 6).toString('utf16le')).toBe('AB');
    }
  },
);

test('the fields of IdBothDirectory come back', () => {
  const given = entry('a');
  const { bytes } = list(FileInfoClass.idBothDirectory, Buffer.alloc(200), [given]);
  expect(decodeDirectoryList(FileInfoClass.idBothDirectory, bytes)).toEqual([given]);
  expect(bytes.readBigUInt64LE(96)).toBe(given.fileId);
});

test('a reparse point carries its tag in EaSize where there is no field for it', () => {
  const given = entry('link', {
    fileAttributes: FileAttribute.reparsePoint,
    reparseTag: ReparseTag.symlink,
    eaSize: 0,
  });
  for (const infoClass of [FileInfoClass.idBothDirectory, FileInfoClass.idExtdDirectory]) {
    const { bytes } = list(infoClass, Buffer.alloc(200), [given]);
    expect(decodeDirectoryList(infoClass, bytes)).toEqual([given]);
  }
  const { bytes } = list(FileInfoClass.fullDirectory, Buffer.alloc(200), [given]);
  expect(bytes.readUInt32LE(64)).toBe(ReparseTag.symlink);
});

describe('change notifications', () => {
  const changes = fc.array(fc.record({ action: fc.nat(8), fileName: fc.string({ unit: 'binary', maxLength: 20 }) }), {
    maxLength: 6,
  });

  test('come back as they were', () => {
    fc.assert(
      fc.property(changes, (entries) => {
        const encoded = encodeNotifyList(entries, 10_000);
        expect(encoded && decodeNotifyList(encoded)).toEqual(entries);
      }),
    );
  });

  test('that do not fit are not cut', () => {
    expect(encodeNotifyList([{ action: 1, fileName: 'abc' }], 17)).toBeUndefined();
    expect(encodeNotifyList([{ action: 1, fileName: 'abc' }], 18)).toHaveLength(18);
  });
});

describe('symbolic links', () => {
  test('come back as they were', () => {
    const link = { substituteName: '..\\target', printName: 'target', relative: true };
    const { tag, data } = decodeReparseData(encodeSymlinkReparse(link));
    expect(tag).toBe(ReparseTag.symlink);
    expect(decodeSymlinkReparse(data)).toEqual(link);
  });

  test('random bytes give nothing but WireError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (array) => {
        try {
          decodeSymlinkReparse(decodeReparseData(Buffer.from(array)).data);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }),
    );
  });
});
