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
import { nameOf, namesOf, namespaceOf } from '../resources/names.ts';
import { hasEmbeddedStore, ROTATE_ANNOTATION, redisSecret, storePasswordOf } from '../resources/redis.ts';
import { nextPassword, type StorePassword } from '../resources/store-password.ts';
import { isConflict, isNotFound } from '../runtime/api.ts';
import type { Objects } from '../runtime/objects.ts';
import type { Sidecars } from '../sidecars.ts';

/** How often the Secrets are looked at; they are not watched, so that the operator need not be allowed to list all Secrets. */
const LOOK_AGAIN_MS = 60_000;

/** Keeps a cluster's own Secrets: its certificate authority, the sidecars' certificate, Redis' password and configuration. */
export class ClusterSecrets {
  readonly #objects: Objects;
  readonly #sidecars: Sidecars;
  readonly #seen = new Map<string, { generation: number | undefined; atMs: number }>();

  constructor(objects: Objects, sidecars: Sidecars) {
    this.#objects = objects;
    this.#sidecars = sidecars;
  }

  async ensure(cluster: FileServerCluster): Promise<void> {
    const uid = cluster.metadata.uid ?? '';
    const seen = this.#seen.get(uid);
    if (seen?.generation === cluster.metadata.generation && monotonicMs() - (seen?.atMs ?? 0) < LOOK_AGAIN_MS) return;
    const names = namesOf(nameOf(cluster));
    const namespace = namespaceOf(cluster);

    let authority = authorityOf(await this.#get(namespace, names.authority));
    if (!authority) {
      authority = authorityOf(await this.#makeOnce(await authoritySecret(cluster)));
      if (!authority)
        throw new Error(`the Secret ${namespace}/${names.authority} holds no certificate authority: delete it`);
    }
    if (needsCertificate(await this.#get(namespace, names.certificate), authority)) {
      await this.#objects.apply(SECRETS, await certificateSecret(cluster, authority));
    }
    if (hasEmbeddedStore(cluster)) await this.#ensureRedis(cluster, namespace, names.redis);
    await this.#sidecars.trust(uid, authority);
    this.#seen.set(uid, { generation: cluster.metadata.generation, atMs: monotonicMs() });
  }

  forget(clusterUid: string): void {
    this.#seen.delete(clusterUid);
  }

  async #ensureRedis(cluster: FileServerCluster, namespace: string, name: string): Promise<void> {
    const wish = cluster.metadata.annotations?.[ROTATE_ANNOTATION];
    const fresh = (): StorePassword => {
      const password = newPassword();
      return { password, accepted: [password], madeFor: wish };
    };
    const secret = (await this.#get(namespace, name)) ?? (await this.#makeOnce(redisSecret(cluster, fresh())));
    const now = storePasswordOf(secret) ?? fresh();
    const next = redisSecret(cluster, nextPassword(now, wish, Date.now(), newPassword));
    if (isDeepStrictEqual(next.data, secret.data)) return;
    await this.#objects.apply(SECRETS, next);
  }

  async #get(namespace: string, name: string): Promise<V1Secret | undefined> {
    try {
      return await this.#objects.get<V1Secret>(SECRETS, namespace, name);
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
