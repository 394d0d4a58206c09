import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs, monotonicNs } from '../../common/time.ts';
import type { Delivery } from '../breaks/delivery.ts';
import { Inbox } from '../breaks/inbox.ts';
import { marginMs } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import type { Store } from '../table/store.ts';
import { isProvenDead } from './death.ts';
import type { Fencer } from './fencer.ts';
import type { Forgetting } from './forgetting.ts';
import type { Orphans } from './orphans.ts';
import { asksUs, namedPeers, type Promises } from './promises.ts';
import { isLive, type Registry, type ServerRecord } from './registry.ts';
import { SilenceWatch } from './silence.ts';

/** Between two tries to prove that a file server whose stream ended is dead. */
const DEATH_CHECK_MS = 20;

export interface LeaseParts {
  registry: Registry;
  store: Store;
  cluster: ClusterView;
  delivery: Delivery;
  fencer: Fencer;
  promises: Promises;
  orphans: Orphans;
  forgetting: Forgetting;
  log: Logger;
  metrics: SidecarMetrics;
  leaseDurationMs: number;
  maxExtensionMs: number;
  /** Whether what this Redis process, in this life of its data, says of a member counts even if its lease has run out. */
  storeKnows(member: Member, runId: string, generation: string): boolean;
  /** Whether a server that merely went silent may be fenced: not where a volume's `fencing` asks for proof. */
  fenceSilent: boolean;
}

/** Keeps the file servers of this pod alive in the table, and watches those of all others. */
export class Lease {
  readonly #is: LeaseParts;
  readonly #silence: SilenceWatch;
  readonly #finishing = new Map<string, number>();
  /** Silent servers that may not be fenced without proof: told once each. */
  readonly #needProof = new Set<string>();
  readonly #renewing = new Set<Member>();
  #timer: NodeJS.Timeout | undefined;
  #lookTimer: NodeJS.Timeout | undefined;
  #lastLookMs = Number.NEGATIVE_INFINITY;
  #stopped = false;
  /** As of the last look at an open store: no server can go on without it that this pod has not promised anything. */
  isAskedByAll = false;

  constructor(parts: LeaseParts) {
    this.#is = parts;
    this.#silence = new SilenceWatch(parts.leaseDurationMs);
  }

  start(): void {
    this.#timer = setInterval(() => this.#round(), this.#is.leaseDurationMs / 3);
    this.#round();
    void this.#look();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#lookTimer);
  }

  /** Until when a server may serve whose renewal was sent then. */
  deadlineNs(sentNs: bigint): bigint {
    const { leaseDurationMs } = this.#is;
    return sentNs + BigInt(Math.floor((leaseDurationMs - marginMs(leaseDurationMs)) * 1e6));
  }

  get reachable(): boolean {
    return monotonicMs() - this.#lastLookMs < this.#is.leaseDurationMs;
  }

  heartbeat(member: Member): void {
    const nowMs = monotonicMs();
    // The renewal that was due found no heartbeat since the one before: it is made up for at once.
    const late = !member.alive && nowMs - member.renewedMs >= this.#is.leaseDurationMs / 3;
    member.alive = true;
    member.heartbeatMs = nowMs;
    if (late) void this.renew(member);
  }

