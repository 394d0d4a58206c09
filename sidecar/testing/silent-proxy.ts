import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy whose connections can fall silent, one by one and without an end, as when a machine between the two has lost them. */
export class SilentProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** By the port that its server sees. */
  readonly #mute = new Map<number, () => void>();
  #isNextMute = false;
  /** Connections that were silent from their beginning. */
  muteFromStart = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @param port of the loopback that it leads to */
  static async to(port: number): Promise<SilentProxy> {
    const server = createServer();
    const proxy = new SilentProxy(server);
    server.on('connection', (client) => proxy.#relay(client, port));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The next connection is taken, and never gets an answer. */
  muteNext(): void {
    this.#isNextMute = true;
  }

  /** Nothing more comes through this connection, in either direction. @param port that its server sees */
  mute(port: number): void {
    this.#mute.get(port)?.();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client: Socket, port: number): void {
    this.#keep(client);
    if (this.#isNextMute) {
      this.#isNextMute = false;
      this.muteFromStart++;
      client.resume();
      return;
    }
    const server = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#keep(server);
    let isMute = false;
    const mute = () => {
      isMute = true;
    };
    server.on('connect', () => this.#mute.set(server.localPort ?? 0, mute));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('data', (bytes) => {
        if (!isMute) to.write(bytes);
      });
      from.on('close', () => {
        if (!isMute) to.destroy();
      });
    }
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
