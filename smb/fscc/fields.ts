import { WireError } from '../wire/errors.ts';

/** Throws WireError unless `length` bytes lie at `at`. */
export function requireBytes(buffer: Buffer, at: number, length: number, what: string): void {
  if (at < 0 || length < 0 || at + length > buffer.length) {
    throw new WireError(`${what}: ${length} bytes at ${at} are not within ${buffer.length} bytes`);
  }
}

/** A 64-bit size or offset as number. Throws WireError when it is negative or above 2^53 - 1: no file is that large. */
export function readSize64(buffer: Buffer, at: number, what: string): number {
  const high = buffer.readUInt32LE(at + 4);
  if (high > 0x1fffff) throw new WireError(`${what}: 64-bit size out of range`);
  return high * 0x1_0000_0000 + buffer.readUInt32LE(at);
}

/** Writes a size or offset (0 .. 2^53 - 1) as 64 bits. */
export function writeSize64(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value % 0x1_0000_0000, at);
  buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

/** UTF-16LE text of `length` bytes at `at`. Throws WireError when it is out of bounds or odd. */
export function readUtf16(buffer: Buffer, at: number, length: number, what: string): string {
  requireBytes(buffer, at, length, what);
  if (length % 2 !== 0) throw new WireError(`${what}: UTF-16 of odd length ${length}`);
  return buffer.toString('utf16le', at, at + length);
}

/** Rounds up to a multiple of 8 (of 4). */
export const align8 = (length: number): number => (length + 7) & ~7;
export const align4 = (length: number): number => (length + 3) & ~3;

/** How a field lies on the wire. `time` is a signed 64-bit FILETIME (-1 and -2 have a meaning in SET_INFO). */
export type FieldKind = 'u8' | 'bool' | 'u16' | 'u32' | 'u64' | 'time' | 'size64' | 'guid' | 'id128';

type ValueOf<K extends FieldKind> = K extends 'bool'
  ? boolean
  : K extends 'u64' | 'time'
    ? bigint
    : K extends 'guid' | 'id128'
      ? Buffer
      : number;

/** Fields of a structure of fixed layout: name -> [kind, offset]. */
export type Layout = Record<string, readonly [kind: FieldKind, offset: number]>;
export type Decoded<L extends Layout> = { -readonly [N in keyof L]: ValueOf<L[N][0]> };

/** Encode and decode of one information class. */
export interface Codec<T> {
  /** As the specification names it; used in error messages. */
  readonly name: string;
  /** Bytes of the fixed part; SET_INFO with fewer is STATUS_INFO_LENGTH_MISMATCH (MS-FSCC names this per class). */
  readonly minimumSize: number;
  /**
   * QUERY_INFO with a smaller output buffer is STATUS_INFO_LENGTH_MISMATCH. It is the size of the C structure, with its
   * padding: so Windows has it.
   */
  readonly queryMinimumSize: number;
  /** Bytes that `write` needs. */
  size(value: T): number;
  /** Writes at `at` (every byte, reserved ones as 0) and returns the bytes written. `into` must be large enough. */
  write(value: T, into: Buffer, at: number): number;
  encode(value: T): Buffer;
  /** Throws WireError. Buffers in the result are views. Bytes behind the structure are ignored. */
  decode(buffer: Buffer): T;
}

/** Completes a codec from what is particular to it. */
export function codec<T>(
  parts: Omit<Codec<T>, 'encode' | 'queryMinimumSize'> & { queryMinimumSize?: number },
): Codec<T> {
  const decode = parts.decode;
  return {
    ...parts,
    queryMinimumSize: parts.queryMinimumSize ?? parts.minimumSize,
    encode(value) {
      const buffer = Buffer.alloc(parts.size(value));
      parts.write(value, buffer, 0);
      return buffer;
    },
    decode(buffer) {
      requireBytes(buffer, 0, parts.minimumSize, parts.name);
      return decode(buffer);
    },
  };
}

function readField(buffer: Buffer, kind: FieldKind, at: number, name: string): number | bigint | boolean | Buffer {
  switch (kind) {
    case 'u8':
      return buffer.readUInt8(at);
    case 'bool':
      return buffer.readUInt8(at) !== 0;
    case 'u16':
      return buffer.readUInt16LE(at);
    case 'u32':
      return buffer.readUInt32LE(at);
    case 'u64':
      return buffer.readBigUInt64LE(at);
    case 'time':
      return buffer.readBigInt64LE(at);
    case 'size64':
      return readSize64(buffer, at, name);
    case 'guid':
    case 'id128':
      return buffer.subarray(at, at + 16);
  }
}

function writeField(buffer: Buffer, kind: FieldKind, at: number, value: unknown): void {
  switch (kind) {
    case 'u8':
      buffer.writeUInt8(value as number, at);
      break;
    case 'bool':
      buffer.writeUInt8(value ? 1 : 0, at);
      break;
    case 'u16':
      buffer.writeUInt16LE(value as number, at);
      break;
    case 'u32':
      buffer.writeUInt32LE((value as number) >>> 0, at);
      break;
    case 'u64':
    case 'time':
      buffer.writeBigUInt64LE(BigInt.asUintN(64, value as bigint), at);
      break;
    case 'size64':
      writeSize64(buffer, at, value as number);
      break;
    case 'guid':
    case 'id128':
      (value as Buffer).copy(buffer, at, 0, 16);
      break;
  }
}

/** Codec of a structure of fixed layout and size. */
export function fixedCodec<const L extends Layout>(name: string, size: number, layout: L): Codec<Decoded<L>> {
  const fields = Object.entries(layout).map(([field, [kind, offset]]) => ({ field, kind, offset }));
  return codec<Decoded<L>>({
    name,
    minimumSize: size,
    size: () => size,
    write(value, into, at) {
      into.fill(0, at, at + size);
      const values = value as Record<string, unknown>;
      for (const { field, kind, offset } of fields) writeField(into, kind, at + offset, values[field]);
      return size;
    },
    decode(buffer) {
      const values: Record<string, unknown> = {};
      for (const { field, kind, offset } of fields) values[field] = readField(buffer, kind, offset, name);
      return values as Decoded<L>;
    },
  });
}
