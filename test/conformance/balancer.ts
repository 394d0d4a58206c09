import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseAddress } from '../../client/connect/address.ts';

/**
 * Hands connections to several servers in turn, as a load balancer in front of them would: the first to the first server,
 * the second to the second. smbtorture can be told other hosts for its further connections (torture:unclist), but one port
 * for all of them, and some tests connect to the first host whatever the list says.
 */
export class Balancer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #accepted = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @param addresses host:port of the servers @param listen where it listens itself; any free port is the default */
  static async to(addresses: readonly string[], listen = { host: '127.0.0.1', port: 0 }): Promise<Balancer> {
    const targets = addresses.map(parseAddress);
    const server = createServer();
    const balancer = new Balancer(server);
    server.on('connection', (client) => {
      const target = targets[balancer.#accepted++ % targets.length];
      if (target) balancer.#relay(client, connect({ ...target, noDelay: true }));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen.port, listen.host, resolve);
    });
    return balancer;
  }

  get address(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `${address}:${port}`;
  }

  /** The next connection goes to the first server again. */
  restart(): void {
    this.#accepted = 0;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client: Socket, server: Socket): void {
    const ends = [client, server];
    client.setNoDelay(true);
    for (const socket of ends) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      // What one side lost, the other side must notice.
      socket.on('close', () => {
        for (const end of ends) {
          end.destroy();
          this.#sockets.delete(end);
        }
      });
    }
    client.pipe(server).pipe(client);
  }
}
