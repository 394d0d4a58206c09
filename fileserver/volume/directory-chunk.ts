/** A name in a directory. `type` is DT_*: 4 directory, 8 file, 10 symbolic link, 0 unknown. */
export interface DirectoryName {
  /** undefined: the name on disk is no UTF-8. */
  name: string | undefined;
  type: number;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function readName(bytes: Buffer, at: number, end: number): string | undefined {
  let stop = at;
  let ascii = true;
  while (stop < end) {
    const byte = bytes[stop] ?? 0;
    if (byte === 0) break;
    if (byte > 0x7f) ascii = false;
    stop++;
  }
  if (ascii) return bytes.toString('latin1', at, stop);
  try {
    return utf8.decode(bytes.subarray(at, stop));
  } catch {
    return undefined;
  }
}

/** What getdents64(2) gave: linux_dirent64 is inode 8, place 8, length 2, type 1, name. */
export class DirectoryChunk {
  readonly #bytes: Buffer;
  readonly #length: number;
  #at = 0;
  /** Of the name that was taken last; -1: none was. */
  #lastAt = -1;

  constructor(bytes: Buffer, length: number) {
    this.#bytes = bytes;
    this.#length = length;
  }

  /** Bytes of memory. */
  get size(): number {
    return this.#bytes.length;
  }

  /** There was nothing, the directory ends here. */
  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** There are no more names. */
  get isSpent(): boolean {
    return this.#at >= this.#length;
  }

  next(): DirectoryName | undefined {
    if (this.isSpent) return undefined;
    const at = this.#at;
    const size = this.#bytes.readUInt16LE(at + 16);
    this.#lastAt = at;
    this.#at = at + size;
    return { name: readName(this.#bytes, at + 19, at + size), type: this.#bytes[at + 18] ?? 0 };
  }

  /** Where lseek(2) has to go for what comes behind the name that was taken last; undefined: none was. */
  get place(): bigint | undefined {
    return this.#lastAt < 0 ? undefined : this.#bytes.readBigInt64LE(this.#lastAt + 8);
  }

  /** All that are left. */
  *[Symbol.iterator](): Generator<DirectoryName> {
    for (let name = this.next(); name !== undefined; name = this.next()) yield name;
  }
}
