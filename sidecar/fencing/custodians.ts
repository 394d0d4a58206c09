import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { monotonicMs } from '../../common/time.ts';
import { type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import type { KeepRequest, PeerReply } from '../../proto/generated/peer.ts';
import { RECORD_BATCH } from '../constants.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import type { Peers } from '../services/peers.ts';
import { NOBODY, parseIdentity } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import { shardOfOpen, type Table } from '../table/table.ts';
import type { Given } from './given.ts';
import type { Orphans } from './orphans.ts';
import { isLive, type Registry, type ServerRecord } from './registry.ts';

/** A peer that does not answer in this time is not waited for: another is asked. Nobody waits for this but a sidecar that ends. */
const KEEP_TIMEOUT_MS = 2500;
/** A client waits for this, once, where its server moved between two answers of its peer. */
const HAD_BACK_TIMEOUT_MS = 500;

/**
 * Sees to it that somebody besides the store remembers opens that no live server owns (invariant 8): who releases opens keeps them, and
 * so does a peer, if one is there; a sidecar that ends passes on what it kept, and what it has given to a server that does not know yet.
 */
export class Custodians {
  readonly #table: Table;
  readonly #registry: Registry;
  readonly #cluster: ClusterView;
  readonly #peers: Peers;
  readonly #orphans: Orphans;
  readonly #given: Given;
  readonly #log: Logger;

  constructor(
    table: Table,
    registry: Registry,
    cluster: ClusterView,
    peers: Peers,
    orphans: Orphans,
    given: Given,
    log: Logger,
  ) {
    this.#table = table;
    this.#registry = registry;
    this.#cluster = cluster;
    this.#peers = peers;
    this.#orphans = orphans;
    this.#given = given;
    this.#log = log;
  }

  /**
   * Hands opens of one shard back: any server may claim them. They are kept here from then on.
   * @returns by open GRANTED, NOT_FOUND or STALE, or one outcome that refuses all
   */
  async release(member: Member, opens: OpenRecord[]): Promise<number[] | number> {
    const first = opens[0];
    if (!first) return [];
    const outcomes = await this.#table.letGo(member.identity, shardOfOpen(first), opens, undefined);
    if (typeof outcomes === 'number') return outcomes;
    const released = opens.flatMap((open, i) => (outcomes[i] === Outcome.GRANTED ? [asReleased(open)] : []));
    this.#orphans.keep(NOBODY, released);
    return outcomes;
  }

  /** What was released here is kept by a peer too. Best effort: while this sidecar lives it keeps it itself. */
  async passOnReleased(opens: readonly OpenRecord[]): Promise<void> {
    await this.#pass({ owner: NOBODY }, opens.map(asReleased), Number.POSITIVE_INFINITY);
  }

  /** This sidecar ends: what it alone may remember goes to a peer, if there is one. */
  async passOnAll(timeoutMs: number): Promise<void> {
    const untilMs = monotonicMs() + timeoutMs;
    for (const owner of this.#orphans.owners) await this.#pass({ owner }, this.#orphans.of(owner), untilMs);
    for (const owner of this.#given.owners)
      await this.#pass({ owner: NOBODY, givenAway: true }, this.#given.of(owner), untilMs);
  }

  /** A peer passes on what it kept, or its client has got back what is kept here. */
  kept({ owner, opens, hadBack, givenAway }: KeepRequest): PeerReply {
    if (owner !== NOBODY && !parseIdentity(owner)) return { ok: false, reason: 'no such owner' };
    if (givenAway) for (const open of opens) this.#given.add(ownerOf(open), [open]);
    else if (hadBack) this.#orphans.forget(owner, opens);
    else this.#orphans.keep(owner, opens);
    return { ok: true, reason: '' };
  }

  /**
   * A client has got an open back here that another server had let go for that. Who released it keeps it; should the store be lost when
   * the client has closed it, that one would put it back, and it would wait for nobody. So it is told before the client is.
   * @param by who had it, serverId@epoch
   */
  async hadBack(open: OpenRecord, by: string): Promise<void> {
    const request = { owner: NOBODY, opens: [open], hadBack: true };
    if (this.#cluster.member(by)) {
      this.kept(request);
      return;
    }
    const identity = parseIdentity(by);
    const peer = identity && this.#cluster.server(identity.serverId);
    if (!peer) return;
    try {
      await this.#peers.call(peer, (client) => client.keep, request, HAD_BACK_TIMEOUT_MS);
    } catch (error) {
      this.#log.info({ reason: reasonOf(error), peer: by }, 'a peer finds out later that an open was had back');
    }
  }

  async #pass(
    as: Pick<KeepRequest, 'owner' | 'givenAway'>,
    opens: readonly OpenRecord[],
    untilMs: number,
  ): Promise<void> {
    let peers = await this.#livePeers();
    for (let i = 0; i < opens.length && peers.length > 0 && monotonicMs() < untilMs; ) {
      const [peer] = peers as [ServerRecord];
      const request = { ...as, opens: opens.slice(i, i + RECORD_BATCH) };
      try {
        const { ok, reason } = await this.#peers.call(peer, (client) => client.keep, request, KEEP_TIMEOUT_MS);
        if (!ok) throw new Error(reason);
        i += RECORD_BATCH;
      } catch (error) {
        this.#log.info(
          { reason: reasonOf(error), peer: peer.serverId },
          'a peer does not keep what waits for its client',
        );
        peers = peers.filter(({ address }) => address !== peer.address);
        i = 0; // the next one keeps all of it
      }
    }
  }

  /** One a pod, those that stay first. */
  async #livePeers(): Promise<ServerRecord[]> {
    const own = new Set([...this.#cluster.members.values()].map(({ identity }) => identity.serverId));
    const byAddress = new Map<string, ServerRecord>();
    const servers = await this.#registry.list().catch(() => this.#cluster.servers);
    for (const server of servers) {
      if (isLive(server) && !own.has(server.serverId) && server.address !== '') byAddress.set(server.address, server);
    }
    const stays = ({ state, leaving }: ServerRecord) => state === 'active' && !leaving;
    return [...byAddress.values()].sort((a, b) => Number(stays(b)) - Number(stays(a)));
  }
}

/** As the table has it once it was released. */
function asReleased(open: OpenRecord): OpenRecord {
  return { ...open, owner: undefined, state: OpenState.RELEASED, ownershipVersion: open.ownershipVersion + 1n };
}
