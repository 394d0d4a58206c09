import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseAddress } from '../../client/connect/address.ts';
import { Status } from '../../smb/status.ts';

const PREFIX = 4;
const COMMAND_AT = PREFIX + 12;
const STATUS_AT = PREFIX + 8;
const SMB2 = 0x424d53fe;

/**
 * A TCP proxy that can lose the answer to a request that its server has carried out, or the request before the server sees it, and the
 * connection with it. Messages must not be encrypted, and not be sent in parts.
 */
export class LossyProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #loses: number | undefined;
  #losesRequest: number | undefined;
  /** Answers that were lost. */
  lost = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(address: string): Promise<LossyProxy> {
    const { host, port } = parseAddress(address);
    const server = createServer();
    const proxy = new LossyProxy(server);
    server.on('connection', (client) => proxy.#relay(client, connect({ host, port, noDelay: true })));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The next final answer to this command (Command.*) is not passed on; the connection is cut instead. */
  loseAnswer(command: number): void {
    this.#loses = command;
  }

  /** The next request of this command is not passed on; the connection is cut instead. */
  loseRequest(command: number): void {
    this.#losesRequest = command;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client: Socket, server: Socket): void {
    const cut = () => {
      for (const socket of [client, server]) {
        socket.destroy();
        this.#sockets.delete(socket);
      }
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', cut);
      socket.on('close', cut);
    }
    client.on('data', (bytes: Buffer) => {
      if (this.#isLostRequest(bytes)) cut();
      else server.write(bytes);
    });
    let rest: Buffer = Buffer.alloc(0);
    server.on('data', (bytes: Buffer) => {
      rest = Buffer.concat([rest, bytes]);
      for (;;) {
        const length = rest.length < PREFIX ? undefined : PREFIX + rest.readUIntBE(1, 3);
        if (length === undefined || rest.length < length) return;
        const frame = rest.subarray(0, length);
        rest = rest.subarray(length);
        if (this.#isLost(frame)) {
          cut();
          return;
        }
        client.write(frame);
      }
    });
  }

  #isLostRequest(frame: Buffer): boolean {
    if (this.#losesRequest === undefined || frame.length < PREFIX + 64 || frame.readUInt32LE(PREFIX) !== SMB2)
      return false;
    if (frame.readUInt16LE(COMMAND_AT) !== this.#losesRequest) return false;
    this.#losesRequest = undefined;
    this.lost++;
    return true;
  }

  #isLost(frame: Buffer): boolean {
    if (this.#loses === undefined || frame.length < PREFIX + 64 || frame.readUInt32LE(PREFIX) !== SMB2) return false;
    if (frame.readUInt16LE(COMMAND_AT) !== this.#loses || frame.readUInt32LE(STATUS_AT) === Status.PENDING)
      return false;
    this.#loses = undefined;
    this.lost++;
    return true;
  }
}
