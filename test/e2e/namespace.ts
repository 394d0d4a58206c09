import { type KubeObject, Kubernetes } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';

const MINUTE_MS = 60_000;
export const SHARE = 'projects';
export const USER = 'alice';
export const PASSWORD = 'secret-of-the-test';

export interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
}

export interface ClusterWishes {
  claim?: string;
  secret?: string;
  replicas?: number;
  /** How many Redis the embedded store has. */
  stores?: 1 | 3;
}

/** A namespace of a test, with a claim and users in it. */
export class TestNamespace {
  readonly kubernetes: Kubernetes;
  readonly name: string;

  private constructor(kubernetes: Kubernetes, name: string) {
    this.kubernetes = kubernetes;
    this.name = name;
  }

  /** Anew, whatever an earlier run left there. */
  static async make(name: string): Promise<TestNamespace> {
    const kubernetes = await Kubernetes.get((line) => process.stderr.write(`${line}\n`));
    const namespace = new TestNamespace(kubernetes, name);
    await namespace.remove();
    await kubernetes.kubectl(['create', 'namespace', name]);
    await kubernetes.kubectl(['label', 'namespace', name, 'pod-security.kubernetes.io/enforce=restricted']);
    await kubernetes.apply([namespace.claim('data'), namespace.secret('users')].join('---'));
    return namespace;
  }

  async remove(): Promise<void> {
    await this.kubernetes.kubectl(['delete', 'namespace', this.name, '--ignore-not-found', '--wait', '--timeout=120s']);
  }

  claim(name: string): string {
    return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ${name}, namespace: ${this.name}}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
`;
  }

  secret(name: string): string {
    return `
apiVersion: v1
kind: Secret
metadata: {name: ${name}, namespace: ${this.name}}
stringData: {${USER}: ${JSON.stringify(PASSWORD)}}
`;
  }

  /** Smallest useful cluster, with what a test wants to be different. */
  cluster(name: string, { claim = 'data', secret = 'users', replicas = 1, stores }: ClusterWishes = {}): string {
    return `
apiVersion: holdfast.dev/v1alpha1
kind: FileServerCluster
metadata: {name: ${name}, namespace: ${this.name}}
spec:
  replicas: ${replicas}
  volumes:
    - name: data
      persistentVolumeClaim: {claimName: ${claim}}
  shares:
    - {name: ${SHARE}, volume: data, path: /, continuouslyAvailable: true, access: [{principal: ${USER}, permission: Full}]}
  users: {secretRef: {name: ${secret}}}
  service: {type: ClusterIP}
${stores === undefined ? '' : `  state: {embedded: {replicas: ${stores}}}`}
`;
  }

  async condition(name: string, type: string): Promise<Condition | undefined> {
    const object = await this.kubernetes.get('fileservercluster', this.name, name);
    return ((object?.status?.conditions ?? []) as Condition[]).find((one) => one.type === type);
  }

  becomes(name: string, type: string, status: string, withinMs: number): Promise<Condition> {
    return eventually(`${name}: ${type} is ${status}`, withinMs, async () => {
      const found = await this.condition(name, type);
      if (found?.status !== status) throw new Error(`it is ${found?.status}: ${found?.reason} ${found?.message}`);
      return found;
    });
  }

  pods(cluster: string, component: 'fileserver' | 'redis' = 'fileserver'): Promise<KubeObject[]> {
    const selector = `holdfast.dev/cluster=${cluster},app.kubernetes.io/component=${component}`;
    return this.kubernetes.list('pods', this.name, selector);
  }

  /** The file servers of a cluster, as soon as so many are ready and stay. */
  readyPods(cluster: string, count: number): Promise<KubeObject[]> {
    return eventually(`${cluster} has ${count} pods that are ready`, 3 * MINUTE_MS, async () => {
      const ready = (await this.pods(cluster)).filter(
        ({ metadata, status }) =>
          metadata.deletionTimestamp === undefined &&
          ((status?.conditions ?? []) as Condition[]).some((one) => one.type === 'Ready' && one.status === 'True'),
      );
      return ready.length === count ? ready : undefined;
    });
  }

  /** Where clients of this machine reach a cluster's servers: each of so many, and all that will be, by their Service. */
  async addresses(cluster: string, count: number): Promise<string[]> {
    const own = await eventually(`${cluster} has ${count} addresses`, MINUTE_MS, async () => {
      const found = (await this.pods(cluster)).flatMap(({ status }) => (status as { podIP?: string }).podIP ?? []);
      return found.length === count ? found : undefined;
    });
    return [...own.map((address) => `${address}:445`), ...(await this.serviceAddress(cluster))];
  }

  /** Where clients of this machine reach whichever servers a cluster has; empty: it has no Service. */
  async serviceAddress(cluster: string): Promise<string[]> {
    const service = await this.kubernetes.get('service', this.name, cluster);
    const clusterIp = (service?.spec as { clusterIP?: string } | undefined)?.clusterIP;
    return clusterIp === undefined ? [] : [`${clusterIp}:445`];
  }
}
