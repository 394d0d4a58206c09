import { Command, Redis } from 'ioredis';
import { ChurningMap } from '../../common/churning-map.ts';
import type { StoreConfig } from '../../common/config.ts';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { SHARDS } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import { Asked, type RunOptions } from './asked.ts';
import { Batches } from './batches.ts';
import { type Connection, close, connect, type PasswordSource } from './connection.ts';
import { type Answer, type Argument, type Arguments, argumentList, type Call, type CallKeys } from './packed.ts';
import { Predecessors } from './predecessors.ts';
import { RedisProcesses, type Whereabouts } from './redis-processes.ts';
import { Replication } from './replication.ts';
import { mayBatch, relieves, type ScriptName, type Scripts } from './scripts.ts';
import { aclError, fullMessage, passwordError, type StoreFacts, tlsError } from './store-checks.ts';
import {
  isConnectionError,
  isLogonRefused,
  isTlsRefused,
  StoreFullError,
  StoreUnavailableError,
} from './store-errors.ts';

/** The first number of every answer that says: this shard's state was written under another Redis process or life. */
const CLOSED = 100;
/** The first number of an answer that grants what was asked for. */
const GRANTED = 1;

/** A store that was just connected to is looked at before anything is written into it. */
const ACCEPTED_WITHIN_MS = 2000;

/** A call with its keys and arguments as EVALSHA takes them. */
type AloneCall = Call & { keys: readonly string[]; args: readonly Argument[] };

/** EVALSHA with its answer as bytes: ioredis has it, its types do not. */
interface RawScripts {
  evalshaBuffer(sha: string, keys: number, ...rest: Argument[]): Promise<unknown>;
}

/**
 * The store: one connection for decisions, one for renewals (so that a long queue never delays them), and one for WAIT where replicas
 * have to have a decision before it counts. A decision that lost its answer is repeated under the same operation number, after the old
 * connection is known to be dead on Redis' side too.
 */
export class Store {
  readonly data: Connection;
  readonly lease: Connection;
  readonly #config: StoreConfig;
  readonly #metrics: SidecarMetrics;
  readonly #waiting = new ChurningMap<number, Asked>();
  #asked = 0;
  readonly #batches = new Batches((packed) => this.#sendBatch(packed));
  readonly #seconds = new Map<ScriptName, { observe(seconds: number): void }>();
  readonly #sweep: NodeJS.Timeout;
  /** By shard: those of the Redis process that serves it. */
  #scripts: readonly Scripts[] | undefined;
  #open = false;
  #opened = Promise.withResolvers<void>();
  #openings = 0;
  readonly #processes: RedisProcesses;
  readonly #predecessors: Predecessors;
  /** What was sent over the connection for renewals: also a registration or a fencing may be carried out late. */
  readonly #leasePredecessors: Predecessors;
  readonly #replication: Replication | undefined;
  #ended = false;
  /** Why Redis let the connection for decisions not in, or was not let near, when it was made last; undefined: it did, or did not answer. */
  #shutOut: HoldfastError | undefined;
  /** Set by the reconciler: why nothing may be written there at all; undefined: it may. */
  refused: string | undefined;
  /** Set by the reconciler: called once whenever the shards are found closed. */
  onClosed: () => void = () => {};
  /** What Redis refuses to do though it answers: for people. Said again whenever it happens. */
  onTrouble: (message: string) => void = () => {};

