import { createHash, randomBytes } from 'node:crypto';
import type { StoreConfig } from '../../common/config.ts';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs, monotonicNs } from '../../common/time.ts';
import { Durability, type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import { type Keys, parseIdentity } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import type { Store } from '../table/store.ts';
import type { StoreFacts } from '../table/store-checks.ts';
import { type OpenDecision, shardOfOpen, type Table } from '../table/table.ts';
import type { Orphans } from './orphans.ts';
import type { Possession } from './possession.ts';
import type { Registry, ServerRecord } from './registry.ts';

const RETRY_MS = 200;
const LOOK_MS = 50;
/** How often a store that is in use is asked whether it still is what it has to be. */
const CHECK_MS = 5000;
const RESTORING_AT_ONCE = 256;
const RELEASE_TIMEOUT_MS = 10_000;
/** A shard that waits for its state to be put back. */
const CLOSED_STORE = '-';

export interface ReconcilerParts {
  store: Store;
  config: StoreConfig;
  keys: Keys;
  table: Table;
  registry: Registry;
  cluster: ClusterView;
  possession: Possession;
  orphans: Orphans;
  log: Logger;
  metrics: SidecarMetrics;
  leaseDurationMs: number;
  persistentTimeoutMs: number;
  /** Where this sidecar is; the address is known for good once it listens. */
  place: { address: string; pod: string; node: string };
  /** The store is known to be new: there is nobody whose state could still come. */
  newStore: boolean;
  fenced(member: Member, reason: string): void;
  /** The shards are open. */
  opened(): void;
}

/** One life of the store's data in the Redis processes that serve it now. */
interface Life {
  generation: string;
  /** By shard: "run_id:generation", as the shard's store key has it once its state is there. */
  tags: readonly string[];
  /** Nothing that was answered can be missing in it. */
  isComplete: boolean;
  /** All of them in one: what a server that has put its state back leaves in the registry. */
  tag: string;
}

/**
 * Opens the shards for the Redis process that answers (of a Redis Cluster: for all its masters). Each shard holds the run_id and
 * generation its state was written under; another process (a restart, a failover) closes it until every live server has put its opens
 * back or is fenced. Routine, and fast: unless writes were lost, or may have been.
 */
export class Reconciler {
  readonly #is: ReconcilerParts;
  #running: Promise<void> | undefined;
  #stopped = false;
  #generation: string | undefined;
  /** Of the Redis processes whose shards were opened last. */
  #runIds: ReadonlySet<string> = new Set();
  #problem = 'the store has not answered yet';
  /** The life of the data that a member was put back into within its lease: nobody can have fenced it before. */
  readonly #backInTime = new WeakMap<Member, Life>();
  /** What Redis refuses though it is open. */
  #trouble: { message: string; atMs: number } | undefined;
  /** Keys that each Redis process had thrown away when its shards were opened. */
  #evicted = new Map<string, number>();
  #checkTimer: NodeJS.Timeout | undefined;

  constructor(parts: ReconcilerParts) {
    this.#is = parts;
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

  /** Whether what this Redis process, in this life of its data, says of a member counts even if its lease has run out. */
  knowsOf(member: Member, runId: string, generation: string): boolean {
    if (this.#is.store.open && this.#runIds.has(runId) && this.#generation === generation) return true;
    return this.#backInTime.get(member)?.tags.includes(`${runId}:${generation}`) ?? false;
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
        this.#problem = '';
        metrics.storeRefused.reset();
        return;
      } catch (error) {
        const reason = reasonOf(error);
        if (reason !== this.#problem) log.warn({ reason }, 'the store cannot be used yet');
        this.#problem = reason;
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
    const life: Life = { generation, tags, tag: tagOfAll(tags), isComplete };
    const scripts = await store.load(runIds, generation);
    if (!isOpen(life, stores)) await this.#rebuild(life, stores, isKnown);
    if ((await this.#currentGeneration()) !== generation) throw new Error('another life of the data began meanwhile');
    await this.#dropForgotten();
    if (this.#generation !== generation) this.#is.registry.witness.forget();
    this.#generation = generation;
    this.#runIds = new Set(runIds);
    this.#evicted = new Map(facts.map(({ runId, evictedKeys }) => [runId, evictedKeys]));
    this.#tellFull(facts);
    store.openWith(scripts);
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
    const lost = isKnown ? registry.witness.contradicts(await registry.list()) : undefined;
    if (lost !== undefined) {
      await this.#beginLife(generation);
      throw new Error(`the store went back in time: ${lost}; its state is put back`);
    }
    // One that died while it opened them is helped out: nobody may put anything back any more.
    if ((await store.data.get(keys.opened)) !== life.tag) await this.#putAllBack(life, stores, isKnown);
    if ((await this.#currentGeneration()) !== generation) throw new Error('another life of the data began meanwhile');
    await Promise.all(tags.map((tag, shard) => store.data.set(keys.store(shard), tag)));
  }

  async #putAllBack(life: Life, stores: readonly string[], isKnown: boolean): Promise<void> {
    const { registry, log, metrics, leaseDurationMs, newStore, store, keys } = this.#is;
    const { generation, tags } = life;
    // Nobody wrote under this generation, or this sidecar cannot tell whether the registry is complete: servers that it does not name
    // may still live, and get a lease to put their state back. After it they have, or have stopped by their own clocks.
    const isFirst = newStore && this.#generation === undefined;
    const graceMs = life.isComplete || isFirst ? 0 : leaseDurationMs;
    log.info({ store: life.tag, isKnown, graceMs }, 'putting state back: another Redis process or life of its data');
    metrics.storeReconciled.inc();
    const graceUntilMs = monotonicMs() + graceMs;
    const stale = new Set(tags.flatMap((tag, shard) => (stores[shard] === tag ? [] : [shard])));
    if (!life.isComplete) {
      await this.#markFenced(life, stale);
      await this.#putBackOrphans(life, stale);
    }
    const isAllBack = async () =>
      (await this.#allPutBack(life, stale, graceUntilMs)) &&
      monotonicMs() >= graceUntilMs &&
      registry.mayOpen(life.tag, generation);
    while (!(await isAllBack())) {
      const now = await store.whereabouts(keys.stores());
      if (tags.some((tag, shard) => tag !== `${now.runIds[shard]}:${generation}`)) {
        throw new Error('another Redis process answers');
      }
      if (isOpen(life, now.stores)) return; // another sidecar opened it
      if ((await this.#currentGeneration()) !== generation) throw new Error('another life of the data began meanwhile');
      await delay(LOOK_MS);
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
        this.#is.log.warn({ reason: reasonOf(error) }, 'sessions and lost closes are not made up for yet');
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

  /**
   * Opens of fenced servers that only this sidecar may remember: orphans as they were. Their ownership version stays, so that whoever has
   * got one back meanwhile, and has a higher one, keeps it.
   */
  async #putBackOrphans(life: Life, stale: ReadonlySet<number>): Promise<void> {
    const { orphans, registry, table, log } = this.#is;
    for (const [owner, opens] of [...orphans.all]) {
      const server = parseIdentity(owner);
      if (!server) continue;
      await registry.restore(server, { state: 'fenced', reconciled: '' }, life.tag);
      await Promise.all([...stale].map((shard) => table.fence(shard, server, 'fence', 'alive')));
      const records = [...opens.values()].filter((record) => stale.has(shardOfOpen(record)));
      for (let i = 0; i < records.length; i += RESTORING_AT_ONCE) {
        const some = records.slice(i, i + RESTORING_AT_ONCE);
        await Promise.all(some.map((record) => table.restore(server, record, 0, 0n, true)));
      }
      log.info({ server: owner, opens: records.length }, 'put back what a fenced server had');
    }
  }

  /**
   * @param listed what the store knows of it, or of an earlier life of it
   * @param mayBeLate all others have put their state back, but for those that were late themselves
   */
  async #putBackMember(
    member: Member,
    life: Life,
    stale: ReadonlySet<number>,
    listed: ServerRecord | undefined,
    mayBeLate: boolean,
  ): Promise<void> {
    const { registry, table, log } = this.#is;
    const { address, pod, node } = this.#is.place;
    if (member.over || member.reportsExpected > 0) return; // what it holds is still coming
    // A sidecar that was started anew cannot tell what the store had before.
    const lost = this.#generation !== life.generation;
    const isLate = lost && monotonicNs() > member.deadlineNs;
    if (isLate && this.#isTooLate(member)) {
      this.#is.fenced(member, 'the store lost its data, and what it had may be over by now');
      return;
    }
    // After all others, who know whether it was fenced.
    if (isLate && !mayBeLate) {
      if (listed && listed.late !== life.tag) await registry.set(listed, { late: life.tag });
      return;
    }
    const fields = { address, pod, node, smbAddress: member.smbAddress, counter: member.counter, reconciled: '' };
    const block = member.ids.number;
    const replaced = await registry.restore(member.identity, { ...fields, state: 'active', ...{ block } }, life.tag);
    if (replaced === undefined) {
      this.#is.fenced(member, 'the table knows it as fenced');
      return;
    }
    if (monotonicNs() <= member.deadlineNs) this.#backInTime.set(member, life);
    await Promise.all([...stale].map((shard) => table.fence(shard, member.identity, 'enter', 'alive', replaced)));
    // Others may have ended what is not persistent while it was silent. Persistent opens wait longer than it was.
    const opens = [...member.opens.values()].filter(
      ({ record }) => stale.has(shardOfOpen(record)) && (!isLate || record.durability === Durability.PERSISTENT),
    );
    for (let i = 0; i < opens.length; i += RESTORING_AT_ONCE) {
      await Promise.all(
        opens
          .slice(i, i + RESTORING_AT_ONCE)
          .map((open) =>
            table.restore(
              member.identity,
              open.record,
              open.operation,
              member.stateOf(open.fileHex)?.version ?? 0n,
              !life.isComplete,
            ),
          ),
      );
    }
    if (!life.isComplete) await this.#forgetClosed(member, stale);
    await registry.set(member.identity, { reconciled: life.tag });
    log.info({ server: member.owner, opens: opens.length }, 'put state back');
  }

  /** What the store has of this server beyond what it holds was closed, and the close was lost. */
  async #forgetClosed(member: Member, stale: ReadonlySet<number>): Promise<void> {
    const { table, log } = this.#is;
    for (const shard of stale) {
      for await (const page of table.owned(shard, member.owner)) {
        for (const { openId, fileId } of page) {
          if (member.opens.has(openId) || member.asking.has(openId)) continue;
          const outcome = await table.forgetClosed(member.identity, fileId, openId);
          if (outcome === Outcome.GRANTED) {
            log.info({ openId: openId.toString(16), server: member.owner }, 'an open whose close was lost is ended');
          }
        }
      }
    }
  }

  /** Those that were seen fenced are fenced in this life too. Said first: one that does not know of it asks last. */
  async #markFenced(life: Life, stale: ReadonlySet<number>): Promise<void> {
    const { registry, table } = this.#is;
    for (const server of registry.witness.over()) {
      const isNew = (await registry.restore(server, { state: 'fenced', reconciled: '' }, life.tag)) !== undefined;
      if (isNew) await Promise.all([...stale].map((shard) => table.fence(shard, server, 'fence', 'alive')));
    }
  }

  /** Longer past its deadline than a persistent open waits: its opens may have ended, and others been granted. */
  #isTooLate(member: Member): boolean {
    return monotonicNs() > member.deadlineNs + BigInt(this.#is.persistentTimeoutMs) * 1_000_000n;
  }

  /** Have all servers that may live put their state back? Those of this pod do so here, also those that the store has lost. */
  async #allPutBack(life: Life, stale: ReadonlySet<number>, graceUntilMs: number): Promise<boolean> {
    const { registry, cluster, leaseDurationMs } = this.#is;
    const servers = await registry.list();
    const isBack = ({ reconciled }: ServerRecord) => reconciled === life.tag;
    const notBack = servers.filter((server) => mayLive(server) && !isBack(server));
    const mayBeLate = notBack.every(({ late }) => late === life.tag) && monotonicMs() > graceUntilMs;
    const members = [...cluster.members.values()].filter(({ over }) => !over);
    let all = notBack.length === 0;
    for (const member of members) {
      const { serverId, epoch } = member.identity;
      const listed = servers.find((server) => server.serverId === serverId);
      if (listed?.epoch === epoch && isBack(listed)) continue;
      all = false;
      await this.#putBackMember(member, life, stale, listed, mayBeLate);
    }
    // Some come late: a server that was seen alive gets another lease, if the store does not know it yet.
    const missing = life.isComplete ? undefined : registry.witness.missing(servers);
    return all && (missing === undefined || monotonicMs() > graceUntilMs + leaseDurationMs);
  }

  /** What needs open shards: sessions are stored anew, and what the table has for us beyond what we hold is ended. */
  async #afterOpening(): Promise<void> {
    for (const member of this.#is.cluster.members.values()) {
      for (const [sessionId, session] of member.sessions) {
        await this.#is.table.session(member.identity, 'store', sessionId, session.user, session.clientGuid);
      }
      if (member.reportsExpected === 0) await this.settleOwned(member);
    }
  }

  /**
   * Compares what a file server holds with what the table has for it, after answers may have been lost: what only the table has is
   * closed, what has another owner by now is released (its sidecar died between the transfer and the release).
   * @param reported the file server told it to a sidecar that was started anew: an open may have left and come back since, and waits for
   * its client then; so ownership versions are compared too
   */
  async settleOwned(member: Member, reported = false): Promise<void> {
    const owned = new Set<bigint>();
    for (let shard = 0; shard < SHARDS; shard++) {
      for await (const page of this.#is.table.owned(shard, member.owner)) {
        for (const { openId, fileId } of page) {
          owned.add(openId);
          if (!member.opens.has(openId)) await this.#endUnknown(member, fileId, openId);
        }
      }
    }
    await this.#releaseForeign(member, reported ? new Set() : owned);
  }

  async #endUnknown(member: Member, fileId: Buffer, openId: bigint): Promise<void> {
    const { table, log } = this.#is;
    const isKnown = () => member.opens.has(openId) || member.asking.has(openId);
    if (isKnown()) return;
    const { record } = await table.find(member.identity, fileId, Buffer.alloc(0), openId);
    if (!record || isKnown()) return;
    const isDurable = record.durability !== Durability.NOT_DURABLE;
    if (isDurable && record.state !== OpenState.ACTIVE) return; // came by a transfer, waits for its client
    log.info({ openId: openId.toString(16), server: member.owner }, 'an open that its server does not know is closed');
    const { outcome } = await table.close(member.identity, fileId, openId);
    if (outcome === Outcome.GRANTED) table.forget(record);
  }

  /** @param held opens that are known to be the server's still */
  async #releaseForeign(member: Member, held: ReadonlySet<bigint>): Promise<void> {
    const { log } = this.#is;
    const foreign: OpenRecord[] = [];
    const back: OpenDecision[] = [];
    const open = [...member.opens.values()].filter(({ record }) => !held.has(record.openId));
    for (let i = 0; i < open.length; i += RESTORING_AT_ONCE) {
      await Promise.all(
        open.slice(i, i + RESTORING_AT_ONCE).map(async ({ record }) => {
          const found = await this.#leftOf(member, record);
          if (!found) return;
          foreign.push(record);
          if (found.record && ownerOf(found.record) === member.owner) back.push(found);
        }),
      );
    }
    // From here to the command nothing waits: a client that gets its open back here meanwhile has another record, or is answered later.
    const gone = foreign.filter(({ openId }) => !member.asking.has(openId));
    const openIds = gone
      .filter((record) => member.opens.get(record.openId)?.record === record)
      .map(({ openId }) => openId);
    if (openIds.length === 0) return;
    const sessionIds = [...new Set(gone.map(({ sessionId }) => sessionId))].filter((id) => member.sessions.has(id));
    for (const openId of openIds) member.remove(openId);
    // It came by a transfer, and waits for its client.
    for (const { record, operation } of back) {
      if (record && openIds.includes(record.openId)) member.add(record, operation);
    }
    for (const sessionId of sessionIds) member.sessions.delete(sessionId);
    log.info(
      { server: member.owner, opens: openIds.length, sessions: sessionIds.length },
      'opens that went to other servers are released',
    );
    await member.stream?.ask({ $case: 'release', value: { openIds, sessionIds } }, RELEASE_TIMEOUT_MS);
  }

  /** What the table has of an open that is not the one that the file server holds any more; undefined: it is, as far as is known. */
  async #leftOf(member: Member, record: OpenRecord): Promise<OpenDecision | undefined> {
    const { openId, fileId, ownershipVersion } = record;
    if (member.asking.has(openId)) return undefined;
    const found = await this.#is.table.find(member.identity, fileId, Buffer.alloc(0), openId);
    // FENCED and the like say nothing about the open.
    if (found.outcome !== Outcome.GRANTED && found.outcome !== Outcome.NOT_FOUND) return undefined;
    const isHeld =
      found.record && ownerOf(found.record) === member.owner && found.record.ownershipVersion <= ownershipVersion;
    return isHeld ? undefined : found;
  }

  /** A handoff that died with its sidecar left sessions quiesced. Whoever wants the handles away asks again. */
  async resume(member: Member): Promise<void> {
    if (!member.draining) await member.stream?.ask({ $case: 'resume', value: { sessionIds: [] } }, RELEASE_TIMEOUT_MS);
  }
}

function mayLive({ state }: ServerRecord): boolean {
  return state === 'active' || state === 'draining' || state === 'fencing';
}

function isOpen({ tags }: Life, stores: readonly string[]): boolean {
  return tags.every((tag, shard) => stores[shard] === tag);
}

/** Of one Redis process its own tag, as all versions write it. */
function tagOfAll(tags: readonly string[]): string {
  if (tags.every((tag) => tag === tags[0])) return tags[0] ?? '';
  return createHash('sha256').update(tags.join()).digest('hex').slice(0, 40);
}

/**
 * Whether a restart or failover may lose what was answered before: then a server may have come of which nobody else has heard.
 * What replicas had to confirm is not lost, nor is what stands in an append-only file that is written before each answer.
 */
function mayLoseWrites({ mode, durability }: StoreConfig): boolean {
  return mode === 'Standalone' ? durability.mode === 'EverySecond' : durability.mode !== 'Replicated';
}

function newGeneration(): string {
  return randomBytes(8).toString('hex');
}
