import type { V1PersistentVolumeClaim, V1Secret } from '@kubernetes/client-node';
import { monotonicMs } from '../../common/time.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { CLAIMS, SECRETS } from '../kinds.ts';
import { nameOf, namespaceOf } from '../resources/names.ts';
import { claimOf } from '../resources/pod-template.ts';
import { isForbidden, isNotFound } from '../runtime/api.ts';
import type { KubernetesObject, Objects, Resource } from '../runtime/objects.ts';
import { type LookAgain, lookAgainMs } from './look-again.ts';

/** Something that a person has to bring, and did not. */
export interface Problem {
  /** One word, for a condition and an Event. */
  reason: string;
  /** What is wrong, and what to do. */
  message: string;
}

/** Two or more requests: a claim, the users. */
const FINE_FOR: LookAgain = { leastMs: 30_000, perClusterMs: 15_000 };
/** How soon a missing thing is looked for again. */
export const MENDING_MS = 3000;

/** Looks for what a cluster needs and does not own: claims, and Secrets that hold users and passwords. */
export class Prerequisites {
  readonly #objects: Objects;
  readonly #known = new Map<string, { generation: number | undefined; problems: Problem[]; atMs: number }>();

  readonly #clusters: () => number;

  /** @param clusters how many there are */
  constructor(objects: Objects, clusters: () => number) {
    this.#objects = objects;
    this.#clusters = clusters;
  }

  async check(cluster: FileServerCluster): Promise<Problem[]> {
    const uid = cluster.metadata.uid ?? '';
    const known = this.#known.get(uid);
    const goodForMs = known?.problems.length === 0 ? lookAgainMs(FINE_FOR, this.#clusters()) : MENDING_MS - 500;
    if (known && known.generation === cluster.metadata.generation && monotonicMs() - known.atMs < goodForMs) {
      return known.problems;
    }
    const problems = await this.#look(cluster);
    this.#known.set(uid, { generation: cluster.metadata.generation, problems, atMs: monotonicMs() });
    return problems;
  }

  forget(clusterUid: string): void {
    this.#known.delete(clusterUid);
  }

  async #look(cluster: FileServerCluster): Promise<Problem[]> {
    const namespace = namespaceOf(cluster);
    const { spec } = cluster;
    const problems: Problem[] = [];
    for (const volume of spec.volumes) {
      const name = claimOf(cluster, volume);
      const claim = await this.#find<V1PersistentVolumeClaim>(CLAIMS, namespace, name);
      // One that the operator makes is made right after this look: nobody else has to do anything.
      if (!claim && volume.volumeClaimTemplate) continue;
      problems.push(...claimProblems(volume.name, name, claim));
    }
    const users = await this.#find<V1Secret>(SECRETS, namespace, spec.users.secretRef.name);
    problems.push(...usersProblems(spec.users.secretRef.name, users));
    const { external } = spec.state;
    const client = external?.tls?.clientSecretRef;
    const certificate = client && ['tls.crt', 'tls.key'].map((key) => ({ name: client.name, key }));
    for (const ref of [external?.secretRef, external?.tls?.caSecretRef, ...(certificate ?? [])]) {
      if (!ref) continue;
      const secret = await this.#find<V1Secret>(SECRETS, namespace, ref.name);
      if (secret === undefined || secret.data?.[ref.key] === undefined) {
        problems.push({
          reason: 'StoreSecretMissing',
          message: `the Secret "${ref.name}" that the store needs ${secret ? `has no key "${ref.key}"` : 'does not exist'}; create it, or correct spec.state.external of ${nameOf(cluster)}`,
        });
      }
    }
    return problems;
  }

  async #find<T extends KubernetesObject>(resource: Resource, namespace: string, name: string): Promise<T | undefined> {
    try {
      return await this.#objects.get<T>(resource, namespace, name);
    } catch (error) {
      // A Secret that the operator may not read cannot be used by it; to say "missing" is what a person can act on.
      if (isNotFound(error) || isForbidden(error)) return undefined;
      throw error;
    }
  }
}

/** What is wrong with the claim of a volume. */
export function claimProblems(volume: string, name: string, claim: V1PersistentVolumeClaim | undefined): Problem[] {
  if (!claim) {
    return [
      {
        reason: 'ClaimMissing',
        message: `the PersistentVolumeClaim "${name}" of the volume "${volume}" does not exist; create it in the same namespace, with access mode ReadWriteMany`,
      },
    ];
  }
  if (claim.status?.phase === 'Lost') {
    return [
      {
        reason: 'ClaimLost',
        message: `the PersistentVolumeClaim "${name}" of the volume "${volume}" lost its PersistentVolume; restore that, or use another volume`,
      },
    ];
  }
  const modes = claim.spec?.accessModes ?? [];
  if (!modes.includes('ReadWriteMany')) {
    return [
      {
        reason: 'ClaimNotShared',
        message: `the PersistentVolumeClaim "${name}" of the volume "${volume}" has access modes ${modes.join(', ')}; file servers on several nodes need ReadWriteMany: use a claim that has it`,
      },
    ];
  }
  return [];
}

/** What is wrong with the users Secret. Keys that begin with "." are no users. */
export function usersProblems(name: string, secret: V1Secret | undefined): Problem[] {
  if (!secret) {
    return [
      {
        reason: 'UsersSecretMissing',
        message: `the Secret "${name}" with the users does not exist; create it: kubectl create secret generic ${name} --from-literal=USER=PASSWORD`,
      },
    ];
  }
  const users = Object.entries(secret.data ?? {}).filter(([key, value]) => !key.startsWith('.') && value !== '');
  if (users.length > 0) return [];
  return [
    {
      reason: 'UsersSecretEmpty',
      message: `the Secret "${name}" has no user, so nobody can log on; add one key a user whose value is the password`,
    },
  ];
}
