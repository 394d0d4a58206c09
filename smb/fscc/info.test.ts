import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from '../wire/errors.ts';
import { fileFullEaInformation, fileGetEaInformation } from './ea.ts';
import type { Codec } from './fields.ts';
import * as file from './file-info.ts';
import { filetimeFromUnixNs, unixNsFromFiletime } from './filetime.ts';
import * as fs from './fs-info.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');

const time = fc.bigInt({ min: -2n, max: 2n ** 63n - 1n });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const size64 = fc.nat(Number.MAX_SAFE_INTEGER);
const u32 = fc.nat(0xffffffff);
const u16 = fc.nat(0xffff);
const u8 = fc.nat(0xff);
const flag = fc.boolean();
const name = fc.string({ unit: 'binary', maxLength: 40 });
const bytes = (length: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
const eaName = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 255 });

const basic = fc.record({
  creationTime: time,
  lastAccessTime: time,
  lastWriteTime: time,
  changeTime: time,
  fileAttributes: u32,
});
const standard = fc.record({
  allocationSize: size64,
  endOfFile: size64,
  numberOfLinks: u32,
  deletePending: flag,
  directory: flag,
});
const fileName = fc.record({ fileName: name });
const rename = fc.record({ replaceIfExists: flag, rootDirectory: u64, fileName: name });
const eaSize = fc.record({ eaSize: u32 });
const accessFlags = fc.record({ accessFlags: u32 });
const currentByteOffset = fc.record({ currentByteOffset: size64 });
const mode = fc.record({ mode: u32 });
const alignmentRequirement = fc.record({ alignmentRequirement: u32 });
const indexNumber = fc.record({ indexNumber: u64 });

