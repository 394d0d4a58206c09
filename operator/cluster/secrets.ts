import { isDeepStrictEqual } from 'node:util';
import type { V1Secret } from '@kubernetes/client-node';
import { monotonicMs } from '../../common/time.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { SECRETS } from '../kinds.ts';
import {
  authorityOf,
  authoritySecret,
  certificateSecret,
  needsCertificate,
  newPassword,
} from '../resources/certificates.ts';
import { metadataOf, nameOf, namesOf, namespaceOf } from '../resources/names.ts';
import { hasEmbeddedStore, ROTATE_ANNOTATION, redisSecret, storePasswordOf } from '../resources/redis.ts';
import { nextPassword, type StorePassword } from '../resources/store-password.ts';
import { isConflict, isNotFound } from '../runtime/api.ts';
import type { Objects } from '../runtime/objects.ts';
import type { Sidecars } from '../sidecars.ts';
import { type LookAgain, lookAgainMs } from './look-again.ts';
import { requireOurs } from './ownership.ts';

/**
 * How often the Secrets are looked at (three requests); they are not watched, so that the operator need not be allowed to list all
 * Secrets. With a thousand clusters that is twice a day: certificates are renewed 30 days before they end.
 */
const LOOK_AGAIN: LookAgain = { leastMs: 60_000, perClusterMs: 45_000 };
/** While a password changes. */
const CHANGING_LOOK_MS = 30_000;

interface Seen {
  generation: number | undefined;
  wish: string | undefined;
  isChanging: boolean;
  atMs: number;
}

/** Keeps a cluster's own Secrets: its certificate authority, the sidecars' certificate, Redis' password and configuration. */
export class ClusterSecrets {
  readonly #objects: Objects;
  readonly #sidecars: Sidecars;
  readonly #seen = new Map<string, Seen>();
  readonly #clusters: () => number;

  /** @param clusters how many there are */
  constructor(objects: Objects, sidecars: Sidecars, clusters: () => number) {
    this.#clusters = clusters;
    this.#objects = objects;
    this.#sidecars = sidecars;
  }

  async ensure(cluster: FileServerCluster): Promise<void> {
    const uid = cluster.metadata.uid ?? '';
    const seen = this.#seen.get(uid);
    const { generation } = cluster.metadata;
    const wish = cluster.metadata.annotations?.[ROTATE_ANNOTATION];
    if (seen && seen.generation === generation && seen.wish === wish) {
      const goodForMs = seen.isChanging ? CHANGING_LOOK_MS : lookAgainMs(LOOK_AGAIN, this.#clusters());
      if (monotonicMs() - seen.atMs < goodForMs) return;
    }
    const names = namesOf(nameOf(cluster));
    const namespace = namespaceOf(cluster);

    const find = (name: string) => this.#find(cluster, name);
    let authority = authorityOf(await find(names.authority));
    if (!authority) {
      authority = authorityOf(await this.#makeOnce(await authoritySecret(cluster)));
      if (!authority)
        throw new Error(`the Secret ${namespace}/${names.authority} holds no certificate authority: delete it`);
    }
    if (needsCertificate(await find(names.certificate), authority)) {
      await this.#objects.apply(SECRETS, await certificateSecret(cluster, authority));
    }
    const isChanging = hasEmbeddedStore(cluster) && (await this.#ensureRedis(cluster, names.redis));
    await this.#sidecars.trust(uid, authority);
    this.#seen.set(uid, { generation, wish, isChanging, atMs: monotonicMs() });
  }

  forget(clusterUid: string): void {
    this.#seen.delete(clusterUid);
  }

  /** @returns whether the password is being changed */
  async #ensureRedis(cluster: FileServerCluster, name: string): Promise<boolean> {
    const wish = cluster.metadata.annotations?.[ROTATE_ANNOTATION];
    const fresh = (): StorePassword => {
      const password = newPassword();
      return { password, accepted: [password], madeFor: wish };
    };
    const secret = (await this.#find(cluster, name)) ?? (await this.#makeOnce(redisSecret(cluster, fresh())));
    const now = storePasswordOf(secret) ?? fresh();
    const password = nextPassword(now, wish, Date.now(), newPassword);
    const next = redisSecret(cluster, password);
    if (!isDeepStrictEqual(next.data, secret.data)) await this.#objects.apply(SECRETS, next);
    return password.accepted.length > 1;
  }

  /** @throws NameTakenError where there is one that is somebody else's */
  async #find(cluster: FileServerCluster, name: string): Promise<V1Secret | undefined> {
    try {
      const secret = await this.#objects.get<V1Secret>(SECRETS, namespaceOf(cluster), name);
      requireOurs(SECRETS, secret, { metadata: metadataOf(cluster, name) });
      return secret;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Creates it, unless another operator was faster: then its one counts. */
  async #makeOnce(secret: V1Secret): Promise<V1Secret> {
    try {
      return await this.#objects.create<V1Secret>(SECRETS, secret);
    } catch (error) {
      if (!isConflict(error)) throw error;
      return this.#objects.get<V1Secret>(SECRETS, secret.metadata?.namespace ?? '', secret.metadata?.name ?? '');
    }
  }
}
