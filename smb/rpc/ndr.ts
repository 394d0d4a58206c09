import { WireError } from '../wire/errors.ts';

/** Reads NDR20, little-endian (C706 chapter 14). Alignment counts from the start of the stub. Throws WireError. */
export class NdrReader {
  readonly #stub: Buffer;
  #at = 0;

  constructor(stub: Buffer) {
    this.#stub = stub;
  }

  u32(): number {
    this.#align(4);
    if (this.#at + 4 > this.#stub.length) throw new WireError('NDR: stub is cut off');
    this.#at += 4;
    return this.#stub.readUInt32LE(this.#at - 4);
  }

  /** A conformant and varying string with its terminating zero, as `[string] wchar_t *` points to. */
  string(): string {
    const maximum = this.u32();
    const offset = this.u32();
    const actual = this.u32();
    if (offset !== 0 || actual > maximum) throw new WireError('NDR: string of impossible size');
    const end = this.#at + 2 * actual;
    if (end > this.#stub.length) throw new WireError('NDR: string is cut off');
    const value = this.#stub.toString('utf16le', this.#at, end);
    this.#at = end;
    const terminator = value.indexOf('\0');
    return terminator < 0 ? value : value.slice(0, terminator);
  }

  /** A unique pointer to a string, at the top level: what it points to follows at once. */
  uniqueString(): string | undefined {
    return this.u32() === 0 ? undefined : this.string();
  }

  #align(size: number): void {
    this.#at = Math.ceil(this.#at / size) * size;
  }
}

/** Writes NDR20, little-endian. */
export class NdrWriter {
  readonly #parts: Buffer[] = [];
  #length = 0;
  #nextReferent = 0x00020000;

  u32(value: number): this {
    this.#align(4);
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value >>> 0);
    return this.#push(part);
  }

  /** A pointer that is not null; its referent must be written later, in order. */
  pointer(): this {
    this.#nextReferent += 4;
    return this.u32(this.#nextReferent);
  }

  null(): this {
    return this.u32(0);
  }

  string(value: string): this {
    const units = value.length + 1;
    this.u32(units).u32(0).u32(units);
    return this.#push(Buffer.from(`${value}\0`, 'utf16le'));
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #align(size: number): void {
    const rest = this.#length % size;
    if (rest !== 0) this.#push(Buffer.alloc(size - rest));
  }

  #push(part: Buffer): this {
    this.#parts.push(part);
    this.#length += part.length;
    return this;
  }
}
