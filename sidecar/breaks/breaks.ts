import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { BREAK_TIMEOUT_MS, LOCK_RETRY_MS, NEWCOMER_WAIT_MS, RETRY_MS } from '../constants.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import type { Pending } from '../services/pending.ts';
import { hex } from '../table/keys.ts';
import type { Awaited, Notice } from '../table/records.ts';
import { type AckDecision, type Contention, Internal, type Table } from '../table/table.ts';
import type { Delivery } from './delivery.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** Who waits for an acknowledgement forces it so much later than the sidecar that began the break would: that one may be dead. */
const GRACE_MS = 1000;

/** Breaks that no client has to answer are over sooner than this: nobody is told of the wait. */
const QUIET_MS = 20;

/** A decision that may have to wait for others to give up what they cache, or for a client that is away. */
type Contended = { outcome: number } & Partial<Contention>;

/**
 * Breaks of what clients cache, wherever the clients are: told, acknowledged, and forced when nobody answers (MS-SMB2 3.3.4.6, 3.3.4.7,
 * 3.3.6.5). The state of a break stands in the file's record, so that any sidecar can see it through.
 */
export class Breaks {
  readonly #table: Table;
  readonly #cluster: ClusterView;
  readonly #delivery: Delivery;
  readonly #room: WaitingRoom;
  readonly #log: Logger;
  /** Of the breaks that this sidecar began, by file and holder. */
  readonly #timers = new Map<string, NodeJS.Timeout>();
  /** Ends disconnected durable opens that are in the way (services/endings.ts). */
  purge: (member: Member, fileId: Uint8Array) => Promise<void> = async () => {};

  constructor(table: Table, cluster: ClusterView, delivery: Delivery, room: WaitingRoom, log: Logger) {
    this.#table = table;
    this.#cluster = cluster;
    this.#delivery = delivery;
    this.#room = room;
    this.#log = log;
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Tells the holders; resolves when all of them are told or gone. */
  async begin(fileId: Uint8Array, notices: Notice[]): Promise<void> {
    for (const notice of notices) {
      if (notice.acknowledged) this.#arm(fileId, notice);
      else this.#cluster.member(notice.owner)?.cached(notice.holder, notice.to, notice.epoch);
    }
    await this.#delivery.tellBreaks(fileId, notices);
  }

  /**
   * Asks for a decision until it stands: breaks that it brings are told, its `BREAKING` is waited out, and so is a persistent open whose
   * client is away (MS-SMB2 3.3.5.9: up to NEWCOMER_WAIT_MS, then FILE_NOT_AVAILABLE).
   */
  async settled<D extends Contended>(
    member: Member,
    fileId: Uint8Array,
    pending: Pending,
    decide: (again: boolean) => Promise<D>,
  ): Promise<D> {
    let decision = await decide(false);
    if (decision.outcome === Outcome.GRANTED && (decision.notices?.length ?? 0) === 0) return decision;
    const seen = new Map<string, number>();
    let awayUntilMs: number | undefined;
    let purges = 0;
    for (;;) {
      const told = decision.notices && decision.notices.length > 0 ? this.begin(fileId, decision.notices) : undefined;
      switch (decision.outcome) {
        case Internal.BREAKING:
          await this.#wait(member, fileId, decision.awaited ?? [], seen, pending);
          break;
        case Internal.PURGE:
          // What ended with a server whose last writes settle yet is not to be had at once.
          if (purges++ > 0) {
            pending.interim();
            await delay(RETRY_MS);
          }
          await this.purge(member, fileId);
          break;
        case Internal.WAITING:
          awayUntilMs ??= monotonicMs() + NEWCOMER_WAIT_MS;
          if (monotonicMs() >= awayUntilMs) return { ...decision, outcome: Outcome.FILE_NOT_AVAILABLE };
          pending.interim();
          await delay(RETRY_MS);
          break;
        default:
          await told;
          return decision;
      }
      if (pending.cancelled) return { ...decision, outcome: Outcome.CANCELLED };
      decision = await decide(true);
    }
  }

  /** @param cached the state that the client acknowledges; undefined: it has not, in time */
  async acknowledge(
    member: Member,
    fileId: Uint8Array,
    holder: Buffer,
    cached: number | undefined,
    number = 0,
  ): Promise<AckDecision> {
    const decision = await this.#table.acknowledge(member.identity, fileId, holder, cached, number);
    const { outcome, notices, wake } = decision;
    if (outcome === Outcome.GRANTED || (outcome === Outcome.NOT_ACCEPTED && wake.length > 0)) {
      this.#disarm(fileId, holder);
      for (const one of this.#cluster.members.values()) one.cached(holder, decision.cached, decision.epoch);
      if (notices.length > 0) void this.begin(fileId, notices);
      if (wake.length > 0) this.#delivery.wake(fileId, wake);
    }
    return decision;
  }

  async #wait(
    member: Member,
    fileId: Uint8Array,
    awaited: Awaited[],
    seen: Map<string, number>,
    pending: Pending,
  ): Promise<void> {
    const nowMs = monotonicMs();
    for (const { holder, number } of awaited) {
      const key = `${hex(holder)} ${number}`;
      const sinceMs = seen.get(key);
      if (sinceMs === undefined) seen.set(key, nowMs);
      else if (nowMs - sinceMs > BREAK_TIMEOUT_MS + GRACE_MS) await this.#force(member, fileId, holder, number);
    }
    const told = setTimeout(() => pending.interim(), QUIET_MS);
    await this.#room.wait(member, hex(fileId), pending, LOCK_RETRY_MS);
    clearTimeout(told);
  }

  #arm(fileId: Uint8Array, { holder, number }: Notice): void {
    const key = `${hex(fileId)} ${hex(holder)}`;
    clearTimeout(this.#timers.get(key));
    const timer = setTimeout(() => {
      this.#timers.delete(key);
      const member = this.#cluster.anyMember();
      if (member) void this.#force(member, fileId, holder, number);
    }, BREAK_TIMEOUT_MS);
    timer.unref();
    this.#timers.set(key, timer);
  }

  #disarm(fileId: Uint8Array, holder: Buffer): void {
    const key = `${hex(fileId)} ${hex(holder)}`;
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
  }

  async #force(member: Member, fileId: Uint8Array, holder: Buffer, number: number): Promise<void> {
    try {
      const { outcome } = await this.acknowledge(member, fileId, holder, undefined, number);
      if (outcome === Outcome.GRANTED) this.#log.info({ number }, 'a client did not acknowledge a break in time');
    } catch (error) {
      this.#log.info({ err: error }, 'a break could not be forced; whoever waits for it tries again');
    }
  }
}
