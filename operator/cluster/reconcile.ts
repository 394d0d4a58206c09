import type { V1ReplicaSet } from '@kubernetes/client-node';
import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import {
  CLAIMS,
  CLUSTERS,
  CONFIG_MAPS,
  DISRUPTION_BUDGETS,
  MIGRATIONS,
  NETWORK_POLICIES,
  PODS,
  REPLICA_SETS,
  SERVICE_ACCOUNTS,
  SERVICES,
  STATEFUL_SETS,
} from '../kinds.ts';
import {
  isFinished,
  isLeaving,
  isRunning,
  migrationName,
  missingMigrations,
  surplusMigrations,
} from '../migration/plan.ts';
import { planRebalance, rebalanceName } from '../migration/rebalance.ts';
import { disruptionBudget, networkPolicies, serviceAccounts, volumeClaims } from '../resources/access.ts';
import { configMap, shortHash } from '../resources/cluster-config.ts';
import {
  isPaused,
  LABELS,
  metadataOf,
  nameOf,
  namesOf,
  namespaceOf,
  ownerReference,
  slotLabel,
  slotsOf,
} from '../resources/names.ts';
import { podTemplate } from '../resources/pod-template.ts';
import { hasEmbeddedStore, redisDisruptionBudget, redisService } from '../resources/redis.ts';
import { redisStatefulSet } from '../resources/redis-stateful-set.ts';
import { replicaSet } from '../resources/replica-set.ts';
import { clientService, headlessService, serverService } from '../resources/services.ts';
import { ApiError, isConflict, isNamespaceEnding, isNotFound } from '../runtime/api.ts';
import type { ReconcileResult } from '../runtime/controller.ts';
import type { EventRecorder } from '../runtime/events.ts';
import { type KubernetesObject, type Objects, type Resource, splitKey } from '../runtime/objects.ts';
import type { World } from '../world.ts';
import { Applier } from './applier.ts';
import type { Newborns } from './newborns.ts';
import { NameTakenError } from './ownership.ts';
import { LEAVING_ANNOTATION, type PodFacts } from './pods.ts';
import { MENDING_MS, type Prerequisites, type Problem } from './prerequisites.ts';
import type { Reports } from './reports.ts';
import { planRollout, type RolloutPlan } from './rollout.ts';
import type { ClusterSecrets } from './secrets.ts';
import { planSlots } from './slots.ts';
import { clusterStatus } from './status.ts';
import { storeMayBeEvicted } from './store-eviction.ts';

/** How often a cluster is looked at when nothing happens: the numbers of its status come from sidecars, which nobody watches. */
const LOOK_EVERY_MS = 10_000;

/** While the sidecars of a new cluster start. */
const NEWBORN_MS = 1000;

/** Has the ReplicaSet controller end this pod before all others. */
const FIRST_TO_GO = { 'controller.kubernetes.io/pod-deletion-cost': '-1000000' };

export interface ClusterReconcilerParts {
  world: World;
  objects: Objects;
  events: EventRecorder;
  secrets: ClusterSecrets;
  prerequisites: Prerequisites;
  reports: Reports;
  newborns: Newborns;
  /** The image of all parts. */
  image: string;
  log: Logger;
  /** Asks for another look at a cluster. */
  enqueue: (clusterKey: string) => void;
}

interface Desired {
  resource: Resource;
  object: KubernetesObject;
  hash: string;
}

/** Makes a FileServerCluster what its spec says. */
export class ClusterReconciler {
  readonly #parts: ClusterReconcilerParts;
  readonly #applier: Applier;
  readonly #uids = new Map<string, string>();
  readonly #fixed = new WeakMap<FileServerCluster, Desired[]>();

  constructor(parts: ClusterReconcilerParts) {
    this.#parts = parts;
    this.#applier = new Applier(parts.objects, parts.world);
  }

