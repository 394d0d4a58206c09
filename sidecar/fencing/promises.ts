import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { monotonicMs, monotonicNs } from '../../common/time.ts';
import type { PeerReply, PromiseRequest } from '../../proto/generated/peer.ts';
import { marginMs } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import type { Peers } from '../services/peers.ts';
import { type Identity, identityText } from '../table/keys.ts';
import { isLive, type ServerRecord } from './registry.ts';

/** Looks at the store come ten times a lease; whoever missed two does not reach it. */
const OUT_OF_REACH_OF_LEASE = 5;
/** A server asks when less than a half of its lease is left, and again ten times a lease. */
const ASKS_PER_LEASE = 10;

export interface PromisesParts {
  cluster: ClusterView;
  peers: Peers;
  log: Logger;
  metrics: SidecarMetrics;
  leaseDurationMs: number;
  /** How long promises may extend a lease in all, ms; 0: not at all. */
  maxExtensionMs: number;
  /** When the store last said who is there, monotonic ms. */
  readMs(): number;
}

/**
 * The store is out of everybody's reach: reads and writes on open handles go on while every peer that a server's last renewal named
 * promises not to fence it (handle-state.md, "Redis out of reach"). A promise lasts a lease at most, and is asked for again:
 * - it ends before a sidecar that was started again, and has forgotten it, can have seen anybody silent for a lease;
 * - it ends before the deadline that the next renewal brings.
 * Nobody is extended whose deadline has passed: until then nobody can have sent the store that it is fenced. A promise is counted from
 * when it was asked for by the one who asked, from when it came by the one who gave it: each by its own clock.
 * Whoever is not asked (it registered after that renewal) fences only after a lease and all extensions: see silence.ts.
 */
