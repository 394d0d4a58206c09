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
 * @param own server ids of this pod
 */
export function pickTargets(servers: Iterable<ServerRecord>, own: Set<string>, wanted: string[]): Target[] {
  const able = [...servers]
    .filter((server) => server.state === 'active' && !server.leaving && !own.has(server.serverId))
    .map((server) => ({ ...pick(server), identity: identityText(server) }));
  const named = wanted.flatMap((pod) => able.filter((target) => target.pod === pod));
  return named.length > 0 ? named : able;
}

function pick({ serverId, epoch, address, pod }: ServerRecord) {
  return { serverId, epoch, address, pod };
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
