import { isDeepStrictEqual } from 'node:util';
import type { V1Secret } from '@kubernetes/client-node';
import { monotonicMs } from '../../common/time.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { SECRETS } from '../kinds.ts';
import { beginReplacement, type ClusterAuthority, nextAuthority } from '../resources/authority.ts';
import {
  authorityOf,
  authoritySecret,
  certificateSecret,
  isEnding,
  makeAuthority,
  needsCertificate,
  newPassword,
  ROTATE_AUTHORITY_ANNOTATION,
  redisCertificateSecret,
} from '../resources/certificates.ts';
import { metadataOf, nameOf, namesOf, namespaceOf } from '../resources/names.ts';
import { hasEmbeddedStore, ROTATE_ANNOTATION, redisSecret, speaksTls, storePasswordOf } from '../resources/redis.ts';
import { nextPassword, type StorePassword } from '../resources/store-password.ts';
import { isConflict, isNotFound } from '../runtime/api.ts';
import type { Objects } from '../runtime/objects.ts';
import type { Sidecars } from '../sidecars.ts';
import { type LookAgain, lookAgainMs } from './look-again.ts';
import { requireOurs } from './ownership.ts';

/**
 * How often the Secrets are looked at (four requests at most); they are not watched, so that the operator need not be allowed to list all
 * Secrets. With a thousand clusters that is twice a day: certificates are renewed 30 days before they end.
 */
const LOOK_AGAIN: LookAgain = { leastMs: 60_000, perClusterMs: 45_000 };
/** While a password or an authority changes. */
const CHANGING_LOOK_MS = 30_000;

interface Seen {
  generation: number | undefined;
  /** The texts of the annotations that ask for something new. */
  wishes: string;
  isChanging: boolean;
  atMs: number;
}

/** Keeps a cluster's own Secrets: its certificate authority, the sidecars' certificate and the store's, Redis' password and configuration. */
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
    const annotations = cluster.metadata.annotations ?? {};
    const wishes = JSON.stringify([annotations[ROTATE_ANNOTATION], annotations[ROTATE_AUTHORITY_ANNOTATION]]);
    if (seen && seen.generation === generation && seen.wishes === wishes) {
      const goodForMs = seen.isChanging ? CHANGING_LOOK_MS : lookAgainMs(LOOK_AGAIN, this.#clusters());
      if (monotonicMs() - seen.atMs < goodForMs) return;
    }
    const names = namesOf(nameOf(cluster));
    const authority = await this.#ensureAuthority(cluster, names.authority);
    if (needsCertificate(await this.#find(cluster, names.certificate), authority)) {
      await this.#objects.apply(SECRETS, await certificateSecret(cluster, authority));
    }
    if (speaksTls(cluster) && needsCertificate(await this.#find(cluster, names.redisCertificate), authority)) {
      await this.#objects.apply(SECRETS, await redisCertificateSecret(cluster, authority));
    }
    const newPasswordUnderWay = hasEmbeddedStore(cluster) && (await this.#ensureRedis(cluster, names.redis));
    await this.#sidecars.trust(uid, authority);
    const isChanging = newPasswordUnderWay || authority.trusted.length > 1;
    this.#seen.set(uid, { generation, wishes, isChanging, atMs: monotonicMs() });
  }

  forget(clusterUid: string): void {
    this.#seen.delete(clusterUid);
  }

  /** The authority as it is now, a step further where one was due. */
  async #ensureAuthority(cluster: FileServerCluster, name: string): Promise<ClusterAuthority> {
    const fresh = async () => {
      const signer = await makeAuthority(cluster);
      return authoritySecret(cluster, { signer, trusted: [signer.certificate], madeFor: wish });
    };
    const wish = cluster.metadata.annotations?.[ROTATE_AUTHORITY_ANNOTATION];
    const secret = (await this.#find(cluster, name)) ?? (await this.#makeOnce(await fresh()));
    const now = authorityOf(secret);
    if (!now) {
      throw new Error(`the Secret ${namespaceOf(cluster)}/${name} holds no certificate authority: delete it`);
    }
    const step = nextAuthority(now, wish, isEnding(now, Date.now()), Date.now());
    if (step.wanted === 'nothing') return now;
    const next =
      step.wanted === 'step' ? step.next : beginReplacement(now, await makeAuthority(cluster), wish, Date.now());
    // Of this version alone: an authority that another operator has just made must not be lost, certificates may be of it.
    await this.#objects.apply(SECRETS, authoritySecret(cluster, next, secret.metadata?.resourceVersion));
    return next;
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
