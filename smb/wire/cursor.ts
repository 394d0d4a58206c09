import { WireError } from './errors.ts';
import { GUID_SIZE } from './guid.ts';

const TWO_32 = 0x1_0000_0000;
/** The high half of the largest safe integer: 2^53 - 1 has 21 bits above the low 32. */
const MAX_SAFE_HIGH = 0x1f_ffff;

export const EMPTY: Buffer = Buffer.alloc(0);

/** SMB2_FILEID (MS-SMB2 2.2.14.1). */
export interface FileId {
  persistent: bigint;
  volatile: bigint;
}

/** Reads a 64-bit unsigned integer as a number; throws WireError above Number.MAX_SAFE_INTEGER. The caller checks bounds. */
export function readSafeU64(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32LE(at + 4);
  if (high > MAX_SAFE_HIGH) throw new WireError(`64-bit value at byte ${at} is beyond 2^53 - 1`);
  return high * TWO_32 + bytes.readUInt32LE(at);
}

const MAX_INT64 = 0x7fff_ffff_ffff_ffffn;

/**
 * Reads where a READ or WRITE of `length` bytes is to happen. Beyond 2^53 - 1, where no file has data, it gives 2^53 - 1: the
 * answer is an ordinary one there (end of file, nothing to write, too large). A range that leaves the signed 64-bit
 * numbers throws WireError, as Windows answers STATUS_INVALID_PARAMETER.
 */
export function readPosition(bytes: Buffer, at: number, length: number): number {
  if (bytes.readUInt32LE(at + 4) <= MAX_SAFE_HIGH) return readSafeU64(bytes, at);
  if (bytes.readBigUInt64LE(at) + BigInt(length) > MAX_INT64)
    throw new WireError('position and length leave the 64-bit integers');
  return Number.MAX_SAFE_INTEGER;
}

/** Writes a number as a 64-bit unsigned integer; throws WireError if it is negative, fractional or not safe. */
export function writeSafeU64(bytes: Buffer, value: number, at: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new WireError(`${value} is no unsigned 64-bit size or offset`);
  bytes.writeUInt32LE(value % TWO_32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}

/**
 * Reads little-endian fields one after another within [at, end) of a buffer. Whatever lies outside is a WireError.
 * Byte fields are views on the buffer, not copies.
 */
export class WireReader {
  readonly bytes: Buffer;
  readonly what: string;
  at: number;
  readonly end: number;

  /** `what` names the structure in errors. */
  constructor(bytes: Buffer, what: string, at = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.what = what;
    this.at = at;
    this.end = end;
    if (at < 0 || at > end || end > bytes.length) throw this.error('lies outside of its message');
  }

  error(problem: string): WireError {
    return new WireError(`${this.what}: ${problem}`);
  }

  get remaining(): number {
    return this.end - this.at;
  }

  #take(size: number): number {
    const at = this.at;
    if (size > this.end - at) throw this.error(`needs ${size} bytes at ${at}, has ${this.end - at}`);
    this.at = at + size;
    return at;
  }

  u8(): number {
    return this.bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.bytes.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.bytes.readUInt32LE(this.#take(4));
  }

  /** A 64-bit identifier or time. */
  u64(): bigint {
    return this.bytes.readBigUInt64LE(this.#take(8));
  }

  /** A 64-bit size or offset, as a number. */
  size64(): number {
    return readSafeU64(this.bytes, this.#take(8));
  }

  skip(size: number): void {
    this.#take(size);
  }

  view(size: number): Buffer {
    const at = this.#take(size);
    return this.bytes.subarray(at, at + size);
  }

  guid(): Buffer {
    return this.view(GUID_SIZE);
  }

  fileId(): FileId {
    return { persistent: this.u64(), volatile: this.u64() };
  }

  /** UTF-16LE text of `size` bytes. */
  text(size: number): string {
    if (size % 2 !== 0) throw this.error(`UTF-16 text of ${size} bytes`);
    const at = this.#take(size);
    return this.bytes.toString('utf16le', at, at + size);
  }

  /**
   * The `length` bytes at `offset` of the buffer, wherever the cursor is: how SMB2 points at its variable parts. They may
   * not begin before `least`, the end of the fixed part. Length 0 is empty whatever the offset says, as senders leave
   * it arbitrary.
   */
  range(offset: number, length: number, least: number): Buffer {
    if (length === 0) return EMPTY;
    if (offset < least || offset > this.end || length > this.end - offset) {
      throw this.error(`${length} bytes at offset ${offset} lie outside of [${least}, ${this.end})`);
    }
    return this.bytes.subarray(offset, offset + length);
  }

  /** The same as UTF-16LE text. */
  textRange(offset: number, length: number, least: number): string {
    if (length % 2 !== 0) throw this.error(`UTF-16 text of ${length} bytes`);
    return this.range(offset, length, least).toString('utf16le');
  }
}

/** Appends little-endian fields to a buffer that grows as needed; `finish` gives what was written. */
export class WireWriter {
  #bytes: Buffer;
  #at = 0;

  /** `sizeHint`: the expected size in bytes; right guesses save copies. */
  constructor(sizeHint = 128) {
    this.#bytes = Buffer.allocUnsafe(sizeHint);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  /** Makes room for `size` bytes; `#bytes` may be another buffer afterwards, so ask before you name it. */
  #room(size: number): number {
    const at = this.#at;
    const end = at + size;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    this.#at = end;
    return at;
  }

  #fits(value: number, most: number): number {
    if (!Number.isInteger(value) || value < 0 || value > most) throw new WireError(`${value} does not fit 0..${most}`);
    return value;
  }

  u8(value: number): this {
    this.#fits(value, 0xff);
    const at = this.#room(1);
    this.#bytes.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    this.#fits(value, 0xffff);
    const at = this.#room(2);
    this.#bytes.writeUInt16LE(value, at);
    return this;
  }

  u32(value: number): this {
    this.#fits(value, 0xffff_ffff);
    const at = this.#room(4);
    this.#bytes.writeUInt32LE(value, at);
    return this;
  }

  u64(value: bigint): this {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw new WireError(`${value} does not fit 64 bits`);
    const at = this.#room(8);
    this.#bytes.writeBigUInt64LE(value, at);
    return this;
  }

  size64(value: number): this {
    const at = this.#room(8);
    writeSafeU64(this.#bytes, value, at);
    return this;
  }

  zeros(size: number): this {
    const at = this.#room(size);
    this.#bytes.fill(0, at, at + size);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  guid(guid: Buffer): this {
    if (guid.length !== GUID_SIZE) throw new WireError(`a GUID has ${GUID_SIZE} bytes, this has ${guid.length}`);
    return this.raw(guid);
  }

  fileId(id: FileId): this {
    return this.u64(id.persistent).u64(id.volatile);
  }

  /** UTF-16LE, no terminator. */
  text(text: string): this {
    const at = this.#room(text.length * 2);
    this.#bytes.write(text, at, 'utf16le');
    return this;
  }

  /** Zeros up to the next multiple of `alignment` bytes, counted from the start of what is written. */
  align(alignment: number): this {
    return this.zeros((alignment - (this.#at % alignment)) % alignment);
  }

  patchU16(at: number, value: number): this {
    this.#bytes.writeUInt16LE(this.#fits(value, 0xffff), at);
    return this;
  }

  patchU32(at: number, value: number): this {
    this.#bytes.writeUInt32LE(this.#fits(value, 0xffff_ffff), at);
    return this;
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }
}
