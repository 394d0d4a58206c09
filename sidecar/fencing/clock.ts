import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { inSlices } from '../../common/slices.ts';
import { monotonicMs } from '../../common/time.ts';
import { SHARDS, TICK_MS } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Endings } from '../services/endings.ts';
import type { Member } from '../services/member.ts';
import { NOBODY } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import { readMember, type Table } from '../table/table.ts';
import type { Orphans } from './orphans.ts';

const DUE_AT_ONCE = 200;
const EXPIRING_AT_ONCE = 32;
/** Clients that come back for what a fenced server had ask the store at the same time, and must not wait behind all of its orphans. */
const SHARDS_AT_ONCE = 4;
/** How soon a custodian forgets orphans that their clients have got back elsewhere, and an owner what ended unheard. */
const REFRESH_MS = 5000;

/**
 * The clocks of the shards and what they bring: opens whose client stayed away, the orphans of fenced servers, files whose removal a dead
 * server began. A shard's tick is raised by compare-and-set, a whole tick after it was first seen, so that it never runs faster than a
 * clock; who raised it sees to what is due.
 */
export class Clock {
  readonly #table: Table;
  readonly #cluster: ClusterView;
  readonly #endings: Endings;
  readonly #log: Logger;
  readonly #metrics: SidecarMetrics;
  readonly #kept: Orphans;
  #refreshedMs = monotonicMs();
  #isRefreshing = false;
  /** How often custody had to be taken over, and how many of these times are seen to. What was before this sidecar counts as one. */
  #takeOvers = 1;
  #takenOver = 0;
  #isTakingOver = false;
  readonly #shards = Array.from({ length: SHARDS }, () => ({ tick: -1, seenMs: 0, busy: false }));
  readonly #orphans = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  /** Called at intervals: what file servers of this pod are still said to hold is compared with the table. */
  onRefresh: () => Promise<void> = async () => {};

  constructor(
    table: Table,
    cluster: ClusterView,
    endings: Endings,
    kept: Orphans,
    log: Logger,
    metrics: SidecarMetrics,
  ) {
    this.#kept = kept;
    this.#table = table;
    this.#cluster = cluster;
    this.#endings = endings;
    this.#log = log;
    this.#metrics = metrics;
  }

  start(): void {
    this.#timer = setInterval(() => this.#round(), TICK_MS / 4);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get orphans(): number {
    let sum = 0;
    for (const count of this.#orphans.values()) sum += count;
    return sum;
  }

  /** A custodian is away, or this sidecar was and has forgotten: all orphans are kept here too, as soon as they can be read. */
  takeOver(): void {
    this.#takeOvers++;
  }

  async #takeOver(member: Member): Promise<void> {
    this.#isTakingOver = true;
    const until = this.#takeOvers;
    try {
      for (let shard = 0; shard < SHARDS; shard++) {
        await this.#table.asLeft(shard, async () => {
          for (const identity of [NOBODY, ...(await this.#table.orphaned(shard))]) {
            for await (const page of this.#table.owned(shard, identity)) await this.#remember(member, identity, page);
          }
        });
      }
      this.#takenOver = until;
    } catch (error) {
      this.#log.info({ reason: reasonOf(error) }, 'orphans of another custodian are read later');
    } finally {
      this.#isTakingOver = false;
    }
  }

  /** A server was fenced: what ended with it ends now, in all shards; what it looked after is looked after here. */
  fenced(identity: string): void {
    this.takeOver();
    const member = this.#cluster.anyMember();
    if (!member) return; // whoever raises a tick finds the entry
    const shards = Array.from({ length: SHARDS }, (_, shard) => shard);
    void inSlices(shards, SHARDS_AT_ONCE, (shard) =>
      this.#server(member, shard, Buffer.from(`server:${identity}`), identity).catch((error: unknown) =>
        this.#log.info({ err: error, server: identity }, 'orphans are seen to later'),
      ),
    );
  }

