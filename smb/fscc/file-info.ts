import { WireError } from '../wire/errors.ts';
import { FileInfoClass } from './constants.ts';
import { align8, type Codec, codec, fixedCodec, readSize64, readUtf16, requireBytes, writeSize64 } from './fields.ts';

/** What a Codec decodes to and encodes from. */
export type CodecValue<C> = C extends Codec<infer T> ? T : never;

/** MS-FSCC 2.4.7. In SET_INFO a time of 0 means "leave", -1 "stop updating on this handle", -2 "resume updating". */
export const fileBasicInformation = fixedCodec('FileBasicInformation', 40, {
  creationTime: ['time', 0],
  lastAccessTime: ['time', 8],
  lastWriteTime: ['time', 16],
  changeTime: ['time', 24],
  fileAttributes: ['u32', 32],
});
export type FileBasicInformation = CodecValue<typeof fileBasicInformation>;

/** MS-FSCC 2.4.47. */
export const fileStandardInformation = fixedCodec('FileStandardInformation', 24, {
  allocationSize: ['size64', 0],
  endOfFile: ['size64', 8],
  numberOfLinks: ['u32', 16],
  deletePending: ['bool', 20],
  directory: ['bool', 21],
});
export type FileStandardInformation = CodecValue<typeof fileStandardInformation>;

/** MS-FSCC 2.4.27: the 64-bit file id. */
export const fileInternalInformation = fixedCodec('FileInternalInformation', 8, { indexNumber: ['u64', 0] });
/** MS-FSCC 2.4.13. */
export const fileEaInformation = fixedCodec('FileEaInformation', 4, { eaSize: ['u32', 0] });
/** MS-FSCC 2.4.1: the access that the Open was granted. */
export const fileAccessInformation = fixedCodec('FileAccessInformation', 4, { accessFlags: ['u32', 0] });
/** MS-FSCC 2.4.40. */
export const filePositionInformation = fixedCodec('FilePositionInformation', 8, { currentByteOffset: ['size64', 0] });
/** MS-FSCC 2.4.31. */
export const fileModeInformation = fixedCodec('FileModeInformation', 4, { mode: ['u32', 0] });
/** MS-FSCC 2.4.3: 0 byte, 1 word, 3 long, 7 quad ... */
export const fileAlignmentInformation = fixedCodec('FileAlignmentInformation', 4, { alignmentRequirement: ['u32', 0] });
/** MS-FSCC 2.4.33. */
export const fileNetworkOpenInformation = fixedCodec('FileNetworkOpenInformation', 56, {
  creationTime: ['time', 0],
  lastAccessTime: ['time', 8],
  lastWriteTime: ['time', 16],
  changeTime: ['time', 24],
  allocationSize: ['size64', 32],
  endOfFile: ['size64', 40],
  fileAttributes: ['u32', 48],
});
export type FileNetworkOpenInformation = CodecValue<typeof fileNetworkOpenInformation>;
/** MS-FSCC 2.4.6. */
export const fileAttributeTagInformation = fixedCodec('FileAttributeTagInformation', 8, {
  fileAttributes: ['u32', 0],
  reparseTag: ['u32', 4],
});
/** MS-FSCC 2.4.9. */
export const fileCompressionInformation = fixedCodec('FileCompressionInformation', 16, {
  compressedFileSize: ['size64', 0],
  compressionFormat: ['u16', 8],
  compressionUnitShift: ['u8', 10],
  chunkShift: ['u8', 11],
  clusterShift: ['u8', 12],
});
/** MS-FSCC 2.4.11: delete on close when true. */
export const fileDispositionInformation = fixedCodec('FileDispositionInformation', 1, { deletePending: ['bool', 0] });
/** MS-FSCC 2.4.12: DispositionFlag. */
export const fileDispositionInformationEx = fixedCodec('FileDispositionInformationEx', 4, { flags: ['u32', 0] });
/** MS-FSCC 2.4.14. */
export const fileEndOfFileInformation = fixedCodec('FileEndOfFileInformation', 8, { endOfFile: ['size64', 0] });
/** MS-FSCC 2.4.4. */
export const fileAllocationInformation = fixedCodec('FileAllocationInformation', 8, { allocationSize: ['size64', 0] });
/** MS-FSCC 2.4.49. */
export const fileValidDataLengthInformation = fixedCodec('FileValidDataLengthInformation', 8, {
  validDataLength: ['size64', 0],
});
/** MS-FSCC 2.4.26: volume serial number and 128-bit file id. */
export const fileIdInformation = fixedCodec('FileIdInformation', 24, {
  volumeSerialNumber: ['u64', 0],
  fileId: ['id128', 8],
});
/** MS-FSCC 2.4.48. */
export const fileStandardLinkInformation = fixedCodec('FileStandardLinkInformation', 12, {
  numberOfAccessibleLinks: ['u32', 0],
  totalNumberOfLinks: ['u32', 4],
  deletePending: ['bool', 8],
  directory: ['bool', 9],
});

