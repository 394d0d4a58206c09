import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs, parseDurationMs } from '../../common/time.ts';
import { type Tracer, traceIdOf } from '../../common/tracing.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import { type MigrateRequest, MigrationProgress } from '../../proto/generated/control.ts';
import { isOffered, type PodFacts } from '../cluster/pods.ts';
import type { Reports } from '../cluster/reports.ts';
import { MIGRATIONS, PODS } from '../kinds.ts';
import type { OperatorMetrics } from '../metrics.ts';
import { isPaused, LABELS, PAUSED_ANNOTATION } from '../resources/names.ts';
import { podTemplate } from '../resources/pod-template.ts';
import { isConflict, isNotFound } from '../runtime/api.ts';
import { type Condition, mergeConditions } from '../runtime/conditions.ts';
import type { ReconcileResult } from '../runtime/controller.ts';
import type { EventRecorder } from '../runtime/events.ts';
import { type Objects, splitKey, timeMs } from '../runtime/objects.ts';
import { SidecarError, type Sidecars } from '../sidecars.ts';
import type { World } from '../world.ts';
import { chooseTargets, isFinished, isLeaving, isRunning, type Reason, refusal, successorReady } from './plan.ts';
import { MigrationTrace } from './trace.ts';

/** How soon a migration that waits looks again; changes of pods wake it earlier. */
const WAIT_MS = 1000;
/** A cordoned node is about to go: its server waits no longer than this for a successor, if there is any other target. */
const SUCCESSOR_PATIENCE_MS = 120_000;
/** Until all EndpointSlices have dropped a pod; then the migration goes on, and the source refuses who still comes. */
const ROUTING_CUT_MS = 10_000;
const PREPARE_TIMEOUT_MS = 10_000;
/** How often progress is written down. */
const REPORT_EVERY_MS = 1000;
const REPORT_PATIENCE_MS = 2000;
/** A pod that ended has left word of what became of its handles; its peers have heard within a renewal of their leases. */
const OUTCOME_KNOWN_MS = 5000;
const STATUS_TIMEOUT_MS = 2000;
/** How many peers are asked at a time. */
const PEERS_ASKED = 3;
/** How often something is written down anew because the object has changed meanwhile. */
const RECORD_TRIES = 5;
/** Beyond drainTimeout, for tries that failed. */
const RETRY_MARGIN_MS = 30_000;

type Status = NonNullable<HandleMigration['status']>;

export interface MigrationDriverParts {
  world: World;
  objects: Objects;
  events: EventRecorder;
  sidecars: Sidecars;
  reports: Reports;
  metrics: OperatorMetrics;
  tracer: Tracer;
  image: string;
  log: Logger;
}

/**
 * Carries out one HandleMigration (handoff.md, "Planned migration"). How far it is stands in its status alone; every step can be
 * repeated, so after a restart it simply begins again from "prepare".
 */
export class MigrationDriver {
  readonly #parts: MigrationDriverParts;
  /** Ended, though the copy of the API server's objects may not say so yet. */
  readonly #ended = new Set<string>();
  /** By UID; the API server's objects may not say so yet. */
  readonly #running = new Map<string, { own: AbortController; clusterKey: string; reason: Reason }>();
  /** By UID: since when its source is gone, monotonic ms, without word of what became of the handles. */
  readonly #missed = new Map<string, number>();
  /** By UID: tries that the source ended without moving everything, and what they did move. */
  readonly #tried = new Map<string, { tries: number; moved: bigint; released: bigint; expired: bigint }>();

  constructor(parts: MigrationDriverParts) {
    this.#parts = parts;
  }

  /** Stops a migration whose object was deleted; what has moved stays moved. */
  cancel(migration: HandleMigration): void {
    const uid = migration.metadata.uid ?? '';
    this.#running.get(uid)?.own.abort(new Error('the HandleMigration was deleted'));
    this.#tried.delete(uid);
    this.#missed.delete(uid);
  }

