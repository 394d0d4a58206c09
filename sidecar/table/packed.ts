/**
 * Calls, records and answers as one string each: the part of MessagePack that Redis' cmsgpack reads and writes for lists and maps of
 * bytes and whole numbers. One string costs Redis, Lua and this process a fraction of what a list of arguments or a nested reply does.
 */

export type Argument = string | number | Buffer;
/** What a script returns: numbers, bytes, and lists of them. */
export type Answer = (number | Buffer | null | Answer)[];

/** A header and, for numbers, what follows it. */
const MOST_HEADER_BYTES = 9;
/** Before bytes whose number is not known yet: as for the longest. */
const NESTED_HEADER_BYTES = 5;
/** Answers are a few lists deep; cmsgpack itself ends at 16. */
const DEEPEST = 16;

/**
 * Writes values one after the other, in the very bytes that cmsgpack.pack would choose for them: what scripts compare as strings may be
 * packed on either side.
 */
export class Packer {
  /** Grows as needed, and is used again. */
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #at = 0;

  /** A copy of what was written; the next value begins anew. */
  take(): Buffer {
    const at = this.#at;
    this.#at = 0;
    return Buffer.from(this.#buffer.subarray(0, at));
  }

  /** `length` values follow. */
  list(length: number): this {
    return this.#collection(length, 0x90, 0xdc);
  }

  /** `size` pairs of key and value follow. */
  map(size: number): this {
    return this.#collection(size, 0x80, 0xde);
  }

  no(): this {
    this.#reserve(1);
    this.#buffer[this.#at++] = 0xc2;
    return this;
  }

  /** -1: the one negative number there is. */
  negativeOne(): this {
    this.#reserve(1);
    this.#buffer[this.#at++] = 0xff;
    return this;
  }

  /** A whole number that is not negative. */
  number(value: number): this {
    this.#reserve(MOST_HEADER_BYTES);
    const buffer = this.#buffer;
    if (value < 0x80) {
      buffer[this.#at++] = value;
    } else if (value <= 0xff) {
      buffer[this.#at++] = 0xcc;
      buffer[this.#at++] = value;
    } else if (value <= 0xffff) {
      buffer[this.#at++] = 0xcd;
      this.#at = buffer.writeUInt16BE(value, this.#at);
    } else if (value <= 0xffff_ffff) {
      buffer[this.#at++] = 0xce;
      this.#at = buffer.writeUInt32BE(value, this.#at);
    } else {
      buffer[this.#at++] = 0xcf;
      this.#at = buffer.writeBigUInt64BE(BigInt(value), this.#at);
    }
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#reserve(value.length + MOST_HEADER_BYTES);
    this.#length(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  text(value: string): this {
    this.#reserve(value.length * 3 + MOST_HEADER_BYTES); // at most three bytes a character
    const buffer = this.#buffer;
    if (value.length < SHORT) {
      // Most are short and of one byte a character: written where they belong if so.
      const length = buffer.write(value, this.#at + 1);
      if (length < SHORT) {
        buffer[this.#at] = 0xa0 | length;
        this.#at += 1 + length;
        return this;
      }
    }
    this.#length(Buffer.byteLength(value));
    this.#at += buffer.write(value, this.#at);
    return this;
  }

  /** An id as eight bytes, the highest first. */
  id(value: bigint): this {
    this.#reserve(MOST_HEADER_BYTES);
    this.#buffer[this.#at++] = 0xa8;
    this.#at = this.#buffer.writeBigUInt64BE(value, this.#at);
    return this;
  }

  /** What is written until `end` is one string of bytes. @returns what `end` wants */
  begin(): number {
    this.#reserve(NESTED_HEADER_BYTES);
    this.#at += NESTED_HEADER_BYTES;
    return this.#at;
  }

  end(began: number): this {
    this.#buffer[began - NESTED_HEADER_BYTES] = 0xdb;
    this.#buffer.writeUInt32BE(this.#at - began, began - NESTED_HEADER_BYTES + 1);
    return this;
  }

  /** What a Packer made before. */
  packed(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** Numbers travel as text, as they do in Redis' own protocol. */
  argument(value: Argument): this {
    if (typeof value === 'string') return this.text(value);
    return typeof value === 'number' ? this.text(String(value)) : this.bytes(value);
  }

  #collection(length: number, short: number, long: number): this {
    this.#reserve(MOST_HEADER_BYTES);
    if (length < 16) {
      this.#buffer[this.#at++] = short | length;
    } else {
      this.#buffer[this.#at++] = long;
      this.#at = this.#buffer.writeUInt16BE(length, this.#at);
    }
    return this;
  }

  #length(length: number): void {
    const buffer = this.#buffer;
    if (length < SHORT) {
      buffer[this.#at++] = 0xa0 | length;
    } else if (length <= 0xff) {
      buffer[this.#at++] = 0xd9;
      buffer[this.#at++] = length;
    } else if (length <= 0xffff) {
      buffer[this.#at++] = 0xda;
      this.#at = buffer.writeUInt16BE(length, this.#at);
    } else {
      buffer[this.#at++] = 0xdb;
      this.#at = buffer.writeUInt32BE(length, this.#at);
    }
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/** Bytes and text below this length have a header of one byte. */
const SHORT = 32;

/** Arguments one by one, or as a packed list of strings and bytes. */
export type Arguments = readonly Argument[] | Buffer;

/** Arguments as a script that is called alone takes them. */
export function argumentList(args: Arguments): readonly Argument[] {
  return Buffer.isBuffer(args) ? (unpack(args) as Buffer[]) : args;
}

/** store, fence, file, own and due, of one shard: they share all up to their hash tag. A script may be given more, or fewer. */
export type CallKeys = readonly string[] | FileKeys;

/** The keys of a decision on a file: written out where the script is called alone. */
export interface FileKeys {
  /** Of the shard, up to the colon behind the hash tag. */
  readonly prefix: string;
  /** What comes behind that in the file's key. */
  readonly file: string;
  all(): string[];
}

/** A decision on a file, as batch.lua takes it. */
export interface Call {
  script: string;
  keys: CallKeys;
  args: Arguments;
  /** A key to set before the script runs. */
  hint: { key: string; value: Buffer } | undefined;
  /** A key to remove when the script has granted. */
  forget?: string | undefined;
}

/**
 * script, prefix of the keys, rest of the file's key, key to set or '', its value, key to forget or '', {arguments}: the keys of a call
 * share their hash tag and all before it, and the others follow from it.
 */
export function packCall(packer: Packer, { script, keys, args, hint, forget }: Call): void {
  packer.text(script);
  if ('prefix' in keys) {
    packer.text(keys.prefix).text(keys.file);
  } else {
    const file = keys[2] ?? '';
    const prefixLength = file.indexOf('}') + 2; // with the colon behind it
    packer.text(file.slice(0, prefixLength)).text(file.slice(prefixLength));
  }
  packer
    .text(hint?.key ?? '')
    .bytes(hint?.value ?? NO_BYTES)
    .text(forget ?? '');
  if (Buffer.isBuffer(args)) {
    packer.packed(args);
    return;
  }
  packer.list(args.length);
  for (const argument of args) packer.argument(argument);
}

const NO_BYTES = Buffer.alloc(0);

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
