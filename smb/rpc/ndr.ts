import { decodeSid, encodeSid, type Sid } from '../security/sid.ts';
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

  u16(): number {
    this.#align(2);
    return this.raw(2).readUInt16LE(0);
  }

  /** A view on bytes that have no alignment. */
  raw(size: number): Buffer {
    if (this.#at + size > this.#stub.length) throw new WireError('NDR: stub is cut off');
    this.#at += size;
    return this.#stub.subarray(this.#at - size, this.#at);
  }

  /** LSAPR_SID_ENUM_BUFFER (MS-LSAT 2.2.17): SIDs by pointers. */
  sidList(most: number): Sid[] {
    const count = this.u32();
    if (this.u32() === 0) return [];
    if (count > most || this.u32() !== count) throw new WireError('NDR: an impossible number of SIDs');
    for (let i = 0; i < count; i++) if (this.u32() === 0) throw new WireError('NDR: a SID is missing');
    return Array.from({ length: count }, () => this.#sid());
  }

  /** RPC_SID (MS-DTYP 2.4.2.3), whose size goes before it. */
  #sid(): Sid {
    const subAuthorities = this.u32();
    const { sid, size } = decodeSid(this.#stub, this.#at);
    if (size !== 8 + 4 * subAuthorities) throw new WireError('NDR: SID of impossible size');
    this.#at += size;
    return sid;
  }

  /** An array of RPC_UNICODE_STRING (MS-DTYP 2.3.10) behind its count. */
  stringList(most: number): string[] {
    const count = this.u32();
    if (count > most || this.u32() !== count) throw new WireError('NDR: an impossible number of strings');
    const heads = Array.from({ length: count }, () => {
      this.u32(); // sizes, which the string says itself
      return this.u32() !== 0;
    });
    return heads.map((isThere) => (isThere ? this.string() : ''));
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

  u16(value: number): this {
    this.#align(2);
    const part = Buffer.alloc(2);
    part.writeUInt16LE(value);
    return this.#push(part);
  }

  /** Bytes that have no alignment. */
  raw(bytes: Buffer): this {
    return this.#push(bytes);
  }

  /** RPC_SID (MS-DTYP 2.4.2.3), which a pointer has announced. */
  sid(sid: Sid): this {
    const bytes = encodeSid(sid);
    return this.u32(bytes.readUInt8(1)).raw(bytes);
  }

  /** The fixed part of an RPC_UNICODE_STRING (MS-DTYP 2.3.10); `stringBody` of the same follows where pointers' referents do. */
  stringHead(value: string): this {
    this.#align(4);
    return this.u16(2 * value.length)
      .u16(2 * value.length)
      .pointer();
  }

  stringBody(value: string): this {
    this.u32(value.length).u32(0).u32(value.length);
    return this.raw(Buffer.from(value, 'utf16le'));
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
