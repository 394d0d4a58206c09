import type { PodFacts } from './pods.ts';

/**
 * Whether the only Redis of a cluster may be evicted: its node is about to go, and no file server runs there any more. Until then its budget
 * keeps it, so that they hand their handles over while there is a store to write it to (docs/decisions/0015). Not deleted by the operator: its
 * successor has the same name, and `kubectl drain` would go on to evict that one.
 *
 * @param redisPods all of the cluster
 * @param servers all file servers' pods of the cluster
 */
export function storeMayBeEvicted(redisPods: readonly PodFacts[], servers: readonly PodFacts[]): boolean {
  const leaving = redisPods.filter(({ nodeLeaving, ended }) => nodeLeaving && !ended);
  return leaving.length > 0 && !leaving.some((pod) => servers.some(({ node, ended }) => node === pod.node && !ended));
}
