import type { Resource } from './runtime/objects.ts';

const core = (kind: string, plural: string, namespaced = true): Resource => ({
  apiVersion: 'v1',
  kind,
  plural,
  namespaced,
});
const apps = (kind: string, plural: string): Resource => ({ apiVersion: 'apps/v1', kind, plural, namespaced: true });

export const CLUSTERS: Resource = {
  apiVersion: 'holdfast.dev/v1alpha1',
  kind: 'FileServerCluster',
  plural: 'fileserverclusters',
  namespaced: true,
};
export const MIGRATIONS: Resource = {
  apiVersion: 'holdfast.dev/v1alpha1',
  kind: 'HandleMigration',
  plural: 'handlemigrations',
  namespaced: true,
};
export const PODS = core('Pod', 'pods');
export const NODES = core('Node', 'nodes', false);
export const SERVICES = core('Service', 'services');
export const SECRETS = core('Secret', 'secrets');
export const CONFIG_MAPS = core('ConfigMap', 'configmaps');
export const SERVICE_ACCOUNTS = core('ServiceAccount', 'serviceaccounts');
export const CLAIMS = core('PersistentVolumeClaim', 'persistentvolumeclaims');
export const REPLICA_SETS = apps('ReplicaSet', 'replicasets');
export const STATEFUL_SETS = apps('StatefulSet', 'statefulsets');
export const ENDPOINT_SLICES: Resource = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  plural: 'endpointslices',
  namespaced: true,
};
export const DISRUPTION_BUDGETS: Resource = {
  apiVersion: 'policy/v1',
  kind: 'PodDisruptionBudget',
  plural: 'poddisruptionbudgets',
  namespaced: true,
};
export const NETWORK_POLICIES: Resource = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  plural: 'networkpolicies',
  namespaced: true,
};
