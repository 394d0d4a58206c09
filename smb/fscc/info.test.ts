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

/** Numbers of 1, 2, 4 or 8 bytes, little-endian, one behind the other; text is UTF-16. */
function packed(...parts: (readonly [size: 1 | 2 | 4 | 8, value: number] | string)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part, 'utf16le');
      const field = Buffer.alloc(8);
      field.writeBigUInt64LE(BigInt(part[1]));
      return field.subarray(0, part[0]);
    }),
  );
}

// Written down from MS-FSCC 2.4 and 2.5: encoder and decoder could agree on another layout.
describe('fields lie where the specification has them', () => {
  const times = { creationTime: 1n, lastAccessTime: 2n, lastWriteTime: 3n, changeTime: 4n };
  const packedTimes = [
    [8, 1],
    [8, 2],
    [8, 3],
    [8, 4],
  ] as const;
  const basic = { ...times, fileAttributes: 0x20 };
  const packedBasic = [...packedTimes, [4, 0x20], [4, 0]] as const;
  const standard = { allocationSize: 8192, endOfFile: 5000, numberOfLinks: 2, deletePending: false, directory: true };
  const packedStandard = [
    [8, 8192],
    [8, 5000],
    [4, 2],
    [1, 0],
    [1, 1],
    [2, 0],
  ] as const;
  const all = {
    basic,
    standard,
    internal: { indexNumber: 5n },
    ea: { eaSize: 6 },
    access: { accessFlags: 7 },
    position: { currentByteOffset: 8 },
    mode: { mode: 9 },
    alignment: { alignmentRequirement: 1 },
    name: { fileName: '\\a' },
  };
  const layouts: [Codec<never>, unknown, Buffer][] = [];
  const layout = <T>(codec: Codec<T>, value: T, ...parts: Parameters<typeof packed>) =>
    layouts.push([codec as Codec<never>, value, packed(...parts)]);

  layout(file.fileBasicInformation, basic, ...packedBasic);
  layout(file.fileStandardInformation, standard, ...packedStandard);
  layout(file.fileInternalInformation, { indexNumber: 5n }, [8, 5]);
  layout(file.fileEaInformation, { eaSize: 6 }, [4, 6]);
  layout(file.fileAccessInformation, { accessFlags: 7 }, [4, 7]);
  layout(file.filePositionInformation, { currentByteOffset: 8 }, [8, 8]);
  layout(file.fileModeInformation, { mode: 9 }, [4, 9]);
  layout(file.fileAlignmentInformation, { alignmentRequirement: 1 }, [4, 1]);
  layout(file.fileNameInformation, { fileName: '\\a' }, [4, 4], '\\a');
  layout(
    file.fileAllInformation,
    all,
    ...packedBasic,
    ...packedStandard,
    ...([[8, 5], [4, 6], [4, 7], [8, 8], [4, 9], [4, 1], [4, 4], '\\a'] as const),
  );
  layout(
    file.fileNetworkOpenInformation,
    { ...times, allocationSize: 8192, endOfFile: 5000, fileAttributes: 0x20 },
    ...packedTimes,
    ...([
      [8, 8192],
      [8, 5000],
      [4, 0x20],
      [4, 0],
    ] as const),
  );
  layout(
    file.fileAttributeTagInformation,
    { fileAttributes: 0x400, reparseTag: 0xa000000c },
    [4, 0x400],
    [4, 0xa000000c],
  );
  layout(file.fileDispositionInformation, { deletePending: true }, [1, 1]);
  layout(file.fileEndOfFileInformation, { endOfFile: 5000 }, [8, 5000]);
  layout(file.fileAllocationInformation, { allocationSize: 8192 }, [8, 8192]);
  layout(
    fs.fileFsVolumeInformation,
    { volumeCreationTime: 1n, volumeSerialNumber: 2, supportsObjects: true, volumeLabel: 'abc' },
    ...([[8, 1], [4, 2], [4, 6], [1, 1], [1, 0], 'abc'] as const),
  );
  layout(
    fs.fileFsSizeInformation,
    { totalAllocationUnits: 1, availableAllocationUnits: 2, sectorsPerAllocationUnit: 3, bytesPerSector: 4 },
    ...([
      [8, 1],
      [8, 2],
      [4, 3],
      [4, 4],
    ] as const),
  );
  layout(
    fs.fileFsFullSizeInformation,
    {
      totalAllocationUnits: 1,
      callerAvailableAllocationUnits: 2,
      actualAvailableAllocationUnits: 3,
      sectorsPerAllocationUnit: 4,
      bytesPerSector: 5,
    },
    ...([
      [8, 1],
      [8, 2],
      [8, 3],
      [4, 4],
      [4, 5],
    ] as const),
  );
  layout(
    fs.fileFsAttributeInformation,
    { fileSystemAttributes: 1, maximumComponentNameLength: 255, fileSystemName: 'NTFS' },
    ...([[4, 1], [4, 255], [4, 8], 'NTFS'] as const),
  );
  layout(fs.fileFsDeviceInformation, { deviceType: 7, characteristics: 0x20 }, [4, 7], [4, 0x20]);
  layout(
    fs.fileFsSectorSizeInformation,
    {
      logicalBytesPerSector: 1,
      physicalBytesPerSectorForAtomicity: 2,
      physicalBytesPerSectorForPerformance: 3,
      effectivePhysicalBytesPerSectorForAtomicity: 4,
      flags: 5,
      byteOffsetForSectorAlignment: 6,
      byteOffsetForPartitionAlignment: 7,
    },
    ...([
      [4, 1],
      [4, 2],
      [4, 3],
      [4, 4],
      [4, 5],
      [4, 6],
      [4, 7],
    ] as const),
  );

  test.each(layouts.map(([codec, value, bytes]) => ({ name: codec.name, codec, value, bytes })))(
    '$name',
    ({ codec, value, bytes }) => {
      expect(codec.encode(value as never)).toEqual(bytes);
      expect(codec.decode(bytes)).toEqual(value);
    },
  );
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
