import type { Redis } from 'ioredis';
import type { StoreConfig } from '../../common/config.ts';
import { HoldfastError, reasonOf } from '../../common/errors.ts';

/** What one Redis process says of itself, as far as it matters here. */
export interface StoreFacts {
  runId: string;
  version: string;
  /** Keys that it threw away for want of memory since it started. */
  evictedKeys: number;
  /** It has no room for anything new; undefined: it has. */
  full: string | undefined;
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
 * Refuses a Redis that could lose or drop what it was told, or does not let us do what is needed, with a message that says what to set.
 * @throws HoldfastError with code STORE_VERSION, STORE_EVICTION, STORE_DURABILITY, STORE_REPLICA or STORE_ACL
 */
export async function checkRedis(redis: Redis, config: StoreConfig): Promise<StoreFacts> {
  const at = `${redis.options.host ?? config.addresses[0]}:${redis.options.port ?? ''}`;
  const info = parseInfo(await redis.info());
  const [policy, fsync] = [await setting(redis, 'maxmemory-policy'), await setting(redis, 'appendfsync')];
  const facts = judge(info, { policy, fsync }, config, at);
  await assertAllowed(redis, config, at);
  return facts;
}

/** The decision, without the questions. @param set what CONFIG GET says, where the ACL lets us ask */
export function judge(
  info: ReadonlyMap<string, string>,
  set: { policy?: string | undefined; fsync?: string | undefined },
  config: StoreConfig,
  at: string,
): StoreFacts {
  const version = info.get('redis_version') ?? '0';
  // Valkey says redis_version 7.2.4 for those who ask for that.
  if (Number(version.split('.')[0]) < 7) {
    throw new HoldfastError('STORE_VERSION', `the store at ${at} is Redis ${version}; use Redis 7 or later, or Valkey`);
  }
  if (info.get('role') === 'slave') {
    const advice =
      config.mode === 'Standalone'
        ? 'name the primary, or use mode Sentinel'
        : 'it is being replaced; if this lasts, look at the log of the Sentinels or of the Redis Cluster';
    throw new HoldfastError('STORE_REPLICA', `the store at ${at} is a replica; ${advice}`);
  }
  const policy = info.get('maxmemory_policy') ?? set.policy;
  if (policy !== undefined && policy !== 'noeviction') {
    throw new HoldfastError(
      'STORE_EVICTION',
      `the store at ${at} may evict keys (maxmemory-policy ${policy}), which would lose open files; set maxmemory-policy noeviction`,
    );
  }
  assertDurable(info, set.fsync, config, at);
  if (info.get('aof_enabled') === '1' && info.get('aof_last_write_status') === 'err') {
    throw new HoldfastError(
      'STORE_DURABILITY',
      `the store at ${at} cannot write its append-only file and takes no changes; make room on its volume, and look at its log`,
    );
  }
  const [used, most] = [Number(info.get('used_memory') ?? 0), Number(info.get('maxmemory') ?? 0)];
  const isFull = most > 0 && used >= most;
  return {
    runId: info.get('run_id') ?? '',
    version,
    evictedKeys: Number(info.get('evicted_keys') ?? 0),
    full: isFull ? fullMessage(at, most) : undefined,
  };
}

export function fullMessage(at: string, mostBytes?: number): string {
  const bound = mostBytes === undefined ? '' : ` (maxmemory ${mostBytes} bytes)`;
  return `the store at ${at} is out of memory${bound}: nothing new can be opened or locked; raise its maxmemory, or close files`;
}

function assertDurable(
  info: ReadonlyMap<string, string>,
  fsync: string | undefined,
  { durability }: StoreConfig,
  at: string,
): void {
  const { mode } = durability;
  if (mode === 'Replicated') {
    const connected = Number(info.get('connected_slaves') ?? '0');
    if (connected >= durability.replicas) return;
    throw new HoldfastError(
      'STORE_DURABILITY',
      `the store at ${at} has ${connected} replicas, but durability asks for ${durability.replicas}; add replicas or lower store.durability.replicas`,
    );
  }
  if (info.get('aof_enabled') !== '1') {
    throw new HoldfastError(
      'STORE_DURABILITY',
      `the store at ${at} keeps no append-only file, but durability is ${mode}; set appendonly yes`,
    );
  }
  const enough = mode === 'Always' ? ['always'] : ['always', 'everysec'];
  if (fsync !== undefined && !enough.includes(fsync)) {
    throw new HoldfastError(
      'STORE_DURABILITY',
      `the store at ${at} has appendfsync ${fsync}, but durability is ${mode}; set appendfsync ${enough.at(-1)}`,
    );
  }
}

/** Nobody has this id: ids count from 1 and never come so far. */
const NOBODYS_ID = Number.MAX_SAFE_INTEGER;

/** What nobody would miss until a connection breaks: then a lost command has to be ended before it may be repeated. */
async function assertAllowed(redis: Redis, config: StoreConfig, at: string): Promise<void> {
  try {
    await redis.client('KILL', 'ID', NOBODYS_ID);
    if (config.durability.mode === 'Replicated') await redis.wait(0, 1);
  } catch (error) {
    if (!reasonOf(error).includes('NOPERM')) throw error;
    throw aclError(at, config.username, reasonOf(error));
  }
}

export function aclError(at: string, username: string | undefined, reason: string): HoldfastError {
  return new HoldfastError(
    'STORE_ACL',
    `the store at ${at} does not let the user "${username ?? 'default'}" do what is needed (${reason}); give it: ~hf:* +@all -@dangerous +info +client|kill +config|get`,
  );
}

export function tlsError(at: string, reason: string): HoldfastError {
  return new HoldfastError(
    'STORE_TLS',
    `the store at ${at} and this sidecar do not accept each other's certificates (${reason}); look at caSecretRef, serverName and clientSecretRef, or, of an embedded store, at the Secrets whose names end in -tls`,
  );
}

export function passwordError(at: string, username: string | undefined, reason: string): HoldfastError {
  return new HoldfastError(
    'STORE_PASSWORD',
    `the store at ${at} does not take the password of the user "${username ?? 'default'}" (${reason}); put the password that Redis asks for into the Secret, or have Redis take the one that is there`,
  );
}

/** A configuration value, or undefined where the ACL does not let us ask. */
async function setting(redis: Redis, name: string): Promise<string | undefined> {
  try {
    const answer = (await redis.config('GET', name)) as string[];
    return answer[1];
  } catch {
    return undefined;
  }
}
