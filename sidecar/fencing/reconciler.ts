import type { StoreConfig } from '../../common/config.ts';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { Member } from '../services/member.ts';
import type { Keys } from '../table/keys.ts';
import type { Store } from '../table/store.ts';
import type { StoreFacts } from '../table/store-checks.ts';
import { isOpen, type Life, mayLoseWrites, newGeneration, tagOfAll } from './life.ts';
import type { Possession } from './possession.ts';
import { PuttingBack, type PuttingBackParts } from './putting-back.ts';
import type { Settling } from './settling.ts';

const RETRY_MS = 200;
const LOOK_MS = 50;
/** How often a store that is in use is asked whether it still is what it has to be. */
const CHECK_MS = 5000;
/** Opens a shard: from then on nobody puts anything back, and what must not be is of no use any more. */
const OPEN = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('DEL', KEYS[2])";
/** A shard that waits for its state to be put back. */
const CLOSED_STORE = '-';

export interface ReconcilerParts extends PuttingBackParts {
  store: Store;
  config: StoreConfig;
  keys: Keys;
  possession: Possession;
  settling: Settling;
  metrics: SidecarMetrics;
  /** The store is known to be new: there is nobody whose state could still come. */
  newStore: boolean;
  maxExtensionMs: number;
  /** Whether no server can have gone on without the store that has not asked this pod. */
  isAskedByAll(): boolean;
  /** No promise to a peer is outstanding. */
  hasPromisedNothing(): boolean;
  /** The shards are open. */
  opened(): void;
}

/**
 * Opens the shards for the Redis process that answers (of a Redis Cluster: for all its masters). Each shard holds the run_id and
 * generation its state was written under; another process (a restart, a failover) closes it until every live server has put its opens
 * back or is fenced. Routine, and fast: unless writes were lost, or may have been.
 */
export class Reconciler {
  readonly #is: ReconcilerParts;
  readonly #puttingBack: PuttingBack;
  #running: Promise<void> | undefined;
  #stopped = false;
  #generation: string | undefined;
  /** Of the Redis processes whose shards were opened last. */
  #runIds: ReadonlySet<string> = new Set();
  #problem = 'the store has not answered yet';
  #refusal = '';
  /** What Redis refuses though it is open. */
  #trouble: { message: string; atMs: number } | undefined;
  /** Keys that each Redis process had thrown away when its shards were opened. */
  #evicted = new Map<string, number>();
  #checkTimer: NodeJS.Timeout | undefined;
  /** Waits for servers that this life of the data may not name. */
  #waiting: { isNew: boolean } | undefined;

  constructor(parts: ReconcilerParts) {
    this.#is = parts;
    this.#puttingBack = new PuttingBack(parts);
    parts.store.onClosed = () => this.reconcile();
    parts.store.onTrouble = (message) => this.#troubled(message);
    // So that no decision is written into a store before it is known whose it is.
    parts.store.refused = this.#problem;
  }

