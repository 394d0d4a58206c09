import { FileAttribute } from '../../smb/fscc/constants.ts';
import { isDirectory, type Stat } from './posix.ts';

/** The extended attribute that holds what POSIX has no place for. */
export const ATTRIBUTE_NAME = 'user.holdfast';
/** Large enough for any version of it; a file system's own limit is 64 KiB. */
export const ATTRIBUTE_MAXIMUM_SIZE = 4096;

/** What the attribute holds. A field that is undefined was never set: the default is derived from the file. */
export interface StoredAttributes {
  /** FileAttribute; without directory and normal, which follow from the file. */
  attributes: number | undefined;
  /** FILETIME. */
  creationTime: bigint | undefined;
  /** What a newer version wrote behind, kept as it is. */
  rest: Buffer;
}

const VERSION = 1;
const HAS_ATTRIBUTES = 0x1;
const HAS_CREATION_TIME = 0x2;
const FIXED_SIZE = 16;
const NOTHING = Buffer.alloc(0);

export const noAttributes: StoredAttributes = { attributes: undefined, creationTime: undefined, rest: NOTHING };

/** Layout: version 1 byte, flags 1, reserved 2, attributes 4, creation time 8, then what later versions add. */
export function decodeAttributes(bytes: Buffer): StoredAttributes {
  if (bytes.length < FIXED_SIZE || bytes[0] !== VERSION) return noAttributes;
  const flags = bytes.readUInt8(1);
  return {
    attributes: (flags & HAS_ATTRIBUTES) !== 0 ? bytes.readUInt32LE(4) : undefined,
    creationTime: (flags & HAS_CREATION_TIME) !== 0 ? bytes.readBigInt64LE(8) : undefined,
    rest: bytes.length === FIXED_SIZE ? NOTHING : Buffer.from(bytes.subarray(FIXED_SIZE)),
  };
}

export function encodeAttributes(stored: StoredAttributes): Buffer {
  const bytes = Buffer.alloc(FIXED_SIZE + stored.rest.length);
  bytes.writeUInt8(VERSION, 0);
  const flags =
    (stored.attributes === undefined ? 0 : HAS_ATTRIBUTES) |
    (stored.creationTime === undefined ? 0 : HAS_CREATION_TIME);
  bytes.writeUInt8(flags, 1);
  bytes.writeUInt32LE((stored.attributes ?? 0) >>> 0, 4);
  bytes.writeBigInt64LE(stored.creationTime ?? 0n, 8);
  stored.rest.copy(bytes, FIXED_SIZE);
  return bytes;
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

/** What a file has that nobody set attributes on: every new file is due for archiving (MS-FSA 2.1.5.1.1). */
export function defaultAttributes(stat: Stat): number {
  if (isDirectory(stat)) return 0;
  return FileAttribute.archive | ((stat.mode & 0o222) === 0 ? FileAttribute.readonly : 0);
}

/** The attributes as clients see them. */
export function fileAttributes(stat: Stat, stored: StoredAttributes): number {
  const own = (stored.attributes ?? defaultAttributes(stat)) & settableAttributes;
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
