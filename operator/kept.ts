import type { V1Pod, V1ReplicaSet, V1StatefulSet } from '@kubernetes/client-node';
import { CONFIG_MAPS, DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS } from './kinds.ts';
import type { KubernetesObject, Resource } from './runtime/objects.ts';

type Keep = (object: KubernetesObject) => KubernetesObject;

/** Type, name, labels, version: enough to see that an object is there, and whether somebody has changed it. */
const metadataAlone: Keep = ({ apiVersion, kind, metadata }) => ({
  ...(apiVersion === undefined ? {} : { apiVersion }),
  ...(kind === undefined ? {} : { kind }),
  ...(metadata === undefined ? {} : { metadata }),
});

/** Neither template nor claims: what was asked for is known from the FileServerCluster. */
const withReplicas: Keep = (object) => {
  const { spec, status } = object as V1ReplicaSet | V1StatefulSet;
  return { ...metadataAlone(object), spec: { replicas: spec?.replicas }, status } as KubernetesObject;
};

const placeAndStatus: Keep = (object) => {
  const { spec, status } = object as V1Pod;
  return { ...metadataAlone(object), spec: { nodeName: spec?.nodeName }, status } as KubernetesObject;
};

const KEPT = new Map<Resource, Keep>([
  [PODS, placeAndStatus],
  [REPLICA_SETS, withReplicas],
  [STATEFUL_SETS, withReplicas],
  [CONFIG_MAPS, metadataAlone],
  [DISRUPTION_BUDGETS, metadataAlone],
]);

/** What the operator keeps in memory of objects of a kind; undefined: all. With a thousand clusters this is most of its memory. */
export const keptOf = (resource: Resource): Keep | undefined => KEPT.get(resource);