export interface FileNameInformation {
  fileName: string;
}

function nameCodec(name: string): Codec<FileNameInformation> {
  return codec<FileNameInformation>({
    name,
    minimumSize: 4,
    queryMinimumSize: 8,
    size: ({ fileName }) => 4 + 2 * fileName.length,
    write({ fileName }, into, at) {
      into.writeUInt32LE(2 * fileName.length, at);
      into.write(fileName, at + 4, 'utf16le');
      return 4 + 2 * fileName.length;
    },
    decode: (buffer) => ({ fileName: readUtf16(buffer, 4, buffer.readUInt32LE(0), name) }),
  });
}

/** MS-FSCC 2.4.32: path below the share, with a leading backslash. */
export const fileNameInformation = nameCodec('FileNameInformation');
/** MS-FSCC 2.4.36: the same without the leading backslash. */
export const fileNormalizedNameInformation = nameCodec('FileNormalizedNameInformation');
/** MS-FSCC 2.4.5: the 8.3 name. */
export const fileAlternateNameInformation = nameCodec('FileAlternateNameInformation');

/** MS-FSCC 2.4.2. */
export interface FileAllInformation {
  basic: FileBasicInformation;
  standard: FileStandardInformation;
  internal: CodecValue<typeof fileInternalInformation>;
  ea: CodecValue<typeof fileEaInformation>;
  access: CodecValue<typeof fileAccessInformation>;
  position: CodecValue<typeof filePositionInformation>;
  mode: CodecValue<typeof fileModeInformation>;
  alignment: CodecValue<typeof fileAlignmentInformation>;
  name: FileNameInformation;
}

/** In QUERY_INFO a name for which there is no room is cut, with STATUS_BUFFER_OVERFLOW. */
export const fileAllInformation = codec<FileAllInformation>({
  name: 'FileAllInformation',
  minimumSize: 100,
  queryMinimumSize: 104,
  size: (value) => 96 + fileNameInformation.size(value.name),
  write(value, into, at) {
    fileBasicInformation.write(value.basic, into, at);
    fileStandardInformation.write(value.standard, into, at + 40);
    fileInternalInformation.write(value.internal, into, at + 64);
    fileEaInformation.write(value.ea, into, at + 72);
    fileAccessInformation.write(value.access, into, at + 76);
    filePositionInformation.write(value.position, into, at + 80);
    fileModeInformation.write(value.mode, into, at + 88);
    fileAlignmentInformation.write(value.alignment, into, at + 92);
    return 96 + fileNameInformation.write(value.name, into, at + 96);
  },
  decode: (buffer) => ({
    basic: fileBasicInformation.decode(buffer),
    standard: fileStandardInformation.decode(buffer.subarray(40)),
    internal: fileInternalInformation.decode(buffer.subarray(64)),
    ea: fileEaInformation.decode(buffer.subarray(72)),
    access: fileAccessInformation.decode(buffer.subarray(76)),
    position: filePositionInformation.decode(buffer.subarray(80)),
    mode: fileModeInformation.decode(buffer.subarray(88)),
    alignment: fileAlignmentInformation.decode(buffer.subarray(92)),
    name: fileNameInformation.decode(buffer.subarray(96)),
  }),
});

