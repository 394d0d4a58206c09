import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy that passes everything on late, in its order: a store that is far away, or has much to do. */
export class SlowProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** How late, in each direction. */
  delayMs = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @param port of the loopback that it leads to */
  static async to(port: number): Promise<SlowProxy> {
    const server = createServer();
    const proxy = new SlowProxy(server);
    server.on('connection', (client) => proxy.#relay(client, port));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client: Socket, port: number): void {
    const server = connect({ host: '127.0.0.1', port, noDelay: true });
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('data', (bytes) => setTimeout(() => to.write(bytes), this.delayMs));
      from.on('error', () => {});
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }
}
