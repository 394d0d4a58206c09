import { lookup } from 'node:dns/promises';
import { delay } from '../../common/time.ts';
import { SmbError } from '../errors.ts';
import { RESOLVE_TIMEOUT_MS, SMB_PORT } from './constants.ts';

/** One place where a file server may answer. `host` is a name or a literal address. */
export interface ServerAddress {
  host: string;
  port: number;
}

export function addressText(address: ServerAddress): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

const ADDRESS = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/;

/** Reads `host`, `host:port` or `[v6]:port`. Throws SmbError BAD_ADDRESS. */
export function parseAddress(text: string): ServerAddress {
  const found = ADDRESS.exec(text.trim());
  const host = found?.[1] ?? found?.[2];
  const port = found?.[3] === undefined ? SMB_PORT : Number(found[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new SmbError('BAD_ADDRESS', `"${text}" is no server address; write it as host, host:port or [ipv6]:port`);
  }
  return { host, port };
}

/** Reads a comma-separated list of addresses. Throws SmbError BAD_ADDRESS. */
export function parseAddresses(text: string): ServerAddress[] {
  return text.split(',').map(parseAddress);
}

/** Gives all literal addresses of a host name. */
export type Resolve = (host: string) => Promise<string[]>;

/** In random order: resolvers tend to give all clients the same one, and the first address is the one that is tried first. */
export const resolveWithSystem: Resolve = async (host) =>
  shuffled((await lookup(host, { all: true, order: 'verbatim' })).map((entry) => entry.address));

function shuffled<T>(items: T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

/**
 * All literal addresses behind a list, in its order and without repetition. A name that does not resolve (in time) is left
 * out; the last error is thrown when nothing is left.
 */
export async function resolveAddresses(
  addresses: readonly ServerAddress[],
  signal?: AbortSignal,
  resolve: Resolve = resolveWithSystem,
): Promise<ServerAddress[]> {
  const found = await Promise.allSettled(
    addresses.map(async ({ host, port }) => {
      const hosts = await withinTime(resolve(host), host, signal);
      return hosts.map((literal) => ({ host: literal, port }));
    }),
  );
  signal?.throwIfAborted();
  const unique = new Map<string, ServerAddress>();
  let failure: unknown;
  for (const result of found) {
    if (result.status === 'rejected') failure = result.reason;
    else for (const address of result.value) unique.set(addressText(address), address);
  }
  if (unique.size === 0) {
    throw new SmbError('CONNECT_FAILED', `no address for ${addresses.map(addressText).join(', ')}`, { cause: failure });
  }
  return [...unique.values()];
}

async function withinTime(resolving: Promise<string[]>, host: string, signal?: AbortSignal): Promise<string[]> {
  const done = new AbortController();
  const limit = delay(RESOLVE_TIMEOUT_MS, signal ? AbortSignal.any([signal, done.signal]) : done.signal).then(() => {
    throw new SmbError('TIMED_OUT', `the name ${host} did not resolve within ${RESOLVE_TIMEOUT_MS} ms`);
  });
  try {
    return await Promise.race([resolving, limit]);
  } finally {
    done.abort();
    limit.catch(() => undefined);
  }
}
