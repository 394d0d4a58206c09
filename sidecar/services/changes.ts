import { randomUUID } from 'node:crypto';
import { reasonOf } from '../../common/errors.ts';
import { monotonicMs } from '../../common/time.ts';
import { type Change, Outcome, type WatchScope } from '../../proto/generated/handles.ts';
import {
  type ChangedRequest,
  PeerReply,
  type Sender,
  WatchReply,
  type WatchRequest,
} from '../../proto/generated/peer.ts';
import { PEER_CALL_TIMEOUT_MS } from '../constants.ts';
import { type Identity, identityText } from '../table/keys.ts';
import { Outbox } from './changes-outbox.ts';
import { concerns, MAX_SCOPES, unionOf } from './changes-scopes.ts';
import type { Components } from './components.ts';
import type { Member } from './member.ts';

type Peer = Identity & { address: string };

/** How often is looked whether every peer knows what is watched here, and how often each is told again, ms. */
const LOOK_MS = 1000;
const REPEAT_MS = 5000;
/** Processes of peers whose last message's number is kept. */
const MAX_SENDERS = 1000;

/** What a peer said that its file servers watch. */
interface Theirs {
  process: string;
  version: bigint;
  scopes: WatchScope[];
  outbox: Outbox;
}

/** What a peer was told of what is watched here. */
interface Told {
  version: bigint;
  atMs: number;
}

/**
 * Brings the changes of each file server to those elsewhere that watch them. A server tells its peers what it watches and gets the
 * changes within that, in batches; nobody is sent anything while nobody watches. Whatever may be missing (a peer that could not be
 * told, one that was fenced, a batch that was lost, too many changes) is told as lost, so that clients look for themselves.
 */
export class ChangeFeed {
  readonly #is: Components;
  readonly #sender: () => Sender;
  /** What each file server of this pod watches. */
  readonly #own = new Map<Member, WatchScope[]>();
  /** Of the list of all of them; peers keep the highest. */
  #version = 0n;
  /** The highest that some file server relies on: a peer that knows less may have made changes that nobody heard of. */
  #relied = 0n;
  /** The last that was empty. */
  #emptied = 0n;
  readonly #told = new Map<string, Told>();
  /** By address. */
  readonly #theirs = new Map<string, Theirs>();
  /** Number of the last message to each address: it goes on when a peer comes back. */
  readonly #sent = new Map<string, bigint>();
  /** Number of the last message of each sender, by its process. */
  readonly #received = new Map<string, bigint>();
  readonly #timer: NodeJS.Timeout;

