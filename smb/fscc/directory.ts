import { WireError } from '../wire/errors.ts';
import { FileAttribute, FileInfoClass } from './constants.ts';
import { align8, readSize64, readUtf16, requireBytes, writeSize64 } from './fields.ts';
import { nextEntry } from './file-info.ts';

/** One entry of a directory listing, the union of what the directory classes carry (MS-FSCC 2.4.8 and its siblings). */
export interface DirectoryEntry {
  fileName: string;
  /** FILETIME, 100 ns since 1601. */
  creationTime: bigint;
  lastAccessTime: bigint;
  lastWriteTime: bigint;
  changeTime: bigint;
  /** Bytes. */
  endOfFile: number;
  allocationSize: number;
  /** FileAttribute. */
  fileAttributes: number;
  /** The 8.3 name, 12 characters at most; empty or left out: the name is one itself, or there is none. */
  shortName?: string;
  /** Bytes that the extended attributes take; 0 when there are none. */
  eaSize: number;
  /** Reparse tag; written only when fileAttributes has reparsePoint. */
  reparseTag: number;
  /** The 64-bit file id; the 128-bit classes carry it in the low half. */
  fileId: bigint;
}

/** Where the parts of an entry lie. Times, sizes and attributes are at the same place in every class but names. */
interface EntryLayout {
  /** FileFullDirectoryInformation and later have EaSize at 64. */
  ea: boolean;
  /** Offset of the 8.3 name's length byte; the name itself takes 24 bytes at +2. */
  shortName?: number;
  reparseTag?: number;
  fileId64?: number;
  fileId128?: number;
  fileNameLength: number;
  fileName: number;
}

const layouts = new Map<number, EntryLayout>([
  [FileInfoClass.directory, { ea: false, fileNameLength: 60, fileName: 64 }],
  [FileInfoClass.fullDirectory, { ea: true, fileNameLength: 60, fileName: 68 }],
  [FileInfoClass.bothDirectory, { ea: true, shortName: 68, fileNameLength: 60, fileName: 94 }],
  [FileInfoClass.idFullDirectory, { ea: true, fileId64: 72, fileNameLength: 60, fileName: 80 }],
  [FileInfoClass.idBothDirectory, { ea: true, shortName: 68, fileId64: 96, fileNameLength: 60, fileName: 104 }],
  [FileInfoClass.idExtdDirectory, { ea: true, reparseTag: 68, fileId128: 72, fileNameLength: 60, fileName: 88 }],
  [
    FileInfoClass.idExtdBothDirectory,
    { ea: true, reparseTag: 68, fileId128: 72, shortName: 88, fileNameLength: 60, fileName: 114 },
  ],
  [FileInfoClass.names, { ea: false, fileNameLength: 8, fileName: 12 }],
]);

/** True for the information classes that QUERY_DIRECTORY takes here. */
export function isDirectoryInfoClass(infoClass: number): boolean {
  return layouts.has(infoClass);
}

/** True for the classes whose entries have a place for an 8.3 name. */
export function carriesShortName(infoClass: number): boolean {
  return layoutOf(infoClass).shortName !== undefined;
}

/** Bytes that the largest fixed part takes; an output buffer below this is STATUS_INFO_LENGTH_MISMATCH. */
export function directoryEntryMinimumSize(infoClass: number): number {
  return layoutOf(infoClass).fileName;
}

function layoutOf(infoClass: number): EntryLayout {
  const layout = layouts.get(infoClass);
  if (layout === undefined) throw new RangeError(`information class ${infoClass} is not a directory class`);
  return layout;
}

/**
 * Writes one entry at `at`, which is the start of the list or where the entry before it ended (the sum of what was
 * returned). Returns the bytes used, padded to a multiple of 8 where room allows, or -1 if the entry does not fit into `into`.
 * When the last entry is in, call sealDirectoryList.
 */
export function appendDirectoryEntry(infoClass: number, into: Buffer, at: number, entry: DirectoryEntry): number {
  const layout = layoutOf(infoClass);
  const nameBytes = 2 * entry.fileName.length;
  const used = layout.fileName + nameBytes;
  if (at + used > into.length) return -1;
  const padded = align8(used);
  into.fill(0, at, at + layout.fileName);
  into.writeUInt32LE(padded, at);
  if (infoClass !== FileInfoClass.names) writeCommon(layout, into, at, entry);
  into.writeUInt32LE(nameBytes, at + layout.fileNameLength);
  into.write(entry.fileName, at + layout.fileName, 'utf16le');
  const end = Math.min(at + padded, into.length);
  into.fill(0, at + used, end);
  return end - at;
}