  /** The stream ended: that proves nothing. It attaches again, or the kernel says that it is dead, or its lease runs out. */
  streamLost(member: Member): void {
    const check = () => {
      if (this.#stopped || member.over || member.stream) return;
      if (isProvenDead(member.lockPath)) {
        this.#is.log.warn({ server: member.owner }, 'the file server process is dead');
        void this.died(member);
      } else setTimeout(check, DEATH_CHECK_MS).unref();
    };
    check();
  }

  /**
   * Asks whether a file server really lives before somebody is refused in its name: one that is dead is fenced first, one whose
   * heartbeats stay away either beats again or its lease runs out.
   */
  async confirmAlive(member: Member): Promise<boolean> {
    if (!member.over && isProvenDead(member.lockPath)) await this.died(member);
    while (!member.over && !this.#stopped && monotonicMs() - member.heartbeatMs > this.#is.leaseDurationMs / 2) {
      await delay(DEATH_CHECK_MS);
    }
    return !member.over;
  }

  /** Its process is proven dead: its opens are orphaned at once. */
  async died(member: Member): Promise<void> {
    member.end();
    this.#is.orphans.keep(
      member.owner,
      [...member.opens.values()].map(({ record }) => record),
    );
    if (this.#is.cluster.members.get(member.worker) === member) this.#is.cluster.members.delete(member.worker);
    while (!this.#stopped) {
      try {
        await this.#is.fencer.fenceDead(member.identity, 'process_ended');
        return;
      } catch (error) {
        this.#is.log.warn({ err: error, server: member.owner }, 'a dead server is not fenced yet');
        await new Promise((resolve) => setTimeout(resolve, 200).unref());
      }
    }
  }

  /** The table refuses it. */
  fenced(member: Member, reason: string): void {
    if (member.over) return;
    member.end();
    if (this.#is.cluster.members.get(member.worker) === member) this.#is.cluster.members.delete(member.worker);
    this.#is.log.warn({ server: member.owner, reason }, 'a file server of this pod was fenced');
    member.stream?.tell({ $case: 'fenced', value: { reason } });
  }

  /** Renews one file server; never two at once for the same one. @returns whether it is renewed */
  async renew(member: Member): Promise<boolean> {
    const { registry, log, metrics, cluster, maxExtensionMs } = this.#is;
    if (member.over || this.#renewing.has(member)) return false;
    this.#renewing.add(member);
    member.alive = false;
    const sentNs = monotonicNs();
    member.renewedMs = Number(sentNs / 1_000_000n);
    // With nobody to ask it does not go on without the store. Said, it counts from now: the answer may be lost.
    const extensionMs = member.peers.length > 0 ? maxExtensionMs : 0;
    if (extensionMs === 0) member.mayBeExtended = false;
    try {
      const renewal = await registry.renew(member.identity, {
        counter: ++member.counter,
        extensionMs,
        knows: member.knows,
      });
      const { valid, servers, inbox } = renewal;
      this.#looked(servers, member.renewedMs);
      if (!valid) {
        metrics.renewals.labels('fenced').inc();
        const known = cluster.server(member.identity.serverId);
        // A store that lost data knows nobody, or an earlier life of this server: the reconciler puts it back, nobody has fenced it.
        if (known && known.epoch >= member.identity.epoch)
          this.fenced(member, `the table has it as ${known.state}, epoch ${known.epoch}`);
        else this.#is.store.close();
        return false;
      }
      for (const message of inbox) this.#take(member, message);
      // Past its deadline it may have been fenced, and only the store that it was fenced in says so: another one is asked who it is first.
      if (monotonicNs() > member.deadlineNs && !this.#is.storeKnows(member, renewal.runId, renewal.generation)) {
        metrics.renewals.labels('late').inc();
        log.warn({ server: member.owner }, 'a renewal past the deadline does not count before the store is known');
        member.alive = true;
        this.#is.store.close();
        return false;
      }
      metrics.renewals.labels('renewed').inc();
      const deadlineNs = this.deadlineNs(sentNs);
      if (deadlineNs > member.deadlineNs) member.deadlineNs = deadlineNs;
      member.leaseEndNs = deadlineNs;
      member.peers = namedPeers(servers, member.identity.serverId);
      member.knows = renewal.highestEpoch;
      member.mayBeExtended = extensionMs > 0;
      member.stream?.tell({ $case: 'renewed', value: { deadlineNs: member.deadlineNs } });
      return true;
    } catch (error) {
      metrics.renewals.labels('failed').inc();
      member.alive = true; // the heartbeat that this renewal stood for is not used up
      log.warn({ server: member.owner, reason: reasonOf(error) }, 'a renewal failed');
      return false;
    } finally {
      this.#renewing.delete(member);
    }
  }

  /** The store is open: who had to wait for that is renewed now. */
  storeOpened(): void {
    for (const member of this.#is.cluster.members.values()) {
      if (member.alive && monotonicNs() > member.deadlineNs) void this.renew(member);
    }
  }

  #round(): void {
    for (const member of this.#is.cluster.members.values()) {
      if (!member.alive || member.over) continue;
      void this.renew(member);
    }
    this.#is.metrics.storeReachable.set(this.reachable ? 1 : 0);
  }

  /** One look after the other: often, so that a change is seen soon after it was made, and just when somebody's lease would be over. */
  async #look(): Promise<void> {
    const sentMs = monotonicMs();
    try {
      this.#looked(await this.#is.registry.look(), sentMs);
    } catch (error) {
      this.#is.log.debug({ err: error }, 'the servers cannot be read');
    }
    if (this.#stopped) return;
    this.#lookTimer = setTimeout(() => void this.#look(), this.#silence.nextLookMs(monotonicMs()));
  }

  #looked(servers: ServerRecord[], sentMs: number): void {
    const { cluster, fencer, log } = this.#is;
    const nowMs = monotonicMs();
    this.#lastLookMs = nowMs;
    cluster.look(servers);
    // A worker whose heartbeats stopped is not renewed; that it was fenced shows here.
    for (const member of [...cluster.members.values()]) {
      const known = cluster.server(member.identity.serverId);
      if (!known || known.epoch < member.identity.epoch) continue; // a look from before it registered
      if (known.epoch > member.identity.epoch || known.state === 'fencing' || known.state === 'fenced') {
        this.fenced(member, `the table has it as ${known.state}, epoch ${known.epoch}`);
      }
    }
    const own = new Set([...cluster.members.values()].map(({ identity }) => identity.serverId));
    this.#sawAll(servers, own);
    const silent = this.#silence.observe(servers, sentMs, nowMs, own);
    for (const server of silent) {
      if (this.#is.promises.holdsBack(`${server.serverId}@${server.epoch}`)) continue;
      // A worker of our own whose heartbeats stopped is a silent server like any other.
      if (!this.#is.fenceSilent) {
        const key = `${server.serverId}@${server.epoch}`;
        if (this.#needProof.has(key)) continue;
        this.#needProof.add(key);
        log.warn({ server: key }, 'a server went silent; its volume asks for proof before it is fenced');
        continue;
      }
      fencer.fenceSilent(server).catch((error: unknown) => log.warn({ err: error }, 'fencing is not complete yet'));
    }
    this.#is.forgetting.look(servers, nowMs);
    for (const server of servers) {
      const key = `${server.serverId}@${server.epoch}`;
      if (server.state !== 'fencing') {
        this.#finishing.delete(key);
        continue;
      }
      const sinceMs = this.#finishing.get(key) ?? nowMs;
      this.#finishing.set(key, sinceMs);
      if (nowMs - sinceMs < this.#is.leaseDurationMs) continue;
      fencer.finish(server).catch((error: unknown) => log.warn({ err: error }, 'fencing is not complete yet'));
    }
  }

  /**
   * Whether every server would ask this pod before it goes on without the store. Known while the shards are open, and while a server of
   * this pod stands there: what a store says that has lost its data changes nothing.
   */
  #sawAll(servers: ServerRecord[], own: ReadonlySet<string>): void {
    if (!this.#is.store.open || !servers.some((server) => own.has(server.serverId) && isLive(server))) return;
    this.isAskedByAll = servers.every(
      (server) =>
        !isLive(server) || server.extensionMs === 0 || own.has(server.serverId) || asksUs(server, servers, own),
    );
  }

  #take(member: Member, bytes: Buffer): void {
    const message = Inbox.decode(bytes);
    if (message?.kind === 'break') void this.#is.delivery.breakAtMember(member, message.message);
    else if (message?.kind === 'state') void this.#is.delivery.pushToMember(member, message.message);
  }
}
