import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { Logger } from '../../common/logging.ts';
import { delay } from '../../common/time.ts';
import { type Connection, primaries } from './connection.ts';
import { parseInfo } from './store-checks.ts';

/** A node of a Redis Cluster that does not come back answers nobody: what went to it goes to another, under another run_id. */
const GIVEN_UP_AFTER_MS = 3000;

/**
 * Connections that were lost may still have commands on their way: they are done or dead once Redis has ended the connection. Only then
 * may anything be repeated.
 */
export class Predecessors {
  readonly #log: Logger;
  readonly #isCluster: boolean;
  readonly #onReconnect: (isOther: boolean) => void;
  /** The last connection to each address: its id is one of that Redis process alone. */
  readonly #last: Map<string, LastConnection>;
  /** Those of an earlier process, until they are ended. */
  readonly #earlier: Set<string>;
  readonly #file: string | undefined;
  readonly #barriers = new Map<string, { passed: Promise<void>; pass(): void }>();

  /**
   * @param onReconnect whether another Redis process answers than before
   * @param file where the connections are noted down: a process that takes the place of this one ends them, should it die
   */
  constructor(connection: Connection, log: Logger, onReconnect: (isOther: boolean) => void, file?: string) {
    this.#log = log;
    this.#file = file;
    this.#last = file === undefined ? new Map() : readConnections(file);
    this.#earlier = new Set(this.#last.keys());
    this.#isCluster = 'nodes' in connection;
    this.#onReconnect = onReconnect;
    connection.on('error', (error: Error) => log.debug({ err: error }, 'store connection'));
    if ('nodes' in connection) {
      connection.on('+node', (node: Redis) => this.#watch(node));
      for (const node of primaries(connection)) this.#watch(node);
    } else this.#watch(connection);
  }

  /** Something that was sent over a lost connection may still be carried out. */
  get areLeft(): boolean {
    return this.#barriers.size > 0;
  }

  /** Resolves when nothing that was sent over a lost connection can still be carried out. */
  async gone(): Promise<void> {
    await Promise.all([...this.#barriers.values()].map(({ passed }) => passed));
  }

  /** The same for what an earlier process sent to the addresses that are connected to. */
  async earlierGone(): Promise<void> {
    const earlier = [...this.#barriers].filter(([address]) => this.#earlier.has(address));
    await Promise.all(earlier.map(([, { passed }]) => passed));
  }

  #watch(redis: Redis): void {
    redis.on('close', () => this.#lost(addressOf(redis)));
    redis.on('ready', () => {
      const barrier = this.#barriers.get(addressOf(redis));
      this.#end(redis)
        .catch((error: unknown) => this.#log.debug({ err: error }, 'store connection: cannot end its predecessor'))
        .finally(() => barrier?.pass());
    });
    // A node that was lost is another object when it is connected to again.
    const isAnother = this.#isCluster && this.#last.has(addressOf(redis));
    if (isAnother || this.#earlier.has(addressOf(redis))) this.#lost(addressOf(redis));
  }

  #lost(address: string): void {
    if (this.#barriers.has(address)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const pass = () => {
      this.#barriers.delete(address);
      resolve();
    };
    this.#barriers.set(address, { passed: promise, pass });
    if (this.#isCluster) void delay(GIVEN_UP_AFTER_MS).then(pass);
  }

  async #end(redis: Redis): Promise<void> {
    const address = addressOf(redis);
    const before = this.#last.get(address);
    const [clientId, info] = await Promise.all([redis.client('ID'), redis.info('server')]);
    const runId = parseInfo(info).get('run_id') ?? '';
    this.#last.set(address, { clientId, runId });
    if (!before) return this.#note();
    if (!this.#earlier.has(address)) this.#onReconnect(before.runId !== runId);
    // Another process counts its connections anew: the id is somebody else's there, and what was on its way ended with the old one.
    if (before.runId === runId && before.clientId !== clientId) await redis.client('KILL', 'ID', before.clientId);
    this.#earlier.delete(address);
    this.#note();
  }

  #note(): void {
    if (this.#file === undefined) return;
    try {
      writeFileSync(`${this.#file}.new`, JSON.stringify([...this.#last]));
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      this.#log.warn({ err: error }, 'the connections to the store cannot be noted down for the next process');
    }
  }
}

interface LastConnection {
  clientId: number;
  runId: string;
}

/** Nothing where there is no such file, or another than this writes. */
function readConnections(file: string): Map<string, LastConnection> {
  const connections = new Map<string, LastConnection>();
  try {
    const entries: unknown = JSON.parse(readFileSync(file, 'utf8'));
    for (const [address, { clientId, runId }] of entries as [string, Partial<LastConnection>][]) {
      if (Number.isSafeInteger(clientId) && typeof runId === 'string') {
        connections.set(String(address), { clientId: clientId as number, runId });
      }
    }
  } catch {
    // The first of its pod.
  }
  return connections;
}

/** Of a connection through Sentinels always the same: which Redis it leads to is told by the run_id. */
function addressOf(redis: Redis): string {
  return redis.options.sentinels ? 'primary' : `${redis.options.host}:${redis.options.port}`;
}