export class Promises {
  readonly #is: PromisesParts;
  /** Until when no server of that identity is fenced here, monotonic ms. */
  readonly #given = new Map<string, number>();
  readonly #asking = new Set<Member>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: PromisesParts) {
    this.#is = parts;
  }

  start(): void {
    if (this.#is.maxExtensionMs === 0) return;
    this.#timer = setInterval(() => this.#round(), this.#is.leaseDurationMs / ASKS_PER_LEASE);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** A promise holds back who would fence this server. */
  holdsBack(identity: string): boolean {
    return (this.#given.get(identity) ?? Number.NEGATIVE_INFINITY) > monotonicMs();
  }

  /** No promise is outstanding: what others were let go on with by this pod has ended. */
  get none(): boolean {
    const nowMs = monotonicMs();
    return ![...this.#given.values()].some((untilMs) => untilMs > nowMs);
  }

  /** A peer asks for its server. */
  give({ server, durationMs }: PromiseRequest): PeerReply {
    const identity = server && { serverId: server.serverId, epoch: Number(server.epoch) };
    const reason = identity ? this.#refusal(identity, durationMs) : 'which server?';
    this.#is.metrics.promises.labels(reason === undefined ? 'given' : 'refused').inc();
    if (!identity || reason !== undefined) return { ok: false, reason: reason ?? '' };
    this.#give(identityText(identity), durationMs);
    return { ok: true, reason: '' };
  }

  #refusal(server: Identity, durationMs: number): string | undefined {
    const { cluster, leaseDurationMs, readMs } = this.#is;
    const known = cluster.server(server.serverId);
    if (!(durationMs > 0 && durationMs <= leaseDurationMs)) return 'a promise lasts a lease at most';
    // Not for safety: a server that is cut off alone has to stop, so that others can have its handles.
    if (monotonicMs() - readMs() < leaseDurationMs / OUT_OF_REACH_OF_LEASE) return 'the store is in reach';
    if (known?.epoch !== server.epoch || !isLive(known)) return 'it is not known to be alive';
    return undefined;
  }

  #give(identity: string, durationMs: number): void {
    const nowMs = monotonicMs();
    for (const [other, untilMs] of this.#given) if (untilMs <= nowMs) this.#given.delete(other);
    this.#given.set(identity, Math.max(this.#given.get(identity) ?? 0, nowMs + durationMs));
  }

  #round(): void {
    const { cluster, leaseDurationMs, log } = this.#is;
    for (const member of cluster.members.values()) {
      const leftNs = member.deadlineNs - monotonicNs();
      if (member.over || this.#asking.has(member) || leftNs <= 0n || leftNs > BigInt(leaseDurationMs) * 500_000n)
        continue;
      // As for a renewal: a worker that hangs is not kept alive.
      if (monotonicMs() - member.heartbeatMs > leaseDurationMs / 2) continue;
      this.#asking.add(member);
      this.#extend(member)
        .catch((error: unknown) => {
          this.#is.metrics.extensions.labels('refused').inc();
          log.info(
            { reason: reasonOf(error), server: member.owner },
            'a peer cannot be asked: a lease is not extended',
          );
        })
        .finally(() => this.#asking.delete(member));
    }
  }

  async #extend(member: Member): Promise<void> {
    const { peers, metrics, log, leaseDurationMs, maxExtensionMs } = this.#is;
    if (!member.mayBeExtended || member.peers.length === 0) return;
    const sentNs = monotonicNs();
    const untilNs = extendedNs({ sentNs, leaseEndNs: member.leaseEndNs, leaseDurationMs, maxExtensionMs });
    if (untilNs <= member.deadlineNs) return;
    const { leaseEndNs } = member;
    this.#give(member.owner, leaseDurationMs); // this sidecar watches its own workers too
    const server = { serverId: member.identity.serverId, epoch: BigInt(member.identity.epoch) };
    const request = { server, durationMs: leaseDurationMs };
    const timeoutMs = Math.max(1, Number(member.deadlineNs - sentNs) / 1e6);
    const replies = await Promise.all(
      member.peers.map((peer) => peers.call(peer, (client) => client.promise, request, timeoutMs)),
    );
    const refused = replies.find(({ ok }) => !ok);
    const inTime = monotonicNs() < member.deadlineNs && member.leaseEndNs === leaseEndNs && !member.over;
    if (refused || !inTime) {
      metrics.extensions.labels('refused').inc();
      log.info({ server: member.owner, reason: refused?.reason ?? 'too late' }, 'a lease is not extended');
      return;
    }
    metrics.extensions.labels('extended').inc();
    if (member.deadlineNs <= leaseEndNs) {
      log.warn(
        { server: member.owner, peers: replies.length },
        'the store is out of reach: all promise not to fence, I/O goes on',
      );
    }
    member.deadlineNs = untilNs;
    member.stream?.tell({ $case: 'renewed', value: { deadlineNs: untilNs } });
  }
}

/**
 * Until when a server may serve whose peers all promised what was asked for then: never longer than a promise lasts, nor than all
 * extensions of its last renewal together.
 * @param leaseEndNs the deadline that its last renewal brought
 */
export function extendedNs(asked: {
  sentNs: bigint;
  leaseEndNs: bigint;
  leaseDurationMs: number;
  maxExtensionMs: number;
}): bigint {
  const promisedNs = asked.sentNs + milliseconds(asked.leaseDurationMs - marginMs(asked.leaseDurationMs));
  const mostNs = asked.leaseEndNs + milliseconds(asked.maxExtensionMs);
  if (promisedNs > mostNs) return mostNs; // Math.min knows no bigint
  return promisedNs;
}

function milliseconds(ms: number): bigint {
  return BigInt(Math.floor(ms * 1e6));
}

/** Whom a server has to ask before it goes on without the store: one server of each other pod that the answer to its renewal named. */
export function namedPeers(servers: readonly ServerRecord[], serverId: string): ServerRecord[] {
  const byPod = new Map<string, ServerRecord>();
  for (const server of servers) if (isLive(server)) byPod.set(podOf(server.serverId), server);
  byPod.delete(podOf(serverId));
  return [...byPod.values()];
}

/**
 * Whether a server would ask this pod for a promise: it has heard of one of this pod's servers, which lives still, by a renewal.
 * @param own ids of this pod's servers
 */
export function asksUs(server: ServerRecord, servers: readonly ServerRecord[], own: ReadonlySet<string>): boolean {
  return servers.some((mine) => own.has(mine.serverId) && isLive(mine) && mine.epoch <= server.knows);
}

/** Server ids are "pod uid/worker". */
function podOf(serverId: string): string {
  return serverId.slice(0, serverId.lastIndexOf('/'));
}
