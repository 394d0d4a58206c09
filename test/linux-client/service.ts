import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseAddress } from '../../client/connect/address.ts';

/** So long a client may go on sending to a server that is gone. */
const LINGER_MS = 5000;

/**
 * What a Service is to a client: one address that leads to whichever server is ready. A connection stays where it began; a new one goes to
 * the first server that is routed to.
 */
export class Service {
  readonly #server: Server;
  readonly #addresses: readonly string[];
  readonly #cut = new Set<number>();
  readonly #sockets = new Set<Socket>();
  /** The server that the newest connection went to. */
  newest = -1;
  /** Connections that a server reset, instead of ending them behind what it had to say. */
  resets = 0;

  private constructor(server: Server, addresses: readonly string[]) {
    this.#server = server;
    this.#addresses = addresses;
    server.on('connection', (client) => this.#route(client));
  }

  static async to(addresses: readonly string[]): Promise<Service> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Service(server, addresses);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Routes new connections to no server but these. */
  routeTo(servers: readonly number[]): void {
    this.#cut.clear();
    for (let i = 0; i < this.#addresses.length; i++) if (!servers.includes(i)) this.#cut.add(i);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #route(client: Socket): void {
    const chosen = this.#addresses.findIndex((_, i) => !this.#cut.has(i));
    const address = this.#addresses[chosen];
    if (address === undefined) {
      client.resetAndDestroy();
      return;
    }
    this.newest = chosen;
    const server = connect({ ...parseAddress(address), noDelay: true });
    client.setNoDelay(true);
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
    }
    client.on('close', () => server.destroy());
    server.on('error', () => this.resets++);
    // What the client still sends behind a server's orderly end goes nowhere: writing it here would look like a reset.
    server.on('end', () => {
      client.unpipe(server);
      client.resume();
    });
    // That a server is lost the client notices by an orderly end, behind which it may still send: to the reset of a process that was killed
    // the kernel says EPIPE when it happens to send just then, and its program gets ECONNABORTED (docs/limits.md).
    server.on('close', () => {
      client.unpipe(server);
      client.resume();
      client.end();
      const linger = setTimeout(() => client.destroy(), LINGER_MS);
      client.once('close', () => clearTimeout(linger));
    });
    client.pipe(server).pipe(client);
  }
}
