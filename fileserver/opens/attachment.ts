/** What an Open is beyond what the table knows: it moves with the open from server to server, packed in its record. */
export interface Attachment {
  /** CreateOptions.* as they were asked for. */
  createOptions: number;
  /** CreateAction.*: what CREATE did; a replay is answered with it. */
  createAction: number;
  /** FileModeInformation (MS-FSCC 2.4.31). */
  mode: number;
  /** FilePositionInformation. */
  position: number;
  /** The persistence that was granted, and its timeout as answered, in ms. */
  timeoutMs: number;
  /** FILETIME that SET_INFO set or froze with -1: WRITE does not change it (MS-FSCC 2.4.7, MS-FSA UserSetModificationTime). */
  frozenWriteTime: bigint | undefined;
  /** A change time that was set through this handle, or frozen, stays when attributes change through it later. */
  keepsChangeTime: boolean;
}

const VERSION = 1;
/** Without and with times that SET_INFO has set. */
const FIRST_SIZE = 28;
const SIZE = 40;
const KEEPS_CHANGE_TIME = 0x1;

export const emptyAttachment: Attachment = {
  createOptions: 0,
  createAction: 1,
  mode: 0,
  position: 0,
  timeoutMs: 0,
  frozenWriteTime: undefined,
  keepsChangeTime: false,
};

export function encodeAttachment(attachment: Attachment): Buffer {
  const { frozenWriteTime, keepsChangeTime } = attachment;
  const hasTimes = frozenWriteTime !== undefined || keepsChangeTime;
  // Of the pool, unlike what Buffer.alloc gives.
  const bytes = Buffer.allocUnsafe(hasTimes ? SIZE : FIRST_SIZE).fill(0);
  bytes.writeUInt8(VERSION, 0);
  bytes.writeUInt8(attachment.createAction, 1);
  bytes.writeUInt32LE(attachment.createOptions >>> 0, 4);
  bytes.writeUInt32LE(attachment.mode >>> 0, 8);
  bytes.writeBigUInt64LE(BigInt(attachment.position), 12);
  bytes.writeUInt32LE(attachment.timeoutMs >>> 0, 20);
  if (hasTimes) {
    bytes.writeBigInt64LE(frozenWriteTime ?? 0n, 28);
    bytes.writeUInt32LE(keepsChangeTime ? KEEPS_CHANGE_TIME : 0, 36);
  }
  return bytes;
}

/** A later version keeps these fields where they are, and adds behind them. */
export function decodeAttachment(bytes: Buffer): Attachment {
  if (bytes.length < FIRST_SIZE || (bytes[0] ?? 0) < VERSION) return emptyAttachment;
  const hasTimes = bytes.length >= SIZE;
  const frozenWriteTime = hasTimes ? bytes.readBigInt64LE(28) : 0n;
  return {
    createAction: bytes.readUInt8(1),
    createOptions: bytes.readUInt32LE(4),
    mode: bytes.readUInt32LE(8),
    position: Number(bytes.readBigUInt64LE(12)),
    timeoutMs: bytes.readUInt32LE(20),
    frozenWriteTime: frozenWriteTime === 0n ? undefined : frozenWriteTime,
    keepsChangeTime: hasTimes && (bytes.readUInt32LE(36) & KEEPS_CHANGE_TIME) !== 0,
  };
}
