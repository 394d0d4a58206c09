import { createLogger } from '../../common/logging.ts';
import { createSidecarMetrics } from '../metrics.ts';
import { type Identity, Keys } from '../table/keys.ts';
import { Store } from '../table/store.ts';
import { TestRedis } from './redis.ts';

const ENTER = `
  for i = 1, #KEYS / 2 do
    redis.call('SET', KEYS[i], ARGV[1])
    redis.call('HSET', KEYS[#KEYS / 2 + i], unpack(ARGV, 2))
  end`;

/** A Redis of its own, and a store on it with the scripts loaded: for tests of decisions, without a sidecar around them. */
export class OpenStore {
  readonly store: Store;
  /** What the store key of an open shard says. */
  tag: string;
  readonly #redis: TestRedis;

  private constructor(redis: TestRedis, store: Store, tag: string) {
    this.#redis = redis;
    this.store = store;
    this.tag = tag;
  }

  static async start(): Promise<OpenStore> {
    const redis = await TestRedis.start();
    const config = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
    const store = new Store(config, () => undefined, createLogger('test'), createSidecarMetrics());
    return new OpenStore(redis, store, await load(store));
  }

  /** Redis is killed, and comes back with what is on its disk: in another life, whose scripts are loaded. Clusters have to be entered again. */
  async restart(): Promise<void> {
    await this.#redis.kill();
    await this.#redis.up();
    this.tag = await load(this.store);
  }

  /**
   * Opens the shards of a cluster, all of them, as where an open is stands in another shard than the open; these servers are in each, as
   * fence.lua has one that comes for the first time.
   */
  async enter(keys: Keys, servers: readonly Identity[]): Promise<void> {
    const stores = keys.stores();
    const fences = stores.map((_, shard) => keys.fence(shard));
    const entries = servers.flatMap(({ serverId, epoch }) => [serverId, epoch]);
    await this.store.data.eval(ENTER, 2 * stores.length, ...stores, ...fences, this.tag, ...entries);
  }

  async stop(): Promise<void> {
    this.store.end();
    await this.#redis.stop();
  }
}

/** Opens the store for the Redis process that answers. @returns what its open shards say */
async function load(store: Store): Promise<string> {
  const { runIds } = await store.whereabouts(new Keys('test').stores());
  store.openWith(await store.load(runIds, '1'));
  return `${runIds[0]}:1`;
}