  /** Why the store cannot be used, or what it refuses, for people; empty: nothing is wrong. */
  get message(): string {
    if (this.#problem !== '') return this.#problem;
    return this.#trouble?.message ?? '';
  }

  /** By which rule a store that answers is not used, such as STORE_EVICTION; STORE_REFUSES: it is, and refuses something; else empty. */
  get refusal(): string {
    if (this.#problem !== '') return this.#refusal;
    return this.#trouble ? 'STORE_REFUSES' : '';
  }

  /** Whether what this Redis process, in this life of its data, says of a member counts even if its lease has run out. */
  knowsOf(member: Member, runId: string, generation: string): boolean {
    if (this.#is.store.open && this.#runIds.has(runId) && this.#generation === generation) return true;
    return this.#puttingBack.wasInTime(member, `${runId}:${generation}`);
  }

  /**
   * Nobody has served yet, says who would know (the operator): nobody's state can be missing. Counts for the life of the data that is
   * waited for now; the next one has lost what was done in this.
   * @returns false: nothing is waited for
   */
  storeIsNew(): boolean {
    if (!this.#waiting || this.#generation !== undefined) return false;
    this.#waiting.isNew = true;
    return true;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#checkTimer);
  }

  reconcile(): void {
    this.#running ??= this.#untilOpen().finally(() => {
      this.#running = undefined;
      if (!this.#stopped && !this.#is.store.open) this.reconcile();
    });
  }

  async #untilOpen(): Promise<void> {
    const { log, metrics } = this.#is;
    clearTimeout(this.#checkTimer);
    while (!this.#stopped) {
      try {
        await this.#open();
        this.#refusal = '';
        this.#problem = '';
        metrics.storeRefused.reset();
        return;
      } catch (error) {
        const reason = reasonOf(error);
        if (reason !== this.#problem) log.warn({ reason }, 'the store cannot be used yet');
        this.#problem = reason;
        this.#refusal = refusalOf(error);
        metrics.storeRefused.reset();
        metrics.storeRefused.labels(error instanceof HoldfastError ? error.code : 'STORE_UNAVAILABLE').set(1);
        await delay(RETRY_MS);
      }
    }
  }

  async #open(): Promise<void> {
    const { store, keys, log, possession } = this.#is;
    const facts = await store.check();
    store.refused = await possession.refusal();
    if (store.refused !== undefined) throw new HoldfastError('STORE_FOREIGN', store.refused);
    await this.#assertNothingEvicted(facts);
    const generation = await this.#currentGeneration();
    const { runIds, stores } = await store.whereabouts(keys.stores());
    const tags = runIds.map((runId) => `${runId}:${generation}`);
    const isKnown = stores.some((found) => found.endsWith(`:${generation}`));
    const isComplete = isKnown && this.#generation === generation && !mayLoseWrites(this.#is.config);
    const isOther = this.#generation !== generation;
    const life: Life = { generation, tags, tag: tagOfAll(tags), isComplete, isOther };
    const scripts = await store.load(runIds, generation);
    if (!isOpen(life, stores)) await this.#rebuild(life, stores, isKnown);
    // Where an earlier version opened them it did not say so.
    if ((await store.data.get(keys.opened)) !== life.tag) await store.data.set(keys.opened, life.tag);
    if ((await this.#currentGeneration()) !== generation) throw new Error('another life of the data began meanwhile');
    if (this.#generation !== generation) this.#is.registry.witness.forget();
    await this.#dropForgotten(); // and sees who is there: should the store be lost now, they are waited for
    this.#generation = generation;
    this.#runIds = new Set(runIds);
    this.#is.registry.serveWith(life.tag, this.#runIds);
    this.#evicted = new Map(facts.map(({ runId, evictedKeys }) => [runId, evictedKeys]));
    this.#tellFull(facts);
    store.openWith(scripts);
    this.#refusal = '';
    this.#problem = '';
    this.#is.opened();
    log.info({ store: life.tag }, 'the store is open');
    this.#checkTimer = setTimeout(() => void this.#check(), CHECK_MS);
    void this.#sinceOpened();
  }

  /** The store has to name the new one before a sidecar comes that knows no other. */
  authorityReplaced(): void {
    this.#is.possession
      .refusal()
      .catch((error: unknown) => this.#is.log.info({ err: error }, 'the store does not name the new authority yet'));
  }

  /** Waits until all state is back that the shards may lack, and opens them for everybody. */
  async #rebuild(life: Life, stores: readonly string[], isKnown: boolean): Promise<void> {
    const { registry, store, keys } = this.#is;
    const { generation, tags } = life;
    const lost = isKnown ? await registry.contradiction(life.isOther) : undefined;
    if (lost !== undefined) {
      await this.#beginLife(generation);
      throw new Error(`the store went back in time: ${lost}; its state is put back`);
    }
    // One that died while it opened them is helped out: nobody may put anything back any more.
    if ((await store.data.get(keys.opened)) !== life.tag) await this.#putAllBack(life, stores, isKnown);
    if ((await this.#currentGeneration()) !== generation) throw new Error('another life of the data began meanwhile');
    await Promise.all(tags.map((tag, shard) => store.data.eval(OPEN, 2, keys.store(shard), keys.ended(shard), tag)));
  }

  async #putAllBack(life: Life, stores: readonly string[], isKnown: boolean): Promise<void> {
    const { registry, log, metrics, leaseDurationMs, newStore, store, keys } = this.#is;
    const { generation, tags } = life;
    // Nobody wrote under this generation, or this sidecar cannot tell whether the registry is complete: servers that it does not name
    // may still live, and get a lease to put their state back. After it they have, or have stopped by their own clocks.
    const waiting = { isNew: newStore && this.#generation === undefined };
    // Promises may let some go on for longer; where this pod had to give its own, they have ended when a lease is over.
    const extensionMs = this.#is.isAskedByAll() ? 0 : this.#is.maxExtensionMs;
    const graceMs = life.isComplete || waiting.isNew ? 0 : leaseDurationMs + extensionMs;
    log.info({ store: life.tag, isKnown, graceMs }, 'putting state back: another Redis process or life of its data');
    metrics.storeReconciled.inc();
    const beganMs = monotonicMs();
    const graceUntilMs = () => beganMs + (waiting.isNew ? 0 : graceMs);
    const stale = new Set(tags.flatMap((tag, shard) => (stores[shard] === tag ? [] : [shard])));
    if (!life.isComplete) {
      await this.#puttingBack.markFenced(life, stale);
      await this.#puttingBack.ends(stale);
      await this.#puttingBack.orphans(life, stale);
    }
    const isAllBack = async () =>
      (await this.#puttingBack.isAllBack(life, stale, graceUntilMs())) &&
      monotonicMs() >= graceUntilMs() &&
      (life.isComplete || this.#is.hasPromisedNothing()) &&
      registry.mayOpen(life.tag, generation);
    this.#waiting = waiting;
    try {
      while (!(await isAllBack())) {
        const now = await store.whereabouts(keys.stores());
        if (tags.some((tag, shard) => tag !== `${now.runIds[shard]}:${generation}`)) {
          throw new Error('another Redis process answers');
        }
        if (isOpen(life, now.stores)) return; // another sidecar opened it
        if ((await this.#currentGeneration()) !== generation)
          throw new Error('another life of the data began meanwhile');
        await delay(LOOK_MS);
      }
    } finally {
      this.#waiting = undefined;
    }
  }

  /** What the store has may be older than what somebody remembers: all shards close, for everybody, until all is put back. */
  async #beginLife(before: string): Promise<void> {
    const { store, keys, metrics } = this.#is;
    const begin =
      "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end return 0";
    const began = await store.data.eval(begin, 1, keys.generation, before, newGeneration());
    if (Number(began) !== 1) return; // another sidecar was faster
    metrics.storeLost.inc();
    await Promise.all(keys.stores().map((key) => store.data.set(key, CLOSED_STORE)));
  }

  /** A Redis that has thrown keys away since its shards were opened may have thrown away any of ours. */
  async #assertNothingEvicted(facts: readonly StoreFacts[]): Promise<void> {
    for (const { runId, evictedKeys } of facts) {
      const before = this.#evicted.get(runId);
      if (before === undefined || evictedKeys <= before || this.#generation === undefined) continue;
      this.#evicted.set(runId, evictedKeys);
      await this.#beginLife(await this.#currentGeneration());
      throw new HoldfastError(
        'STORE_EVICTION',
        `the store evicted ${evictedKeys - before} keys; its state is put back`,
      );
    }
  }

  /** Is the store still what it has to be? Settings can be changed while it runs. */
  async #check(): Promise<void> {
    const { store, log, possession } = this.#is;
    try {
      const facts = await store.check();
      const refusal = await possession.refusal();
      if (refusal !== undefined) throw new HoldfastError('STORE_FOREIGN', refusal);
      await this.#assertNothingEvicted(facts);
      this.#tellFull(facts);
      if ((await this.#currentGeneration()) !== this.#generation) store.close();
    } catch (error) {
      // That it does not answer is the lease's to judge: this is about what it says.
      if (error instanceof HoldfastError && error.code.startsWith('STORE_')) {
        log.warn({ reason: error.message }, 'the store is not used any more');
        this.#problem = error.message;
        this.#refusal = refusalOf(error);
        store.close();
      }
    }
    if (this.#stopped || !store.open) return;
    this.#checkTimer = setTimeout(() => void this.#check(), CHECK_MS);
  }

  #tellFull(facts: readonly StoreFacts[]): void {
    const full = facts.find((fact) => fact.full !== undefined)?.full;
    if (full !== undefined) this.#troubled(full);
    else if (this.#trouble && monotonicMs() - this.#trouble.atMs > CHECK_MS) this.#trouble = undefined;
    this.#is.metrics.storeFull.set(full === undefined ? 0 : 1);
  }

  #troubled(message: string): void {
    if (this.#trouble?.message !== message) this.#is.log.warn({ reason: message }, 'the store refuses something');
    this.#trouble = { message, atMs: monotonicMs() };
  }

  /** Not part of the opening: it needs open shards, and if they close again meanwhile the next opening must not wait for it. */
  async #sinceOpened(): Promise<void> {
    while (!this.#stopped && this.#is.store.open) {
      try {
        await this.#afterOpening();
        return;
      } catch (error) {
        this.#is.log.warn({ reason: reasonOf(error) }, 'lost closes are not made up for yet');
        await delay(RETRY_MS);
      }
    }
  }

  /** The store was opened without these: they put nothing back in time, and what they had may be somebody else's. */
  async #dropForgotten(): Promise<void> {
    const { registry, cluster } = this.#is;
    const known = new Set((await registry.list()).map((server) => `${server.serverId}@${server.epoch}`));
    for (const member of [...cluster.members.values()]) {
      if (!known.has(member.owner)) this.#is.fenced(member, 'the store was opened without it');
    }
  }

  /** A random id of one life of the store's data, made by whoever finds none. */
  async #currentGeneration(): Promise<string> {
    const { store, keys } = this.#is;
    await store.data.set(keys.generation, newGeneration(), 'NX');
    const generation = await store.data.get(keys.generation);
    if (generation === null) throw new Error('the generation that was just written is not there');
    return generation;
  }

  /** What needs open shards: what the table has for us beyond what we hold is ended. */
  async #afterOpening(): Promise<void> {
    for (const member of this.#is.cluster.members.values()) {
      const isInDoubt = this.#generation !== undefined && this.#puttingBack.wasLate(member, this.#generation);
      if (member.reportsExpected === 0) await this.#is.settling.compare(member, isInDoubt);
    }
  }
}

/** The code of what a store was found to be; empty for one that does not answer. */
function refusalOf(error: unknown): string {
  const code = error instanceof HoldfastError ? error.code : '';
  return code.startsWith('STORE_') && code !== 'STORE_UNAVAILABLE' ? code : '';
}