function writeCommon(layout: EntryLayout, into: Buffer, at: number, entry: DirectoryEntry): void {
  into.writeBigInt64LE(entry.creationTime, at + 8);
  into.writeBigInt64LE(entry.lastAccessTime, at + 16);
  into.writeBigInt64LE(entry.lastWriteTime, at + 24);
  into.writeBigInt64LE(entry.changeTime, at + 32);
  writeSize64(into, at + 40, entry.endOfFile);
  writeSize64(into, at + 48, entry.allocationSize);
  into.writeUInt32LE(entry.fileAttributes >>> 0, at + 56);
  const isReparsePoint = (entry.fileAttributes & FileAttribute.reparsePoint) !== 0;
  if (layout.reparseTag !== undefined) {
    into.writeUInt32LE(entry.eaSize, at + 64);
    into.writeUInt32LE(isReparsePoint ? entry.reparseTag >>> 0 : 0, at + layout.reparseTag);
  } else if (layout.ea) {
    // Classes without a field for the tag carry it in EaSize (MS-FSCC 2.4.8, EaSize).
    into.writeUInt32LE((isReparsePoint ? entry.reparseTag : entry.eaSize) >>> 0, at + 64);
  }
  if (layout.shortName !== undefined && entry.shortName) {
    into.writeUInt8(2 * entry.shortName.length, at + layout.shortName);
    into.write(entry.shortName, at + layout.shortName + 2, 24, 'utf16le');
  }
  if (layout.fileId64 !== undefined) into.writeBigUInt64LE(BigInt.asUintN(64, entry.fileId), at + layout.fileId64);
  if (layout.fileId128 !== undefined) into.writeBigUInt64LE(BigInt.asUintN(64, entry.fileId), at + layout.fileId128);
}

/** Ends a list: the entry at `lastAt`, the last one appended, gets NextEntryOffset 0. */
export function sealDirectoryList(into: Buffer, lastAt: number): void {
  into.writeUInt32LE(0, lastAt);
}

/** Decodes a QUERY_DIRECTORY output buffer. Fields that the class does not carry are 0. Throws WireError. */
export function decodeDirectoryList(infoClass: number, buffer: Buffer): DirectoryEntry[] {
  const layout = layoutOf(infoClass);
  const entries: DirectoryEntry[] = [];
  if (buffer.length === 0) return entries;
  for (let at = 0; ; ) {
    requireBytes(buffer, at, layout.fileName, 'directory entry');
    entries.push(decodeEntry(infoClass, layout, buffer, at));
    const next = nextEntry(buffer, at, layout.fileName, 'directory entry');
    if (next === 0) return entries;
    at = next;
  }
}

function decodeEntry(infoClass: number, layout: EntryLayout, buffer: Buffer, at: number): DirectoryEntry {
  const nameBytes = buffer.readUInt32LE(at + layout.fileNameLength);
  if (nameBytes === 0) throw new WireError('directory entry: empty name');
  const fileName = readUtf16(buffer, at + layout.fileName, nameBytes, 'directory entry');
  if (infoClass === FileInfoClass.names) return { ...emptyEntry, fileName };
  const fileAttributes = buffer.readUInt32LE(at + 56);
  const isReparsePoint = (fileAttributes & FileAttribute.reparsePoint) !== 0;
  const eaOrTag = layout.ea ? buffer.readUInt32LE(at + 64) : 0;
  const tagInEa = layout.reparseTag === undefined && isReparsePoint;
  const idAt = layout.fileId64 ?? layout.fileId128;
  return {
    fileName,
    creationTime: buffer.readBigInt64LE(at + 8),
    lastAccessTime: buffer.readBigInt64LE(at + 16),
    lastWriteTime: buffer.readBigInt64LE(at + 24),
    changeTime: buffer.readBigInt64LE(at + 32),
    endOfFile: readSize64(buffer, at + 40, 'directory entry'),
    allocationSize: readSize64(buffer, at + 48, 'directory entry'),
    fileAttributes,
    eaSize: tagInEa ? 0 : eaOrTag,
    reparseTag: tagInEa ? eaOrTag : layout.reparseTag === undefined ? 0 : buffer.readUInt32LE(at + layout.reparseTag),
    fileId: idAt === undefined ? 0n : buffer.readBigUInt64LE(at + idAt),
  };
}

const emptyEntry: DirectoryEntry = {
  fileName: '',
  creationTime: 0n,
  lastAccessTime: 0n,
  lastWriteTime: 0n,
  changeTime: 0n,
  endOfFile: 0,
  allocationSize: 0,
  fileAttributes: 0,
  eaSize: 0,
  reparseTag: 0,
  fileId: 0n,
};
