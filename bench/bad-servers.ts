import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from '../test/integration/smbd.ts';

const HOST = '127.0.0.1';

/** An address where nobody answers well. */
export interface BadServer {
  address: string;
  stop(): Promise<void>;
}

/** Refuses every connection: the process is gone. */
export async function deadServer(): Promise<BadServer> {
  return { address: `${HOST}:${await freePort()}`, stop: async () => undefined };
}

/** Takes connections and says nothing: the process hangs, or the node is gone behind a proxy. */
export function silentServer(): Promise<BadServer> {
  return listening((socket) => socket.resume());
}

/** A good server whose every answer comes `delayMs` late. */
export function slowServer(good: string, delayMs: number): Promise<BadServer> {
  const [host = '', port = ''] = good.split(':');
  return listening((socket) => {
    const upstream = connect(Number(port), host);
    upstream.on('error', () => socket.destroy());
    upstream.on('close', () => socket.destroy());
    socket.on('close', () => upstream.destroy());
    socket.pipe(upstream);
    upstream.on('data', (chunk) => setTimeout(() => socket.destroyed || socket.write(chunk), delayMs));
  });
}

async function listening(onConnection: (socket: Socket) => void): Promise<BadServer> {
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  return {
    address: `${HOST}:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
