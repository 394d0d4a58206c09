import { FRAME_PREFIX_SIZE } from '../../smb/wire/framing.ts';
import { SmbError } from '../errors.ts';

/** Space below this in a chunk is not worth a read of its own. */
const LEAST_SPACE_BYTES = 8192;

/**
 * Cuts the byte stream of Direct TCP (MS-SMB2 2.1) into messages. The socket reads straight into `space()`; a message that
 * is larger than what is left of the chunk gets a buffer of its own into which its rest is read without another copy.
 */
export class FrameReceiver {
  readonly #chunkBytes: number;
  maxFrameBytes: number;
  #buffer: Buffer;
  /** Where the first incomplete message begins, and where the bytes received end. */
  #start = 0;
  #end = 0;

  constructor(chunkBytes: number, maxFrameBytes: number) {
    this.#chunkBytes = chunkBytes;
    this.maxFrameBytes = maxFrameBytes;
    this.#buffer = Buffer.allocUnsafeSlow(chunkBytes);
  }

  /** Where the next bytes of the stream are to be put. */
  space(): Buffer {
    return this.#buffer.subarray(this.#end);
  }

  /**
   * Takes note of `size` more bytes in `space()`, and hands every message that is complete to `deliver`, as a view.
   * Throws SmbError PROTOCOL_VIOLATION when this cannot be SMB.
   */
  received(size: number, deliver: (message: Buffer) => void): void {
    this.#end += size;
    let needed = FRAME_PREFIX_SIZE;
    while (this.#end - this.#start >= FRAME_PREFIX_SIZE) {
      const length = this.#buffer.readUInt32BE(this.#start);
      if (length > this.maxFrameBytes) {
        throw new SmbError('PROTOCOL_VIOLATION', `a frame header of 0x${length.toString(16)} is not SMB or too long`);
      }
      needed = FRAME_PREFIX_SIZE + length;
      if (this.#end - this.#start < needed) break;
      const at = this.#start + FRAME_PREFIX_SIZE;
      this.#start = at + length;
      needed = FRAME_PREFIX_SIZE;
      if (length > 0) deliver(this.#buffer.subarray(at, at + length));
    }
    this.#makeRoom(needed);
  }

  #makeRoom(needed: number): void {
    const pending = this.#end - this.#start;
    const room = this.#buffer.length - this.#end;
    if (
      this.#start + needed <= this.#buffer.length &&
      room >= Math.min(LEAST_SPACE_BYTES, needed - pending + 1) &&
      room > 0
    ) {
      return;
    }
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#chunkBytes, needed));
    this.#buffer.copy(larger, 0, this.#start, this.#end);
    this.#buffer = larger;
    this.#start = 0;
    this.#end = pending;
  }
}
