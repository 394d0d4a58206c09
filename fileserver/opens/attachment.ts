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
}

const VERSION = 1;
const SIZE = 28;

export const emptyAttachment: Attachment = { createOptions: 0, createAction: 1, mode: 0, position: 0, timeoutMs: 0 };

export function encodeAttachment(attachment: Attachment): Buffer {
  // Of the pool, unlike what Buffer.alloc gives.
  const bytes = Buffer.allocUnsafe(SIZE).fill(0);
  bytes.writeUInt8(VERSION, 0);
  bytes.writeUInt8(attachment.createAction, 1);
  bytes.writeUInt32LE(attachment.createOptions >>> 0, 4);
  bytes.writeUInt32LE(attachment.mode >>> 0, 8);
  bytes.writeBigUInt64LE(BigInt(attachment.position), 12);
  bytes.writeUInt32LE(attachment.timeoutMs >>> 0, 20);
  return bytes;
}

/** A later version keeps these fields where they are, and adds behind them. */
export function decodeAttachment(bytes: Buffer): Attachment {
  if (bytes.length < SIZE || (bytes[0] ?? 0) < VERSION) return emptyAttachment;
  return {
    createAction: bytes.readUInt8(1),
    createOptions: bytes.readUInt32LE(4),
    mode: bytes.readUInt32LE(8),
    position: Number(bytes.readBigUInt64LE(12)),
    timeoutMs: bytes.readUInt32LE(20),
  };
}
