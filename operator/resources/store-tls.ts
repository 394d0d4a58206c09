import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { KubernetesObject } from '../runtime/objects.ts';
import { STORE_TLS_ANNOTATION } from './redis.ts';

type Speech = 'Required' | 'Off';

/** For stores that are made from now on. */
const NEW_STORES: Speech = 'Required';

/** Others keep things by the object; so the same one has the same answer for as long as it is spoken to in the same way. */
const filledIn = new WeakMap<FileServerCluster, { tls: Speech; cluster: FileServerCluster }>();

/**
 * The cluster with `state.embedded.tls`, as its store is spoken to. Where the spec says nothing, what was made for it does: a store of
 * an earlier version stays as it is, because its file servers would lose it between its change and theirs (docs/decisions/0024).
 * @param known objects that are made for every store, as far as they are there; one of them may have been deleted by hand
 */
export function withStoreTls(
  cluster: FileServerCluster,
  known: readonly (KubernetesObject | undefined)[],
): FileServerCluster {
  const { embedded } = cluster.spec.state;
  if (!embedded || embedded.tls !== undefined) return cluster;
  // What is left of a cluster that had the same name says nothing.
  const own = known.flatMap((object) => (isOf(cluster, object) ? [object?.metadata?.annotations ?? {}] : []));
  const tls =
    own.length === 0 ? NEW_STORES : own.some((each) => each[STORE_TLS_ANNOTATION] === 'Required') ? 'Required' : 'Off';
  const before = filledIn.get(cluster);
  if (before?.tls === tls) return before.cluster;
  const { spec } = cluster;
  const filled = { ...cluster, spec: { ...spec, state: { ...spec.state, embedded: { ...embedded, tls } } } };
  filledIn.set(cluster, { tls, cluster: filled });
  return filled;
}

function isOf(cluster: FileServerCluster, object: KubernetesObject | undefined): boolean {
  return object?.metadata?.ownerReferences?.some(({ uid }) => uid === cluster.metadata.uid) ?? false;
}
