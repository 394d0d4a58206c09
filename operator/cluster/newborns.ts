import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { PODS, REPLICA_SETS } from '../kinds.ts';
import { LABELS, nameOf, namespaceOf } from '../resources/names.ts';
import { hasEmbeddedStore } from '../resources/redis.ts';
import type { Objects } from '../runtime/objects.ts';
import type { Sidecars } from '../sidecars.ts';
import type { PodFacts } from './pods.ts';

const TELL_TIMEOUT_MS = 2000;

interface Newborn {
  /** UIDs of its pods so far. */
  pods: Set<string>;
  done: boolean;
}

/**
 * Clusters whose first file servers this process has made and seen ever since: while none of them was ready, nobody has served, and an
 * empty store has lost nobody's state. Their sidecars need not wait for it (docs/decisions/0019). Nothing of this is kept: another
 * process cannot know, and then the first start takes longer.
 */
export class Newborns {
  readonly #objects: Objects;
  readonly #sidecars: Sidecars;
  readonly #log: Logger;
  /** By UID of the cluster. */
  readonly #all = new Map<string, Newborn>();

  constructor(objects: Objects, sidecars: Sidecars, log: Logger) {
    this.#objects = objects;
    this.#sidecars = sidecars;
    this.#log = log;
  }

  /** Before the first ReplicaSet of a cluster is made: asks the API server itself whether there is none, and no file server. */
  async look(cluster: FileServerCluster): Promise<void> {
    const uid = cluster.metadata.uid ?? '';
    if (!hasEmbeddedStore(cluster) || this.#all.has(uid)) return;
    const labelSelector = `${LABELS.cluster}=${nameOf(cluster)},${LABELS.component}=fileserver`;
    const [sets, pods] = await Promise.all(
      [REPLICA_SETS, PODS].map((kind) => this.#objects.list(kind, namespaceOf(cluster), { labelSelector })),
    );
    if (sets?.length === 0 && pods?.length === 0) this.#all.set(uid, { pods: new Set(), done: false });
  }

  /** @param pods its file servers now. @returns whether it has to be looked at again soon */
  async tell(clusterUid: string, pods: readonly PodFacts[]): Promise<boolean> {
    const newborn = this.#all.get(clusterUid);
    if (!newborn || newborn.done) return false;
    const isHere = new Set(pods.map((pod) => pod.uid));
    if ([...newborn.pods].some((uid) => !isHere.has(uid)) || pods.some((pod) => pod.ready || pod.terminating)) {
      newborn.done = true;
      return false;
    }
    for (const pod of pods) newborn.pods.add(pod.uid);
    for (const pod of pods) {
      if (pod.address === '') continue;
      try {
        if (!(await this.#sidecars.storeIsNew(clusterUid, pod.address, TELL_TIMEOUT_MS))) continue;
        this.#log.info({ pod: pod.name }, 'told that the store is new');
        newborn.done = true; // whoever opens it opens it for all
        return false;
      } catch (error) {
        this.#log.debug({ pod: pod.name, reason: reasonOf(error) }, 'cannot tell that the store is new yet');
      }
    }
    return true;
  }

  forget(clusterUid: string): void {
    this.#all.delete(clusterUid);
  }
}
