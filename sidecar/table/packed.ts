/**
 * Calls and answers of scripts as one string each: the part of MessagePack that Redis' cmsgpack reads and writes for lists of bytes and
 * whole numbers. One string costs Redis, Lua and this process a fraction of what a list of arguments or a nested reply does.
 */

export type Argument = string | number | Buffer;
/** What a script returns: numbers, bytes, and lists of them. */
export type Answer = (number | Buffer | null | Answer)[];

/** Grows as needed and is used again for every call: what `pack` returns is valid until the next one. */
let buffer = Buffer.allocUnsafe(64 * 1024);
const MOST_HEADER_BYTES = 5;
/** Answers are a few lists deep; cmsgpack itself ends at 16. */
const DEEPEST = 16;

export interface Call {
  script: string;
  keys: readonly string[];
  args: readonly Argument[];
  /** A key to set before the script runs. */
  hint: { key: string; value: Buffer } | undefined;
}

/**
 * {script, prefix of the keys, {their rests}, {arguments}, hint's key or '', hint's value}: the keys of a call share their hash tag and
 * all before it. Numbers travel as text, as they do in Redis' own protocol.
 */
export function packCall(call: Call): Buffer {
  let at = 0;
  const { script, keys, args, hint } = call;
  const prefix = keys[0]?.slice(0, keys[0].indexOf('}') + 1) ?? '';
  at = putHeader(at, 0x90, 6);
  at = putBytes(at, script);
  at = putBytes(at, prefix);
  at = putHeader(at, 0x90, keys.length);
  for (const key of keys) at = putBytes(at, key.slice(prefix.length));
  at = putList(at, args);
  at = putBytes(at, hint?.key ?? '');
  at = putBytes(at, hint?.value ?? '');
  return Buffer.from(buffer.subarray(0, at));
}

function putList(start: number, list: readonly Argument[]): number {
  let at = putHeader(start, 0x90, list.length);
  for (const item of list) at = putBytes(at, item);
  return at;
}

/** Lists of up to 15 in the short form (0x90), others with 16 bits of length. */
function putHeader(at: number, short: number, length: number): number {
  reserve(at, MOST_HEADER_BYTES);
  if (length < 16) {
    buffer[at] = short | length;
    return at + 1;
  }
  buffer[at] = 0xdc;
  buffer.writeUInt16BE(length, at + 1);
  return at + 3;
}

function putBytes(at: number, item: Argument): number {
  if (typeof item === 'number') return putBytes(at, String(item));
  if (typeof item === 'string') {
    // Three bytes a character at most, so that one look at the length is enough; the header's form follows from that bound.
    const bound = item.length * 3;
    reserve(at, bound + MOST_HEADER_BYTES);
    const headerBytes = bound < 32 ? 1 : bound < 65_536 ? 3 : 5;
    const length = buffer.write(item, at + headerBytes, 'utf8');
    putLength(at, headerBytes, length);
    return at + headerBytes + length;
  }
  const headerBytes = item.length < 32 ? 1 : item.length < 65_536 ? 3 : 5;
  reserve(at, item.length + MOST_HEADER_BYTES);
  putLength(at, headerBytes, item.length);
  buffer.set(item, at + headerBytes);
  return at + headerBytes + item.length;
}

function putLength(at: number, headerBytes: number, length: number): void {
  if (headerBytes === 1) {
    buffer[at] = 0xa0 | length;
  } else if (headerBytes === 3) {
    buffer[at] = 0xda;
    buffer[at + 1] = length >>> 8;
    buffer[at + 2] = length & 0xff;
  } else {
    buffer[at] = 0xdb;
    buffer.writeUInt32BE(length, at + 1);
  }
}

function reserve(at: number, bytes: number): void {
  if (at + bytes <= buffer.length) return;
  const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes));
  buffer.copy(larger, 0, 0, at);
  buffer = larger;
}

/**
 * Reads what cmsgpack.pack made of a list of lists.
 * @returns byte strings as views of `packed`, false as null
 * @throws RangeError for anything that the scripts do not answer
 */
export function unpack(packed: Buffer): Answer {
  const reader: Reader = { at: 0, depth: 0 };
  const value = readValue(packed, reader);
  if (!Array.isArray(value)) throw new RangeError('a packed answer is a list');
  return value;
}

interface Reader {
  at: number;
  depth: number;
}

function readValue(packed: Buffer, reader: Reader): Answer[number] {
  const type = packed.readUInt8(reader.at++);
  if (type < 0x80) return type;
  if (type >= 0xe0) return type - 0x100;
  if ((type & 0xf0) === 0x90) return readList(packed, reader, type & 0x0f);
  if ((type & 0xe0) === 0xa0) return readBytes(packed, reader, type & 0x1f);
  switch (type) {
    case 0xc0:
    case 0xc2:
      return null;
    case 0xc3:
      return 1;
    case 0xca:
      return packed.readFloatBE(skip(reader, 4));
    case 0xcb:
      return packed.readDoubleBE(skip(reader, 8));
    case 0xcc:
      return packed.readUInt8(skip(reader, 1));
    case 0xcd:
      return packed.readUInt16BE(skip(reader, 2));
    case 0xce:
      return packed.readUInt32BE(skip(reader, 4));
    case 0xcf:
      return Number(packed.readBigUInt64BE(skip(reader, 8)));
    case 0xd0:
      return packed.readInt8(skip(reader, 1));
    case 0xd1:
      return packed.readInt16BE(skip(reader, 2));
    case 0xd2:
      return packed.readInt32BE(skip(reader, 4));
    case 0xd3:
      return Number(packed.readBigInt64BE(skip(reader, 8)));
    case 0xd9:
      return readBytes(packed, reader, packed.readUInt8(skip(reader, 1)));
    case 0xda:
      return readBytes(packed, reader, packed.readUInt16BE(skip(reader, 2)));
    case 0xdb:
      return readBytes(packed, reader, packed.readUInt32BE(skip(reader, 4)));
    case 0xdc:
      return readList(packed, reader, packed.readUInt16BE(skip(reader, 2)));
    case 0xdd:
      return readList(packed, reader, packed.readUInt32BE(skip(reader, 4)));
    default:
      throw new RangeError(`a packed answer has an item of type ${type.toString(16)}`);
  }
}

function skip(reader: Reader, bytes: number): number {
  const { at } = reader;
  reader.at += bytes;
  return at;
}

function readBytes(packed: Buffer, reader: Reader, length: number): Buffer {
  const at = skip(reader, length);
  if (reader.at > packed.length) throw new RangeError('a packed answer ends early');
  return packed.subarray(at, reader.at);
}

function readList(packed: Buffer, reader: Reader, length: number): Answer {
  // Every item has at least a byte.
  if (length > packed.length - reader.at) throw new RangeError('a packed answer ends early');
  if (++reader.depth > DEEPEST) throw new RangeError('a packed answer is nested too deep');
  const list: Answer = [];
  for (let i = 0; i < length; i++) list.push(readValue(packed, reader));
  reader.depth--;
  return list;
}