  async reconcile(key: string): Promise<ReconcileResult | undefined> {
    const cluster = this.#parts.world.cluster(key);
    if (!cluster || cluster.metadata.deletionTimestamp) {
      this.#forget(key); // its objects go with it: they are owned
      return undefined;
    }
    const uid = cluster.metadata.uid ?? '';
    this.#uids.set(key, uid);
    let problems: Problem[] = [];
    let refused: string | undefined;
    if (isPaused(cluster)) {
      // Its nodes are drained all the same, and one that the only Redis may never leave could not be.
      if (this.#hasStoreBudget(cluster)) await this.#applyStoreBudget(cluster, key);
      this.#parts.reports.refresh(uid, this.#parts.world.pods(key), () => this.#parts.enqueue(key));
      await this.#writeStatus(cluster, key, problems, refused);
      return { requeueAfterMs: LOOK_EVERY_MS };
    }
    try {
      // First of all: whoever cordons a node goes on to evict its pods a moment later. A new leader may have been evicted itself before,
      // and has much to compare before it knows that nothing else has to be done.
      const plan = this.#plan(cluster, key);
      await this.#beginLeaving(cluster, key, plan);
      await this.#recordMigrations(cluster, key);
      problems = await this.#parts.prerequisites.check(cluster);
      await this.#parts.secrets.ensure(cluster);
      problems = [...problems, ...(await this.#applyFixed(cluster, key))];
      await this.#applyServers(cluster, key, problems, plan);
      await this.#applySlots(cluster, key);
    } catch (error) {
      if (error instanceof NameTakenError) problems = [...problems, error.problem];
      else if (isRefused(error)) {
        refused = error.message;
        this.#parts.log.error({ cluster: key, err: error }, 'the API server refused an object');
      } else throw error;
    }
    const isNewborn = await this.#parts.newborns.tell(uid, this.#parts.world.pods(key));
    await this.#tendPods(cluster, key);
    this.#parts.reports.refresh(uid, this.#parts.world.pods(key), () => this.#parts.enqueue(key));
    await this.#writeStatus(cluster, key, problems, refused);
    if (refused) throw new Error(refused);
    if (isNewborn) return { requeueAfterMs: NEWBORN_MS };
    return { requeueAfterMs: problems.length > 0 ? MENDING_MS : LOOK_EVERY_MS };
  }

  #forget(key: string): void {
    const uid = this.#uids.get(key);
    if (uid === undefined) return;
    this.#uids.delete(key);
    this.#parts.secrets.forget(uid);
    this.#parts.prerequisites.forget(uid);
    this.#parts.reports.forget(uid);
    this.#parts.newborns.forget(uid);
    const { namespace, name } = splitKey(key);
    this.#applier.forget(namespace, name);
  }

  /** Everything but the file servers themselves. @returns what has the name of one of them and is not ours */
  async #applyFixed(cluster: FileServerCluster, key: string): Promise<Problem[]> {
    // The objects of the watch are never changed, only replaced: a cluster at rest has its objects built once.
    const desired = this.#fixed.get(cluster) ?? this.#buildFixed(cluster);
    this.#fixed.set(cluster, desired);
    const taken: Problem[] = [];
    for (const { resource, object, hash } of desired) {
      try {
        await this.#applier.ensure(resource, object, hash);
      } catch (error) {
        if (!(error instanceof NameTakenError)) throw error;
        taken.push(error.problem);
      }
    }
    if (hasEmbeddedStore(cluster)) await this.#applyStoreBudget(cluster, key);
    return taken;
  }

  #hasStoreBudget(cluster: FileServerCluster): boolean {
    if (!hasEmbeddedStore(cluster)) return false;
    return (
      this.#parts.world.live(DISRUPTION_BUDGETS, namespaceOf(cluster), namesOf(nameOf(cluster)).redis).object !==
      undefined
    );
  }