/** Every codec with values for it. */
// biome-ignore lint/suspicious/noExplicitAny: a list of codecs of different types
const cases: [codec: Codec<any>, values: fc.Arbitrary<unknown>][] = [
  [file.fileBasicInformation, basic],
  [file.fileStandardInformation, standard],
  [file.fileInternalInformation, indexNumber],
  [file.fileEaInformation, eaSize],
  [file.fileAccessInformation, accessFlags],
  [file.filePositionInformation, currentByteOffset],
  [file.fileModeInformation, mode],
  [file.fileAlignmentInformation, alignmentRequirement],
  [
    file.fileNetworkOpenInformation,
    fc.record({
      creationTime: time,
      lastAccessTime: time,
      lastWriteTime: time,
      changeTime: time,
      allocationSize: size64,
      endOfFile: size64,
      fileAttributes: u32,
    }),
  ],
  [file.fileAttributeTagInformation, fc.record({ fileAttributes: u32, reparseTag: u32 })],
  [
    file.fileCompressionInformation,
    fc.record({
      compressedFileSize: size64,
      compressionFormat: u16,
      compressionUnitShift: u8,
      chunkShift: u8,
      clusterShift: u8,
    }),
  ],
  [file.fileDispositionInformation, fc.record({ deletePending: flag })],
  [file.fileDispositionInformationEx, fc.record({ flags: u32 })],
  [file.fileEndOfFileInformation, fc.record({ endOfFile: size64 })],
  [file.fileAllocationInformation, fc.record({ allocationSize: size64 })],
  [file.fileValidDataLengthInformation, fc.record({ validDataLength: size64 })],
  [file.fileIdInformation, fc.record({ volumeSerialNumber: u64, fileId: bytes(16) })],
  [
    file.fileStandardLinkInformation,
    fc.record({ numberOfAccessibleLinks: u32, totalNumberOfLinks: u32, deletePending: flag, directory: flag }),
  ],
  [file.fileNameInformation, fileName],
  [file.fileNormalizedNameInformation, fileName],
  [file.fileAlternateNameInformation, fileName],
  [
    file.fileAllInformation,
    fc.record({
      basic,
      standard,
      internal: indexNumber,
      ea: eaSize,
      access: accessFlags,
      position: currentByteOffset,
      mode,
      alignment: alignmentRequirement,
      name: fileName,
    }),
  ],
  [file.fileRenameInformation, rename],
  [file.fileLinkInformation, rename],
  [
    file.fileRenameInformationType1,
    fc.record({ replaceIfExists: flag, rootDirectory: u32.map(BigInt), fileName: name }),
  ],
  [file.fileRenameInformationEx, fc.record({ flags: u32, rootDirectory: u64, fileName: name })],
  [
    file.fileStreamInformation,
    fc.array(fc.record({ streamName: name, streamSize: size64, streamAllocationSize: size64 }), { maxLength: 5 }),
  ],
  [
    fileFullEaInformation,
    fc.array(
      fc.record({ flags: u8, name: eaName, value: fc.uint8Array({ maxLength: 50 }).map((a) => Buffer.from(a)) }),
      { maxLength: 5 },
    ),
  ],
  [fileGetEaInformation, fc.array(eaName, { maxLength: 5 })],
  [
    fs.fileFsVolumeInformation,
    fc.record({ volumeCreationTime: time, volumeSerialNumber: u32, supportsObjects: flag, volumeLabel: name }),
  ],
  [fs.fileFsLabelInformation, fc.record({ volumeLabel: name })],
  [
    fs.fileFsSizeInformation,
    fc.record({
      totalAllocationUnits: size64,
      availableAllocationUnits: size64,
      sectorsPerAllocationUnit: u32,
      bytesPerSector: u32,
    }),
  ],
  [
    fs.fileFsFullSizeInformation,
    fc.record({
      totalAllocationUnits: size64,
      callerAvailableAllocationUnits: size64,
      actualAvailableAllocationUnits: size64,
      sectorsPerAllocationUnit: u32,
      bytesPerSector: u32,
    }),
  ],
  [
    fs.fileFsAttributeInformation,
    fc.record({ fileSystemAttributes: u32, maximumComponentNameLength: u32, fileSystemName: name }),
  ],
  [fs.fileFsDeviceInformation, fc.record({ deviceType: u32, characteristics: u32 })],
  [
    fs.fileFsSectorSizeInformation,
    fc.record({
      logicalBytesPerSector: u32,
      physicalBytesPerSectorForAtomicity: u32,
      physicalBytesPerSectorForPerformance: u32,
      effectivePhysicalBytesPerSectorForAtomicity: u32,
      flags: u32,
      byteOffsetForSectorAlignment: u32,
      byteOffsetForPartitionAlignment: u32,
    }),
  ],
  [fs.fileFsObjectIdInformation, fc.record({ objectId: bytes(16), extendedInfo: bytes(48) })],
  [
    fs.fileFsControlInformation,
    fc.record({
      freeSpaceStartFiltering: u64,
      freeSpaceThreshold: u64,
      freeSpaceStopFiltering: u64,
      defaultQuotaThreshold: u64,
      defaultQuotaLimit: u64,
      fileSystemControlFlags: u32,
    }),
  ],
];

