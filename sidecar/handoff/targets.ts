import type { ServerRecord } from '../fencing/registry.ts';
import { identityText } from '../table/keys.ts';

/** A file server that handles may go to. */
export interface Target {
  serverId: string;
  /** "serverId@epoch" */
  identity: string;
  epoch: number;
  address: string;
  pod: string;
}

/**
 * Who may take the handles: active servers of other pods that are not leaving; of the pods named, in that order, if any of them is there.
 * Otherwise, for one that leaves, rather those of other nodes: its node may be drained, and its neighbours leave next.
 * @param own server ids of this pod
 * @param leaving whether this pod goes away
 */
export function pickTargets(
  servers: Iterable<ServerRecord>,
  own: ReadonlySet<string>,
  wanted: readonly string[],
  leaving: boolean,
): Target[] {
  const all = [...servers];
  const able = all.filter((server) => server.state === 'active' && !server.leaving && !own.has(server.serverId));
  const named = wanted.flatMap((pod) => able.filter((server) => server.pod === pod));
  if (named.length > 0) return named.map(asTarget);
  const here = new Set(all.flatMap(({ serverId, node }) => (own.has(serverId) && node !== '' ? [node] : [])));
  const elsewhere = leaving ? able.filter(({ node }) => !here.has(node)) : [];
  return (elsewhere.length > 0 ? elsewhere : able).map(asTarget);
}

function asTarget(server: ServerRecord): Target {
  const { serverId, epoch, address, pod } = server;
  return { serverId, epoch, address, pod, identity: identityText(server) };
}

/** Gives each session a target, in turn; a session that has one keeps it while that target is there. */
export class Assignment {
  readonly #bySession = new Map<bigint, Target>();
  #next = 0;

  targetOf(sessionId: bigint, targets: Target[]): Target | undefined {
    if (targets.length === 0) return undefined;
    const known = this.#bySession.get(sessionId);
    if (known && targets.some((target) => target.identity === known.identity)) return known;
    const target = targets[this.#next++ % targets.length];
    if (target) this.#bySession.set(sessionId, target);
    return target;
  }
}