  async #applyStoreBudget(cluster: FileServerCluster, key: string): Promise<void> {
    const { world } = this.#parts;
    // Where Nodes may not be watched, nobody knows when it may go: then always.
    const mayGo = !world.watchesNodes || storeMayBeEvicted(world.redisPods(key), world.pods(key));
    await this.#applier.ensure(DISRUPTION_BUDGETS, redisDisruptionBudget(cluster, mayGo));
  }

  #buildFixed(cluster: FileServerCluster): Desired[] {
    const desired: [Resource, KubernetesObject][] = [
      ...serviceAccounts(cluster).map((object): [Resource, KubernetesObject] => [SERVICE_ACCOUNTS, object]),
      [CONFIG_MAPS, configMap(cluster)],
      ...networkPolicies(cluster).map((object): [Resource, KubernetesObject] => [NETWORK_POLICIES, object]),
      ...volumeClaims(cluster).map((object): [Resource, KubernetesObject] => [CLAIMS, object]),
      [SERVICES, clientService(cluster)],
      [SERVICES, headlessService(cluster)],
      [DISRUPTION_BUDGETS, disruptionBudget(cluster)],
    ];
    if (hasEmbeddedStore(cluster)) {
      desired.push([SERVICES, redisService(cluster)], [STATEFUL_SETS, redisStatefulSet(cluster, this.#parts.image)]);
    }
    return desired.map(([resource, object]) => ({ resource, object, hash: shortHash(object) }));
  }

  #plan(cluster: FileServerCluster, key: string): RolloutPlan {
    const { world, image, reports } = this.#parts;
    const pods = world.pods(key);
    const migrations = world.migrations(key);
    return planRollout({
      replicas: cluster.spec.replicas,
      newest: podTemplate(cluster, image).hash,
      pods,
      moved: new Set(pods.filter((pod) => hasMoved(pod, migrations)).map((pod) => pod.name)),
      replicaSets: world.replicaSets(key).map(setFacts),
      handles: reports.handles(cluster.metadata.uid ?? '', pods),
      maxConcurrent: cluster.spec.migration.maxConcurrent,
      otherMigrations: migrations.filter((hm) => isRunning(hm) && !isLeaving(hm.spec.reason)).length,
      onCordon: cluster.spec.migration.onCordon,
    });
  }

  /**
   * Marks the pods that have to leave. One that is taken out of its ReplicaSet is given to the cluster in the same step: a pod
   * without a controller would make `kubectl drain` stop. All stay in the Services until their handles move.
   */
  async #beginLeaving(cluster: FileServerCluster, key: string, plan: RolloutPlan): Promise<void> {
    const { world, objects, log, events } = this.#parts;
    const namespace = namespaceOf(cluster);
    for (const { pod, reason, takeOut } of plan.leave) {
      await objects.patch(PODS, namespace, pod.name, {
        metadata: {
          resourceVersion: world.pod(namespace, pod.name)?.metadata?.resourceVersion,
          uid: pod.uid,
          annotations: { [LEAVING_ANNOTATION]: reason, ...FIRST_TO_GO },
          ...(takeOut ? { labels: { [LABELS.member]: null }, ownerReferences: [ownerReference(cluster)] } : {}),
        },
      });
      log.info({ cluster: key, pod: pod.name, node: pod.node, reason }, 'replacing a file server');
      events.normal(cluster, `Replacing${reason}`, `replacing ${pod.name} on ${pod.node || 'no node'} (${reason})`);
    }
  }

  /** The ReplicaSets. */
  async #applyServers(
    cluster: FileServerCluster,
    key: string,
    problems: readonly Problem[],
    plan: RolloutPlan,
  ): Promise<void> {
    const { world, image, objects } = this.#parts;
    const namespace = namespaceOf(cluster);
    // Pods that cannot start would only wait with growing delays; once there are some, they stay.
    if (world.replicaSets(key).length === 0) {
      if (problems.length > 0) return;
      await this.#parts.newborns.look(cluster);
    }
    for (const { name, replicas } of plan.scale) {
      await objects.patch(REPLICA_SETS, namespace, name, { spec: { replicas } });
    }
    await this.#applier.ensure(REPLICA_SETS, replicaSet(cluster, image, plan.newestReplicas));
    for (const name of plan.remove) await this.#ignoreGone(objects.delete(REPLICA_SETS, namespace, name));
  }

  /** The Services for single servers, and which server each of them leads to. */
  async #applySlots(cluster: FileServerCluster, key: string): Promise<void> {
    const { world, objects, reports } = this.#parts;
    const namespace = namespaceOf(cluster);
    const count = cluster.spec.service.perServer ? cluster.spec.replicas : 0;
    const pods = world.pods(key);
    for (const { pod, slots } of planSlots(count, pods, reports.handles(cluster.metadata.uid ?? '', pods))) {
      const labels = Object.fromEntries([
        ...pod.slots.map((slot) => [slotLabel(slot), null]),
        ...slots.map((slot) => [slotLabel(slot), 'true']),
      ]);
      await this.#ignoreGone(objects.patch(PODS, namespace, pod.name, { metadata: { uid: pod.uid, labels } }));
    }
    for (let slot = 0; slot < count; slot++) await this.#applier.ensure(SERVICES, serverService(cluster, slot));
    for (const { metadata } of world.services(key)) {
      const [slot] = slotsOf(metadata?.labels);
      if (slot === undefined || slot < count) continue;
      await this.#ignoreGone(objects.delete(SERVICES, namespace, metadata?.name ?? '', metadata?.uid));
    }
  }

  /** Makes the HandleMigrations that are missing, and deletes old ones. */
  async #recordMigrations(cluster: FileServerCluster, key: string): Promise<void> {
    const { world, objects, image, reports } = this.#parts;
    const migrations = world.migrations(key);
    for (const { source, reason } of missingMigrations(world.pods(key), migrations)) {
      await this.#createMigration(cluster, migrationName(source, reason), { source, reason });
    }
    const pods = world.pods(key);
    const rebalancing = !cluster.spec.migration.rebalance
      ? undefined
      : planRebalance({
          replicas: cluster.spec.replicas,
          newest: podTemplate(cluster, image).hash,
          pods,
          migrations,
          handles: reports.handles(cluster.metadata.uid ?? '', pods),
          nowMs: Date.now(),
        });
    if (rebalancing) {
      const { source, target, maxHandles } = rebalancing;
      await this.#createMigration(cluster, rebalanceName(source, target), {
        ...{ source, targets: [target], maxHandles, reason: 'Rebalance' },
      });
    }
    for (const { metadata } of surplusMigrations(migrations)) {
      await this.#ignoreGone(objects.delete(MIGRATIONS, metadata.namespace ?? '', metadata.name ?? '', metadata.uid));
    }
  }

  async #createMigration(
    cluster: FileServerCluster,
    name: string,
    spec: Omit<HandleMigration['spec'], 'cluster'>,
  ): Promise<void> {
    const { controller: _none, ...owner } = ownerReference(cluster);
    try {
      await this.#parts.objects.create(MIGRATIONS, {
        metadata: { ...metadataOf(cluster, name), ownerReferences: [{ ...owner, controller: true }] },
        spec: { cluster: nameOf(cluster), ...spec },
      } as KubernetesObject);
      this.#parts.log.info({ namespace: namespaceOf(cluster), migration: name, ...spec }, 'migration planned');
    } catch (error) {
      if (!isConflict(error)) throw error; // made before, and not seen yet
    }
  }

  /** Deletes servers that no ReplicaSet ends when their handles have moved, and puts those back into the Services that stay. */
  async #tendPods(cluster: FileServerCluster, key: string): Promise<void> {
    const { world, objects, log } = this.#parts;
    const namespace = namespaceOf(cluster);
    const migrations = world.migrations(key);
    for (const pod of world.pods(key)) {
      if (pod.terminating || pod.ended) continue;
      const own = migrations.filter((hm) => hm.spec.source === pod.name);
      if (!pod.member && hasMoved(pod, own)) {
        log.info({ cluster: key, pod: pod.name }, 'deleting a file server whose handles have moved');
        await this.#ignoreGone(objects.delete(PODS, namespace, pod.name, pod.uid));
      } else if (!pod.leaving && !pod.serving && own.every(isFinished)) {
        await objects.patch(PODS, namespace, pod.name, {
          metadata: { uid: pod.uid, labels: { [LABELS.serving]: 'true' } },
        });
      }
    }
  }

  async #writeStatus(
    cluster: FileServerCluster,
    key: string,
    problems: readonly Problem[],
    refused: string | undefined,
  ): Promise<void> {
    const { world, reports, events, image, objects } = this.#parts;
    // An operator that has just begun asks the servers at this moment: what stands there is better than that nobody has answered.
    if (cluster.status?.conditions && !reports.knows(cluster.metadata.uid ?? '')) return;
    const namespace = namespaceOf(cluster);
    const names = namesOf(nameOf(cluster));
    const status = clusterStatus({
      cluster,
      newest: podTemplate(cluster, image).hash,
      pods: world.pods(key),
      redisPods: world.redisPods(key),
      statefulSet: world.statefulSet(namespace, names.redis),
      service: world.service(namespace, names.clientService),
      services: world.services(key),
      migrations: world.migrations(key),
      reports: reports.of(cluster.metadata.uid ?? ''),
      problems,
      refused,
      watchesNodes: world.watchesNodes,
      now: new Date().toISOString(),
    });
    if (stable(status) === stable(cluster.status)) return;
    await objects.patch(CLUSTERS, namespace, nameOf(cluster), { status }, 'status');
    for (const type of ['Available', 'Degraded', 'StateStoreReady']) {
      const before = cluster.status?.conditions?.find((condition) => condition.type === type);
      const after = status.conditions?.find((condition) => condition.type === type);
      if (!after || (before?.status === after.status && before.reason === after.reason)) continue;
      const good = after.status === (type === 'Degraded' ? 'False' : 'True');
      const wasGood = before?.status === (type === 'Degraded' ? 'False' : 'True');
      if (good && before !== undefined && !wasGood) events.normal(cluster, after.reason, after.message);
      // What is just starting is no reason to warn anybody: of the others only the loss is.
      if (!good && (type === 'Degraded' || wasGood)) events.warning(cluster, after.reason, after.message);
    }
  }

  async #ignoreGone(change: Promise<unknown>): Promise<void> {
    try {
      await change;
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw new Error(reasonOf(error), { cause: error });
    }
  }
}

/** Whether the pod is leaving and has nothing left to move (or nothing that could be). */
function hasMoved(pod: PodFacts, migrations: readonly HandleMigration[]): boolean {
  return (
    pod.leaving &&
    migrations.some(
      (hm) =>
        hm.spec.source === pod.name && isFinished(hm) && isLeaving(hm.spec.reason) && hm.status?.sourceUID === pod.uid,
    )
  );
}

function setFacts(set: V1ReplicaSet) {
  return {
    name: set.metadata?.name ?? '',
    template: set.metadata?.labels?.[LABELS.template] ?? '',
    replicas: set.spec?.replicas ?? 0,
  };
}

/** The same text for the same content, whatever the order of the fields. */
function stable(value: unknown): string {
  return JSON.stringify(value ?? {}, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** What the API server refuses for good belongs into the status; everything else is just tried again. */
function isRefused(error: unknown): error is ApiError {
  return error instanceof ApiError && [400, 403, 422].includes(error.status) && !isNamespaceEnding(error);
}