describe.each(cases.map(([codec, values]) => ({ name: codec.name, codec, values })))('$name', ({ codec, values }) => {
  test('decodes what it encodes, wherever it was written', () => {
    fc.assert(
      fc.property(values, (value) => {
        const encoded = codec.encode(value);
        expect(codec.decode(encoded)).toEqual(value);

        // Into a dirty buffer, at an odd place: no byte is left as it was.
        const dirty = Buffer.alloc(encoded.length + 20, 0xee);
        expect(codec.write(value, dirty, 7)).toBe(encoded.length);
        expect(dirty.subarray(7, 7 + encoded.length)).toEqual(encoded);
        expect(dirty.subarray(7 + encoded.length).every((byte) => byte === 0xee)).toBe(true);
      }),
    );
  });

  test('throws nothing but WireError, whatever comes', () => {
    const damaged = fc
      .tuple(values, fc.array(fc.tuple(fc.nat(200), u8), { maxLength: 4 }), fc.option(fc.nat(200)))
      .map(([value, changes, length]) => {
        const encoded = codec.encode(value);
        for (const [at, byte] of changes) if (at < encoded.length) encoded[at] = byte;
        return encoded.subarray(0, length ?? encoded.length);
      });
    const random = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(fc.oneof(damaged, random), (input) => {
        try {
          codec.decode(input);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('the layout', () => {
  test('of FileStandardInformation', () => {
    const encoded = file.fileStandardInformation.encode({
      allocationSize: 8192,
      endOfFile: 5000,
      numberOfLinks: 2,
      deletePending: true,
      directory: false,
    });
    expect(encoded).toEqual(hex('0020000000000000 8813000000000000 02000000 01 00 0000'));
  });

  test('of FileRenameInformation as SMB2 clients send it', () => {
    const sent = hex('01 00000000000000 0000000000000000 0a000000 6100 5c00 6200 2e00 6300');
    expect(file.fileRenameInformation.decode(sent)).toEqual({
      replaceIfExists: true,
      rootDirectory: 0n,
      fileName: 'a\\b.c',
    });
  });

  test('of FileStreamInformation: entries aligned to 8, the last with NextEntryOffset 0', () => {
    const encoded = file.fileStreamInformation.encode([
      { streamName: '::$DATA', streamSize: 1, streamAllocationSize: 4096 },
      { streamName: ':a:$DATA', streamSize: 2, streamAllocationSize: 4096 },
    ]);
    expect(encoded.readUInt32LE(0)).toBe(40);
    expect(encoded.readUInt32LE(40)).toBe(0);
    expect(encoded).toHaveLength(40 + 24 + 16);
  });

  test('of FILE_FULL_EA_INFORMATION', () => {
    const encoded = fileFullEaInformation.encode([
      { flags: 0, name: 'A', value: Buffer.from('xy') },
      { flags: 0x80, name: 'BC', value: Buffer.from('z') },
    ]);
    expect(encoded).toEqual(hex('0c000000 00 01 0200 41 00 7879 00000000 80 02 0100 4243 00 7a'));
  });
});

test('lists whose entries point into themselves or beyond the end are refused', () => {
  const streams = file.fileStreamInformation.encode([
    { streamName: '::$DATA', streamSize: 1, streamAllocationSize: 4096 },
    { streamName: ':a:$DATA', streamSize: 2, streamAllocationSize: 4096 },
  ]);
  for (const offset of [8, 23, streams.length - 8, 0xffffffff]) {
    streams.writeUInt32LE(offset, 0);
    expect(() => file.fileStreamInformation.decode(streams)).toThrow(WireError);
  }
  const zeros = Buffer.alloc(64);
  zeros.writeUInt32LE(8, 0);
  expect(() => file.fileStreamInformation.decode(zeros)).toThrow(WireError);
});

test('names that reach beyond the buffer, or have half a character, are refused', () => {
  const encoded = file.fileNameInformation.encode({ fileName: 'abc' });
  for (const length of [5, 8, 0xffffffff]) {
    encoded.writeUInt32LE(length, 0);
    expect(() => file.fileNameInformation.decode(encoded)).toThrow(WireError);
  }
});

test('sizes that no file has are refused: negative, and above 2^53 - 1', () => {
  expect(() => file.fileEndOfFileInformation.decode(hex('ffffffffffffffff'))).toThrow(WireError);
  expect(() => file.fileEndOfFileInformation.decode(hex('0000000000002000'))).toThrow(WireError);
  expect(file.fileEndOfFileInformation.decode(hex('ffffffffffff1f00')).endOfFile).toBe(Number.MAX_SAFE_INTEGER);
});

test('times of -1 and -2, which mean something in SET_INFO, stay what they are', () => {
  const encoded = Buffer.alloc(40, 0xff);
  expect(file.fileBasicInformation.decode(encoded).lastWriteTime).toBe(-1n);
});

describe('FILETIME', () => {
  test.each([
    [0n, 116_444_736_000_000_000n],
    [1_700_000_000_123_456_700n, 133_444_736_001_234_567n],
    [-11_644_473_600_000_000_000n, 0n],
    [-1n, 116_444_735_999_999_999n],
  ])('of %d ns since 1970 is %d', (unixNs, filetime) => {
    expect(filetimeFromUnixNs(unixNs)).toBe(filetime);
  });

  test('there and back', () => {
    fc.assert(fc.property(time, (filetime) => expect(filetimeFromUnixNs(unixNsFromFiletime(filetime))).toBe(filetime)));
  });
});
