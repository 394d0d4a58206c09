import type { StoreConfig } from '../../common/config.ts';
import { type Connection, primaries } from './connection.ts';
import { type Scripts, scriptsFor } from './scripts.ts';
import { checkRedis, parseInfo, type StoreFacts } from './store-checks.ts';
import { StoreUnavailableError } from './store-errors.ts';

/** Where the shards are: by shard, the Redis process that serves it and the store ("run_id:generation") its state was written under. */
export interface Whereabouts {
  runIds: string[];
  stores: string[];
}

/** The Redis processes behind a connection: one, or the masters of a Redis Cluster. */
export class RedisProcesses {
  readonly #redis: Connection;
  readonly #config: StoreConfig;

  constructor(redis: Connection, config: StoreConfig) {
    this.#redis = redis;
    this.#config = config;
  }

  /** Refuses those that could lose what they are told. @throws HoldfastError that says what to do */
  async check(): Promise<StoreFacts[]> {
    const nodes = primaries(this.#redis);
    if (nodes.length === 0) {
      // A Redis Cluster is found by the first question.
      await this.#redis.ping();
      return Promise.all(primaries(this.#redis).map((redis) => checkRedis(redis, this.#config)));
    }
    return Promise.all(nodes.map((redis) => checkRedis(redis, this.#config)));
  }

  /** @param storeKeys of the shards, in their order */
  async whereabouts(storeKeys: readonly string[]): Promise<Whereabouts> {
    if (!('nodes' in this.#redis)) {
      const [runId, stores] = await Promise.all([
        this.#redis.info('server').then((info) => parseInfo(info).get('run_id') ?? ''),
        Promise.all(storeKeys.map((key) => this.#redis.get(key))),
      ]);
      return { runIds: storeKeys.map(() => runId), stores: stores.map((store) => store ?? '') };
    }
    const { text } = scriptsFor('where').where;
    const answers = (await Promise.all(storeKeys.map((key) => this.#redis.eval(text, 1, key, '', '')))) as string[][];
    return { runIds: answers.map(([runId]) => runId ?? ''), stores: answers.map(([, store]) => store ?? '') };
  }

  /**
   * Loads the scripts for each Redis process that serves shards and a life of the data.
   * @param runIds by shard @returns by shard
   */
  async load(runIds: readonly string[], generation: string): Promise<readonly Scripts[]> {
    const byRunId = new Map([...new Set(runIds)].map((runId) => [runId, scriptsFor(`${runId}:${generation}`)]));
    const known = new Set<string>();
    for (const node of primaries(this.#redis)) {
      const runId = parseInfo(await node.info('server')).get('run_id') ?? '';
      const scripts = byRunId.get(runId);
      if (!scripts) continue; // a master without shards of ours
      await Promise.all(Object.values(scripts).map(({ text }) => node.script('LOAD', text)));
      known.add(runId);
    }
    const missing = runIds.find((runId) => !known.has(runId));
    if (missing !== undefined) throw new StoreUnavailableError('load', `the Redis process ${missing} has gone`);
    return runIds.map((runId) => byRunId.get(runId) as Scripts);
  }
}
