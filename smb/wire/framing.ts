// Direct TCP (MS-SMB2 2.1): each message has four bytes in front, a zero and its length in 24 bits, big-endian.
import { WireError } from './errors.ts';

/** Size of the prefix, in bytes. */
export const FRAME_PREFIX_SIZE = 4;
/** The most that a frame's 24-bit length can say, in bytes. */
export const MAX_FRAME_SIZE = 0xff_ffff;

/** Writes the prefix of a message of `length` bytes at `at`. */
export function writeFramePrefix(into: Buffer, at: number, length: number): void {
  if (length > MAX_FRAME_SIZE) throw new WireError(`frame: ${length} bytes are more than 24 bits can say`);
  into.writeUInt32BE(length, at);
}

/** The prefix of a message of `length` bytes, for a socket that takes several buffers at once. */
export function framePrefix(length: number): Buffer {
  const prefix = Buffer.allocUnsafe(FRAME_PREFIX_SIZE);
  writeFramePrefix(prefix, 0, length);
  return prefix;
}

/**
 * Cuts a byte stream into messages. Feed what arrives with `push`, then call `next` until it gives undefined. A message
 * that lies within one chunk is a view on it; one that spans chunks is gathered in a buffer of its own, each byte copied
 * once. Messages over the limit, and prefixes that are none, throw WireError: drop the connection, the stream cannot
 * be followed any more.
 */
export class FrameReader {
  #maxFrameSize: number;
  /** What arrived and is not cut yet. */
  #chunk: Buffer | undefined;
  #at = 0;
  /** Chunks behind `#chunk`, from `#laterAt` on: an index, as shifting a long array moves all of it. */
  #later: Buffer[] = [];
  #laterAt = 0;
  /** `#chunk` is somebody else's, see `pushBorrowed`. */
  #isBorrowed = false;
  /** A message, or prefix, that began in an earlier chunk. */
  #gathered: Buffer | undefined;
  #filled = 0;
  /** Length of a message that `admits` has not let begin yet. */
  #awaited: number | undefined;
  readonly #admits: (length: number) => boolean;
  readonly #allocate: (length: number) => Buffer;
  readonly #prefix = Buffer.alloc(FRAME_PREFIX_SIZE);
  #prefixFilled = 0;
  #hasEnded = false;

  /**
   * `maxFrameSize`, bytes: the most that one message may have. Small before authentication, see `maxFrameSize`. `admits`: whether memory may
   * be taken for a message of so many bytes that has begun to arrive; while it may not, `next` gives nothing and asks again when it is called.
   * `allocate`: a buffer of just that length for a message that is not a view.
   */
  constructor(
    maxFrameSize: number,
    admits: (length: number) => boolean = () => true,
    allocate: (length: number) => Buffer = Buffer.allocUnsafeSlow,
  ) {
    this.#maxFrameSize = maxFrameSize;
    this.#admits = admits;
    this.#allocate = allocate;
  }

  get maxFrameSize(): number {
    return this.#maxFrameSize;
  }

  /** Takes effect from the next message on whose length is not known yet. */
  set maxFrameSize(size: number) {
    this.#maxFrameSize = size;
  }

