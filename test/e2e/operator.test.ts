import { beforeAll, describe, expect, test } from '@jest/globals';
import { Kubernetes } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';
import { installOperator } from '../demo/installation.ts';

const NAMESPACE = 'holdfast-e2e';
const MINUTES = 60_000;

interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
}

/** Smallest useful cluster, with what a test wants to be different. */
function cluster(name: string, more: { claim?: string; secret?: string; replicas?: number } = {}): string {
  return `
apiVersion: holdfast.dev/v1alpha1
kind: FileServerCluster
metadata: {name: ${name}, namespace: ${NAMESPACE}}
spec:
  replicas: ${more.replicas ?? 1}
  volumes:
    - name: data
      persistentVolumeClaim: {claimName: ${more.claim ?? 'data'}}
  shares:
    - {name: projects, volume: data, path: /, continuouslyAvailable: true, access: [{principal: alice, permission: Full}]}
  users: {secretRef: {name: ${more.secret ?? 'users'}}}
  service: {type: ClusterIP}
`;
}

const claim = (name: string) => `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ${name}, namespace: ${NAMESPACE}}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
`;

const secret = (name: string) => `
apiVersion: v1
kind: Secret
metadata: {name: ${name}, namespace: ${NAMESPACE}}
stringData: {alice: "secret-of-the-test"}
`;

describe('the operator on the three-node cluster', () => {
  let kubernetes: Kubernetes;

  beforeAll(async () => {
    kubernetes = await Kubernetes.get((line) => process.stderr.write(`${line}\n`));
    await kubernetes.kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found', '--wait', '--timeout=120s']);
    await kubernetes.kubectl(['create', 'namespace', NAMESPACE]);
    await kubernetes.kubectl(['label', 'namespace', NAMESPACE, 'pod-security.kubernetes.io/enforce=restricted']);
    await installOperator(kubernetes, process.env.IMAGE || undefined);
    await kubernetes.apply([claim('data'), secret('users')].join('---'));
  }, 5 * MINUTES);

  async function condition(name: string, type: string): Promise<Condition | undefined> {
    const object = await kubernetes.get('fileservercluster', NAMESPACE, name);
    return ((object?.status?.conditions ?? []) as Condition[]).find((one) => one.type === type);
  }

  const becomes = (name: string, type: string, status: string, withinMs: number) =>
    eventually(`${name}: ${type} is ${status}`, withinMs, async () => {
      const found = await condition(name, type);
      if (found?.status !== status) throw new Error(`it is ${found?.status}: ${found?.reason} ${found?.message}`);
      return found;
    });

  test(
    'a cluster whose Secret is missing says so, and mends itself when it comes',
    async () => {
      await kubernetes.apply(cluster('no-users', { secret: 'late-users' }));
      const found = await becomes('no-users', 'Degraded', 'True', MINUTES);
      expect(found.message).toContain('late-users');
      await kubernetes.apply(secret('late-users'));
      await becomes('no-users', 'Available', 'True', 3 * MINUTES);
      await becomes('no-users', 'Degraded', 'False', MINUTES);
      await kubernetes.kubectl(['delete', 'fileservercluster', 'no-users', '-n', NAMESPACE]);
    },
    5 * MINUTES,
  );

  test(
    'a cluster whose claim is missing says so',
    async () => {
      await kubernetes.apply(cluster('no-claim', { claim: 'nowhere' }));
      const found = await becomes('no-claim', 'Degraded', 'True', MINUTES);
      expect(found.message).toContain('nowhere');
      await kubernetes.kubectl(['delete', 'fileservercluster', 'no-claim', '-n', NAMESPACE]);
    },
    3 * MINUTES,
  );

  test(
    'scales, moves what a person asks to be moved, and takes away what it made',
    async () => {
      await kubernetes.apply(cluster('small', { replicas: 2 }));
      await becomes('small', 'Available', 'True', 3 * MINUTES);
      const pods = () =>
        kubernetes.list('pods', NAMESPACE, 'holdfast.dev/cluster=small,app.kubernetes.io/component=fileserver');
      const source = await eventually('two pods run', MINUTES, async () => {
        const found = await pods();
        return found.length === 2 ? found[0]?.metadata.name : undefined;
      });
      await kubernetes.kubectl(['create', '-f', '-'], {
        input: `
apiVersion: holdfast.dev/v1alpha1
kind: HandleMigration
metadata: {name: by-hand, namespace: ${NAMESPACE}}
spec: {cluster: small, source: ${source}, reason: Manual}
`,
      });
      await eventually('the migration is done', 2 * MINUTES, async () => {
        const migration = await kubernetes.get('handlemigration', NAMESPACE, 'by-hand');
        if (migration?.status?.phase !== 'Succeeded') throw new Error(`its phase is ${migration?.status?.phase}`);
        return true;
      });
      await kubernetes.kubectl(['scale', 'fileservercluster', 'small', '-n', NAMESPACE, '--replicas=1']);
      await eventually('one pod is left', 3 * MINUTES, async () => ((await pods()).length === 1 ? true : undefined));
      await kubernetes.kubectl(['delete', 'fileservercluster', 'small', '-n', NAMESPACE]);
      await eventually('its pods are gone', 2 * MINUTES, async () => ((await pods()).length === 0 ? true : undefined));
      expect(await kubernetes.get('persistentvolumeclaim', NAMESPACE, 'data')).toBeDefined();
    },
    10 * MINUTES,
  );
});
