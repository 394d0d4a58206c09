import { FileAttribute } from '../../smb/fscc/constants.ts';
import { isDirectory, type Stat } from './posix.ts';

/** What POSIX has no place for and every query asks for, packed. Large enough for any version of it. */
export const ATTRIBUTE_MAXIMUM_SIZE = 4096;

/** A change time that a client set; POSIX sets its own with every change. */
export interface SetChangeTime {
  /** FILETIME. */
  value: bigint;
  /** The file's write time when it was set, FILETIME: it holds until the data changes. */
  atWriteTime: bigint;
}

/** What the attribute holds. A field that is undefined was never set: the default is derived from the file. */
export interface StoredAttributes {
  /** FileAttribute; without directory and normal, which follow from the file. */
  attributes: number | undefined;
  /** FILETIME. */
  creationTime: bigint | undefined;
  changeTime: SetChangeTime | undefined;
  /** A security descriptor was set on the file, or inherited by it: it is in an attribute of its own. */
  hasDescriptor: boolean;
  /** Binary SID of who created the file; a descriptor that was set says it anew. */
  owner: Buffer | undefined;
  /** EaSize of the information classes, bytes; above 0: extended attributes are in an attribute of their own. */
  eaSize: number;
  /** CreateGuid of the CREATE that made the file, 16 bytes, where it can be replayed: then it is known that it has been there. */
  createGuid: Buffer | undefined;
  /** Flags and fields that a newer version wrote, kept as they are. */
  otherFlags: number;
  rest: Buffer;
}

const VERSION = 1;
const HAS_ATTRIBUTES = 0x1;
const HAS_CREATION_TIME = 0x2;
const HAS_CHANGE_TIME = 0x4;
const HAS_DESCRIPTOR = 0x8;
const HAS_OWNER = 0x10;
const HAS_EXTENDED_ATTRIBUTES = 0x20;
const HAS_CREATE_GUID = 0x40;
const KNOWN_FLAGS = 0x7f;
const FIXED_SIZE = 16;
const GUID_SIZE = 16;
const NOTHING = Buffer.alloc(0);

export const noAttributes: StoredAttributes = {
  attributes: undefined,
  creationTime: undefined,
  changeTime: undefined,
  hasDescriptor: false,
  owner: undefined,
  eaSize: 0,
  createGuid: undefined,
  otherFlags: 0,
  rest: NOTHING,
};

/**
 * Gives views on `bytes`. Layout: version 1 byte, flags 1, reserved 2, attributes 4, creation time 8; then what the flags name: change time and the
 * write time it goes with 16, owner's SID (its length says itself), EaSize 4, CreateGuid 16; then what later versions add.
 */
export function decodeAttributes(bytes: Buffer): StoredAttributes {
  if (bytes.length < FIXED_SIZE || bytes[0] !== VERSION) return noAttributes;
  const flags = bytes.readUInt8(1);
  const attributes = (flags & HAS_ATTRIBUTES) !== 0 ? bytes.readUInt32LE(4) : undefined;
  const creationTime = (flags & HAS_CREATION_TIME) !== 0 ? bytes.readBigInt64LE(8) : undefined;
  if ((flags & ~(HAS_ATTRIBUTES | HAS_CREATION_TIME)) === 0 && bytes.length === FIXED_SIZE) {
    return { ...noAttributes, attributes, creationTime };
  }
  return { ...decodeVariable(bytes, flags), attributes, creationTime };
}

/** Of a listing it is called for each entry: nothing is worked out that few ask for. Damaged parts are left out. */
function decodeVariable(bytes: Buffer, flags: number): StoredAttributes {
  const stored: StoredAttributes = {
    ...noAttributes,
    hasDescriptor: (flags & HAS_DESCRIPTOR) !== 0,
    otherFlags: flags & ~KNOWN_FLAGS,
  };
  let at = FIXED_SIZE;
  if ((flags & HAS_CHANGE_TIME) !== 0) {
    if (at + 16 > bytes.length) return stored;
    stored.changeTime = { value: bytes.readBigInt64LE(at), atWriteTime: bytes.readBigInt64LE(at + 8) };
    at += 16;
  }
  if ((flags & HAS_OWNER) !== 0) {
    const size = 8 + 4 * (bytes[at + 1] ?? 0);
    if (at + size > bytes.length) return stored;
    stored.owner = bytes.subarray(at, at + size);
    at += size;
  }
  if ((flags & HAS_EXTENDED_ATTRIBUTES) !== 0) {
    if (at + 4 > bytes.length) return stored;
    stored.eaSize = bytes.readUInt32LE(at);
    at += 4;
  }
  if ((flags & HAS_CREATE_GUID) !== 0) {
    if (at + GUID_SIZE > bytes.length) return stored;
    stored.createGuid = bytes.subarray(at, at + GUID_SIZE);
    at += GUID_SIZE;
  }
  if (at < bytes.length) stored.rest = bytes.subarray(at);
  return stored;
}