  /** Bytes held in memory that no `next` has given out. */
  get buffered(): number {
    let bytes = this.#filled + this.#prefixFilled + (this.#chunk ? this.#chunk.length - this.#at : 0);
    for (let i = this.#laterAt; i < this.#later.length; i++) bytes += this.#later[i]?.length ?? 0;
    return bytes;
  }

  /** Forgets what it has; whatever is pushed from now on is thrown away. */
  end(): void {
    this.#hasEnded = true;
    this.#chunk = undefined;
    this.#later = [];
    this.#laterAt = 0;
    this.#isBorrowed = false;
    this.#gathered = undefined;
    this.#awaited = undefined;
    this.#filled = 0;
    this.#prefixFilled = 0;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0 || this.#hasEnded) return;
    if (this.#chunk) {
      this.#later.push(chunk);
    } else {
      this.#chunk = chunk;
      this.#at = 0;
    }
  }

  /** The same for a chunk that is overwritten after `keep`: messages are copied out of it. Take what `next` gives in between. */
  pushBorrowed(chunk: Buffer): void {
    if (this.#chunk) {
      this.push(Buffer.from(chunk));
      return;
    }
    this.push(chunk);
    this.#isBorrowed = this.#chunk !== undefined;
  }

  /** Copies what `next` has left of the borrowed chunk. */
  keep(): void {
    if (!this.#isBorrowed) return;
    this.#isBorrowed = false;
    if (!this.#chunk) return;
    this.#chunk = Buffer.from(this.#chunk.subarray(this.#at));
    this.#at = 0;
  }

  /** Where the rest of a message belongs that has begun to arrive: what is received there is not copied; tell `filled` of it. */
  get vacancy(): Buffer | undefined {
    const gathered = this.#gathered;
    // One that is whole waits for `next`.
    if (this.#chunk !== undefined || !gathered || this.#filled === gathered.length) return undefined;
    return gathered.subarray(this.#filled);
  }

  /** So many bytes were received into `vacancy`, as it was given last; nothing was pushed since. */
  filled(count: number): void {
    if (!this.#hasEnded) this.#filled += count;
  }

  /** The next whole message without its prefix, or undefined until more is pushed. */
  next(): Buffer | undefined {
    if (this.#awaited !== undefined && !this.#begin(this.#awaited)) return undefined;
    if (this.#gathered?.length === this.#filled) return this.#whole(this.#gathered);
    while (this.#chunk) {
      const chunk = this.#chunk;
      if (this.#gathered) {
        const message = this.#gather(chunk, this.#gathered);
        if (message) return message;
      } else if (this.#prefixFilled > 0 || chunk.length - this.#at < FRAME_PREFIX_SIZE) {
        const length = this.#gatherPrefix(chunk);
        if (length !== undefined && !this.#begin(length)) {
          this.#dropIfUsed(chunk);
          return undefined;
        }
      } else {
        const length = this.#checked(chunk.readUInt32BE(this.#at));
        this.#at += FRAME_PREFIX_SIZE;
        if (length <= chunk.length - this.#at) {
          const message = this.#cut(chunk, length);
          this.#at += length;
          this.#dropIfUsed(chunk);
          return message;
        }
        if (!this.#begin(length)) {
          this.#dropIfUsed(chunk);
          return undefined;
        }
      }
      this.#dropIfUsed(chunk);
    }
    return undefined;
  }

  #begin(length: number): boolean {
    this.#awaited = this.#admits(length) ? undefined : length;
    if (this.#awaited !== undefined) return false;
    this.#gathered = this.#allocate(length);
    this.#filled = 0;
    return true;
  }

  #cut(chunk: Buffer, length: number): Buffer {
    if (!this.#isBorrowed) return chunk.subarray(this.#at, this.#at + length);
    const message = this.#allocate(length);
    chunk.copy(message, 0, this.#at, this.#at + length);
    return message;
  }

  #gather(chunk: Buffer, message: Buffer): Buffer | undefined {
    const taken = chunk.copy(message, this.#filled, this.#at);
    this.#at += taken;
    this.#filled += taken;
    this.#dropIfUsed(chunk);
    return this.#filled < message.length ? undefined : this.#whole(message);
  }

  #whole(message: Buffer): Buffer {
    this.#gathered = undefined;
    this.#filled = 0;
    return message;
  }

  #gatherPrefix(chunk: Buffer): number | undefined {
    const taken = chunk.copy(this.#prefix, this.#prefixFilled, this.#at);
    this.#at += taken;
    this.#prefixFilled += taken;
    if (this.#prefixFilled < FRAME_PREFIX_SIZE) return undefined;
    this.#prefixFilled = 0;
    return this.#checked(this.#prefix.readUInt32BE(0));
  }

  #checked(length: number): number {
    if (length > MAX_FRAME_SIZE) throw new WireError('frame: does not begin with a zero byte');
    if (length === 0) throw new WireError('frame: is empty');
    if (length > this.#maxFrameSize) {
      throw new WireError(`frame: ${length} bytes, at most ${this.#maxFrameSize} are taken now`);
    }
    return length;
  }

  #dropIfUsed(chunk: Buffer): void {
    if (this.#chunk !== chunk || this.#at < chunk.length) return;
    this.#at = 0;
    this.#isBorrowed = false;
    this.#chunk = this.#later[this.#laterAt];
    this.#laterAt++;
    // Forget what was taken, but move the rest only when that is the smaller half.
    if (this.#laterAt * 2 < this.#later.length) return;
    this.#later = this.#later.slice(this.#laterAt);
    this.#laterAt = 0;
  }
}
