import { once } from 'node:events';
import { type ConnectionOptions, connect } from 'node:tls';
import { Redis } from 'ioredis';
import type { Primary } from './member-files.ts';
import type { Address } from './members.ts';

const TIMEOUT_MS = 1000;

/** Where to ask, and by which certificates the other side is known and knows us; without them in the clear. */
export interface Endpoint extends Address {
  tls?: ConnectionOptions | undefined;
}

/**
 * Asks a Redis or a Sentinel, with the first of these passwords that it takes; undefined when it does not answer.
 * @param ask what is asked; its failure counts as no answer
 */
export async function asked<T>(
  { host, port, tls }: Endpoint,
  passwords: readonly string[],
  ask: (redis: Redis) => Promise<T>,
): Promise<T | undefined> {
  for (const password of passwords) {
    const redis = new Redis({
      host,
      port,
      password,
      ...(tls === undefined ? {} : { tls }),
      lazyConnect: true,
      retryStrategy: null,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false, // one that is loading its data answers too
      enableOfflineQueue: false,
      connectTimeout: TIMEOUT_MS,
      commandTimeout: TIMEOUT_MS,
      autoResendUnfulfilledCommands: false,
    });
    redis.on('error', () => undefined); // shows as a failed call
    try {
      await redis.connect();
      return await ask(redis);
    } catch {
      // the next password, or nobody
    } finally {
      redis.disconnect();
    }
  }
  return undefined;
}

/**
 * The certificate that a Redis or a Sentinel shows to who connects now, DER; undefined when it does not answer, or when it is not one of
 * the authority.
 */
export async function certificateAt({ host, port, tls }: Endpoint): Promise<Buffer | undefined> {
  const socket = connect({ host, port, ...tls });
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
  try {
    await once(socket, 'secureConnect');
    const certificate = socket.getPeerX509Certificate()?.raw;
    socket.on('error', () => undefined).end();
    return certificate;
  } catch {
    socket.destroy();
    return undefined;
  }
}

/** Which primary a Sentinel follows. */
export function primaryAt(
  sentinel: Endpoint,
  name: string,
  passwords: readonly string[],
): Promise<Primary | undefined> {
  return asked(sentinel, passwords, async (redis) => {
    const flat = (await redis.call('SENTINEL', 'MASTER', name)) as string[];
    const field = (key: string) => flat[flat.indexOf(key) + 1] ?? '';
    return { host: field('ip'), port: Number(field('port')), configEpoch: Number(field('config-epoch')) };
  });
}

/** What a Redis says of its part: master or slave. */
export function roleAt(redis: Endpoint, passwords: readonly string[]): Promise<string | undefined> {
  return asked(redis, passwords, async (connection) => String(((await connection.call('ROLE')) as unknown[])[0]));
}

/** Whose replica a Redis is, and whether it has it; undefined: it is none, or does not answer. */
export function followedBy(
  redis: Endpoint,
  passwords: readonly string[],
): Promise<{ primary: Address; isConnected: boolean } | undefined> {
  return asked(redis, passwords, async (connection) => {
    const [role, host, port, link] = (await connection.call('ROLE')) as unknown[];
    if (role !== 'slave') return undefined;
    return { primary: { host: String(host), port: Number(port) }, isConnected: link === 'connected' };
  });
}
