import { readFileSync } from 'node:fs';
import { type ConnectionOptions, createSecureContext } from 'node:tls';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { StoreConfig } from '../../common/config.ts';
import { splitAddress } from '../../common/metrics.ts';

export type Connection = Redis | Cluster;

/** Reads the store's password anew: it may have been changed since the last connection. */
export type PasswordSource = () => string | undefined;

/**
 * Opens a connection to the store as the configuration names it. Nothing is resent on its own: the caller knows what may run twice.
 * Password and certificates are read again for every connection that is made, so that they can be changed while everything runs.
 * @param silenceMs a connection that owes an answer (that to its handshake too) and says nothing for so long is made anew: its other end
 *   may be gone without a word
 */
export function connect(config: StoreConfig, password: PasswordSource, name: string, silenceMs: number): Connection {
  const tls = config.tls && tlsOptions(config.tls);
  const backoff = (times: number) => Math.min(50 * times, 500);
  const renew = (options: RedisOptions) => {
    withPassword(options, password());
    if (tls && config.tls) readAnew(tls, config.tls);
  };
  const common: RedisOptions = {
    ...(config.username === undefined ? {} : { username: config.username }),
    ...(tls === undefined ? {} : { tls }),
    connectionName: name,
    autoResendUnfulfilledCommands: false,
    // Zero: what was under way when a connection ended is rejected at once. Without it ioredis forgets such commands unanswered when it
    // may not send them again, and the automatic pipeline waits for them for ever.
    maxRetriesPerRequest: 0,
    enableAutoPipelining: true,
    connectTimeout: 2000,
    socketTimeout: silenceMs,
    keepAlive: 1000,
  };
  withPassword(common, password());
  const addresses = config.addresses.map(splitAddress);
  if (config.mode === 'Cluster') {
    const again = (times: number) => {
      renew(common);
      return backoff(times);
    };
    const cluster = new Cluster(addresses, {
      // Whole pipelines are what it would send again where one node answers for many.
      redisOptions: { ...common, enableAutoPipelining: false },
      enableAutoPipelining: false,
      clusterRetryStrategy: again,
      // A command whose connection ended may have been carried out.
      retryDelayOnFailover: 0,
      slotsRefreshInterval: 2000,
      // Certificates are for names.
      ...(tls === undefined ? {} : { dnsLookup: (address, callback) => callback(null, address) }),
    });
    // A node that is connected to anew gets the options that stand there then.
    cluster.on('-node', () => renew(cluster.options.redisOptions ?? {}));
    return cluster;
  }
  const options: RedisOptions = {
    ...common,
    retryStrategy: (times) => {
      renew(redis.options);
      return backoff(times);
    },
  };
  if (config.mode === 'Sentinel') {
    Object.assign(options, {
      sentinels: addresses,
      name: config.masterName ?? 'mymaster',
      // Sentinels that ask for none take it without complaint.
      sentinelPassword: options.password,
      ...(tls === undefined ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
      // Who still talks to the primary that was replaced hears of it from the Sentinels.
      failoverDetector: true,
      sentinelRetryStrategy: backoff,
      sentinelReconnectStrategy: (times) => {
        renew(redis.options);
        return backoff(times);
      },
      sentinelCommandTimeout: 2000,
    } satisfies RedisOptions);
  } else Object.assign(options, addresses[0]);
  const redis = new Redis(options);
  redis.on('end', () => {
    if (closed.has(redis)) return;
    renew(redis.options);
    setTimeout(() => void redis.connect().catch(() => undefined), backoff(1));
  });
  return redis;
}

/**
 * Those that nobody needs any more. ioredis ends others too, and for good: where it is told to connect anew (by itself, when the Sentinels
 * name another primary) just while it connects, it takes that for a user who closes it.
 */
const closed = new WeakSet<Connection>();

export function close(connection: Connection): void {
  closed.add(connection);
  connection.disconnect();
}

function withPassword(options: RedisOptions, password: string | undefined): void {
  if (password === undefined) return;
  options.password = password;
  if (options.sentinels) options.sentinelPassword = password;
}

function tlsOptions({ caFile, certFile, keyFile, serverName }: NonNullable<StoreConfig['tls']>): ConnectionOptions {
  return {
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
    ...(certFile === undefined ? {} : { cert: readFileSync(certFile) }),
    ...(keyFile === undefined ? {} : { key: readFileSync(keyFile) }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  };
}

/** Into the same object, which all connections to Sentinels refer to as well. */
function readAnew(tls: ConnectionOptions, files: NonNullable<StoreConfig['tls']>): void {
  try {
    const now = tlsOptions(files);
    createSecureContext(now);
    Object.assign(tls, now);
  } catch {
    // What is there does not belong together: the exchange of the files is under way, and the next attempt finds its end.
  }
}

/** The Redis processes that decide: the one, or all masters of a Redis Cluster. */
export function primaries(connection: Connection): Redis[] {
  return 'nodes' in connection ? connection.nodes('master') : [connection];
}
