import type { StoreConfig } from '../../common/config.ts';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import type { SidecarMetrics } from '../metrics.ts';
import { type Connection, connect, parseInfo } from './connection.ts';
import { type Answer, type Argument, type Call, packCall, unpack } from './packed.ts';
import { type LoadedScript, mayBatch, type ScriptName, scriptsFor } from './scripts.ts';

/** The first number of every answer that says: this shard's state was written under another Redis process or life. */
const CLOSED = 100;
/** The first number of an answer within a batch that says: the script failed, and how. */
const FAILED = 106;
/** Decisions in one call: enough to share its cost, few enough that Redis serves others in between. */
const MOST_IN_BATCH = 32;

/** Redis did not answer in the time that the caller could wait. The decision may still be made: see `onLate`. */
export class StoreUnavailableError extends HoldfastError {
  constructor(script: string, reason: string) {
    super('STORE_UNAVAILABLE', `the store did not decide "${script}" in time: ${reason}`);
  }
}

export interface RunOptions {
  /** How long the caller waits, ms. */
  waitMs: number;
  /** Called when the answer comes after the caller had been told STORE_UNAVAILABLE. */
  onLate?: (answer: Answer) => void;
  /** Index of the argument that becomes '1' when the call is repeated after a lost answer. */
  repeatedAt?: number;
  /** A key that is set ahead of each attempt. */
  hint?: { key: string; value: Buffer } | undefined;
  /** Runs although the shards are closed (fencing, putting back). */
  whileClosed?: boolean;
}

/** EVALSHA with its answer as bytes: ioredis has it, its types do not. */
interface RawScripts {
  evalshaBuffer(sha: string, keys: number, ...rest: Argument[]): Promise<unknown>;
}

type Scripts = Record<ScriptName | 'batch', LoadedScript>;

/** A decision that waits for the batch of this turn to leave. */
interface Batched {
  packed: Buffer;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

interface Waiting {
  untilMs: number;
  expire(): void;
}

/**
 * The store: one connection for decisions, one for renewals (so that a long queue never delays them). A decision that lost its answer is
 * repeated under the same operation number, after the old connection is known to be dead on Redis' side too.
 */
export class Store {
  readonly data: Connection;
  readonly lease: Connection;
  readonly #config: StoreConfig;
  readonly #log: Logger;
  readonly #metrics: SidecarMetrics;
  readonly #waiting = new Set<Waiting>();
  #batch: Batched[] = [];
  readonly #sweep: NodeJS.Timeout;
  #scripts: Scripts | undefined;
  #open = false;
  #opened = Promise.withResolvers<void>();
  #barrier: Promise<void> = Promise.resolve();
  #clientId: number | undefined;
  #replication: Promise<void> | undefined;
  #ended = false;
  /** Set by the reconciler: called once whenever the shards are found closed. */
  onClosed: () => void = () => {};

  constructor(config: StoreConfig, password: string | undefined, log: Logger, metrics: SidecarMetrics) {
    this.#config = config;
    this.#log = log;
    this.#metrics = metrics;
    this.data = connect(config, password, 'holdfast-sidecar');
    this.lease = connect(config, password, 'holdfast-sidecar-lease');
    this.#watch(this.data);
    this.lease.on('error', (error: Error) => log.debug({ err: error }, 'store connection for renewals'));
    this.#opened.promise.catch(() => {});
    this.#sweep = setInterval(() => this.#expire(), 200);
  }

  get open(): boolean {
    return this.#open;
  }

  /** The scripts of this Redis process are known and its shards are open: decisions may go on. */
  openWith(scripts: Scripts): void {
    this.#scripts = scripts;
    this.#open = true;
    this.#opened.resolve();
  }

  /** Loads the scripts for a Redis process and a life of the data; they are used for calls with `whileClosed` from now on. */
  async load(store: string): Promise<Scripts> {
    const scripts = scriptsFor(store);
    const nodes = 'nodes' in this.data ? this.data.nodes('master') : [this.data];
    for (const node of nodes) {
      await Promise.all(Object.values(scripts).map(({ text }) => node.script('LOAD', text)));
    }
    this.#scripts = scripts;
    return scripts;
  }

