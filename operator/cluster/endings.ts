import type { Logger } from '../../common/logging.ts';
import type { ReconcileResult } from '../runtime/controller.ts';
import type { Sidecars } from '../sidecars.ts';
import type { World } from '../world.ts';

const RETRY_MS = 1000;
/** After so long every server that could be told has found out by itself, or the cluster is gone. */
const GIVE_UP_AFTER = 600;

/**
 * Passes on the proof that all containers of a pod have ended, so that the others need not wait for a lease to run out. One
 * sidecar is enough: it fences the server in the table that all share.
 */
export class Endings {
  readonly #world: World;
  readonly #sidecars: Sidecars;
  readonly #log: Logger;
  readonly #told = new Set<string>();
  readonly #tries = new Map<string, number>();

  constructor(world: World, sidecars: Sidecars, log: Logger) {
    this.#world = world;
    this.#sidecars = sidecars;
    this.#log = log;
  }

  /** The queue's key for a pod that ended. */
  static keyOf(clusterKey: string, pod: string, podUid: string): string {
    return [clusterKey, pod, podUid].join(' ');
  }

  isTold(key: string): boolean {
    return this.#told.has(key);
  }

  async reconcile(key: string): Promise<ReconcileResult | undefined> {
    const [clusterKey = '', pod = '', podUid = ''] = key.split(' ');
    const cluster = this.#world.cluster(clusterKey);
    if (!cluster || this.#told.has(key)) return undefined;
    for (const other of this.#world.pods(clusterKey)) {
      if (other.uid === podUid || other.address === '' || other.ended || !other.nodeReady) continue;
      try {
        const reply = await this.#sidecars.serverEnded(cluster.metadata.uid ?? '', other.address, podUid, pod);
        this.#log.info(
          { cluster: clusterKey, pod, podUid, toldTo: other.name, serversFenced: reply.serversFenced },
          'told that all containers of a pod have ended',
        );
        this.#remember(key);
        return undefined;
      } catch (error) {
        this.#log.debug({ cluster: clusterKey, pod, toldTo: other.name, err: error }, 'cannot tell that a pod ended');
      }
    }
    const tries = (this.#tries.get(key) ?? 0) + 1;
    this.#tries.set(key, tries);
    if (tries < GIVE_UP_AFTER) return { requeueAfterMs: RETRY_MS };
    this.#remember(key);
    return undefined;
  }

  #remember(key: string): void {
    this.#tries.delete(key);
    this.#told.add(key);
    if (this.#told.size > 10_000) this.#told.delete(this.#told.values().next().value ?? '');
  }
}