export interface FileRenameInformation {
  replaceIfExists: boolean;
  /** Always 0 on SMB (MS-FSCC 2.4.42.2). */
  rootDirectory: bigint;
  /** Full path below the share, no leading backslash; `:name` renames a stream. */
  fileName: string;
}

/** The form that SMB2 uses (MS-FSCC 2.4.42.2, 2.4.28.2): 64-bit RootDirectory. */
function renameCodec(name: string): Codec<FileRenameInformation> {
  return codec<FileRenameInformation>({
    name,
    minimumSize: 20,
    // Windows insists on 24 bytes (the structure with its padding) even for a name of one character.
    size: ({ fileName }) => Math.max(24, 20 + 2 * fileName.length),
    write(value, into, at) {
      const size = this.size(value);
      into.fill(0, at, at + size);
      into.writeUInt8(value.replaceIfExists ? 1 : 0, at);
      into.writeBigUInt64LE(BigInt.asUintN(64, value.rootDirectory), at + 8);
      into.writeUInt32LE(2 * value.fileName.length, at + 16);
      into.write(value.fileName, at + 20, 'utf16le');
      return size;
    },
    decode: (buffer) => ({
      replaceIfExists: buffer.readUInt8(0) !== 0,
      rootDirectory: buffer.readBigUInt64LE(8),
      fileName: readUtf16(buffer, 20, buffer.readUInt32LE(16), name),
    }),
  });
}

export const fileRenameInformation = renameCodec('FileRenameInformation');
export const fileLinkInformation = renameCodec('FileLinkInformation');

/** The SMB1 form (MS-FSCC 2.4.42.1): 32-bit RootDirectory. */
export const fileRenameInformationType1 = codec<FileRenameInformation>({
  name: 'FileRenameInformation (type 1)',
  minimumSize: 12,
  size: ({ fileName }) => 12 + 2 * fileName.length,
  write(value, into, at) {
    into.fill(0, at, at + 12);
    into.writeUInt8(value.replaceIfExists ? 1 : 0, at);
    into.writeUInt32LE(Number(BigInt.asUintN(32, value.rootDirectory)), at + 4);
    into.writeUInt32LE(2 * value.fileName.length, at + 8);
    into.write(value.fileName, at + 12, 'utf16le');
    return 12 + 2 * value.fileName.length;
  },
  decode: (buffer) => ({
    replaceIfExists: buffer.readUInt8(0) !== 0,
    rootDirectory: BigInt(buffer.readUInt32LE(4)),
    fileName: readUtf16(buffer, 12, buffer.readUInt32LE(8), 'FileRenameInformation (type 1)'),
  }),
});

export interface FileRenameInformationEx {
  /** RenameFlag. */
  flags: number;
  rootDirectory: bigint;
  fileName: string;
}

/** MS-FSCC 2.4.43. */
export const fileRenameInformationEx = codec<FileRenameInformationEx>({
  name: 'FileRenameInformationEx',
  minimumSize: 20,
  size: ({ fileName }) => Math.max(24, 20 + 2 * fileName.length),
  write(value, into, at) {
    const size = this.size(value);
    into.fill(0, at, at + size);
    into.writeUInt32LE(value.flags >>> 0, at);
    into.writeBigUInt64LE(BigInt.asUintN(64, value.rootDirectory), at + 8);
    into.writeUInt32LE(2 * value.fileName.length, at + 16);
    into.write(value.fileName, at + 20, 'utf16le');
    return size;
  },
  decode: (buffer) => ({
    flags: buffer.readUInt32LE(0),
    rootDirectory: buffer.readBigUInt64LE(8),
    fileName: readUtf16(buffer, 20, buffer.readUInt32LE(16), 'FileRenameInformationEx'),
  }),
});

export interface FileStreamEntry {
  /** `::$DATA` for the unnamed stream, `:name:$DATA` for others. */
  streamName: string;
  streamSize: number;
  streamAllocationSize: number;
}

