import type { V1EndpointSlice, V1Node, V1Pod, V1ReplicaSet, V1Service, V1StatefulSet } from '@kubernetes/client-node';
import type { Logger } from '../common/logging.ts';
import type { FileServerCluster } from '../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../crds/generated/handlemigration.ts';
import { type PodFacts, podFacts } from './cluster/pods.ts';
import { keptOf } from './kept.ts';
import {
  CLUSTERS,
  CONFIG_MAPS,
  DISRUPTION_BUDGETS,
  ENDPOINT_SLICES,
  MIGRATIONS,
  NODES,
  PODS,
  REPLICA_SETS,
  SERVICES,
  STATEFUL_SETS,
} from './kinds.ts';
import { LABELS, MANAGED_BY, nameOf, namesOf, namespaceOf } from './resources/names.ts';
import { withStoreTls } from './resources/store-tls.ts';
import type { KubernetesApi } from './runtime/api.ts';
import { Informer } from './runtime/informer.ts';
import { type KubernetesObject, keyOf, type Resource } from './runtime/objects.ts';

const BY_CLUSTER = 'cluster';
/** What is acted on at once; that a watch of it has fallen silent must be noticed soon. */
const URGENT = new Set<Resource>([CLUSTERS, MIGRATIONS, PODS, NODES]);
/** How long watches of these are asked to last, for each namespace: many namespaces have many watches, and each time costs a request. */
const URGENT_SECONDS = 30;
const OTHER_SECONDS = 60;
const OURS = `${LABELS.managedBy}=${MANAGED_BY}`;

export interface WorldOptions {
  /** Namespaces to look after; all when empty. */
  namespaces: string[];
  /** Whether the API server lets this process watch Nodes. */
  watchNodes: boolean;
}

/** A copy, kept up to date, of all that the operator decides by. */
export class World {
  readonly watchesNodes: boolean;
  readonly #nodes: Informer<V1Node> | undefined;
  readonly #informers: Informer<KubernetesObject>[] = [];
  readonly #kinds = new Map<Resource, Informer<KubernetesObject>[]>();
  readonly #namespaces: (string | undefined)[];
  readonly #api: KubernetesApi;
  readonly #log: Logger;

