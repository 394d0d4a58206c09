import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay } from '../../common/time.ts';
import { type Connection, close } from './connection.ts';
import type { LoadedScript } from './scripts.ts';
import { isConnectionError, StoreUnavailableError } from './store-errors.ts';

/** Longer than a replica takes that keeps up, short enough that whoever waits hears of it while it still waits. */
const ROUND_MS = 1000;

type Reached = 'replicated' | 'missing' | 'elsewhere';

/**
 * Durability Replicated: has a decision reached so many replicas? One question for all decisions of a turn (in a Redis Cluster: of a
 * turn and shard), on a connection of its own, because WAIT blocks it. WAIT counts what its own connection wrote: so it writes a key,
 * after the decisions, with a script that only the Redis process knows that they were made in. Another process (a failover came in
 * between) answers NOSCRIPT, and says nothing of them.
 */
export class Replication {
  readonly #connection: Connection;
  readonly #replicas: number;
  readonly #onMissing: (message: string) => void;
  readonly #rounds = new Map<string, Promise<Reached>>();

  /** @param onMissing called with what to do about replicas that do not answer */
  constructor(connection: Connection, replicas: number, log: Logger, onMissing: (message: string) => void) {
    this.#connection = connection;
    this.#replicas = replicas;
    this.#onMissing = onMissing;
    connection.on('error', (error: Error) => log.debug({ err: error }, 'store connection for WAIT'));
  }

  /**
   * Waits until as many replicas as the configuration asks for have what was decided, never fewer.
   * @param key any of the decision's keys @param mark the script `mark` of the process that decided
   * @param isGivenUp the caller has been told STORE_UNAVAILABLE, and takes back what was decided
   * @returns false: another process took over, which may not have it
   */
  async waits(key: string, mark: LoadedScript, isGivenUp: () => boolean): Promise<boolean> {
    while (!isGivenUp()) {
      let reached: Reached;
      try {
        reached = await this.#reached(key, mark);
      } catch (error) {
        if (!isConnectionError(reasonOf(error))) throw error;
        await delay(20);
        continue;
      }
      if (reached === 'replicated') return true;
      if (reached === 'elsewhere') return false;
      this.#tellMissing();
    }
    return true;
  }

  /** For what the registry changes. @throws StoreUnavailableError when the replicas do not have it in time */
  async settled(key: string, mark: LoadedScript): Promise<void> {
    const reached = await this.#reached(key, mark);
    if (reached === 'replicated') return;
    if (reached === 'missing') this.#tellMissing();
    throw new StoreUnavailableError(
      'registry',
      reached === 'missing' ? 'replicas are missing' : 'another Redis answers',
    );
  }

  #tellMissing(): void {
    this.#onMissing(
      `fewer than ${this.#replicas} replicas of the store answer, but durability asks for ${this.#replicas}: nothing is granted until they do; start them, or lower store.durability.replicas`,
    );
  }

  #reached(key: string, mark: LoadedScript): Promise<Reached> {
    const own = `${key.slice(0, key.indexOf('}') + 1)}:wait`;
    const about = `${mark.sha} ${'nodes' in this.#connection ? own : ''}`;
    let round = this.#rounds.get(about);
    if (!round) {
      round = new Promise((resolve) => setImmediate(resolve)).then(() => {
        this.#rounds.delete(about);
        return this.#ask(own, mark);
      });
      this.#rounds.set(about, round);
    }
    return round;
  }

  /** How many replicas have all that was decided until now, at the process that serves this key. */
  async #ask(key: string, mark: LoadedScript): Promise<Reached> {
    const [marked, waited] =
      (await this.#connection.pipeline().evalsha(mark.sha, 1, key, '', '').wait(this.#replicas, ROUND_MS).exec()) ?? [];
    const error = marked?.[0] ?? waited?.[0];
    if (error) {
      if (error.message.includes('NOSCRIPT')) return 'elsewhere';
      throw error;
    }
    return Number(waited?.[1]) >= this.#replicas ? 'replicated' : 'missing';
  }

  end(): void {
    close(this.#connection);
  }
}
