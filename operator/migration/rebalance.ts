import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import type { PodFacts } from '../cluster/pods.ts';
import { timeMs } from '../runtime/objects.ts';
import { isFinished } from './plan.ts';

/** Between the end of one move and the next: clients notice each for a moment. */
const PAUSE_MS = 30_000;
/** Fewer handles than this are not worth a client's pause. */
const LEAST = 16;

export interface Rebalancing {
  source: string;
  target: string;
  maxHandles: number;
}

export interface RebalanceInput {
  /** Servers asked for. */
  replicas: number;
  /** Hash of the newest pod template. */
  newest: string;
  pods: readonly PodFacts[];
  migrations: readonly HandleMigration[];
  /** By pod; servers of which nothing is known are missing. */
  handles: ReadonlyMap<string, number>;
  nowMs: number;
}

/**
 * The next move that spreads handles again after a scale-up, if there is one: from the server with the most to the newest that has less
 * than half of its share. One at a time, only while all is quiet, and once for each pair of servers: what one client holds cannot be
 * split, so that trying again would move it to and fro.
 */
export function planRebalance(input: RebalanceInput): Rebalancing | undefined {
  const { pods, migrations, handles, replicas, newest, nowMs } = input;
  const quiet =
    pods.length === replicas &&
    migrations.every((hm) => isFinished(hm) && nowMs - (timeMs(hm.status?.endTime) ?? nowMs) >= PAUSE_MS) &&
    pods.every(
      (pod) =>
        pod.ready && pod.serving && !pod.leaving && !pod.terminating && !pod.nodeLeaving && pod.template === newest,
    ) &&
    pods.every((pod) => handles.has(pod.name));
  if (!quiet || pods.length < 2) return undefined;
  const of = (pod: PodFacts) => handles.get(pod.name) ?? 0;
  const mean = pods.reduce((sum, pod) => sum + of(pod), 0) / pods.length;
  const byHandles = [...pods].sort((a, b) => of(b) - of(a) || (a.name < b.name ? -1 : 1));
  const starving = byHandles.filter((pod) => of(pod) < mean / 2).sort((a, b) => b.createdMs - a.createdMs);
  for (const target of starving) {
    for (const source of byHandles) {
      const maxHandles = Math.floor(Math.min(of(source) - mean, mean - of(target)));
      if (maxHandles < LEAST) break; // those that follow have fewer still
      // Handles come to a new server by themselves, too; an older one lost its clients, which may come back.
      if (source.createdMs > target.createdMs) continue;
      const tried = migrations.some((hm) => hm.metadata.name === rebalanceName(source.name, target.name));
      if (!tried) return { source: source.name, target: target.name, maxHandles };
    }
  }
  return undefined;
}

/** The same each time, so that making it twice is harmless. */
export function rebalanceName(source: string, target: string): string {
  return `${source}-to-${target.slice(target.lastIndexOf('-') + 1)}`;
}
