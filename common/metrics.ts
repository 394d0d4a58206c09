import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { HoldfastError } from './errors.ts';

/** What /livez and /readyz answer; a string is the reason why not. */
export interface Health {
  live(): true | string;
  ready(): true | string;
}

/**
 * Serves /metrics (Prometheus), /livez and /readyz.
 * @param address host:port, e.g. "0.0.0.0:9445"; port 0 picks a free one
 * @returns the listening server and the port it got
 */
export async function serveMetrics(
  address: string,
  registry: Registry,
  health: Health,
): Promise<{ port: number; close(): Promise<void> }> {
  const { host, port } = splitAddress(address);
  const server: Server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    if (path === '/metrics') {
      registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
      return;
    }
    const verdict = path === '/livez' ? health.live() : path === '/readyz' ? health.ready() : undefined;
    if (verdict === undefined) response.writeHead(404).end('not found: try /metrics, /livez, /readyz\n');
    else if (verdict === true) response.writeHead(200).end('ok\n');
    else response.writeHead(503).end(`${verdict}\n`);
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new HoldfastError('METRICS_LISTEN', `cannot serve metrics on ${address}: ${error.message}`, { cause: error }),
      ),
    );
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Splits "host:port" or "[v6]:port". Throws RangeError when there is no port. */
export function splitAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(address);
  const port = Number(match?.[3]);
  if (!match || port > 65535) throw new RangeError(`"${address}" is not an address; write HOST:PORT`);
  return { host: match[1] ?? match[2] ?? '', port };
}