  /** @param place where peers reach this sidecar; known when it listens */
  constructor(components: Components, place: { address: string }) {
    this.#is = components;
    const process = randomUUID();
    this.#sender = () => ({ address: place.address, process });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  // ---- what file servers of this pod ask ---------------------------------------------------------------------------

  /** A file server is there (again): it learns what is watched elsewhere. */
  attached(member: Member): void {
    this.#tellWatched(member);
  }

  /** What the file server watches from now on. Returns when every peer was told, or is known not to have been. */
  async watch(member: Member, scopes: WatchScope[]): Promise<Outcome> {
    if (scopes.length > MAX_SCOPES) return Outcome.TOO_MANY;
    if (scopes.length === 0) this.#own.delete(member);
    else this.#own.set(member, scopes);
    const version = ++this.#version;
    this.#relyOnNothing();
    for (const other of this.#members()) if (other !== member) this.#tellWatched(other);
    await this.#lookAround();
    await Promise.all(this.#peers().map((peer) => this.#tellPeer(peer)));
    if (version > this.#relied && version > this.#emptied) this.#relied = version;
    return Outcome.GRANTED;
  }

  /** What the file server changed within what others watch. */
  tell(member: Member, changes: readonly Change[], lost: boolean): Outcome {
    for (const other of this.#members()) if (other !== member) this.#deliver(other, changes, lost);
    for (const { scopes, outbox } of this.#theirs.values()) {
      outbox.push(
        changes.filter((change) => concerns(scopes, change)),
        lost,
      );
    }
    return Outcome.GRANTED;
  }

  // ---- what peers ask ----------------------------------------------------------------------------------------------

  /** Answered after what was changed here before. */
  async peerWatches(request: WatchRequest): Promise<WatchReply> {
    // Who is not known yet has come since the last look: it would be taken for gone, and what it watches be forgotten.
    if (!this.#peers().some(({ address }) => address === request.from?.address)) await this.#lookAround();
    const reply = this.#peerWatches(request);
    await this.#theirs.get(request.from?.address ?? '')?.outbox.emptied(PEER_CALL_TIMEOUT_MS / 2);
    return reply;
  }

  #peerWatches({ from, version, scopes }: WatchRequest): WatchReply {
    if (!from || scopes.length > MAX_SCOPES * 16) return WatchReply.create();
    const known = this.#theirs.get(from.address);
    const isKnown = known?.process === from.process;
    if (isKnown && known.version >= version) return WatchReply.create({ knownVersion: known.version });
    if (known && (!isKnown || scopes.length === 0)) known.outbox.end();
    if (scopes.length === 0) {
      this.#theirs.delete(from.address);
    } else {
      const outbox = isKnown ? known.outbox : this.#outboxTo(from.address);
      this.#theirs.set(from.address, { process: from.process, version, scopes, outbox });
    }
    for (const member of this.#members()) this.#tellWatched(member);
    return WatchReply.create({ knownVersion: isKnown ? known.version : 0n });
  }

  peerChanged({ from, number, changes, lost }: ChangedRequest): PeerReply {
    if (!from) return PeerReply.create({ ok: false, reason: 'no sender' });
    const last = this.#received.get(from.process);
    if (last !== undefined && number <= last) return PeerReply.create({ ok: true }); // it came twice
    const isGap = number !== (last ?? 0n) + 1n;
    // Forgetting all is safe: the next message of each looks like one behind a gap.
    if (this.#received.size >= MAX_SENDERS) this.#received.clear();
    this.#received.set(from.process, number);
    for (const member of this.#members()) this.#deliver(member, changes, lost || isGap);
    return PeerReply.create({ ok: true });
  }

  // ---- between them ------------------------------------------------------------------------------------------------

  #members(): Member[] {
    return [...this.#is.cluster.members.values()].filter(({ over }) => !over);
  }

  /** One server of each other sidecar that may live. */
  #peers(): Peer[] {
    const { cluster } = this.#is;
    const own = this.#sender().address;
    const byAddress = new Map<string, Peer>();
    for (const server of cluster.servers) {
      if (server.address === own || cluster.memberOf(server.serverId) || !cluster.mayLive(identityText(server)))
        continue;
      byAddress.set(server.address, server);
    }
    return [...byAddress.values()];
  }

  /** Servers that came since the last look would not be told. Where the store is out of reach, none can come. */
  async #lookAround(): Promise<void> {
    const { cluster, registry, log } = this.#is;
    try {
      cluster.look(await registry.list());
    } catch (error) {
      log.debug({ reason: reasonOf(error) }, 'who is told what is watched here is known from the last look');
    }
  }

  #watchedBesides(member: Member): WatchScope[] {
    const lists = [...this.#theirs.values()].map(({ scopes }) => scopes);
    for (const [other, scopes] of this.#own) if (other !== member) lists.push(scopes);
    return unionOf(lists);
  }

  #tellWatched(member: Member): void {
    member.stream?.tell({ $case: 'watched', value: { scopes: this.#watchedBesides(member) } });
  }

  #deliver(member: Member, changes: readonly Change[], lost: boolean): void {
    const scopes = this.#own.get(member);
    if (!scopes) return;
    const wanted = changes.filter((change) => concerns(scopes, change));
    // A file server whose stream is broken knows by itself that it missed something.
    if (wanted.length > 0 || lost) member.stream?.tell({ $case: 'changed', value: { changes: wanted, lost } });
  }

  /** Changes elsewhere may have been missed. */
  #lost(): void {
    for (const member of this.#own.keys()) this.#deliver(member, [], true);
  }

  #outboxTo(address: string): Outbox {
    return new Outbox({
      send: async (changes, lost) => {
        const number = (this.#sent.get(address) ?? 0n) + 1n;
        this.#sent.set(address, number);
        const peer = this.#peers().find((one) => one.address === address);
        if (!peer) throw new Error('no server is there');
        const request = { from: this.#sender(), number, changes, lost };
        await this.#is.peers.call(peer, (client) => client.changed, request, PEER_CALL_TIMEOUT_MS);
      },
      failed: (error) => this.#is.log.debug({ peer: address, reason: reasonOf(error) }, 'changes were not taken'),
    });
  }

  /** Tells a peer what is watched here; one that did not know what was relied on may have kept changes to itself. */
  async #tellPeer(peer: Peer): Promise<void> {
    const told = this.#told.get(peer.address);
    const scopes = unionOf(this.#own.values());
    if (scopes.length === 0 && told === undefined) return;
    const version = this.#version;
    const relied = this.#relied;
    try {
      const request = { from: this.#sender(), version, scopes };
      const { knownVersion } = await this.#is.peers.call(peer, (client) => client.watch, request, PEER_CALL_TIMEOUT_MS);
      if (scopes.length === 0) this.#told.delete(peer.address);
      else this.#told.set(peer.address, { version, atMs: monotonicMs() });
      if (knownVersion < relied) this.#lost();
    } catch (error) {
      this.#is.log.debug({ peer: peer.address, reason: reasonOf(error) }, 'a peer does not know what is watched here');
    }
  }

  /** Tells peers that do not know, or were told long ago; forgets those that are gone. */
  #look(): void {
    for (const member of this.#own.keys()) if (member.over) this.#forget(member);
    if (this.#theirs.size === 0 && this.#told.size === 0 && this.#own.size === 0) return;
    const peers = this.#peers();
    const addresses = new Set(peers.map(({ address }) => address));
    for (const [address, { outbox }] of this.#theirs) {
      if (addresses.has(address)) continue;
      outbox.end();
      this.#theirs.delete(address);
      for (const member of this.#members()) this.#tellWatched(member);
    }
    for (const address of this.#told.keys()) {
      if (addresses.has(address)) continue;
      this.#told.delete(address);
      // What it did last may not have been told any more.
      this.#lost();
    }
    const beforeMs = monotonicMs() - REPEAT_MS;
    for (const peer of peers) {
      const told = this.#told.get(peer.address);
      if (told?.version !== this.#version || told.atMs < beforeMs) void this.#tellPeer(peer);
    }
  }

  #forget(member: Member): void {
    this.#own.delete(member);
    this.#version++;
    this.#relyOnNothing();
  }

  /** While nothing is watched peers may forget this sidecar: who watches next begins anew. */
  #relyOnNothing(): void {
    if (this.#own.size > 0) return;
    this.#emptied = this.#version;
    this.#relied = 0n;
  }
}