  /** run_id of the Redis process that answers now. */
  async runId(): Promise<string> {
    return parseInfo(await this.data.info('server')).get('run_id') ?? '';
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#opened = Promise.withResolvers<void>();
    this.#opened.promise.catch(() => {});
    this.onClosed();
  }

  /**
   * Runs a script: one decision.
   * @throws StoreUnavailableError when it was not made in time
   */
  run(name: ScriptName, keys: string[], args: Argument[], options: RunOptions): Promise<Answer> {
    return new Promise((resolve, reject) => {
      let expired = false;
      let sent = false;
      const waiting: Waiting = {
        untilMs: monotonicMs() + options.waitMs,
        expire: () => {
          expired = true;
          reject(
            new StoreUnavailableError(
              name,
              this.#open ? 'no answer' : 'its state is being put back or it is out of reach',
            ),
          );
        },
      };
      this.#waiting.add(waiting);
      this.#attempt(name, keys, args, options, {
        expired: () => expired,
        sending: () => {
          sent = true;
        },
        sent: () => sent,
      }).then(
        (answer) => {
          this.#waiting.delete(waiting);
          if (!expired) resolve(answer);
          else options.onLate?.(answer);
        },
        (error: unknown) => {
          this.#waiting.delete(waiting);
          if (!expired) reject(error);
        },
      );
    });
  }

  async #attempt(
    name: ScriptName,
    keys: string[],
    args: Argument[],
    options: RunOptions,
    progress: { expired(): boolean; sending(): void; sent(): boolean },
  ): Promise<Answer> {
    for (;;) {
      if (this.#ended || (progress.expired() && !progress.sent()))
        throw new StoreUnavailableError(name, 'given up before it was sent');
      const scripts = this.#scripts;
      if (!scripts || (!this.#open && !options.whileClosed)) {
        await (options.whileClosed ? delay(20) : this.#opened.promise);
        continue;
      }
      if (progress.sent() && options.repeatedAt !== undefined) args[options.repeatedAt] = '1';
      const beganMs = performance.now();
      try {
        progress.sending();
        const answer = await this.#call(scripts, { script: name, keys, args, hint: options.hint });
        if (Array.isArray(answer) && answer[0] === CLOSED) {
          if (options.whileClosed) throw new StoreUnavailableError(name, 'the shard is closed');
          this.close();
          continue;
        }
        this.#metrics.scriptSeconds.labels(name).observe((performance.now() - beganMs) / 1000);
        if (this.#config.durability.mode === 'Replicated') await this.#replicated(this.#config.durability.replicas);
        return answer;
      } catch (error) {
        const reason = reasonOf(error);
        if (error instanceof StoreUnavailableError) throw error;
        if (reason.includes('NOSCRIPT')) {
          if (options.whileClosed) await this.#reload();
          else this.close();
        } else if (isConnectionError(reason)) {
          await this.#barrier;
          await delay(20);
        } else {
          throw new HoldfastError('STORE_SCRIPT', `the script "${name}" failed: ${reason}`, { cause: error });
        }
      }
    }
  }

  /** Sends one call: with others of this turn where that may be, alone otherwise. In the order in which they are made. */
  async #call(scripts: Scripts, call: Call): Promise<Answer> {
    const name = call.script as ScriptName;
    const isCluster = 'nodes' in this.data;
    if (!isCluster && mayBatch(name)) {
      return new Promise((resolve, reject) => {
        if (this.#batch.length === 0) process.nextTick(() => this.#sendBatch());
        this.#batch.push({ packed: packCall(call), resolve, reject });
        if (this.#batch.length === MOST_IN_BATCH) this.#sendBatch();
      });
    }
    this.#sendBatch();
    if (call.hint) {
      const ahead = this.data.set(call.hint.key, call.hint.value);
      if (isCluster)
        await ahead; // another slot may be another connection
      else ahead.catch(() => {}); // lost together with the script's own answer, and sent again with it
    }
    const raw = this.data as unknown as RawScripts;
    return (await raw.evalshaBuffer(scripts[name].sha, call.keys.length, ...call.keys, ...call.args)) as Answer;
  }

  #sendBatch(): void {
    const batch = this.#batch;
    const sha = this.#scripts?.batch.sha;
    if (batch.length === 0) return;
    this.#batch = [];
    const raw = this.data as unknown as RawScripts;
    raw
      .evalshaBuffer(sha ?? '', 0, ...batch.map(({ packed }) => packed))
      .then((packed) => {
        const answers = unpack(packed as Buffer);
        batch.forEach(({ resolve, reject }, i) => {
          const answer = answers[i];
          if (!Array.isArray(answer)) reject(new Error('a batch of decisions was answered with something else'));
          else if (answer[0] === FAILED) reject(new Error(String(answer[1])));
          else resolve(answer);
        });
      })
      .catch((error: unknown) => {
        for (const { reject } of batch) reject(error);
      });
  }

  /** Reads something outside of a script, and waits for the store as a decision does. */
  async read<T>(look: (connection: Connection) => Promise<T>, waitMs: number): Promise<T> {
    const untilMs = monotonicMs() + waitMs;
    for (;;) {
      try {
        return await Promise.race([look(this.data), this.#timeout(untilMs - monotonicMs())]);
      } catch (error) {
        if (this.#ended || monotonicMs() > untilMs || !isConnectionError(reasonOf(error))) {
          throw new StoreUnavailableError('read', reasonOf(error));
        }
        await delay(20);
      }
    }
  }

  #timeout(ms: number): Promise<never> {
    return new Promise((_, reject) => {
      setTimeout(() => reject(new StoreUnavailableError('read', 'no answer')), Math.max(ms, 0)).unref();
    });
  }

  async #reload(): Promise<void> {
    // The Redis process changed while its shards were being opened; the reconciler begins again.
    this.#open = true;
    this.close();
    throw new StoreUnavailableError('reload', 'another Redis process answers');
  }

  /** One WAIT for all decisions of a turn, on a connection's own write: it comes after theirs in the replication stream. */
  #replicated(replicas: number): Promise<void> {
    this.#replication ??= (async () => {
      await new Promise((resolve) => setImmediate(resolve));
      this.#replication = undefined;
      const lease = this.lease;
      await lease.set('hf:wait', '1');
      const reached = 'nodes' in lease ? replicas : await lease.wait(replicas, 5000);
      if (reached < replicas)
        throw new HoldfastError('STORE_DURABILITY', `only ${reached} of ${replicas} replicas hold the decision`);
    })();
    return this.#replication;
  }

  /**
   * A connection that was lost may still have commands on their way. They are known to be done or dead once Redis has ended it: only
   * then may anything be repeated.
   */
  #watch(connection: Connection): void {
    let passed: (() => void) | undefined;
    connection.on('error', (error: Error) => this.#log.debug({ err: error }, 'store connection'));
    connection.on('close', () => {
      if (passed) return;
      this.#barrier = new Promise((resolve) => {
        passed = resolve;
      });
    });
    connection.on('ready', () => {
      const before = this.#clientId;
      const pass = passed;
      passed = undefined;
      (async () => {
        if ('nodes' in connection) return;
        if (before !== undefined) {
          this.#metrics.storeReconnects.inc();
          await connection.client('KILL', 'ID', before).catch(() => 0);
        }
        this.#clientId = await connection.client('ID');
      })()
        .catch((error: unknown) => this.#log.debug({ err: error }, 'store connection: cannot end its predecessor'))
        .finally(() => pass?.());
    });
  }

  #expire(): void {
    const now = monotonicMs();
    for (const waiting of this.#waiting) {
      if (waiting.untilMs > now) continue;
      this.#waiting.delete(waiting);
      waiting.expire();
    }
  }

  end(): void {
    this.#ended = true;
    clearInterval(this.#sweep);
    for (const waiting of this.#waiting) waiting.expire();
    this.#waiting.clear();
    this.#opened.reject(new StoreUnavailableError('end', 'the sidecar ends'));
    this.data.disconnect();
    this.lease.disconnect();
  }
}

function isConnectionError(reason: string): boolean {
  return /connection|max retries|pipeline|ECONN|EPIPE|ETIMEDOUT|socket|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|Stream isn't writeable|TRYAGAIN/i.test(
    reason,
  );
}
