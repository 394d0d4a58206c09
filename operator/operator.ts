import type { V1Pod } from '@kubernetes/client-node';
import type { Logger } from '../common/logging.ts';
import type { Tracer } from '../common/tracing.ts';
import type { HandleMigration } from '../crds/generated/handlemigration.ts';
import { Endings } from './cluster/endings.ts';
import { Newborns } from './cluster/newborns.ts';
import { hasEnded } from './cluster/pods.ts';
import { Prerequisites } from './cluster/prerequisites.ts';
import { ClusterReconciler } from './cluster/reconcile.ts';
import { Reports } from './cluster/reports.ts';
import { ClusterSecrets } from './cluster/secrets.ts';
import { MIGRATIONS, PODS } from './kinds.ts';
import type { OperatorMetrics } from './metrics.ts';
import { MigrationDriver } from './migration/drive.ts';
import { isFinished } from './migration/plan.ts';
import { LABELS } from './resources/names.ts';
import type { KubernetesApi } from './runtime/api.ts';
import { Controller, type ReconcileObserver } from './runtime/controller.ts';
import { EventRecorder } from './runtime/events.ts';
import { type KubernetesObject, keyOf, Objects, type Resource } from './runtime/objects.ts';
import { Sidecars } from './sidecars.ts';
import type { World } from './world.ts';

const CLUSTER_WORKERS = 8;
/** A migration occupies a worker while its handles move. */
const MIGRATION_WORKERS = 64;
const ENDING_WORKERS = 4;

export interface OperatorParts {
  api: KubernetesApi;
  /** Throws when this process may not act (any more). */
  mayAct: () => void;
  world: World;
  metrics: OperatorMetrics;
  tracer: Tracer;
  image: string;
  log: Logger;
}

/** Everything that acts: what only the leader does. */
export class Operator {
  readonly #world: World;
  readonly #sidecars: Sidecars;
  readonly #driver: MigrationDriver;
  readonly #endings: Endings;
  readonly #clusters: Controller;
  readonly #migrations: Controller;
  readonly #ended: Controller;
  #leading = false;

  constructor({ api, mayAct, world, metrics, tracer, image, log }: OperatorParts) {
    this.#world = world;
    this.#sidecars = new Sidecars(tracer.endpoint);
    const objects = new Objects(api, {
      mayWrite: mayAct,
      onWritten: (resource, object) => world.learn(resource, object),
    });
    const events = new EventRecorder(objects, log);
    const sidecars = this.#sidecars;
    const reports = new Reports(sidecars);
    const observer =
      (controller: string): ReconcileObserver =>
      (result, seconds) => {
        metrics.reconciles.inc({ controller, result });
        metrics.reconcileSeconds.observe({ controller }, seconds);
      };
    const reconciler = new ClusterReconciler({
      world,
      objects,
      events,
      secrets: new ClusterSecrets(objects, sidecars, () => world.clusterCount),
      prerequisites: new Prerequisites(objects, () => world.clusterCount),
      reports,
      newborns: new Newborns(objects, sidecars, log),
      image,
      log,
      enqueue: (key) => this.#clusters.queue.add(key),
    });
    this.#driver = new MigrationDriver({ world, objects, events, sidecars, reports, metrics, tracer, image, log });
    this.#endings = new Endings(world, sidecars, log);
    this.#clusters = new Controller((key) => reconciler.reconcile(key), {
      name: 'cluster',
      workers: CLUSTER_WORKERS,
      log,
      observe: observer('cluster'),
    });
    this.#migrations = new Controller((key, signal) => this.#driver.reconcile(key, signal), {
      name: 'migration',
      workers: MIGRATION_WORKERS,
      log,
      observe: observer('migration'),
    });
    this.#ended = new Controller((key) => this.#endings.reconcile(key), {
      name: 'ending',
      workers: ENDING_WORKERS,
      log,
      observe: observer('ending'),
    });
    world.onClusterChange((key, kind, object, change) => this.#onChange(key, kind, object, change));
    world.onNodeChange((node) => {
      if (!this.#leading) return;
      for (const key of world.clustersOn(node.metadata?.name ?? '')) this.#wake(key);
    });
  }

  /** Queue depths by controller, for metrics. */
  get queues(): Record<string, () => number> {
    return {
      cluster: () => this.#clusters.queue.depth,
      migration: () => this.#migrations.queue.depth,
      ending: () => this.#ended.queue.depth,
    };
  }

  /** Acts until the signal is aborted; resolves when what was under way has ended. */
  async lead(signal: AbortSignal): Promise<void> {
    this.#leading = true;
    for (const key of this.#world.clusterKeys()) {
      this.#wake(key);
      for (const pod of this.#world.rawPods(key)) this.#onPod(key, pod);
    }
    await Promise.all([this.#clusters.run(signal), this.#migrations.run(signal), this.#ended.run(signal)]);
    this.#leading = false;
    this.#sidecars.close();
  }

  /** Has a cluster, and the migrations of it that have not ended, looked at. */
  #wake(clusterKey: string): void {
    this.#clusters.queue.add(clusterKey);
    for (const migration of this.#world.migrations(clusterKey)) {
      if (!isFinished(migration)) this.#migrations.queue.add(keyOf(migration));
    }
  }

  #onChange(clusterKey: string, kind: Resource, object: KubernetesObject, change: string): void {
    if (!this.#leading) return;
    if (kind === MIGRATIONS) {
      if (change === 'deleted') this.#driver.cancel(object as HandleMigration);
      else if (!isFinished(object as HandleMigration)) this.#migrations.queue.add(keyOf(object));
      this.#clusters.queue.add(clusterKey);
      return;
    }
    if (kind === PODS) {
      this.#onPod(clusterKey, object as V1Pod);
      this.#wake(clusterKey);
      return;
    }
    this.#clusters.queue.add(clusterKey);
  }

  #onPod(clusterKey: string, pod: V1Pod): void {
    if (pod.metadata?.labels?.[LABELS.component] !== 'fileserver' || !hasEnded(pod)) return;
    const key = Endings.keyOf(clusterKey, pod.metadata.name ?? '', pod.metadata.uid ?? '');
    if (!this.#endings.isTold(key)) this.#ended.queue.add(key);
  }
}
