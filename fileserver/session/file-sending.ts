import type { Socket } from 'node:net';
import { type Posix, sendFile, sendMore } from '../volume/posix.ts';
import { replyBuffers } from './reply-buffers.ts';
import { descriptorOf } from './tcp.ts';

/** From this size on data goes from the page cache to the socket; smaller data is copied, and the replies of a turn are one write. */
export const SENT_FROM = 256 * 1024;

/** The part of an open file that ends a message. */
export interface FilePart {
  readonly posix: Posix;
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
}

/** What became of a frame. */
export interface Sent {
  /** Bytes that the kernel took. */
  readonly bytes: number;
  /** What is left of the frame, in a buffer of replyBuffers; undefined: nothing. */
  readonly rest: Buffer | undefined;
}

/**
 * Sends a frame that ends with a part of a file without copying that part: the socket gets the pages of the page cache. What the socket does
 * not take at once (its client is slow) is copied, for the caller to send; so is everything where a file system or the socket refuses.
 * @param socket with nothing that waits to be written
 * @param head the frame up to the part
 * @returns undefined where the file ends before the part does, and the frame cannot be completed any more
 */
export function sendWithFile(socket: Socket, head: Buffer, part: FilePart): Sent | undefined {
  const to = descriptorOf(socket);
  const ofHead = to === undefined ? 0 : Math.max(0, sendMore(to, head));
  const isHeadSent = to !== undefined && ofHead === head.length;
  const ofPart = isHeadSent ? Math.max(0, sendFile(to, part.fd, part.offset, part.length)) : 0;
  const bytes = ofHead + ofPart;
  if (ofPart === part.length) return { bytes, rest: undefined };
  const rest = replyBuffers.take(head.length + part.length).subarray(0, head.length + part.length - bytes);
  head.copy(rest, 0, ofHead);
  const at = head.length - ofHead;
  if (part.posix.readNow(part.fd, rest, at, part.length - ofPart, part.offset + ofPart)) return { bytes, rest };
  replyBuffers.release(rest);
  return undefined;
}
