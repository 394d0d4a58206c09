import { Socket } from 'node:net';
import type { FrameReader } from '../../smb/wire/framing.ts';
import { replyBuffers } from './reply-buffers.ts';

/** What is received at once of small messages, of any connection: it is copied from here before the next is received. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);
/** Larger messages lie in buffers that are used again. */
const POOLED_FROM = 4000;

/** A buffer for one message that was received. */
export function allocateMessage(length: number): Buffer {
  return length < POOLED_FROM ? Buffer.allocUnsafe(length) : replyBuffers.take(length).subarray(0, length);
}

/** Nobody looks at a message that was received any more: its buffer may be used for another. */
export function releaseMessage(message: Buffer): void {
  if (message.length >= POOLED_FROM) replyBuffers.release(message);
}

/** The handle of libuv below a socket, as far as it is used here. */
interface Handle {
  useUserBuffer?: unknown;
}

/**
 * Receives into memory of ours: the rest of a large message right where it belongs, everything else in one buffer for all.
 * (net allocates 64 KiB for whatever is received, and a WRITE of 1 MiB is received in 17 pieces that are copied together.)
 * `onread` is for sockets that connect, net's servers do not offer it: the handle of the accepted socket gets another Socket.
 *
 * @param accepted paused (net.Server's pauseOnConnect); not to be used any more
 * @param onReceived so many bytes were received; the reader has them
 */
export function receiving(accepted: Socket, reader: FrameReader, onReceived: (bytes: number) => void): Socket {
  const holder = accepted as unknown as { _handle: Handle | null };
  const handle = holder._handle;
  if (typeof handle?.useUserBuffer !== 'function') return receivingChunks(accepted, reader, onReceived);
  holder._handle = null;
  const onread = {
    buffer: () => reader.vacancy ?? shared,
    callback: (count: number, buffer: Uint8Array) => {
      if (buffer === shared) reader.pushBorrowed(shared.subarray(0, count));
      else reader.filled(count);
      try {
        onReceived(count);
      } finally {
        reader.keep();
      }
      return true;
    },
  };
  return new Socket({ handle, onread } as unknown as ConstructorParameters<typeof Socket>[0]);
}

/** The way that net documents. */
function receivingChunks(socket: Socket, reader: FrameReader, onReceived: (bytes: number) => void): Socket {
  socket.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    onReceived(chunk.length);
  });
  socket.resume();
  return socket;
}