export function encodeAttributes(stored: StoredAttributes): Buffer {
  const { attributes, creationTime, changeTime, owner, eaSize, createGuid } = stored;
  const fixed = Buffer.alloc(FIXED_SIZE);
  const parts: Buffer[] = [fixed];
  let flags = stored.otherFlags & ~KNOWN_FLAGS;
  fixed.writeUInt8(VERSION, 0);
  if (attributes !== undefined) {
    flags |= HAS_ATTRIBUTES;
    fixed.writeUInt32LE(attributes >>> 0, 4);
  }
  if (creationTime !== undefined) {
    flags |= HAS_CREATION_TIME;
    fixed.writeBigInt64LE(creationTime, 8);
  }
  if (stored.hasDescriptor) flags |= HAS_DESCRIPTOR;
  if (changeTime !== undefined) {
    flags |= HAS_CHANGE_TIME;
    const times = Buffer.alloc(16);
    times.writeBigInt64LE(changeTime.value, 0);
    times.writeBigInt64LE(changeTime.atWriteTime, 8);
    parts.push(times);
  }
  if (owner !== undefined) {
    flags |= HAS_OWNER;
    parts.push(owner);
  }
  if (eaSize > 0) {
    flags |= HAS_EXTENDED_ATTRIBUTES;
    const size = Buffer.alloc(4);
    size.writeUInt32LE(eaSize, 0);
    parts.push(size);
  }
  if (createGuid !== undefined) {
    flags |= HAS_CREATE_GUID;
    parts.push(createGuid);
  }
  fixed.writeUInt8(flags, 1);
  if (stored.rest.length > 0) parts.push(stored.rest);
  return parts.length === 1 ? fixed : Buffer.concat(parts);
}

/** Attributes that a client may set (MS-FSCC 2.6); the others follow from the file. */
export const settableAttributes =
  FileAttribute.readonly |
  FileAttribute.hidden |
  FileAttribute.system |
  FileAttribute.archive |
  FileAttribute.temporary |
  FileAttribute.offline |
  FileAttribute.notContentIndexed;

/** Attributes that are kept: those, and the one that FSCTL_SET_SPARSE sets. */
const keptAttributes = settableAttributes | FileAttribute.sparse;

/** What a file has that nobody set attributes on: every new file is due for archiving (MS-FSA 2.1.5.1.1). */
export function defaultAttributes(stat: Stat): number {
  if (isDirectory(stat)) return 0;
  return FileAttribute.archive | ((stat.mode & 0o222) === 0 ? FileAttribute.readonly : 0);
}

/** What is kept of a file after a client has set `wanted` (MS-FSA 2.1.5.15.2): FILE_ATTRIBUTE_NORMAL takes all others away. */
export function attributesAfter(stored: StoredAttributes, wanted: number): number {
  return (wanted & settableAttributes) | ((stored.attributes ?? 0) & FileAttribute.sparse);
}

/** The attributes as clients see them. */
export function fileAttributes(stat: Stat, stored: StoredAttributes): number {
  const kept = (stored.attributes ?? defaultAttributes(stat)) & keptAttributes;
  const own = stat.isCompressed ? kept | FileAttribute.compressed : kept;
  if (isDirectory(stat)) return own | FileAttribute.directory;
  return own === 0 ? FileAttribute.normal : own;
}

/** FILETIME; where the file system keeps no time of birth, the earliest time known. */
export function creationTime(stat: Stat, stored: StoredAttributes): bigint {
  if (stored.creationTime !== undefined) return stored.creationTime;
  if (stat.birthTime !== 0n) return stat.birthTime;
  if (stat.writeTime < stat.changeTime) return stat.writeTime;
  return stat.changeTime;
}

/** FILETIME. */
export function changeTime(stat: Stat, { changeTime: set }: StoredAttributes): bigint {
  return set !== undefined && set.atWriteTime === stat.writeTime ? set.value : stat.changeTime;
}
