import type { ServerRecord } from '../fencing/registry.ts';
import { parseIdentity } from '../table/keys.ts';
import type { Member } from './member.ts';

/** Who is there: the file servers of this pod, and all servers as of the last look at the table. */
export class ClusterView {
  /** By worker. */
  readonly members = new Map<string, Member>();
  #servers = new Map<string, ServerRecord>();

  get servers(): Iterable<ServerRecord> {
    return this.#servers.values();
  }

  server(serverId: string): ServerRecord | undefined {
    return this.#servers.get(serverId);
  }

  look(servers: ServerRecord[]): void {
    this.#servers = new Map(servers.map((server) => [server.serverId, server]));
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
