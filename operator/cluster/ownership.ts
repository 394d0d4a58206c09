import { HoldfastError } from '../../common/errors.ts';
import { LABELS, MANAGED_BY } from '../resources/names.ts';
import type { KubernetesObject, Resource } from '../runtime/objects.ts';
import type { Problem } from './prerequisites.ts';

/** An object that a cluster needs has a name that somebody else uses. */
export class NameTakenError extends HoldfastError {
  readonly problem: Problem;

  constructor({ kind, plural }: Resource, { metadata }: KubernetesObject) {
    const name = metadata?.name ?? '';
    const message = `there is a ${kind} "${name}" that is not this cluster's, and is left alone; rename it, or delete it (kubectl delete ${plural} ${name}), or give the cluster another name`;
    super('NAME_TAKEN', message);
    this.name = 'NameTakenError';
    this.problem = { reason: 'NameTaken', message };
  }
}

/**
 * Whether an object is the one that was meant: a server-side apply takes over what has the name, whoever made it, and what is owned goes
 * with its cluster. Labels are enough, as those of a Secret that came back from a backup; so is the owner, where labels were changed by hand.
 *
 * @param meant as this operator builds it
 */
export function isOurs(there: KubernetesObject, meant: KubernetesObject): boolean {
  const { labels = {}, ownerReferences = [] } = there.metadata ?? {};
  const cluster = meant.metadata?.labels?.[LABELS.cluster];
  if (labels[LABELS.managedBy] === MANAGED_BY && labels[LABELS.cluster] === cluster) return true;
  const owners = new Set(meant.metadata?.ownerReferences?.map(({ uid }) => uid));
  return ownerReferences.some(({ uid }) => owners.has(uid));
}

/** @throws NameTakenError when what has the name is somebody else's */
export function requireOurs(resource: Resource, there: KubernetesObject, meant: KubernetesObject): void {
  if (!isOurs(there, meant)) throw new NameTakenError(resource, meant);
}
