import { setMaxListeners } from 'node:events';
import { UNDERSTANDS } from '../constants.ts';
import { isOver, type ServerRecord } from '../fencing/registry.ts';
import { parseIdentity } from '../table/keys.ts';
import type { Member } from './member.ts';

/** Who is there: the file servers of this pod, and all servers as of the last look at the table. */
export class ClusterView {
  /** By worker. */
  readonly members = new Map<string, Member>();
  #servers = new Map<string, ServerRecord>();
  /** What the sidecars of all servers that may decide understand of the store (Understanding), as of the last look; 0: nobody looked. */
  understanding = 0;
  /** Called after each look. */
  onLook: () => void = () => {};
  /** Who waits for something of a server, by its identity. */
  readonly #fences = new Map<string, AbortController>();

  get servers(): Iterable<ServerRecord> {
    return this.#servers.values();
  }

  server(serverId: string): ServerRecord | undefined {
    return this.#servers.get(serverId);
  }

  look(servers: ServerRecord[]): void {
    this.#servers = new Map(servers.map((server) => [server.serverId, server]));
    this.understanding = Math.min(
      ...servers.filter((server) => !isOver(server)).map(({ understands }) => understands),
      UNDERSTANDS,
    );
    for (const [identity, fence] of this.#fences) {
      if (this.mayLive(identity)) continue;
      this.#fences.delete(identity);
      fence.abort();
    }
    this.onLook();
  }

  /** The fencing of a server began here: known without another look. */
  fencing(identity: string): void {
    const parsed = parseIdentity(identity);
    const server = parsed && this.#servers.get(parsed.serverId);
    if (!server || server.epoch !== parsed.epoch) return;
    this.look([...this.#servers.values()].map((other) => (other === server ? { ...server, state: 'fencing' } : other)));
  }

  /** Aborted when the server with that identity is known to be fenced or replaced: whoever waits for it waits no longer. */
  fenceOf(identity: string): AbortSignal {
    if (!this.mayLive(identity)) return AbortSignal.abort();
    let fence = this.#fences.get(identity);
    if (!fence) {
      fence = new AbortController();
      setMaxListeners(0, fence.signal); // one a call that waits
      this.#fences.set(identity, fence);
    }
    return fence.signal;
  }

  /** The member with that identity, if it is one of this pod's and not over. */
  member(identity: string): Member | undefined {
    for (const member of this.members.values()) if (member.owner === identity && !member.over) return member;
    return undefined;
  }

  memberOf(serverId: string): Member | undefined {
    for (const member of this.members.values()) {
      if (member.identity.serverId === serverId && !member.over) return member;
    }
    return undefined;
  }

  /** Any member that may decide: custody and clocks need one. */
  anyMember(): Member | undefined {
    for (const member of this.members.values()) if (!member.over) return member;
    return undefined;
  }

  /** Whether a server with that identity may still be alive: neither fenced nor replaced, as of the last look. */
  mayLive(identity: string): boolean {
    const parsed = parseIdentity(identity);
    if (!parsed) return false;
    const server = this.#servers.get(parsed.serverId);
    if (!server) return true; // not seen yet
    return server.epoch === parsed.epoch
      ? server.state === 'active' || server.state === 'draining'
      : server.epoch < parsed.epoch;
  }
}