  async reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult | undefined> {
    const { namespace, name } = splitKey(key);
    const migration = this.#parts.world.migration(namespace, name);
    if (!migration || isFinished(migration) || this.#ended.has(migration.metadata.uid ?? '')) return undefined;
    const clusterKey = `${namespace}/${migration.spec.cluster}`;
    const cluster = this.#parts.world.cluster(clusterKey);
    if (!cluster)
      return this.#end(
        migration,
        undefined,
        'Failed',
        `there is no FileServerCluster "${migration.spec.cluster}" in the namespace ${namespace}`,
      );
    const source = this.#pods(clusterKey).find((pod) => pod.name === migration.spec.source);
    if (!source || source.ended || (migration.status?.sourceUID ?? source.uid) !== source.uid) {
      return this.#endWithoutSource(cluster, clusterKey, migration);
    }
    const refused = isRunning(migration)
      ? undefined
      : refusal(migration, this.#pods(clusterKey), cluster.spec.replicas);
    if (refused) return this.#end(migration, cluster, 'Failed', refused);
    const overdue = this.#overdue(cluster, migration, source);
    if (overdue) return this.#end(migration, cluster, 'Failed', overdue);

    const targets = this.#targets(cluster, clusterKey, migration);
    const obstacle = this.#obstacle(cluster, clusterKey, migration, source, targets);
    if (obstacle) {
      if (!isRunning(migration) && (migration.status?.phase !== 'Pending' || migration.status.message !== obstacle)) {
        await this.#record(migration, { phase: 'Pending', sourceUID: source.uid, message: obstacle });
      }
      return { requeueAfterMs: WAIT_MS };
    }
    const own = new AbortController();
    this.#running.set(migration.metadata.uid ?? '', { own, clusterKey, reason: migration.spec.reason });
    try {
      return await this.#traced(cluster, clusterKey, migration, source, targets, AbortSignal.any([signal, own.signal]));
    } catch (error) {
      if (!own.signal.aborted) throw error;
      this.#parts.log.info({ migration: key, source: source.name }, 'migration cancelled: its object was deleted');
      await this.#parts.sidecars.cancel(cluster.metadata.uid ?? '', source.address, migration.metadata.uid ?? '');
      return undefined;
    } finally {
      this.#running.delete(migration.metadata.uid ?? '');
    }
  }

  async #traced(
    cluster: FileServerCluster,
    clusterKey: string,
    migration: HandleMigration,
    source: PodFacts,
    targets: string[],
    signal: AbortSignal,
  ): Promise<ReconcileResult | undefined> {
    const trace = new MigrationTrace(this.#parts.tracer, migration);
    try {
      return await this.#move(cluster, clusterKey, migration, source, targets, signal, trace);
    } catch (error) {
      trace.end(reasonOf(error));
      throw error;
    }
  }

  /** Steps 2 to 6: prepare, cut routing, move. */
  async #move(
    cluster: FileServerCluster,
    clusterKey: string,
    migration: HandleMigration,
    source: PodFacts,
    targets: string[],
    signal: AbortSignal,
    trace: MigrationTrace,
  ): Promise<ReconcileResult | undefined> {
    const { sidecars, log } = this.#parts;
    const uid = cluster.metadata.uid ?? '';
    const drainMs = parseDurationMs(cluster.spec.migration.drainTimeout);
    const line = log.child({
      cluster: clusterKey,
      migration: migration.metadata.name,
      source: source.name,
      traceId: trace.traceId,
    });
    const startTime = migration.status?.startTime ?? new Date().toISOString();
    const before = this.#tried.get(migration.metadata.uid ?? '') ?? { tries: 0, moved: 0n, released: 0n, expired: 0n };
    const request: MigrateRequest = {
      // The same id joins what runs, or repeats an outcome: a new try needs another.
      migrationId: `${migration.metadata.uid}${before.tries > 0 ? `/${before.tries}` : ''}`,
      targetPods: targets,
      timeoutMs: drainMs,
      leaving: isLeaving(migration.spec.reason),
      maxOpens: migration.spec.maxHandles === undefined ? undefined : BigInt(migration.spec.maxHandles),
    };
    const beganMs = monotonicMs();
    const steps: Record<string, number> = {};
    const step = (label: string) => {
      steps[label] = monotonicMs() - beganMs;
    };
    trace.step('prepare');

    await this.#record(migration, {
      phase: 'Preparing',
      sourceUID: source.uid,
      targets,
      startTime,
      message: `preparing ${targets.join(', ')}`,
    });
    try {
      await sidecars.prepare(uid, source.address, { ...request, trace: trace.request }, PREPARE_TIMEOUT_MS);
    } catch (error) {
      // Preparation only makes the move shorter; without an answer at all there is nobody to move.
      if (error instanceof SidecarError && error.unreachable) throw error;
      line.warn({ err: error }, 'preparing failed; moving without it');
    }
    step('preparedMs');
    trace.step('cut routing');

    await this.#record(migration, {
      phase: 'CuttingRouting',
      message: 'waiting until the Services send no client there any more',
    });
    await this.#cutRouting(clusterKey, source, signal);
    step('cutMs');
    trace.step('move');

    await this.#record(migration, { phase: 'Transferring', message: `moving handles to ${targets.join(', ')}` });
    let recordedMs = monotonicMs();
    let recorded = Promise.resolve();
    let recording = false;
    const asked = { ...request, trace: trace.request };
    const last = await sidecars
      .migrate(uid, source.address, asked, drainMs + RETRY_MARGIN_MS, signal, (progress) => {
        line.debug({ progress: { ...counts(progress), phase: progress.phase } }, 'progress');
        trace.event(progress.phase, counts(progress));
        // One at a time: while the API server is slow, reports would pile up and hold up the end.
        if (progress.done || recording || monotonicMs() - recordedMs < REPORT_EVERY_MS) return;
        recordedMs = monotonicMs();
        recording = true;
        const change: Status = { phase: 'Transferring', handles: counts(progress), message: 'moving handles' };
        recorded = this.#record(migration, change)
          .catch(() => undefined)
          .finally(() => {
            recording = false;
          });
      })
      // In order, as long as that does not hold up the end.
      .finally(() => Promise.race([recorded, delay(REPORT_PATIENCE_MS, signal).catch(() => undefined)]));
    step('movedMs');
    line.info(
      { steps, phase: last.phase, ...counts(last), left: Number(last.left), message: last.message },
      'migration answered',
    );

    const isAll = migration.spec.maxHandles === undefined;
    const complete = last.phase === 'Done' && (last.left === 0n || !isAll);
    trace.end(complete ? undefined : `${last.phase}: ${last.message}`);
    if (!complete) {
      this.#tried.set(migration.metadata.uid ?? '', { tries: before.tries + 1, ...sumOf(before, last) });
      await this.#record(migration, { handles: counts(last), message: `${last.phase}: ${last.message}; trying again` });
      return { requeueAfterMs: WAIT_MS };
    }
    const sum: MigrationProgress = {
      ...last,
      ...sumOf(before, last),
      total: before.moved + before.released + before.expired + last.total,
    };
    return this.#end(migration, cluster, 'Succeeded', describe(sum, targets), sum, startTime);
  }

  /** Step 3: no Service offers the source any more. */
  async #cutRouting(clusterKey: string, source: PodFacts, signal: AbortSignal): Promise<void> {
    const { world, objects, log } = this.#parts;
    const { namespace } = splitKey(clusterKey);
    try {
      await objects.patch(PODS, namespace, source.name, {
        metadata: { uid: source.uid, labels: { [LABELS.serving]: null } },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    const deadlineMs = monotonicMs() + ROUTING_CUT_MS;
    while (isOffered(source.uid, world.slices(clusterKey))) {
      if (monotonicMs() > deadlineMs) {
        log.warn({ cluster: clusterKey, source: source.name }, 'an EndpointSlice still offers the source; going on');
        return;
      }
      await delay(10, signal);
    }
  }

  /** Why the migration cannot begin yet, in words; undefined when it can. */
  #obstacle(
    cluster: FileServerCluster,
    clusterKey: string,
    migration: HandleMigration,
    source: PodFacts,
    targets: string[],
  ): string | undefined {
    const { reason } = migration.spec;
    if (source.address === '') return `the pod ${source.name} has no address yet`;
    if (targets.length === 0) return 'waiting for a file server that is ready to take the handles';
    if (isRunning(migration) || reason === 'Drain' || source.terminating) return undefined;
    if (isPaused(cluster)) return `waiting until the cluster goes on (annotation ${PAUSED_ANNOTATION})`;
    const pods = this.#pods(clusterKey);
    if (isLeaving(reason)) {
      const newest = podTemplate(cluster, this.#parts.image).hash;
      const waitedMs = Date.now() - (timeMs(migration.metadata.creationTimestamp) ?? 0);
      const urgent = reason === 'Cordon' && waitedMs > SUCCESSOR_PATIENCE_MS;
      if (!urgent && !successorReady(pods, newest, cluster.spec.replicas)) {
        return `waiting until a successor of ${source.name} is ready`;
      }
      return undefined;
    }
    const running = new Set(
      this.#parts.world
        .migrations(clusterKey)
        .filter((other) => isRunning(other) && other.spec.reason !== 'Drain')
        .map((other) => other.metadata.uid ?? ''),
    );
    for (const [uid, other] of this.#running)
      if (other.clusterKey === clusterKey && other.reason !== 'Drain') running.add(uid);
    running.delete(migration.metadata.uid ?? '');
    const leaving = pods.filter((pod) => pod.leaving && !pod.terminating && !pod.ended).length;
    if (running.size + leaving >= cluster.spec.migration.maxConcurrent) {
      return 'waiting for other migrations of the cluster to end (migration.maxConcurrent)';
    }
    return undefined;
  }

  #targets(cluster: FileServerCluster, clusterKey: string, migration: HandleMigration): string[] {
    const pods = this.#pods(clusterKey);
    const newest = podTemplate(cluster, this.#parts.image).hash;
    const handles = this.#parts.reports.handles(cluster.metadata.uid ?? '', pods);
    const able = chooseTargets(migration.spec.source, pods, newest, handles);
    const wanted = migration.spec.targets;
    if (!wanted) return able;
    const ready = new Set(pods.filter((pod) => pod.ready && !pod.leaving && !pod.terminating).map((pod) => pod.name));
    return wanted.filter((target) => ready.has(target));
  }

  /** Why it makes no sense to go on; undefined while it does. */
  #overdue(cluster: FileServerCluster, migration: HandleMigration, source: PodFacts): string | undefined {
    const limitMs = parseDurationMs(cluster.spec.migration.drainTimeout) + RETRY_MARGIN_MS;
    const startMs = timeMs(migration.status?.startTime);
    if (!source.nodeReady && !source.ready) {
      return `the node ${source.node} does not answer; the handles are taken over as after any loss of a server`;
    }
    if (source.terminating && source.deletionMs !== undefined && Date.now() - source.deletionMs > RETRY_MARGIN_MS) {
      return 'the pod should have ended by now; what it still had is reclaimed by its clients anywhere';
    }
    if (startMs !== undefined && Date.now() - startMs > limitMs) {
      return `not complete after ${Math.round(limitMs / 1000)}s (migration.drainTimeout and a margin): ${migration.status?.message ?? ''}`;
    }
    if (!source.ready && !source.started && source.leaving) return `the pod ${source.name} never served anybody`;
    if (!source.ready && source.problem !== undefined && source.leaving)
      return `the pod ${source.name} serves nobody: ${source.problem}`;
    return undefined;
  }

  /** The source is not there any more: what became of its handles its peers may know. */
  async #endWithoutSource(
    cluster: FileServerCluster,
    clusterKey: string,
    migration: HandleMigration,
  ): Promise<ReconcileResult | undefined> {
    const uid = migration.metadata.uid ?? '';
    const peers = this.#pods(clusterKey).filter((pod) => pod.ready && pod.name !== migration.spec.source);
    if (isLeaving(migration.spec.reason) && peers.length > 0) {
      const last = await this.#handedOver(cluster, peers, migration);
      if (last) {
        const targets = migration.status?.targets ?? [];
        const left = last.left > 0n ? `, ${last.left} left: their clients reclaim them at any server` : '';
        const phase = last.left > 0n ? 'Failed' : 'Succeeded';
        return this.#end(migration, cluster, phase, `${describe(last, targets)}${left}`, last);
      }
      const sinceMs = this.#missed.get(uid) ?? monotonicMs();
      this.#missed.set(uid, sinceMs);
      if (monotonicMs() - sinceMs < OUTCOME_KNOWN_MS) return { requeueAfterMs: WAIT_MS };
    }
    return this.#end(migration, cluster, ...this.#withoutSource(migration));
  }

  /** What the source of a migration, which has ended, left word of with the store. */
  async #handedOver(
    cluster: FileServerCluster,
    peers: readonly PodFacts[],
    { spec, status }: HandleMigration,
  ): Promise<MigrationProgress | undefined> {
    const replies = await Promise.allSettled(
      peers
        .slice(0, PEERS_ASKED)
        .map((pod) => this.#parts.sidecars.status(cluster.metadata.uid ?? '', pod.address, STATUS_TIMEOUT_MS)),
    );
    const uid = status?.sourceUID;
    const found = replies
      .flatMap((reply) => (reply.status === 'fulfilled' ? reply.value.peers : []))
      .filter(({ pod, identity }) => pod === spec.source && (!uid || identity?.serverId.startsWith(`${uid}/`)))
      .find(({ handedOver }) => handedOver !== undefined)?.handedOver;
    if (!found) return undefined;
    const { moved, released, expired, left } = found;
    return MigrationProgress.create({
      ...{ phase: 'Done', done: true, moved, released, expired, left },
      total: moved + released + expired + left,
    });
  }

  /** What to say of a migration whose source is not there (any more). */
  #withoutSource(migration: HandleMigration): ['Succeeded' | 'Failed', string] {
    const { source, cluster } = migration.spec;
    if (migration.status?.sourceUID === undefined && !isLeaving(migration.spec.reason)) {
      return [
        'Failed',
        `there is no pod "${source}" in the cluster "${cluster}"; see: kubectl get pod -l ${LABELS.cluster}=${cluster}`,
      ];
    }
    return [
      'Failed',
      `the pod ${source} ended before the migration was complete; its clients reclaim their handles at any server`,
    ];
  }

  async #end(
    migration: HandleMigration,
    cluster: FileServerCluster | undefined,
    phase: 'Succeeded' | 'Failed',
    message: string,
    last?: MigrationProgress,
    startedAt?: string,
  ): Promise<undefined> {
    const { metrics, events, log } = this.#parts;
    const endTime = new Date().toISOString();
    const startTime = startedAt ?? migration.status?.startTime;
    const seconds = startTime === undefined ? undefined : (Date.parse(endTime) - Date.parse(startTime)) / 1000;
    await this.#record(migration, {
      phase,
      message,
      endTime,
      ...(migration.status?.sourceUID ? {} : this.#sourceUid(migration)),
      ...(seconds === undefined ? {} : { duration: `${seconds.toFixed(3)}s` }),
      ...(last ? { handles: counts(last) } : {}),
    });
    this.#tried.delete(migration.metadata.uid ?? '');
    this.#missed.delete(migration.metadata.uid ?? '');
    this.#ended.add(migration.metadata.uid ?? '');
    if (this.#ended.size > 10_000) this.#ended.delete(this.#ended.values().next().value ?? '');
    const { reason } = migration.spec;
    metrics.migrations.inc({ reason, result: phase });
    if (seconds !== undefined) metrics.migrationSeconds.observe({ reason }, seconds);
    const outcome = last ? counts(last) : undefined;
    for (const key of ['moved', 'released', 'expired'] as const)
      metrics.handles.inc({ outcome: key }, outcome?.[key] ?? 0);
    const traceId = traceIdOf(migration.metadata.uid ?? '');
    log.info(
      { migration: migration.metadata.name, traceId, phase, reason, seconds, ...outcome, message },
      'migration ended',
    );
    const say = phase === 'Succeeded' ? events.normal.bind(events) : events.warning.bind(events);
    say(migration, `Migration${phase}`, message);
    if (cluster) say(cluster, `Migration${phase}`, `${migration.metadata.name}: ${message}`);
    return undefined;
  }

  #sourceUid(migration: HandleMigration): { sourceUID?: string } {
    const pod = this.#parts.world.pod(migration.metadata.namespace ?? '', migration.spec.source);
    return pod?.metadata?.uid ? { sourceUID: pod.metadata.uid } : {};
  }

  /**
   * Writes down how far it is, on what is known of it now: a write that was given up may still arrive, and must not undo what was
   * written after it.
   */
  async #record(migration: HandleMigration, change: Status): Promise<void> {
    const { world, objects } = this.#parts;
    const { namespace = '', name = '', uid } = migration.metadata;
    const phase = change.phase ?? migration.status?.phase ?? 'Pending';
    const message = change.message ?? migration.status?.message ?? '';
    const before = (migration.status?.conditions ?? []) as Condition[];
    const conditions = mergeConditions(
      before,
      [{ type: 'Complete', status: phase === 'Succeeded' ? 'True' : 'False', reason: phase, message }],
      migration.metadata.generation,
      new Date().toISOString(),
    );
    let known = world.migration(namespace, name) ?? migration;
    for (let tries = 1; ; tries++) {
      const { resourceVersion } = known.metadata;
      try {
        const body = { metadata: { uid, resourceVersion }, status: { ...change, conditions } };
        await objects.patch(MIGRATIONS, namespace, name, body, 'status');
        return;
      } catch (error) {
        if (!isConflict(error) || tries === RECORD_TRIES) throw error;
        known = await objects.get<HandleMigration>(MIGRATIONS, namespace, name);
        if (known.metadata.uid !== uid || isFinished(known)) throw error;
      }
    }
  }

  #pods(clusterKey: string): PodFacts[] {
    return this.#parts.world.pods(clusterKey);
  }
}

function counts(progress: MigrationProgress): { total: number; moved: number; released: number; expired: number } {
  return {
    total: Number(progress.total),
    moved: Number(progress.moved),
    released: Number(progress.released),
    expired: Number(progress.expired),
  };
}

type Outcome = Pick<MigrationProgress, 'moved' | 'released' | 'expired'>;

function sumOf(a: Outcome, b: Outcome): Outcome {
  return { moved: a.moved + b.moved, released: a.released + b.released, expired: a.expired + b.expired };
}

function describe(progress: MigrationProgress, targets: readonly string[]): string {
  const { total, moved, released, expired } = counts(progress);
  const parts = [`${moved} of ${total} handles moved${moved > 0 ? ` to ${targets.slice(0, 5).join(', ')}` : ''}`];
  if (released > 0) parts.push(`${released} released for their clients to reclaim`);
  if (expired > 0) parts.push(`${expired} expired`);
  return parts.join(', ');
}
