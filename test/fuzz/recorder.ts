import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseAddress } from '../../client/connect/address.ts';
import { FRAME_PREFIX_SIZE, FrameReader, MAX_FRAME_SIZE } from '../../smb/wire/framing.ts';

/** A message as it went over the wire, without its frame. */
export interface Recorded {
  from: 'client' | 'server';
  message: Buffer;
}

/** A TCP proxy that keeps what went through it, connection by connection. */
export class Recorder {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly connections: Recorded[][] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(address: string): Promise<Recorder> {
    const { host, port } = parseAddress(address);
    const server = createServer();
    const recorder = new Recorder(server);
    server.on('connection', (client) => recorder.#relay(client, connect({ host, port, noDelay: true })));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return recorder;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client: Socket, server: Socket): void {
    const recorded: Recorded[] = [];
    this.connections.push(recorded);
    const ends = [
      { from: 'client' as const, socket: client, to: server },
      { from: 'server' as const, socket: server, to: client },
    ];
    for (const { from, socket, to } of ends) {
      const reader = new FrameReader(MAX_FRAME_SIZE);
      this.#sockets.add(socket);
      socket.on('data', (bytes: Buffer) => {
        reader.push(bytes);
        for (let message = reader.next(); message; message = reader.next()) {
          recorded.push({ from, message: Buffer.from(message) });
        }
        to.write(bytes);
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        to.destroy();
        this.#sockets.delete(socket);
      });
    }
  }
}

/** A message in its frame, as it is sent. */
export function inFrame(message: Buffer, length: number = message.length): Buffer {
  const prefix = Buffer.alloc(FRAME_PREFIX_SIZE);
  prefix.writeUInt32BE(length >>> 0, 0);
  return Buffer.concat([prefix, message]);
}
