import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { Break, type FileState, OplockLevel } from '../../proto/generated/handles.ts';
import { PEER_CALL_TIMEOUT_MS, RETRY_MS } from '../constants.ts';
import type { Registry } from '../fencing/registry.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import { type Peer, PeerFencedError, type Peers } from '../services/peers.ts';
import { bytesId, parseIdentity } from '../table/keys.ts';
import type { Notice } from '../table/records.ts';
import { Inbox } from './inbox.ts';

/**
 * Brings what a decision means for other servers to them: breaks, file states, wake-ups. To a file server of this pod over its stream, to
 * another pod by a peer call, and by the inbox in Redis when calls do not get through; a server that is fenced needs no word.
 */
export class Delivery {
  readonly #cluster: ClusterView;
  readonly #peers: Peers;
  readonly #registry: Registry;
  readonly #log: Logger;
  readonly #metrics: SidecarMetrics;
  readonly #patienceMs: number;
  /** Wakes lock requests of this pod that wait for a file. */
  onWake: (member: Member, fileId: Uint8Array) => void = () => {};

  /** @param patienceMs how long a server may take that is neither reachable nor fenced: a lease and what fencing takes */
  constructor(
    cluster: ClusterView,
    peers: Peers,
    registry: Registry,
    log: Logger,
    metrics: SidecarMetrics,
    patienceMs: number,
  ) {
    this.#cluster = cluster;
    this.#peers = peers;
    this.#registry = registry;
    this.#log = log;
    this.#metrics = metrics;
    this.#patienceMs = patienceMs;
  }

  /** Tells the holders of caching what they have to give up (MS-SMB2 3.3.4.6, 3.3.4.7). Resolves when each was told, or is gone; never fails. */
  async tellBreaks(fileId: Uint8Array, notices: Notice[]): Promise<void> {
    await Promise.all(
      notices.map((notice) => {
        const message = breakOf(fileId, notice);
        const member = this.#cluster.member(notice.owner);
        this.#metrics.breaks.labels(member ? 'own' : 'peer').inc();
        if (member) return this.breakAtMember(member, message);
        return this.#deliver(notice.owner, Inbox.encodeBreak(message), (server) =>
          this.#peers.call(
            server,
            (client) => client.break,
            { serverId: server.serverId, epoch: BigInt(server.epoch), break: message },
            PEER_CALL_TIMEOUT_MS,
          ),
        );
      }),
    );
  }

  /** What nobody has to acknowledge is told and done with; else until the file server says that it is on its way, or that its client is gone. */
  async breakAtMember(member: Member, message: Break): Promise<boolean> {
    const untilMs = monotonicMs() + this.#patienceMs;
    while (!member.over && monotonicMs() < untilMs) {
      const { stream } = member;
      if (stream && !message.ackRequired) {
        stream.tell({ $case: 'break', value: message });
        return true;
      }
      try {
        if (await stream?.ask({ $case: 'break', value: message }, this.#patienceMs)) return true;
      } catch (error) {
        this.#log.debug({ err: error, server: member.owner }, 'break not delivered yet');
      }
      await delay(RETRY_MS);
    }
    return member.over;
  }

  /**
   * Brings a file's new state to servers that have it open.
   * @returns false when one of them neither took it nor was fenced in time: what depends on it must not be granted
   */
  async pushState(state: FileState, owners: string[]): Promise<boolean> {
    if (owners.length === 0) return true;
    const taken = await Promise.all(
      owners.map((owner) => {
        const member = this.#cluster.member(owner);
        if (member) return this.pushToMember(member, state);
        return this.#deliver(owner, Inbox.encodeState(state), (server) =>
          this.#peers.call(
            server,
            (client) => client.pushFileState,
            { serverId: server.serverId, epoch: BigInt(server.epoch), state },
            PEER_CALL_TIMEOUT_MS,
          ),
        );
      }),
    );
    return taken.every(Boolean);
  }

  /** Until the file server took it, its stream came back and took it, or it was fenced. */
  async pushToMember(member: Member, state: FileState): Promise<boolean> {
    const untilMs = monotonicMs() + this.#patienceMs;
    while (!member.over && monotonicMs() < untilMs) {
      const newest = member.takeState(state);
      try {
        const answer = await member.stream?.ask({ $case: 'fileState', value: newest }, this.#patienceMs);
        if (answer) return answer.ok;
      } catch (error) {
        this.#log.debug({ err: error, server: member.owner }, 'file state not taken yet');
      }
      await delay(RETRY_MS);
    }
    return member.over;
  }

  /** Locks were let go: those who wait for them try again. Lost wake-ups are made up for by trying at intervals. */
  wake(fileId: Uint8Array, owners: string[]): void {
    for (const owner of owners) {
      const member = this.#cluster.member(owner);
      if (member) {
        this.onWake(member, fileId);
        continue;
      }
      const identity = parseIdentity(owner);
      const server = identity && this.#cluster.server(identity.serverId);
      if (!server) continue;
      this.#peers
        .call(
          server,
          (client) => client.wakeLocks,
          { serverId: server.serverId, fileId: Buffer.from(fileId) },
          PEER_CALL_TIMEOUT_MS,
        )
        .catch((error: unknown) => this.#log.debug({ err: error, server: owner }, 'wake-up not delivered'));
    }
  }

  async #deliver(
    owner: string,
    message: Uint8Array,
    call: (server: Peer) => Promise<{ ok: boolean; reason: string }>,
  ): Promise<boolean> {
    const identity = parseIdentity(owner);
    if (!identity) return true;
    const untilMs = monotonicMs() + this.#patienceMs;
    let left = false;
    while (this.#cluster.mayLive(owner)) {
      const address = this.#cluster.server(identity.serverId)?.address;
      try {
        if (address !== undefined) {
          const reply = await call({ ...identity, address });
          if (reply.ok) return true;
          this.#log.info({ server: owner, reason: reply.reason }, 'peer did not take it');
        }
      } catch (error) {
        if (error instanceof PeerFencedError) break;
        this.#log.info({ server: owner, reason: reasonOf(error) }, 'peer call failed');
        if (!left) {
          left = true;
          await this.#registry.leaveMessage(identity.serverId, message).catch(() => {});
        }
      }
      if (monotonicMs() > untilMs) return false;
      await delay(RETRY_MS);
    }
    return true; // fenced: it answers nobody any more
  }
}

const LEASE_BYTES = 32;
const GUID_BYTES = 16;
const NO_BYTES = Buffer.alloc(0);

/** What the file server is told: of a lease its key, of an oplock its open. */
function breakOf(fileId: Uint8Array, { holder, from, to, epoch, version, acknowledged }: Notice): Break {
  const common = { fileId: Buffer.from(fileId), fromState: from, ackRequired: acknowledged };
  if (holder.length !== LEASE_BYTES) {
    const toLevel = to === 0 ? OplockLevel.OPLOCK_NONE : OplockLevel.OPLOCK_LEVEL_II;
    return Break.create({ ...common, openId: bytesId(holder), toLevel });
  }
  const key = holder.subarray(GUID_BYTES);
  return Break.create({
    ...common,
    toLevel: OplockLevel.OPLOCK_LEASE,
    lease: { key, state: to, epoch, version, parentKey: NO_BYTES, breaking: acknowledged },
    clientGuid: holder.subarray(0, GUID_BYTES),
  });
}
