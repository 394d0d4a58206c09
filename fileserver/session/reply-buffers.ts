/** Smallest and largest class, bytes; in between each is twice the one before. */
const SMALLEST = 8 * 1024;
const LARGEST = 8 * 1024 * 1024;
/** On top of the class, so that a payload of exactly its size fits with the headers around it. */
const EXTRA = 512;
/** Bytes that may lie unused. */
const MAX_IDLE = 32 * 1024 * 1024;

interface Lent {
  readonly buffer: Buffer;
  isIdle: boolean;
}

/**
 * Buffers of replies, used again when they are sent: a fresh megabyte costs more in page faults than the read that fills it.
 * What is never given back is left to the garbage collector.
 */
export class ReplyBuffers {
  /** By class: log2(size / SMALLEST). */
  readonly #idle: Lent[][] = [];
  #idleBytes = 0;
  readonly #lent = new WeakMap<ArrayBufferLike, Lent>();

  /** A buffer of at least `size` bytes, with anything in it. */
  take(size: number): Buffer {
    if (size > LARGEST + EXTRA) return Buffer.allocUnsafeSlow(size);
    const sizeClass = classOf(size);
    const lent = this.#idle[sizeClass]?.pop();
    if (lent) {
      lent.isIdle = false;
      this.#idleBytes -= lent.buffer.length;
      return lent.buffer;
    }
    const buffer = Buffer.allocUnsafeSlow(SMALLEST * 2 ** sizeClass + EXTRA);
    this.#lent.set(buffer.buffer, { buffer, isIdle: false });
    return buffer;
  }

  /** Whether this is a view on a buffer of the pool. */
  owns(view: Buffer): boolean {
    return this.#lent.has(view.buffer);
  }

  /** Gives back the buffer that `view` lies in; nobody may look at it any more. Does nothing for other buffers. */
  release(view: Buffer): void {
    const lent = this.#lent.get(view.buffer);
    if (!lent || lent.isIdle || this.#idleBytes >= MAX_IDLE) return;
    lent.isIdle = true;
    this.#idleBytes += lent.buffer.length;
    const sizeClass = classOf(lent.buffer.length);
    const idle = this.#idle[sizeClass];
    if (idle) idle.push(lent);
    else this.#idle[sizeClass] = [lent];
  }
}

function classOf(size: number): number {
  const payload = size - EXTRA;
  return payload <= SMALLEST ? 0 : Math.ceil(Math.log2(payload / SMALLEST));
}

/** The pool of this process. */
export const replyBuffers = new ReplyBuffers();