  constructor(api: KubernetesApi, options: WorldOptions, log: Logger) {
    this.#api = api;
    this.#log = log;
    this.#namespaces = options.namespaces.length === 0 ? [undefined] : options.namespaces;
    this.watchesNodes = options.watchNodes;
    this.#follow(CLUSTERS, undefined, (object) => [keyOf(object)]);
    this.#follow(MIGRATIONS, undefined, (object) => [
      `${object.metadata?.namespace}/${(object as HandleMigration).spec.cluster}`,
    ]);
    const byLabel = (object: KubernetesObject) => [
      `${object.metadata?.namespace}/${object.metadata?.labels?.[LABELS.cluster] ?? ''}`,
    ];
    for (const kind of [PODS, REPLICA_SETS, STATEFUL_SETS, SERVICES, CONFIG_MAPS, DISRUPTION_BUDGETS]) {
      this.#follow(kind, OURS, byLabel);
    }
    // EndpointSlices carry the labels of their Service, but are managed by somebody else.
    this.#follow(ENDPOINT_SLICES, LABELS.cluster, byLabel);
    if (options.watchNodes) {
      this.#nodes = new Informer<V1Node>(api, NODES, { watchSeconds: this.#watchSeconds(NODES) }, log);
      this.#nodes.addIndex('none', () => []);
    }
  }

  /** Follows everything until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(
      [...this.#informers, ...(this.#nodes ? [this.#nodes] : [])].map((informer) => informer.run(signal)),
    );
  }

  /** Lists everything anew: afterwards nothing is older than this call. Resolves too when the signal is aborted. */
  async refresh(signal: AbortSignal): Promise<void> {
    const informers = [...this.#informers, ...(this.#nodes ? [this.#nodes] : [])];
    await Promise.all(informers.map((informer) => informer.refresh(signal)));
  }

  /** True, or which kind is not known completely yet and why. */
  synced(): true | string {
    for (const informer of [...this.#informers, ...(this.#nodes ? [this.#nodes] : [])]) {
      if (!informer.synced) {
        return `waiting for the list of ${informer.resource.plural}${informer.failure ? `: ${informer.failure}` : ''}`;
      }
    }
    return true;
  }

  /** Takes in what the API server answered to a write of this process (Informer.learn). */
  learn(resource: Resource, object: KubernetesObject): void {
    for (const informer of this.#kinds.get(resource) ?? []) informer.learn(object);
  }

  /** Calls back with the key of the cluster that a change concerns. */
  onClusterChange(
    handler: (clusterKey: string, kind: Resource, object: KubernetesObject, change: string) => void,
  ): void {
    for (const informer of this.#informers) {
      informer.onChange((object, change) => {
        const key =
          informer.resource === CLUSTERS
            ? keyOf(object)
            : `${object.metadata?.namespace}/${
                informer.resource === MIGRATIONS
                  ? (object as HandleMigration).spec.cluster
                  : (object.metadata?.labels?.[LABELS.cluster] ?? '')
              }`;
        handler(key, informer.resource, object, change);
      });
    }
  }

  onNodeChange(handler: (node: V1Node) => void): void {
    this.#nodes?.onChange(handler);
  }

  /** With how its embedded store is spoken to filled in. */
  cluster(key: string): FileServerCluster | undefined {
    const cluster = this.#byCluster<FileServerCluster>(CLUSTERS, key)[0];
    if (!cluster) return undefined;
    const [namespace, names] = [namespaceOf(cluster), namesOf(nameOf(cluster))];
    return withStoreTls(cluster, [
      this.#find(STATEFUL_SETS, namespace, names.redis),
      this.#find(CONFIG_MAPS, namespace, names.config),
    ]);
  }

  get clusterCount(): number {
    return (this.#kinds.get(CLUSTERS) ?? []).reduce((sum, informer) => sum + informer.size, 0);
  }

  clusterKeys(): string[] {
    return this.#all(CLUSTERS).map(keyOf);
  }

  migrations(clusterKey: string): HandleMigration[] {
    return this.#byCluster(MIGRATIONS, clusterKey);
  }

  migration(namespace: string, name: string): HandleMigration | undefined {
    return this.#find<HandleMigration>(MIGRATIONS, namespace, name);
  }

  /** The file servers' pods. */
  pods(clusterKey: string): PodFacts[] {
    return this.#byCluster<V1Pod>(PODS, clusterKey)
      .filter((pod) => pod.metadata?.labels?.[LABELS.component] === 'fileserver')
      .map((pod) => podFacts(pod, this.node(pod.spec?.nodeName ?? '')))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The same pods as the API has them. */
  rawPods(clusterKey: string): V1Pod[] {
    return this.#byCluster<V1Pod>(PODS, clusterKey);
  }

  pod(namespace: string, name: string): V1Pod | undefined {
    return this.#find<V1Pod>(PODS, namespace, name);
  }

  redisPods(clusterKey: string): PodFacts[] {
    return this.#byCluster<V1Pod>(PODS, clusterKey)
      .filter((pod) => pod.metadata?.labels?.[LABELS.component] === 'redis')
      .map((pod) => podFacts(pod, this.node(pod.spec?.nodeName ?? '')));
  }

  /** Clusters with a pod on that node. */
  clustersOn(node: string): string[] {
    const keys = this.#all<V1Pod>(PODS)
      .filter((pod) => pod.spec?.nodeName === node)
      .map((pod) => `${pod.metadata?.namespace}/${pod.metadata?.labels?.[LABELS.cluster] ?? ''}`);
    return [...new Set(keys)];
  }

  node(name: string): V1Node | undefined {
    return this.#nodes?.get('', name);
  }

  replicaSets(clusterKey: string): V1ReplicaSet[] {
    return this.#byCluster(REPLICA_SETS, clusterKey);
  }

  slices(clusterKey: string): V1EndpointSlice[] {
    return this.#byCluster(ENDPOINT_SLICES, clusterKey);
  }

  services(clusterKey: string): V1Service[] {
    return this.#byCluster(SERVICES, clusterKey);
  }

  service(namespace: string, name: string): V1Service | undefined {
    return this.#find<V1Service>(SERVICES, namespace, name);
  }

  statefulSet(namespace: string, name: string): V1StatefulSet | undefined {
    return this.#find<V1StatefulSet>(STATEFUL_SETS, namespace, name);
  }

  /** What is known of an object of a kind that is followed; undefined also for kinds that are not. */
  live(
    resource: Resource,
    namespace: string,
    name: string,
  ): { followed: boolean; object: KubernetesObject | undefined } {
    return { followed: this.#kinds.has(resource), object: this.#find(resource, namespace, name) };
  }

  #follow(resource: Resource, labelSelector: string | undefined, keysOf: (object: KubernetesObject) => string[]): void {
    const watchSeconds = this.#watchSeconds(resource);
    const informers = this.#namespaces.map((namespace) => {
      const options = { namespace, labelSelector, watchSeconds, keep: keptOf(resource) };
      const informer = new Informer<KubernetesObject>(this.#api, resource, options, this.#log);
      informer.addIndex(BY_CLUSTER, keysOf);
      return informer;
    });
    this.#kinds.set(resource, informers);
    this.#informers.push(...informers);
  }

  #watchSeconds(resource: Resource): number {
    return URGENT.has(resource) ? Math.min(URGENT_SECONDS * this.#namespaces.length, OTHER_SECONDS) : OTHER_SECONDS;
  }

  #all<T extends KubernetesObject>(resource: Resource): T[] {
    return (this.#kinds.get(resource) ?? []).flatMap((informer) => informer.list() as T[]);
  }

  #byCluster<T extends KubernetesObject>(resource: Resource, key: string): T[] {
    return (this.#kinds.get(resource) ?? []).flatMap((informer) => informer.byIndex(BY_CLUSTER, key) as T[]);
  }

  #find<T extends KubernetesObject>(resource: Resource, namespace: string, name: string): T | undefined {
    for (const informer of this.#kinds.get(resource) ?? []) {
      const found = informer.get(namespace, name);
      if (found) return found as T;
    }
    return undefined;
  }
}
