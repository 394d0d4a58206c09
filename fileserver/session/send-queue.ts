import type { Socket } from 'node:net';
import { type FilePart, sendWithFile } from './file-sending.ts';
import { MAX_GATHERED, MAX_UNSENT, SMALL } from './limits.ts';
import { replyBuffers } from './reply-buffers.ts';
import { unacknowledgedBytes } from './tcp.ts';

/** What a queue asks of its connection, and tells it. */
export interface Sender {
  /** Whether anything may be answered now: asked last of all before a write. */
  mayServe(): boolean;
  /** Something has to wait until it may. */
  waitForGate(): void;
  /** So many bytes wait in the socket for the client to read them; 0: none do any more. */
  unread(bytes: number): void;
  /** It has not read so much that nothing more is done for it until it has. */
  waitForClient(): void;
  /** Bytes that are on their way. */
  sent(bytes: number): void;
}

/** Frames that go to one client: those of a turn of the event loop in one write, in their order. */
export class SendQueue {
  readonly #socket: Socket;
  readonly #sender: Sender;
  #frames: Buffer[] = [];
  #bytes = 0;
  /** Bytes that the kernel has got and the socket does not know of. */
  #sentAside = 0;
  #flushIsDue = false;
  #hasEnded = false;

  constructor(socket: Socket, sender: Sender) {
    this.#socket = socket;
    this.#sender = sender;
    socket.on('drain', () => sender.unread(0));
  }

  /** Bytes that wait here. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes written since the connection began; undefined: something waits here still. */
  get written(): number | undefined {
    return this.#frames.length > 0 ? undefined : this.#socket.bytesWritten + this.#sentAside;
  }

  /** Bytes that the client's TCP has acknowledged since then; undefined where the kernel does not say. */
  get acknowledged(): number | undefined {
    const unacknowledged = unacknowledgedBytes(this.#socket);
    if (unacknowledged === undefined) return undefined;
    return this.#socket.bytesWritten + this.#sentAside - this.#socket.writableLength - unacknowledged;
  }

  push(frame: Buffer): void {
    if (this.#hasEnded) return;
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  /** At the end of this turn. */
  scheduleFlush(): void {
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    setImmediate(() => {
      this.#flushIsDue = false;
      this.flush();
    });
  }

  /** Sends what there is in one write. The deadline is checked here, last of all. */
  flush(): void {
    if (this.#frames.length === 0) return;
    if (!this.#sender.mayServe()) {
      this.#sender.waitForGate();
      return;
    }
    const frames = this.#frames;
    const size = this.#bytes;
    this.#empty();
    this.#sender.sent(size);
    if (frames.length > 1 && size <= MAX_GATHERED) {
      this.#write(gathered(frames, size));
    } else {
      if (frames.length > 1) this.#socket.cork();
      for (const frame of frames) this.#write(frame);
      if (frames.length > 1) this.#socket.uncork();
    }
    const unsent = this.#socket.writableLength;
    if (unsent > SMALL) this.#sender.unread(unsent);
    if (unsent > MAX_UNSENT) this.#sender.waitForClient();
  }

  /** Whether a frame that came now would go to the kernel at once: all before it has gone. */
  isEmptied(): boolean {
    if (this.#socket.writableLength > 0) return false;
    this.flush();
    return !this.#hasEnded && this.#frames.length === 0 && this.#socket.writableLength === 0 && this.#sender.mayServe();
  }

  /**
   * Sends a frame whose end is part of a file, past the queue; only where `isEmptied`.
   * @param head the frame without that part
   * @returns false when the file has become shorter: what the client was promised cannot be sent
   */
  sendWithFile(head: Buffer, file: FilePart): boolean {
    const sent = sendWithFile(this.#socket, head, file);
    if (!sent) return false;
    this.#sentAside += sent.bytes;
    this.#sender.sent(sent.bytes);
    if (sent.rest) {
      this.push(sent.rest);
      this.scheduleFlush();
    }
    return true;
  }

  /** The connection ends: what waits here goes to nobody, nor does what comes. */
  end(): void {
    this.#hasEnded = true;
    this.#empty();
  }

  #empty(): void {
    this.#frames = [];
    this.#bytes = 0;
  }

  #write(frame: Buffer): void {
    if (replyBuffers.owns(frame)) this.#socket.write(frame, () => replyBuffers.release(frame));
    else this.#socket.write(frame);
  }
}

/** Frames one behind the other in a buffer of the pool; their own go back to it. */
function gathered(frames: readonly Buffer[], size: number): Buffer {
  const together = replyBuffers.take(size);
  let at = 0;
  for (const frame of frames) {
    together.set(frame, at);
    at += frame.length;
    replyBuffers.release(frame);
  }
  return together.subarray(0, size);
}
