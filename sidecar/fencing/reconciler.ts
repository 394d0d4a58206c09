import { randomBytes } from 'node:crypto';
import type { StoreConfig } from '../../common/config.ts';
import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs, monotonicNs } from '../../common/time.ts';
import { Durability, type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import { checkStore } from '../table/connection.ts';
import type { Keys } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import type { Store } from '../table/store.ts';
import type { Table } from '../table/table.ts';
import type { Registry } from './registry.ts';

const RETRY_MS = 200;
const LOOK_MS = 50;
const RESTORING_AT_ONCE = 256;
const RELEASE_TIMEOUT_MS = 10_000;

export interface ReconcilerParts {
  store: Store;
  config: StoreConfig;
  keys: Keys;
  table: Table;
  registry: Registry;
  cluster: ClusterView;
  log: Logger;
  metrics: SidecarMetrics;
  leaseDurationMs: number;
  /** Where this sidecar is; the address is known for good once it listens. */
  place: { address: string; pod: string; node: string };
  /** The store is known to be new: there is nobody whose state could still come. */
  newStore: boolean;
  fenced(member: Member, reason: string): void;
}

/**
 * Opens the shards for the Redis process that answers. Each shard holds the run_id and generation its state was written under; another
 * process (a restart, a failover) closes it until every live server has put its opens back or is fenced. Routine, and fast.
 */
export class Reconciler {
  readonly #is: ReconcilerParts;
  #running: Promise<void> | undefined;
  #stopped = false;
  #generation: string | undefined;
  /** Why the store cannot be used, for people; empty: it can. */
  message = 'the store has not answered yet';

  constructor(parts: ReconcilerParts) {
    this.#is = parts;
    parts.store.onClosed = () => this.reconcile();
  }

  stop(): void {
    this.#stopped = true;
  }

  reconcile(): void {
    this.#running ??= this.#untilOpen().finally(() => {
      this.#running = undefined;
      if (!this.#stopped && !this.#is.store.open) this.reconcile();
    });
  }

  async #untilOpen(): Promise<void> {
    const { log } = this.#is;
    while (!this.#stopped) {
      try {
        await this.#open();
        this.message = '';
        return;
      } catch (error) {
        const reason = reasonOf(error);
        if (reason !== this.message) log.warn({ reason }, 'the store cannot be used yet');
        this.message = reason;
        await delay(RETRY_MS);
      }
    }
  }

  async #open(): Promise<void> {
    const { store, config, log, metrics, leaseDurationMs, newStore } = this.#is;
    const { runId } = await checkStore(store.data, config);
    const generation = await this.#currentGeneration();
    const tag = `${runId}:${generation}`;
    const scripts = await store.load(tag);
    const found = await this.#storeKeys();
    if (found.some((key) => key !== tag)) {
      const known = found.some((key) => key?.endsWith(`:${generation}`));
      log.info({ runId, generation, known }, 'putting state back: another Redis process or another life of its data');
      metrics.storeReconciled.inc();
      await this.#putBack(tag, generation);
      // Nobody wrote under this generation: servers that it has never seen may still live, and get a lease to put their state back.
      const first = newStore && this.#generation === undefined;
      const graceUntilMs = monotonicMs() + (known || first ? 0 : leaseDurationMs);
      while (!(await this.#allPutBack(tag, generation)) || monotonicMs() < graceUntilMs) {
        if ((await this.#storeKeys()).every((key) => key === tag)) break; // another sidecar opened it
        await delay(LOOK_MS);
      }
      const { keys } = this.#is;
      await Promise.all(Array.from({ length: SHARDS }, (_, shard) => store.data.set(keys.store(shard), tag)));
    }
    await this.#dropForgotten();
    this.#generation = generation;
    store.openWith(scripts);
    this.message = '';
    log.info({ runId, generation }, 'the store is open');
    void this.#sinceOpened();
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
    await store.data.set(keys.generation, randomBytes(8).toString('hex'), 'NX');
    const generation = await store.data.get(keys.generation);
    if (generation === null) throw new Error('the generation that was just written is not there');
    return generation;
  }

  #storeKeys(): Promise<(string | null)[]> {
    const { store, keys } = this.#is;
    return Promise.all(Array.from({ length: SHARDS }, (_, shard) => store.data.get(keys.store(shard))));
  }

  async #putBack(tag: string, generation: string): Promise<void> {
    for (const member of [...this.#is.cluster.members.values()]) {
      if (!member.over) await this.#putBackMember(member, tag, generation);
    }
  }

  async #putBackMember(member: Member, tag: string, generation: string): Promise<void> {
    const { registry, table, log } = this.#is;
    const { address, pod, node } = this.#is.place;
    const lost = this.#generation !== undefined && this.#generation !== generation;
    if (lost && monotonicNs() > member.deadlineNs) {
      this.#is.fenced(member, 'the store lost its data and the lease had run out');
      return;
    }
    const fields = { address, pod, node, smbAddress: member.smbAddress, counter: member.counter, reconciled: '' };
    const block = 0;
    const restored = await registry.restore(member.identity, { ...fields, state: 'active', ...{ block } });
    if (!restored) {
      this.#is.fenced(member, 'the table knows it as fenced');
      return;
    }
    await Promise.all(
      Array.from({ length: SHARDS }, (_, shard) => table.fence(shard, member.identity, 'enter', 'alive')),
    );
    const opens = [...member.opens.values()];
    for (let i = 0; i < opens.length; i += RESTORING_AT_ONCE) {
      await Promise.all(
        opens
          .slice(i, i + RESTORING_AT_ONCE)
          .map((open) =>
            table.restore(member.identity, open.record, open.operation, member.stateOf(open.fileHex)?.version ?? 0n),
          ),
      );
    }
    await registry.set(member.identity, { reconciled: tag });
    log.info({ server: member.owner, opens: opens.length }, 'put state back');
  }

  /** Have all servers that may live put their state back? Those of this pod that came meanwhile have nothing, and say so. */
  async #allPutBack(tag: string, generation: string): Promise<boolean> {
    const { registry, cluster } = this.#is;
    const missing = (await registry.list()).filter(
      (server) =>
        (server.state === 'active' || server.state === 'draining' || server.state === 'fencing') &&
        server.reconciled !== tag,
    );
    for (const server of missing) {
      const member = cluster.memberOf(server.serverId);
      if (member && member.identity.epoch === server.epoch) await this.#putBackMember(member, tag, generation);
    }
    return missing.length === 0;
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

  /** Ends opens that the table has for a server and the server does not know: their close was lost. */
  /**
   * Compares what a file server holds with what the table has for it, after answers may have been lost: what only the table has is
   * closed, what has another owner by now is released (its sidecar died between the transfer and the release).
   */
  async settleOwned(member: Member): Promise<void> {
    const owned = new Set<bigint>();
    for (let shard = 0; shard < SHARDS; shard++) {
      for await (const page of this.#is.table.owned(shard, member.owner)) {
        for (const { openId, fileId } of page) {
          owned.add(openId);
          if (!member.opens.has(openId)) await this.#endUnknown(member, fileId, openId);
        }
      }
    }
    await this.#releaseForeign(member, owned);
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

  async #releaseForeign(member: Member, owned: ReadonlySet<bigint>): Promise<void> {
    const { table, log } = this.#is;
    const foreign: OpenRecord[] = [];
    for (const { record } of [...member.opens.values()]) {
      const { openId, fileId } = record;
      if (owned.has(openId) || member.asking.has(openId)) continue;
      const found = await table.find(member.identity, fileId, Buffer.alloc(0), openId);
      // FENCED and the like say nothing about the open.
      if (found.outcome !== Outcome.GRANTED && found.outcome !== Outcome.NOT_FOUND) continue;
      if (!found.record || ownerOf(found.record) !== member.owner) foreign.push(record);
    }
    // From here to the command nothing waits: a client that gets its open back here meanwhile has another record, or is answered later.
    const gone = foreign.filter(({ openId }) => !member.asking.has(openId));
    const openIds = gone
      .filter((record) => member.opens.get(record.openId)?.record === record)
      .map(({ openId }) => openId);
    if (openIds.length === 0) return;
    const sessionIds = [...new Set(gone.map(({ sessionId }) => sessionId))].filter((id) => member.sessions.has(id));
    for (const openId of openIds) member.remove(openId);
    for (const sessionId of sessionIds) member.sessions.delete(sessionId);
    log.info(
      { server: member.owner, opens: openIds.length, sessions: sessionIds.length },
      'opens that went to other servers are released',
    );
    await member.stream?.ask({ $case: 'release', value: { openIds, sessionIds } }, RELEASE_TIMEOUT_MS);
  }

  /** A handoff that died with its sidecar left sessions quiesced. Whoever wants the handles away asks again. */
  async resume(member: Member): Promise<void> {
    if (!member.draining) await member.stream?.ask({ $case: 'resume', value: { sessionIds: [] } }, RELEASE_TIMEOUT_MS);
  }
}