  /**
   * @param connectionsFile where its connections are noted down, for who takes its place should it die; see Predecessors
   * @param silenceMs after so long without a word a connection that owes an answer is made anew
   */
  constructor(
    config: StoreConfig,
    password: PasswordSource,
    log: Logger,
    metrics: SidecarMetrics,
    connectionsFile?: string,
    silenceMs = 20_000,
  ) {
    this.#config = config;
    this.#metrics = metrics;
    this.data = connect(config, password, 'holdfast-sidecar', silenceMs);
    this.lease = connect(config, password, 'holdfast-sidecar-lease', silenceMs);
    this.#processes = new RedisProcesses(this.data, config);
    const reconnected = (isOther: boolean) => {
      metrics.storeReconnects.inc();
      // Also where nothing is asked just now: others may wait for what this sidecar remembers.
      if (isOther) this.close();
    };
    this.#predecessors = new Predecessors(this.data, log, reconnected, connectionsFile);
    this.#leasePredecessors = new Predecessors(
      this.lease,
      log,
      () => {},
      connectionsFile && `${connectionsFile}.lease`,
    );
    if (config.durability.mode === 'Replicated') {
      const connection = connect(config, password, 'holdfast-sidecar-wait', silenceMs);
      this.#replication = new Replication(connection, config.durability.replicas, log, (message) =>
        this.onTrouble(message),
      );
    }
    this.#watchLogon();
    this.#opened.promise.catch(() => {});
    this.#sweep = setInterval(() => this.#expire(), 200);
  }

  /** Which opening of the shards it is that decisions are made with; undefined: they are closed. */
  get opening(): number | undefined {
    return this.#open ? this.#openings : undefined;
  }

  get open(): boolean {
    return this.#open;
  }

  /** Whether what is decided counts only when replicas have it. */
  get isReplicated(): boolean {
    return this.#replication !== undefined;
  }

  /** Whether shards are in several Redis processes. */
  get isCluster(): boolean {
    return 'nodes' in this.data;
  }

  /**
   * Refuses Redis processes that could lose what they are told. What an earlier process of this sidecar sent there is done or dead when
   * this returns. @throws HoldfastError that says what to do
   */
  async check(): Promise<StoreFacts[]> {
    const facts = await this.#processes.check().catch((error: unknown) => {
      throw this.#whyShutOut(error) ?? this.#shutOut ?? error;
    });
    await Promise.all([this.#predecessors.earlierGone(), this.#leasePredecessors.earlierGone()]);
    return facts;
  }

  /** A store that does not let this sidecar in is closed at once: to people it would look as if nobody answered. */
  #watchLogon(): void {
    this.data.on('error', (error: Error) => {
      this.#shutOut = this.#whyShutOut(error);
      if (this.#shutOut !== undefined) this.close();
    });
    this.data.on('ready', () => {
      this.#shutOut = undefined;
    });
  }

  /** What an error says about who is let in, for people; undefined: it is about something else. */
  #whyShutOut(error: unknown): HoldfastError | undefined {
    const { addresses, username, tls } = this.#config;
    const reason = reasonOf(error);
    if (isLogonRefused(reason)) return passwordError(addresses.join(', '), username, reason);
    return tls && isTlsRefused(reason) ? tlsError(addresses.join(', '), reason) : undefined;
  }

  /** Waits a moment until it is known whether anything may be written there. @throws StoreUnavailableError when not */
  async accepted(): Promise<void> {
    for (const untilMs = monotonicMs() + ACCEPTED_WITHIN_MS; this.refused !== undefined; await delay(20)) {
      if (this.#ended || monotonicMs() > untilMs) throw new StoreUnavailableError('registry', this.refused);
    }
  }

  /** Waits until the shards are open, and nothing is on its way over a lost connection for renewals. @throws StoreUnavailableError when they are not in time */
  async untilOpen(waitMs: number): Promise<void> {
    for (const untilMs = monotonicMs() + waitMs; !this.#open || this.#leasePredecessors.areLeft; await delay(20)) {
      if (this.#ended || monotonicMs() > untilMs) {
        throw new StoreUnavailableError('open', this.refused ?? 'its state is being put back or it is out of reach');
      }
    }
  }

  /** @param storeKeys of the shards, in their order */
  whereabouts(storeKeys: readonly string[]): Promise<Whereabouts> {
    return this.#processes.whereabouts(storeKeys);
  }

  /** The scripts of these Redis processes are known and their shards are open: decisions may go on. */
  openWith(scripts: readonly Scripts[]): void {
    this.#scripts = scripts;
    this.#open = true;
    this.#openings++;
    this.#opened.resolve();
  }

  /**
   * Loads the scripts for a life of the data; they are used for calls with `whileClosed` from now on.
   * @param runIds by shard @returns by shard
   */
  async load(runIds: readonly string[], generation: string): Promise<readonly Scripts[]> {
    this.#scripts = await this.#processes.load(runIds, generation);
    return this.#scripts;
  }

  /** Nothing is decided any more. */
  get hasEnded(): boolean {
    return this.#ended;
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
  run(name: ScriptName, keys: CallKeys, args: Arguments, options: RunOptions): Promise<Answer> {
    const place = this.#asked++;
    const asked = new Asked(name, keys, args, options, { untilMs: monotonicMs() + options.waitMs, place }, this.#taken);
    this.#waiting.set(place, asked);
    if (!this.#open || options.whileClosed || !mayBatch(name) || this.isCluster || this.#replication) {
      this.#goOn(asked);
    } else {
      // As it would be attempted there, without the detours: nearly all decisions go this way.
      asked.wasSent = true;
      this.#batches.add(asked, options.weight);
    }
    return asked.answer;
  }

  readonly #taken = (asked: Asked, answer: Answer | undefined, error: unknown): void => {
    if (!answer) {
      this.#goOn(asked, { error });
    } else if (answer[0] === CLOSED) {
      this.close();
      this.#goOn(asked);
    } else {
      this.#observe(asked.script, asked.beganMs);
      this.#waiting.delete(asked.place);
      asked.decided(answer);
    }
  };

  /** @param failed how the first attempt failed, if there was one */
  #goOn(asked: Asked, failed?: { error: unknown }): void {
    this.#attempt(asked, failed).then(
      (answer) => {
        this.#waiting.delete(asked.place);
        asked.decided(answer);
      },
      (error: unknown) => {
        this.#waiting.delete(asked.place);
        asked.failed(error);
      },
    );
  }

  #observe(name: ScriptName, beganMs: number): void {
    let seconds = this.#seconds.get(name);
    if (!seconds) {
      seconds = this.#metrics.scriptSeconds.labels(name);
      this.#seconds.set(name, seconds);
    }
    seconds.observe((performance.now() - beganMs) / 1000);
  }

  async #attempt(asked: Asked, failed: { error: unknown } | undefined): Promise<Answer> {
    const { script: name, options } = asked;
    const keys = 'prefix' in asked.keys ? asked.keys.all() : asked.keys;
    const args = [...argumentList(asked.args)];
    let alone = options.whileClosed === true || !mayBatch(name) || this.isCluster;
    if (failed) alone = await this.#recover(name, options, alone, failed.error);
    for (;;) {
      if (this.#ended || (asked.isGivenUp && !asked.wasSent))
        throw new StoreUnavailableError(name, 'given up before it was sent');
      const scripts = this.#scriptsOf(keys[0] ?? '');
      if (!scripts || (!this.#open && !options.whileClosed)) {
        await (options.whileClosed ? delay(20) : this.#opened.promise);
        continue;
      }
      if (asked.wasSent && options.repeatedAt !== undefined) args[options.repeatedAt] = '1';
      const beganMs = performance.now();
      try {
        asked.wasSent = true;
        const call = { script: name, keys, args, hint: options.hint, forget: options.forget };
        const answer = await (alone ? this.#callAlone(scripts, call) : this.#callWithOthers(call, options.weight));
        if (Array.isArray(answer) && answer[0] === CLOSED) {
          if (options.whileClosed) throw new StoreUnavailableError(name, 'the shard is closed');
          this.close();
          continue;
        }
        this.#observe(name, beganMs);
        // Too late for the caller, replicated or not: it takes back what was decided.
        const isGivenUp = () => asked.isGivenUp || this.#ended;
        if ((await this.#replication?.waits(keys[0] ?? '', scripts.mark, isGivenUp)) ?? true) return answer;
        this.#elsewhere(options);
      } catch (error) {
        alone = await this.#recover(name, options, alone, error);
      }
    }
  }

  /**
   * Returns when a decision that failed so may be attempted again, and throws when it may not.
   * @returns whether it has to go alone then
   */
  async #recover(name: ScriptName, options: RunOptions, alone: boolean, error: unknown): Promise<boolean> {
    const reason = reasonOf(error);
    if (error instanceof StoreUnavailableError) throw error;
    if (reason.includes('NOSCRIPT')) {
      this.#elsewhere(options);
    } else if (/READONLY/.test(reason)) {
      this.#leaveReplica();
      this.#elsewhere(options);
      await delay(20);
    } else if (/^OOM|\bOOM /.test(reason)) {
      if (alone || !relieves(name)) throw this.#full();
      return true;
    } else if (/MISCONF|NOREPLICAS|BUSY /.test(reason)) {
      this.onTrouble(`the store refuses changes: ${reason}`);
      await delay(100);
    } else if (reason.includes('NOPERM')) {
      throw aclError(this.#config.addresses.join(', '), this.#config.username, reason);
    } else if (isConnectionError(reason)) {
      await this.#predecessors.gone();
      await delay(20);
    } else {
      throw new HoldfastError('STORE_SCRIPT', `the script "${name}" failed: ${reason}`, { cause: error });
    }
    return alone;
  }

  /** Another Redis process answers than the one whose shards were opened. */
  #elsewhere(options: RunOptions): void {
    if (!options.whileClosed) {
      this.close();
      return;
    }
    // It changed while its shards were being opened; the reconciler begins again.
    this.#open = true;
    this.close();
    throw new StoreUnavailableError('reload', 'another Redis process answers');
  }

  /** A primary that became a replica: the Sentinels know who took its place. */
  #leaveReplica(): void {
    for (const connection of [this.data, this.lease]) {
      if (!('nodes' in connection) && connection.options.sentinels && connection.status === 'ready') {
        connection.disconnect(true);
      }
    }
  }

  #full(): StoreFullError {
    const message = fullMessage(this.#config.addresses.join(', '));
    this.onTrouble(message);
    return new StoreFullError(message);
  }

  #scriptsOf(key: string): Scripts | undefined {
    if (!this.isCluster) return this.#scripts?.[0];
    return this.#scripts?.[shardOfKey(key) ?? 0];
  }

  /**
   * For what the registry changes: it counts only when the replicas have it, like any decision.
   * @throws StoreUnavailableError when they do not have it in time
   */
  async settled(key: string): Promise<void> {
    if (!this.#replication) return;
    let scripts = this.#scriptsOf(key);
    for (const untilMs = monotonicMs() + ACCEPTED_WITHIN_MS; !scripts; scripts = this.#scriptsOf(key)) {
      if (this.#ended || monotonicMs() > untilMs)
        throw new StoreUnavailableError('registry', 'no script is loaded yet');
      await delay(20);
    }
    await this.#replication.settled(key, scripts.mark);
  }

  /** One call for this and others of the turn. */
  #callWithOthers(call: Call, weight: number | undefined): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const done = (answer: Answer | undefined, error?: unknown) => (answer ? resolve(answer) : reject(error));
      this.#batches.add({ ...call, done }, weight);
    });
  }

  /** A call of its own, in the order in which calls are made. */
  async #callAlone(scripts: Scripts, call: AloneCall): Promise<Answer> {
    this.#batches.flush();
    if (call.hint) {
      const ahead = this.data.set(call.hint.key, call.hint.value);
      if (this.isCluster)
        await ahead; // another slot may be another connection
      else ahead.catch(() => {}); // lost together with the script's own answer, and sent again with it
    }
    const raw = this.data as unknown as RawScripts;
    const { sha } = scripts[call.script as ScriptName];
    const answer = (await raw.evalshaBuffer(sha, call.keys.length, ...call.keys, ...call.args)) as Answer;
    if (call.forget && answer[0] === GRANTED) this.data.unlink(call.forget).catch(() => {}); // it leads nowhere now
    return answer;
  }

  /** At once where nothing else waits to be sent, so that order is kept; else behind that. */
  #sendBatch(packed: Buffer): Promise<unknown> {
    const sha = this.#scripts?.[0]?.batch.sha ?? '';
    const { data } = this;
    if (data instanceof Redis && data.autoPipelineQueueSize === 0) {
      const command = new Command('evalsha', [sha, '0', packed], { replyEncoding: null });
      data.sendCommand(command);
      return command.promise;
    }
    return (data as unknown as RawScripts).evalshaBuffer(sha, 0, packed);
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

  #expire(): void {
    const now = monotonicMs();
    for (const asked of this.#waiting.values()) if (asked.untilMs <= now) this.#giveUp(asked);
  }

  #giveUp(asked: Asked): void {
    this.#waiting.delete(asked.place);
    const reason = this.#open ? 'no answer' : 'its state is being put back or it is out of reach';
    asked.giveUp(new StoreUnavailableError(asked.script, reason));
  }

  end(): void {
    this.#ended = true;
    clearInterval(this.#sweep);
    for (const asked of this.#waiting.values()) this.#giveUp(asked);
    this.#opened.reject(new StoreUnavailableError('end', 'the sidecar ends'));
    close(this.data);
    close(this.lease);
    this.#replication?.end();
  }
}

/** The shard that a key's hash tag names, {cluster:shard}; undefined: it belongs to none. */
function shardOfKey(key: string): number | undefined {
  const shard = Number(/:(\d{1,2})\}/.exec(key)?.[1]);
  return shard < SHARDS ? shard : undefined;
}