  #round(): void {
    const member = this.#cluster.anyMember();
    if (!member || !this.#table.store.open) return;
    const nowMs = monotonicMs();
    for (let shard = 0; shard < SHARDS; shard++) {
      const state = this.#shards[shard];
      if (!state || state.busy || (state.tick >= 0 && nowMs - state.seenMs < TICK_MS)) continue;
      state.busy = true;
      this.#advance(member, shard, state)
        .catch((error: unknown) => this.#log.debug({ err: error, shard }, 'tick'))
        .finally(() => {
          state.busy = false;
        });
    }
    if (this.#takenOver < this.#takeOvers && !this.#isTakingOver) void this.#takeOver(member);
    this.#metrics.orphans.set(this.orphans);
    if (nowMs - this.#refreshedMs > REFRESH_MS && !this.#isRefreshing) void this.#refresh();
  }

  async #advance(member: Member, shard: number, state: { tick: number; seenMs: number }): Promise<void> {
    const { tick, due } = await this.#table.tick(member.identity, shard, state.tick, DUE_AT_ONCE);
    if (tick !== state.tick) {
      state.tick = tick;
      state.seenMs = monotonicMs();
    }
    await inSlices(due, EXPIRING_AT_ONCE, (entry) => this.#due(member, shard, entry));
  }

  async #due(member: Member, shard: number, entry: Buffer): Promise<void> {
    const text = entry.toString('latin1');
    if (text.startsWith('server:')) return this.#server(member, shard, entry, text.slice('server:'.length));
    if (text.startsWith('unlink:')) {
      const fileId = Buffer.from(text.slice('unlink:'.length), 'hex');
      const name = await this.#table.unlinking(member.identity, fileId);
      if (name && name.path !== '') await this.#endings.removeFile(member, fileId, name.share, name.path);
      else if (name) await this.#table.gone(member.identity, fileId, 'keep');
      return;
    }
    const { openId, fileId } = readMember(entry);
    await this.#endings.expire(member, fileId, openId, 'due');
  }

  async #remember(member: Member, identity: string, orphans: { openId: bigint; fileId: Buffer }[]): Promise<void> {
    const unknown = orphans.filter(({ openId }) => !this.#kept.has(identity, openId));
    await inSlices(unknown, EXPIRING_AT_ONCE, async ({ openId, fileId }) => {
      const { record } = await this.#table.find(member.identity, fileId, Buffer.alloc(0), openId);
      if (record && ownerOf(record) === identity) this.#kept.keep(identity, [record]);
    });
  }

  /** What is kept in memory is no more than what still waits: clients get their opens back at any server. */
  async #refresh(): Promise<void> {
    this.#isRefreshing = true;
    try {
      for (const identity of this.#kept.owners) {
        for (const shard of this.#kept.shardsOf(identity)) {
          const waiting = await this.#table.asLeft(shard, async () => {
            const found = new Set<bigint>();
            for await (const page of this.#table.owned(shard, identity)) {
              for (const { openId } of page) found.add(openId);
            }
            return found;
          });
          this.#kept.retain(identity, shard, waiting);
        }
      }
      await this.onRefresh();
    } catch (error) {
      this.#log.debug({ err: error }, 'what was had back or ended elsewhere is still kept');
    } finally {
      this.#refreshedMs = monotonicMs();
      this.#isRefreshing = false;
    }
  }

  /** The orphans of a fenced server in one shard: ends what has ended, and comes back when the next one's time is over. */
  async #server(member: Member, shard: number, entry: Buffer, identity: string): Promise<void> {
    let next = Number.POSITIVE_INFINITY;
    const waiting = new Set<bigint>();
    await this.#table.asLeft(shard, async () => {
      for await (const page of this.#table.owned(shard, identity)) {
        await inSlices(page, EXPIRING_AT_ONCE, async ({ openId, fileId }) => {
          const waitMs = await this.#endings.expire(member, fileId, openId, 'fenced', identity);
          if (waitMs === 0) return;
          next = Math.min(next, waitMs);
          waiting.add(openId);
        });
        await this.#remember(
          member,
          identity,
          page.filter(({ openId }) => waiting.has(openId)),
        );
      }
    });
    const key = `${identity} ${shard}`;
    if (waiting.size > 0) this.#orphans.set(key, waiting.size);
    else this.#orphans.delete(key);
    await this.#table.again(member.identity, shard, entry, waiting.size > 0 ? next : undefined);
    this.#kept.retain(identity, shard, waiting);
  }
}
