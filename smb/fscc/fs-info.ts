import { FsInfoClass } from './constants.ts';
import { codec, fixedCodec, readUtf16 } from './fields.ts';
import type { CodecValue } from './file-info.ts';

export interface FileFsVolumeInformation {
  /** FILETIME. */
  volumeCreationTime: bigint;
  volumeSerialNumber: number;
  supportsObjects: boolean;
  /** At most 32 characters. */
  volumeLabel: string;
}

/** MS-FSCC 2.5.9. */
export const fileFsVolumeInformation = codec<FileFsVolumeInformation>({
  name: 'FileFsVolumeInformation',
  minimumSize: 18,
  queryMinimumSize: 24,
  // Windows and its clients expect at least the structure with its padding, 24 bytes.
  size: ({ volumeLabel }) => Math.max(24, 18 + 2 * volumeLabel.length),
  write(value, into, at) {
    const size = this.size(value);
    into.fill(0, at, at + size);
    into.writeBigInt64LE(value.volumeCreationTime, at);
    into.writeUInt32LE(value.volumeSerialNumber >>> 0, at + 8);
    into.writeUInt32LE(2 * value.volumeLabel.length, at + 12);
    into.writeUInt8(value.supportsObjects ? 1 : 0, at + 16);
    into.write(value.volumeLabel, at + 18, 'utf16le');
    return size;
  },
  decode: (buffer) => ({
    volumeCreationTime: buffer.readBigInt64LE(0),
    volumeSerialNumber: buffer.readUInt32LE(8),
    supportsObjects: buffer.readUInt8(16) !== 0,
    volumeLabel: readUtf16(buffer, 18, buffer.readUInt32LE(12), 'FileFsVolumeInformation'),
  }),
});

/** MS-FSCC 2.5.5: SET_INFO only. */
export const fileFsLabelInformation = codec<{ volumeLabel: string }>({
  name: 'FileFsLabelInformation',
  minimumSize: 4,
  size: ({ volumeLabel }) => 4 + 2 * volumeLabel.length,
  write({ volumeLabel }, into, at) {
    into.writeUInt32LE(2 * volumeLabel.length, at);
    into.write(volumeLabel, at + 4, 'utf16le');
    return 4 + 2 * volumeLabel.length;
  },
  decode: (buffer) => ({ volumeLabel: readUtf16(buffer, 4, buffer.readUInt32LE(0), 'FileFsLabelInformation') }),
});

/** MS-FSCC 2.5.8. Units are allocation units of sectorsPerAllocationUnit * bytesPerSector bytes. */
export const fileFsSizeInformation = fixedCodec('FileFsSizeInformation', 24, {
  totalAllocationUnits: ['size64', 0],
  availableAllocationUnits: ['size64', 8],
  sectorsPerAllocationUnit: ['u32', 16],
  bytesPerSector: ['u32', 20],
});
export type FileFsSizeInformation = CodecValue<typeof fileFsSizeInformation>;

/** MS-FSCC 2.5.4. callerAvailable... counts what the user may take, actualAvailable... what is free. */
export const fileFsFullSizeInformation = fixedCodec('FileFsFullSizeInformation', 32, {
  totalAllocationUnits: ['size64', 0],
  callerAvailableAllocationUnits: ['size64', 8],
  actualAvailableAllocationUnits: ['size64', 16],
  sectorsPerAllocationUnit: ['u32', 24],
  bytesPerSector: ['u32', 28],
});
export type FileFsFullSizeInformation = CodecValue<typeof fileFsFullSizeInformation>;

export interface FileFsAttributeInformation {
  /** FsAttribute. */
  fileSystemAttributes: number;
  /** UTF-16 units that a name component may have, 255. */
  maximumComponentNameLength: number;
  /** e.g. `NTFS`; some programs act on it. */
  fileSystemName: string;
}

/** MS-FSCC 2.5.1. */
export const fileFsAttributeInformation = codec<FileFsAttributeInformation>({
  name: 'FileFsAttributeInformation',
  minimumSize: 12,
  queryMinimumSize: 16,
  size: ({ fileSystemName }) => 12 + 2 * fileSystemName.length,
  write(value, into, at) {
    into.writeUInt32LE(value.fileSystemAttributes >>> 0, at);
    into.writeUInt32LE(value.maximumComponentNameLength, at + 4);
    into.writeUInt32LE(2 * value.fileSystemName.length, at + 8);
    into.write(value.fileSystemName, at + 12, 'utf16le');
    return 12 + 2 * value.fileSystemName.length;
  },
  decode: (buffer) => ({
    fileSystemAttributes: buffer.readUInt32LE(0),
    maximumComponentNameLength: buffer.readUInt32LE(4),
    fileSystemName: readUtf16(buffer, 12, buffer.readUInt32LE(8), 'FileFsAttributeInformation'),
  }),
});

/** MS-FSCC 2.5.10: FsDevice. */
export const fileFsDeviceInformation = fixedCodec('FileFsDeviceInformation', 8, {
  deviceType: ['u32', 0],
  characteristics: ['u32', 4],
});

/** MS-FSCC 2.5.7: SectorSizeFlag; sizes in bytes. */
export const fileFsSectorSizeInformation = fixedCodec('FileFsSectorSizeInformation', 28, {
  logicalBytesPerSector: ['u32', 0],
  physicalBytesPerSectorForAtomicity: ['u32', 4],
  physicalBytesPerSectorForPerformance: ['u32', 8],
  effectivePhysicalBytesPerSectorForAtomicity: ['u32', 12],
  flags: ['u32', 16],
  byteOffsetForSectorAlignment: ['u32', 20],
  byteOffsetForPartitionAlignment: ['u32', 24],
});

export interface FileFsObjectIdInformation {
  /** 16 bytes. */
  objectId: Buffer;
  /** 48 bytes; zeros when there is nothing to say. */
  extendedInfo: Buffer;
}

/** MS-FSCC 2.5.6. */
export const fileFsObjectIdInformation = codec<FileFsObjectIdInformation>({
  name: 'FileFsObjectIdInformation',
  minimumSize: 64,
  size: () => 64,
  write(value, into, at) {
    into.fill(0, at, at + 64);
    value.objectId.copy(into, at, 0, 16);
    value.extendedInfo.copy(into, at + 16, 0, 48);
    return 64;
  },
  decode: (buffer) => ({ objectId: buffer.subarray(0, 16), extendedInfo: buffer.subarray(16, 64) }),
});

/** MS-FSCC 2.5.2: quota settings. */
export const fileFsControlInformation = fixedCodec('FileFsControlInformation', 48, {
  freeSpaceStartFiltering: ['u64', 0],
  freeSpaceThreshold: ['u64', 8],
  freeSpaceStopFiltering: ['u64', 16],
  defaultQuotaThreshold: ['u64', 24],
  defaultQuotaLimit: ['u64', 32],
  fileSystemControlFlags: ['u32', 40],
});

/** Every file system information class by its number. */
export const fsInformationCodecs = {
  [FsInfoClass.volume]: fileFsVolumeInformation,
  [FsInfoClass.label]: fileFsLabelInformation,
  [FsInfoClass.size]: fileFsSizeInformation,
  [FsInfoClass.device]: fileFsDeviceInformation,
  [FsInfoClass.attribute]: fileFsAttributeInformation,
  [FsInfoClass.control]: fileFsControlInformation,
  [FsInfoClass.fullSize]: fileFsFullSizeInformation,
  [FsInfoClass.objectId]: fileFsObjectIdInformation,
  [FsInfoClass.sectorSize]: fileFsSectorSizeInformation,
} as const;