/** MS-FSCC 2.4.44: a list, entries aligned to 8. An empty list encodes to nothing. */
export const fileStreamInformation = codec<FileStreamEntry[]>({
  name: 'FileStreamInformation',
  minimumSize: 0,
  queryMinimumSize: 32,
  size(entries) {
    let size = 0;
    for (const entry of entries) size = align8(size) + 24 + 2 * entry.streamName.length;
    return size;
  },
  write(entries, into, start) {
    let at = 0;
    let end = 0;
    for (const [index, entry] of entries.entries()) {
      const used = 24 + 2 * entry.streamName.length;
      const last = index === entries.length - 1;
      into.writeUInt32LE(last ? 0 : align8(used), start + at);
      into.writeUInt32LE(2 * entry.streamName.length, start + at + 4);
      writeSize64(into, start + at + 8, entry.streamSize);
      writeSize64(into, start + at + 16, entry.streamAllocationSize);
      into.write(entry.streamName, start + at + 24, 'utf16le');
      end = at + used;
      if (!last) into.fill(0, start + end, start + align8(end));
      at = align8(end);
    }
    return end;
  },
  decode(buffer) {
    const entries: FileStreamEntry[] = [];
    if (buffer.length === 0) return entries;
    for (let at = 0; ; ) {
      requireBytes(buffer, at, 24, 'FileStreamInformation');
      entries.push({
        streamName: readUtf16(buffer, at + 24, buffer.readUInt32LE(at + 4), 'FileStreamInformation'),
        streamSize: readSize64(buffer, at + 8, 'FileStreamInformation'),
        streamAllocationSize: readSize64(buffer, at + 16, 'FileStreamInformation'),
      });
      const next = nextEntry(buffer, at, 24, 'FileStreamInformation');
      if (next === 0) return entries;
      at = next;
    }
  },
});

/** Where the entry after the one at `at` starts; 0 when that was the last. Offsets only go forward, so a list ends. */
export function nextEntry(buffer: Buffer, at: number, minimumSize: number, what: string): number {
  const offset = buffer.readUInt32LE(at);
  if (offset === 0) return 0;
  if (offset < minimumSize) throw new WireError(`${what}: NextEntryOffset ${offset} points into its own entry`);
  requireBytes(buffer, at + offset, 4, what);
  return at + offset;
}

/** Every file information class that is not a directory class, by its number, as SMB2 uses it. */
export const fileInformationCodecs = {
  [FileInfoClass.basic]: fileBasicInformation,
  [FileInfoClass.standard]: fileStandardInformation,
  [FileInfoClass.internal]: fileInternalInformation,
  [FileInfoClass.ea]: fileEaInformation,
  [FileInfoClass.access]: fileAccessInformation,
  [FileInfoClass.name]: fileNameInformation,
  [FileInfoClass.rename]: fileRenameInformation,
  [FileInfoClass.link]: fileLinkInformation,
  [FileInfoClass.disposition]: fileDispositionInformation,
  [FileInfoClass.position]: filePositionInformation,
  [FileInfoClass.mode]: fileModeInformation,
  [FileInfoClass.alignment]: fileAlignmentInformation,
  [FileInfoClass.all]: fileAllInformation,
  [FileInfoClass.allocation]: fileAllocationInformation,
  [FileInfoClass.endOfFile]: fileEndOfFileInformation,
  [FileInfoClass.alternateName]: fileAlternateNameInformation,
  [FileInfoClass.stream]: fileStreamInformation,
  [FileInfoClass.compression]: fileCompressionInformation,
  [FileInfoClass.networkOpen]: fileNetworkOpenInformation,
  [FileInfoClass.attributeTag]: fileAttributeTagInformation,
  [FileInfoClass.validDataLength]: fileValidDataLengthInformation,
  [FileInfoClass.normalizedName]: fileNormalizedNameInformation,
  [FileInfoClass.standardLink]: fileStandardLinkInformation,
  [FileInfoClass.id]: fileIdInformation,
  [FileInfoClass.dispositionEx]: fileDispositionInformationEx,
  [FileInfoClass.renameEx]: fileRenameInformationEx,
} as const;
