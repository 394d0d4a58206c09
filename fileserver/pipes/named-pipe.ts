import type { RpcServer } from '../../smb/rpc/server.ts';
import { Status } from '../../smb/status.ts';

/** Answers that a client leaves unread; more is refused until it reads. Bytes. */
const MAX_UNREAD = 16 * 1024;

/** One open instance of a named pipe in message mode: what is written to it goes to its RPC server, whose answers are read. */
export class NamedPipe {
  readonly #rpc: RpcServer;
  /** Messages that wait to be read; the first may have been read in part. */
  readonly #messages: Buffer[] = [];
  #unread = 0;

  constructor(rpc: RpcServer) {
    this.#rpc = rpc;
  }

  /** @returns a status */
  write(data: Buffer): number {
    if (this.#unread > MAX_UNREAD) return Status.PIPE_BUSY;
    // The RPC server keeps what is not complete yet, and the bytes belong to the received message.
    for (const message of this.#rpc.handle(Buffer.from(data))) {
      this.#messages.push(message);
      this.#unread += message.length;
    }
    return Status.SUCCESS;
  }

  /** What could be read: all of it, in how many messages, and the next one, which stays (FSCTL_PIPE_PEEK, MS-FSCC 2.3.45). */
  peek(): { unread: number; messages: number; next: Buffer } {
    return { unread: this.#unread, messages: this.#messages.length, next: this.#messages[0] ?? Buffer.alloc(0) };
  }

  /** The next message, or as much of it as was asked for (then STATUS_BUFFER_OVERFLOW, MS-SMB2 3.3.5.12). */
  read(most: number): { status: number; data: Buffer } {
    const message = this.#messages[0];
    if (!message) return { status: Status.PIPE_EMPTY, data: Buffer.alloc(0) };
    const data = message.subarray(0, most);
    this.#unread -= data.length;
    if (data.length === message.length) {
      this.#messages.shift();
      return { status: Status.SUCCESS, data };
    }
    this.#messages[0] = message.subarray(most);
    return { status: Status.BUFFER_OVERFLOW, data };
  }
}
