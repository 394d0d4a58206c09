import { readFileSync } from 'node:fs';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { StoreConfig } from '../../common/config.ts';
import { HoldfastError } from '../../common/errors.ts';
import { splitAddress } from '../../common/metrics.ts';

export type Connection = Redis | Cluster;

/** Opens a connection to the store as the configuration names it. Nothing is resent on its own: the caller knows what may run twice. */
export function connect(config: StoreConfig, password: string | undefined, name: string): Connection {
  const common: RedisOptions = {
    ...(config.username === undefined ? {} : { username: config.username }),
    ...(password === undefined ? {} : { password }),
    ...(config.tls === undefined
      ? {}
      : {
          tls: {
            ...(config.tls.caFile === undefined ? {} : { ca: readFileSync(config.tls.caFile) }),
            ...(config.tls.serverName === undefined ? {} : { servername: config.tls.serverName }),
          },
        }),
    connectionName: name,
    autoResendUnfulfilledCommands: false,
    // Zero: what was under way when a connection ended is rejected at once. Without it ioredis forgets such commands unanswered when it
    // may not send them again, and the automatic pipeline waits for them for ever.
    maxRetriesPerRequest: 0,
    enableAutoPipelining: true,
    connectTimeout: 2000,
    keepAlive: 1000,
    retryStrategy: (times) => Math.min(50 * times, 500),
  };
  const addresses = config.addresses.map(splitAddress);
  if (config.mode === 'Cluster') {
    return new Cluster(addresses, {
      redisOptions: common,
      enableAutoPipelining: true,
      clusterRetryStrategy: (times) => Math.min(50 * times, 500),
    });
  }
  if (config.mode === 'Sentinel') {
    return new Redis({
      ...common,
      sentinels: addresses,
      name: config.masterName ?? 'mymaster',
      ...(password === undefined ? {} : { sentinelPassword: password }),
    });
  }
  return new Redis({ ...common, ...addresses[0] });
}

export interface StoreFacts {
  runId: string;
  version: string;
}

/** Fields of INFO, by name. */
export function parseInfo(text: string): Map<string, string> {
  return new Map(
    text
      .split(/\r?\n/)
      .map((line) => line.split(':'))
      .filter((pair) => pair.length >= 2)
      .map(([key, ...rest]): [string, string] => [key ?? '', rest.join(':')]),
  );
}

/**
 * Refuses a store that could lose or drop what it was told, with a message that says what to set.
 * @throws HoldfastError with code STORE_VERSION, STORE_EVICTION, STORE_DURABILITY or STORE_REPLICA
 */
export async function checkStore(connection: Connection, config: StoreConfig): Promise<StoreFacts> {
  const info = parseInfo(await connection.info());
  const at = config.addresses.join(', ');
  const version = info.get('redis_version') ?? '0';
  if (Number(version.split('.')[0]) < 7) {
    throw new HoldfastError('STORE_VERSION', `the store at ${at} is Redis ${version}; use Redis 7 or later, or Valkey`);
  }
  if (info.get('role') === 'slave') {
    throw new HoldfastError('STORE_REPLICA', `the store at ${at} is a replica; name the primary, or use mode Sentinel`);
  }
  const policy = info.get('maxmemory_policy') ?? (await setting(connection, 'maxmemory-policy'));
  if (policy !== undefined && policy !== 'noeviction') {
    throw new HoldfastError(
      'STORE_EVICTION',
      `the store at ${at} may evict keys (maxmemory-policy ${policy}), which would lose open files; set maxmemory-policy noeviction`,
    );
  }
  const { mode } = config.durability;
  if (mode !== 'Replicated') {
    if (info.get('aof_enabled') !== '1') {
      throw new HoldfastError(
        'STORE_DURABILITY',
        `the store at ${at} keeps no append-only file, but durability is ${mode}; set appendonly yes`,
      );
    }
    const fsync = await setting(connection, 'appendfsync');
    const enough = mode === 'Always' ? ['always'] : ['always', 'everysec'];
    if (fsync !== undefined && !enough.includes(fsync)) {
      throw new HoldfastError(
        'STORE_DURABILITY',
        `the store at ${at} has appendfsync ${fsync}, but durability is ${mode}; set appendfsync ${enough.at(-1)}`,
      );
    }
  } else if (Number(info.get('connected_slaves') ?? '0') < config.durability.replicas) {
    throw new HoldfastError(
      'STORE_DURABILITY',
      `the store at ${at} has ${info.get('connected_slaves') ?? 0} replicas, but durability asks for ${config.durability.replicas}; add replicas or lower store.durability.replicas`,
    );
  }
  return { runId: info.get('run_id') ?? '', version };
}

/** A configuration value, or undefined where the ACL does not let us ask. */
async function setting(connection: Connection, name: string): Promise<string | undefined> {
  try {
    const answer = (await connection.config('GET', name)) as string[];
    return answer[1];
  } catch {
    return undefined;
  }
}
