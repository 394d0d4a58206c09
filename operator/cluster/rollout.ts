import type { PodFacts } from './pods.ts';

export type LeavingReason = 'Cordon' | 'Upgrade' | 'ScaleDown';

export interface RolloutInput {
  /** Servers asked for. */
  replicas: number;
  /** Hash of the newest pod template. */
  newest: string;
  pods: readonly PodFacts[];
  /** Leaving pods whose migration has ended. */
  moved: ReadonlySet<string>;
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

export interface Leaver {
  pod: PodFacts;
  reason: LeavingReason;
  /**
   * Whether it is taken out of its ReplicaSet, which then makes the successor. Only where that is of the newest template; else the
   * successor comes from another ReplicaSet, and the server's own would make one too many.
   */
  takeOut: boolean;
}

export interface RolloutPlan {
  /** Servers that begin to leave now. */
  leave: Leaver[];
  /** What the newest ReplicaSet is to count. */
  newestReplicas: number;
  /** ReplicaSets of older templates whose count has to follow. */
  scale: { name: string; replicas: number }[];
  /** ReplicaSets of older templates that have nothing left. */
  remove: string[];
}

/**
 * The next step towards `replicas` ready servers of the newest template. A ReplicaSet counts all its members but those whose
 * handles have moved: these, and nobody else, it ends (they carry the lowest deletion cost).
 */
export function planRollout(input: RolloutInput): RolloutPlan {
  const living = input.pods.filter((pod) => !pod.terminating && !pod.ended);
  const staying = living.filter((pod) => !pod.leaving);
  const leaving = living.length - staying.length;
  const leave = chooseLeavers(input, staying, Math.max(0, input.maxConcurrent - leaving - input.otherMigrations));
  const chosen = new Map(leave.map((leaver) => [leaver.pod.name, leaver]));
  /** Members of a template after this step: those that stay, and those that still have to move their handles. */
  const stayingOf = (template: string) =>
    staying.filter((pod) => pod.template === template && !chosen.has(pod.name)).length;
  const movingOf = (template: string) =>
    living.filter(
      (pod) =>
        pod.template === template &&
        pod.member &&
        !input.moved.has(pod.name) &&
        (pod.leaving || chosen.get(pod.name)?.takeOut === false),
    ).length;
  const old = input.replicaSets.filter((set) => set.template !== input.newest);
  const stayingOld = staying.filter((pod) => pod.template !== input.newest && !chosen.has(pod.name)).length;
  const newestReplicas = Math.max(stayingOf(input.newest), input.replicas - stayingOld, 0) + movingOf(input.newest);
  return {
    leave,
    newestReplicas,
    scale: old.flatMap(({ name, template, replicas }) => {
      const next = Math.min(replicas, stayingOf(template) + movingOf(template));
      return next === replicas ? [] : [{ name, replicas: next }];
    }),
    remove: old
      .filter((set) => set.replicas === 0 && !input.pods.some((pod) => pod.member && pod.template === set.template))
      .map((set) => set.name),
  };
}

function chooseLeavers(input: RolloutInput, staying: readonly PodFacts[], budget: number): Leaver[] {
  const chosen: Leaver[] = [];
  const taken = new Set<string>();
  let left = budget;
  const take = (pod: PodFacts, reason: LeavingReason) => {
    if (taken.has(pod.name)) return;
    // A server that serves nobody costs nothing to replace, and must not hold up the repair.
    if (pod.ready && left === 0) return;
    if (pod.ready) left -= 1;
    taken.add(pod.name);
    chosen.push({ pod, reason, takeOut: reason === 'Cordon' && pod.template === input.newest });
  };

  let excess = staying.length - input.replicas;
  for (const pod of [...staying].sort((a, b) => byWorth(input, a, b))) {
    if (excess <= 0) break;
    const before = chosen.length;
    take(pod, 'ScaleDown');
    excess -= chosen.length - before;
  }
  if (input.onCordon) for (const pod of staying) if (pod.nodeLeaving) take(pod, 'Cordon');
  // One after another: the newest template has to work before more servers are moved to it.
  const newest = staying.filter((pod) => pod.template === input.newest);
  const old = staying.filter((pod) => pod.template !== input.newest);
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
