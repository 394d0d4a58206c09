import { monotonicMs } from '../../common/time.ts';
import { shortHash } from '../resources/cluster-config.ts';
import { isForbidden, isNotFound } from '../runtime/api.ts';
import type { KubernetesObject, Objects, Resource } from '../runtime/objects.ts';
import type { World } from '../world.ts';
import { type LookAgain, lookAgainMs } from './look-again.ts';
import { requireOurs } from './ownership.ts';

/** Objects that nobody follows are applied again after so long, so that what was changed or deleted by hand mends. */
const REAPPLY: LookAgain = { leastMs: 5 * 60_000, perClusterMs: 60_000 };

interface Applied {
  desired: string;
  version: string | undefined;
  atMs: number;
}

/** Applies desired objects, and leaves out what would change nothing. */
export class Applier {
  readonly #objects: Objects;
  readonly #world: World;
  readonly #applied = new Map<string, Applied>();

  constructor(objects: Objects, world: World) {
    this.#objects = objects;
    this.#world = world;
  }

  /**
   * Makes the object so.
   * @param desired stands for the object, where it is known already
   * @returns whether a request was sent
   * @throws NameTakenError where another's object has its name
   */
  async ensure(resource: Resource, object: KubernetesObject, desired = shortHash(object)): Promise<boolean> {
    const { namespace = '', name = '' } = object.metadata ?? {};
    const key = `${resource.plural}/${namespace}/${name}`;
    const before = this.#applied.get(key);
    const live = this.#world.live(resource, namespace, name);
    const unchanged = live.followed
      ? before !== undefined && live.object !== undefined && live.object.metadata?.resourceVersion === before.version
      : before !== undefined && monotonicMs() - before.atMs < lookAgainMs(REAPPLY, this.#world.clusterCount);
    if (before?.desired === desired && unchanged) return false;
    // What no cluster owns, a claim, is one's own by its name.
    if (object.metadata?.ownerReferences !== undefined) {
      const there = live.object ?? (await this.#standing(resource, namespace, name, live.followed, before));
      if (there) requireOurs(resource, there, object);
    }
    const result = await this.#objects.apply(resource, object);
    this.#applied.set(key, { desired, version: result.metadata?.resourceVersion, atMs: monotonicMs() });
    return true;
  }

  /** What has the name, though the watches do not show it: they follow what has our labels. */
  async #standing(
    resource: Resource,
    namespace: string,
    name: string,
    followed: boolean,
    before: Applied | undefined,
  ): Promise<KubernetesObject | undefined> {
    if (followed) {
      const query = { fieldSelector: `metadata.name=${name}` };
      return (await this.#objects.list<KubernetesObject>(resource, namespace, query))[0];
    }
    if (before) return undefined; // it was ours when it was applied
    try {
      return await this.#objects.get<KubernetesObject>(resource, namespace, name);
    } catch (error) {
      // A Role that somebody wrote for an earlier version: nothing is known then, as by that version.
      if (isNotFound(error) || isForbidden(error)) return undefined;
      throw error;
    }
  }

  /** Forgets the objects of a cluster that is gone. */
  forget(namespace: string, clusterName: string): void {
    for (const key of this.#applied.keys()) {
      if (key.includes(`/${namespace}/${clusterName}`)) this.#applied.delete(key);
    }
  }
}
