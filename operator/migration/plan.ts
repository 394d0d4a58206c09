import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import type { PodFacts } from '../cluster/pods.ts';
import { LABELS } from '../resources/names.ts';
import { timeMs } from '../runtime/objects.ts';

export type Reason = HandleMigration['spec']['reason'];
export type Phase = NonNullable<NonNullable<HandleMigration['status']>['phase']>;

/** Finished migrations that are kept for each cluster. */
const KEPT = 50;

export function isFinished(migration: HandleMigration): boolean {
  return migration.status?.phase === 'Succeeded' || migration.status?.phase === 'Failed';
}

/** Whether it has begun and not ended: it holds one of the places that maxConcurrent gives. */
export function isRunning(migration: HandleMigration): boolean {
  const phase = migration.status?.phase;
  return phase === 'Preparing' || phase === 'CuttingRouting' || phase === 'Transferring';
}

/** Whether the source goes away afterwards. */
export function isLeaving(reason: Reason): boolean {
  return reason !== 'Manual' && reason !== 'Rebalance';
}

/** Where handles may go: ready members of the newest template (of any, while there is none), those with the fewest handles first. */
export function chooseTargets(
  source: string,
  pods: readonly PodFacts[],
  newest: string,
  handles: ReadonlyMap<string, number>,
): string[] {
  const able = pods.filter(
    (pod) => pod.name !== source && pod.ready && pod.serving && !pod.leaving && !pod.terminating,
  );
  const staying = able.filter((pod) => !pod.nodeLeaving);
  const best =
    [staying.filter((pod) => pod.template === newest), staying, able].find((choice) => choice.length > 0) ?? [];
  return best
    .map((pod) => ({ name: pod.name, handles: handles.get(pod.name) ?? 0 }))
    .sort((a, b) => a.handles - b.handles || (a.name < b.name ? -1 : 1))
    .map((pod) => pod.name);
}

/**
 * Whether everything that should serve without the source serves, so that the source is not missed: as many ready members as
 * asked for, one of them of the newest template.
 */
export function successorReady(pods: readonly PodFacts[], newest: string, replicas: number): boolean {
  // Servers on a leaving node count: they serve until their own turn comes.
  const ready = pods.filter((pod) => !pod.leaving && pod.ready && pod.serving && !pod.terminating);
  return ready.length >= Math.max(replicas, 1) && ready.some((pod) => pod.template === newest && !pod.nodeLeaving);
}

/** Migrations that the operator has to make: for servers that leave, and for pods that Kubernetes is ending. */
export function missingMigrations(
  pods: readonly PodFacts[],
  migrations: readonly HandleMigration[],
): { source: string; reason: Reason }[] {
  const covered = new Set(migrations.filter((hm) => isLeaving(hm.spec.reason)).map((hm) => hm.spec.source));
  return pods.flatMap((pod): { source: string; reason: Reason }[] => {
    if (covered.has(pod.name) || pod.ended) return [];
    if (pod.terminating) return pod.started ? [{ source: pod.name, reason: 'Drain' }] : [];
    return !pod.leaving ? [] : [{ source: pod.name, reason: (pod.leavingReason as Reason | undefined) ?? 'Upgrade' }];
  });
}

/**
 * Why a migration off a server that stays (Manual, Rebalance) cannot be carried out, however long one waits, with what to do; undefined
 * where it can, or may soon.
 */
export function refusal({ spec }: HandleMigration, pods: readonly PodFacts[], replicas: number): string | undefined {
  if (isLeaving(spec.reason)) return undefined;
  const living = pods.filter((pod) => !pod.terminating && !pod.ended);
  const others = living.filter((pod) => pod.name !== spec.source);
  const list = `see: kubectl get pod -l ${LABELS.cluster}=${spec.cluster}`;
  const source = living.find((pod) => pod.name === spec.source);
  if (source?.leaving)
    return `the pod ${spec.source} is being replaced, and its handles move anyway; there is nothing to do`;
  if (!spec.targets) {
    if (others.length > 0 || replicas > 1) return undefined;
    return `the cluster has no other file server; set spec.replicas of ${spec.cluster} to 2 or more`;
  }
  const able = spec.targets.filter((target) => others.some((pod) => pod.name === target && !pod.leaving));
  if (able.length > 0) return undefined;
  const [first = ''] = spec.targets;
  const known = pods.find((pod) => pod.name === first);
  if (known) return `the target ${first} is going away; create another migration with a target that stays; ${list}`;
  return `there is no pod "${first}" in the cluster "${spec.cluster}" that could take the handles; ${list}`;
}

/** The name of the operator's own migration off a pod; the same each time, so that making it twice is harmless. */
export function migrationName(source: string, reason: Reason): string {
  return `${source}-${reason.toLowerCase()}`;
}

/** Finished migrations beyond the newest 50, oldest first. */
export function surplusMigrations(migrations: readonly HandleMigration[]): HandleMigration[] {
  const finished = migrations.filter(isFinished).sort((a, b) => endOf(a) - endOf(b));
  return finished.slice(0, Math.max(0, finished.length - KEPT));
}

function endOf(migration: HandleMigration): number {
  return timeMs(migration.status?.endTime) ?? timeMs(migration.metadata.creationTimestamp) ?? 0;
}
