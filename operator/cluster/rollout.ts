import type { PodFacts } from './pods.ts';

export type LeavingReason = 'Cordon' | 'Upgrade' | 'ScaleDown';

export interface RolloutInput {
  /** Servers asked for. */
  replicas: number;
  /** Hash of the newest pod template. */
  newest: string;
  pods: readonly PodFacts[];
  /** ReplicaSets of the cluster. */
  replicaSets: readonly { name: string; template: string; replicas: number }[];
  /** Handles by pod, as far as known: victims of a scale-down are those with the fewest. */
  handles: ReadonlyMap<string, number>;
  /** How many living servers may be on their way out at a time. */
  maxConcurrent: number;
  /** Migrations off servers that stay (Manual, Rebalance) and run now: they use the same budget. */
  otherMigrations: number;
  /** Whether servers on leaving nodes are replaced. */
  onCordon: boolean;
}

export interface RolloutPlan {
  /** Members that begin to leave now: taken out of their ReplicaSet, in this order. */
  leave: { pod: PodFacts; reason: LeavingReason }[];
  /** What the newest ReplicaSet is to count. */
  newestReplicas: number;
  /** ReplicaSets of older templates whose count has to follow. */
  scale: { name: string; replicas: number }[];
  /** ReplicaSets of older templates that have nothing left. */
  remove: string[];
}

/**
 * The next step towards `replicas` ready servers of the newest template. No ReplicaSet is ever told to count fewer than it has
 * members: it would choose a victim itself. So servers leave first, and the counts follow.
 */
export function planRollout(input: RolloutInput): RolloutPlan {
  const living = input.pods.filter((pod) => !pod.terminating && !pod.ended);
  const members = living.filter((pod) => pod.member);
  const leaving = living.length - members.length;
  const leave = chooseLeavers(input, members, Math.max(0, input.maxConcurrent - leaving - input.otherMigrations));
  const gone = new Set(leave.map(({ pod }) => pod.name));
  const staying = members.filter((pod) => !gone.has(pod.name));
  const old = input.replicaSets.filter((set) => set.template !== input.newest);
  const count = (template: string) => staying.filter((pod) => pod.template === template).length;
  const oldMembers = staying.filter((pod) => pod.template !== input.newest).length;
  return {
    leave,
    newestReplicas: Math.max(count(input.newest), input.replicas - oldMembers, 0),
    scale: old
      .map((set) => ({ name: set.name, replicas: Math.min(set.replicas, count(set.template)), before: set.replicas }))
      .filter((set) => set.replicas !== set.before)
      .map(({ name, replicas }) => ({ name, replicas })),
    remove: old
      .filter((set) => set.replicas === 0 && !input.pods.some((pod) => pod.member && pod.template === set.template))
      .map((set) => set.name),
  };
}

function chooseLeavers(input: RolloutInput, members: readonly PodFacts[], budget: number): RolloutPlan['leave'] {
  const chosen: RolloutPlan['leave'] = [];
  const taken = new Set<string>();
  let left = budget;
  const take = (pod: PodFacts, reason: LeavingReason) => {
    if (taken.has(pod.name)) return;
    // A server that serves nobody costs nothing to replace, and must not hold up the repair.
    if (pod.ready && left === 0) return;
    if (pod.ready) left -= 1;
    taken.add(pod.name);
    chosen.push({ pod, reason });
  };

  let excess = members.length - input.replicas;
  for (const pod of [...members].sort((a, b) => byWorth(input, a, b))) {
    if (excess <= 0) break;
    const before = chosen.length;
    take(pod, 'ScaleDown');
    excess -= chosen.length - before;
  }
  if (input.onCordon) for (const pod of members) if (pod.nodeLeaving) take(pod, 'Cordon');
  // One after another: the newest template has to work before more servers are moved to it.
  const newest = members.filter((pod) => pod.template === input.newest);
  const old = members.filter((pod) => pod.template !== input.newest);
  const mayUpgrade = newest.every((pod) => pod.ready);
  for (const pod of [...old].sort((a, b) => byWorth(input, a, b))) {
    if (mayUpgrade || !pod.ready) take(pod, 'Upgrade');
  }
  return chosen;
}

/** Sorts those first that are missed least: not ready, on a leaving node, of an old template, with few handles, young. */
function byWorth(input: RolloutInput, a: PodFacts, b: PodFacts): number {
  const score = (pod: PodFacts) => [
    pod.ready ? 1 : 0,
    pod.nodeLeaving ? 0 : 1,
    pod.template === input.newest ? 1 : 0,
    input.handles.get(pod.name) ?? 0,
    -pod.createdMs,
  ];
  const [x, y] = [score(a), score(b)];
  for (let i = 0; i < x.length; i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.name < b.name ? -1 : 1;
}
