// What the operator may do, against what it did: the API server's audit log of a cluster's whole life, replayed against the chart's Role.
// And what it wrote meanwhile: no secret in it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type {
  V1Deployment,
  V1Pod,
  V1PolicyRule,
  V1ReplicaSet,
  V1Role,
  V1Secret,
  V1StatefulSet,
} from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import {
  CLAIMS,
  CLUSTERS,
  CONFIG_MAPS,
  DISRUPTION_BUDGETS,
  ENDPOINT_SLICES,
  MIGRATIONS,
  NETWORK_POLICIES,
  NODES,
  PODS,
  REPLICA_SETS,
  SECRETS,
  SERVICE_ACCOUNTS,
  SERVICES,
  STATEFUL_SETS,
} from '../../operator/kinds.ts';
import { EVENTS } from '../../operator/runtime/events.ts';
import { type KubernetesObject, Objects } from '../../operator/runtime/objects.ts';
import { ended } from '../cluster/shell.ts';
import { type ApiServer, eventually, installDefinitions, NAMESPACES, startApiServer } from './operator-api-server.ts';
import { Nodes, startControllerManager } from './operator-nodes.ts';

const ROOT = join(import.meta.dirname, '../..');
const NAMESPACE = 'media';
const SYSTEM = 'holdfast-system';
const ACCOUNT = `system:serviceaccount:${SYSTEM}:holdfast-operator`;
const PASSWORD = 'a password that nobody may see';
const KEPT_MIGRATIONS = 50;

/** Granted, and not to be seen in an audit log. */
const NOT_AUDITED = new Map([
  // Asked for by the admission plugin OwnerReferencesPermissionEnforcement (OpenShift has it on), for blockOwnerDeletion.
  ['update holdfast.dev/fileserverclusters/finalizers', 'admission'],
]);

let server: ApiServer;
let objects: Objects;
let nodes: Nodes;
let controllers: ChildProcess;
let operator: ChildProcess;
let manifest: KubernetesObject[];
let said = '';
/** Migrations that moved handles. */
let moved: HandleMigration[] = [];
/** A collector of OpenTelemetry, and what it got. */
let collector: Server;
const traced: SentSpan[] = [];

interface SentSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  status: { code: number };
}

beforeAll(async () => {
  server = await startApiServer({
    omitStages: ['RequestReceived'],
    rules: [{ level: 'Metadata', users: [ACCOUNT] }, { level: 'None' }],
  });
  objects = new Objects(server.api);
  controllers = startControllerManager(server);
  await installDefinitions(objects);
  const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  for (const name of [SYSTEM, NAMESPACE]) await objects.create(NAMESPACES, { metadata: { name, labels: restricted } });
  manifest = chart();
  const text = manifest.map((object) => JSON.stringify(object)).join('\n---\n');
  kubectl(['apply', '-f', '-'], text);
  nodes = new Nodes(server.api, NAMESPACE, ['node1', 'node2', 'node3']);
  await nodes.start();
  collector = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const { resourceSpans } = JSON.parse(body) as { resourceSpans: { scopeSpans: { spans: SentSpan[] }[] }[] };
    for (const { scopeSpans } of resourceSpans) for (const { spans } of scopeSpans) traced.push(...spans);
    response.end('{}');
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  operator = await startOperator();
}, 120_000);

afterAll(async () => {
  if (operator?.exitCode === null) operator.kill('SIGKILL');
  await nodes?.stop();
  collector?.closeAllConnections();
  collector?.close();
  controllers?.kill('SIGKILL');
  if (controllers) await ended(controllers);
  await server?.stop();
});

function kubectl(args: string[], input = ''): string {
  const command = ['--kubeconfig', server.kubeconfig, ...args];
  return execFileSync(join(server.bin, 'kubectl'), command, { input, encoding: 'utf8', stdio: 'pipe' });
}

function chart(): KubernetesObject[] {
  const args = [
    'template',
    'holdfast',
    join(ROOT, 'charts/holdfast'),
    '--namespace',
    SYSTEM,
    '--kube-version',
    '1.34.0',
  ];
  const text = execFileSync(join(server.bin, 'helm'), [...args, '--set', 'crds.install=false', '--skip-tests'], {
    encoding: 'utf8',
  });
  return parseAllDocuments(text)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((object) => object !== null);
}

/** The operator as the Deployment starts it, under its service account. */
async function startOperator(): Promise<ChildProcess> {
  const { status } = await server.api.request<{ status: { token: string } }>(
    'POST',
    `/api/v1/namespaces/${SYSTEM}/serviceaccounts/holdfast-operator/token`,
    { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
  );
  const kubeconfig = JSON.parse(readFileSync(server.kubeconfig, 'utf8')) as { users: { user: object }[] };
  for (const user of kubeconfig.users) user.user = { token: status.token };
  const file = join(server.folder, 'operator.kubeconfig');
  writeFileSync(file, JSON.stringify(kubeconfig), { mode: 0o600 });
  const deployment = manifest.find(({ kind }) => kind === 'Deployment') as V1Deployment;
  const args = deployment.spec?.template.spec?.containers[0]?.args ?? [];
  const own = args.map((arg) => (arg === '0.0.0.0:9447' ? '127.0.0.1:0' : arg));
  const child = spawn(process.execPath, ['operator/main.ts', ...own, '--kubeconfig', file], {
    cwd: ROOT,
    env: {
      ...process.env,
      HOLDFAST_LOG_LEVEL: 'trace',
      POD_NAMESPACE: SYSTEM,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (process.env.SHOW_LOGS) process.stderr.write(chunk);
  });
  return child;
}

const cluster = (name: string, spec: object) =>
  objects.create(CLUSTERS, { metadata: { namespace: NAMESPACE, name }, spec } as KubernetesObject);
const pods = () => objects.list<V1Pod>(PODS, NAMESPACE, { labelSelector: 'app.kubernetes.io/component=fileserver' });
const conditionOf = async (name: string, type: string) => {
  const { status } = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, name);
  return status?.conditions?.find((condition) => condition.type === type);
};

async function settled(replicas: number): Promise<V1Pod[]> {
  return eventually(
    `${replicas} servers are ready and nothing is under way`,
    async () => {
      const now = await pods();
      const ready = now.filter(({ status }) =>
        status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'),
      );
      const progressing = await conditionOf('media', 'Progressing');
      return now.length === replicas && ready.length === replicas && progressing?.status === 'False' && now;
    },
    60_000,
  );
}

/** All that a cluster can live through, as far as it asks for something else of the API. */
async function live(): Promise<void> {
  await objects.create(CLAIMS, {
    metadata: { namespace: NAMESPACE, name: 'media' },
    spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
  } as KubernetesObject);
  const users = { metadata: { namespace: NAMESPACE, name: 'users' }, stringData: { alice: PASSWORD } };
  const shares = [{ name: 'projects', volume: 'data', access: [{ principal: 'alice' }] }];
  const spec = {
    replicas: 3,
    shares,
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
    users: { secretRef: { name: 'users' } },
    migration: { drainTimeout: '10s' },
    service: { perServer: true },
  };
  await objects.create(SECRETS, users as KubernetesObject);
  await cluster('media', spec);
  // A claim that the operator makes, three Redis with Sentinels; users that are missing twice, so that an Event is counted.
  await cluster('other', {
    ...spec,
    replicas: 0,
    volumes: [{ name: 'data', volumeClaimTemplate: { storage: '1Gi' } }],
    users: { secretRef: { name: 'other-users' } },
    state: { embedded: { replicas: 3 } },
  });
  const others = { ...users, metadata: { namespace: NAMESPACE, name: 'other-users' } };
  for (let round = 0; round < 2; round++) {
    await eventually(
      'the missing Secret is named',
      async () => (await conditionOf('other', 'Degraded'))?.status === 'True',
    );
    await objects.create(SECRETS, others as KubernetesObject);
    await eventually('the Secret is seen', async () => (await conditionOf('other', 'Degraded'))?.status === 'False');
    if (round === 0) await objects.delete(SECRETS, NAMESPACE, 'other-users');
    if (round === 0)
      await objects.patch(CLUSTERS, NAMESPACE, 'other', { spec: { shares: [{ ...shares[0], comment: 'x' }] } });
  }

  const [first] = await settled(3);
  nodes.open(first?.metadata?.name ?? '', 5);
  const node = first?.spec?.nodeName ?? '';
  await objects.patch(NODES, '', node, { spec: { unschedulable: true } });
  await eventually(
    'its server is gone',
    async () => (await pods()).every(({ spec }) => spec?.nodeName !== node),
    60_000,
  );
  await settled(3);
  await objects.patch(NODES, '', node, { spec: { unschedulable: null } });

  await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { template: { labels: { version: '2' } } } });
  await eventually(
    'all servers are of the new template',
    async () => (await pods()).every(({ metadata }) => metadata?.labels?.version === '2'),
    90_000,
  );
  await settled(3);
  await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { replicas: 2 } });
  await settled(2);
  const ofMedia = { labelSelector: 'holdfast.dev/cluster=media' };
  await eventually(
    'the old ReplicaSet is gone',
    async () => (await objects.list(REPLICA_SETS, NAMESPACE, ofMedia)).length === 1,
  );
  await objects.patch(SERVICES, NAMESPACE, 'media', { spec: { selector: { drift: 'x' } } });

  // One whose pod had left by itself before the operator came to it has no targets, and no trace.
  moved = (await objects.list<HandleMigration>(MIGRATIONS, NAMESPACE)).filter(
    ({ status }) => status?.phase === 'Succeeded' && status.targets !== undefined,
  );
  for (let i = 0; i < KEPT_MIGRATIONS + 2; i++) {
    await objects.create(MIGRATIONS, {
      metadata: { namespace: NAMESPACE, name: `by-hand-${i}` },
      spec: { cluster: 'media', source: 'nobody', reason: 'Manual' },
    } as KubernetesObject);
  }
  await eventually('old migrations are pruned', async () => {
    const left = await objects.list<HandleMigration>(MIGRATIONS, NAMESPACE);
    return left.length <= KEPT_MIGRATIONS && left.every(({ status }) => status?.endTime !== undefined);
  });
}

interface AuditEvent {
  verb: string;
  objectRef?: { apiGroup?: string; resource: string; subresource?: string; namespace?: string };
  responseStatus?: { code: number; message?: string };
  requestURI: string;
}

/** "verb group/resource/subresource", as a Role grants it and a request asks for it. */
function asked({ verb, objectRef, responseStatus }: AuditEvent): string[] {
  if (!objectRef) return [];
  const { apiGroup = '', resource, subresource } = objectRef;
  const what = `${apiGroup}/${resource}${subresource ? `/${subresource}` : ''}`;
  // A server-side apply that makes an object has to be allowed to create it.
  return verb === 'patch' && responseStatus?.code === 201 ? [`patch ${what}`, `create ${what}`] : [`${verb} ${what}`];
}

function granted(rules: readonly V1PolicyRule[]): string[] {
  return rules.flatMap(({ apiGroups = [], resources = [], verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`))),
  );
}

test('uses all of its permissions, and lacks none', async () => {
  await live();
  operator.kill('SIGTERM');
  expect(await ended(operator)).toBe(0);

  const events = readFileSync(join(server.folder, 'audit.log'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditEvent);
  expect(events.length).toBeGreaterThan(100);
  const refused = events.filter(({ responseStatus }) => responseStatus?.code === 403);
  expect(refused.map(({ requestURI, responseStatus }) => `${requestURI}: ${responseStatus?.message}`)).toEqual([]);

  const roles = manifest.filter(({ kind }) => kind === 'Role' || kind === 'ClusterRole') as V1Role[];
  const may = new Set(roles.flatMap(({ rules }) => granted(rules ?? [])));
  const did = new Set(events.flatMap(asked));
  const unused = [...may].filter((permission) => !did.has(permission) && !NOT_AUDITED.has(permission));
  expect(unused.sort()).toEqual([]);
  // Reviews of its own permissions are everybody's right.
  const others = [...did].filter(
    (permission) => !may.has(permission) && !permission.includes('selfsubjectaccessreviews'),
  );
  expect(others).toEqual([]);
  expect([...may].filter((permission) => permission.includes('*'))).toEqual([]);
}, 240_000);

test('traces migrations, under an id that its log has too', () => {
  // A cordon, three upgrades, one server fewer.
  expect(moved.length).toBeGreaterThanOrEqual(4);
  for (const { metadata } of moved) {
    const traceId = metadata.uid?.replaceAll('-', '') ?? '';
    const spans = traced.filter((span) => span.traceId === traceId);
    const whole = spans.find(({ name }) => name === 'migration');
    expect(whole).toMatchObject({ status: { code: 1 } });
    const steps = spans.filter(({ parentSpanId }) => parentSpanId === whole?.spanId).map(({ name }) => name);
    expect(steps).toEqual(expect.arrayContaining(['prepare', 'cut routing', 'move']));
    expect(said).toContain(`"traceId":"${traceId}"`);
  }
});

test('has its pods taken by a namespace that enforces *restricted*', async () => {
  const sets = [
    ...(await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE)),
    ...(await objects.list<V1StatefulSet>(STATEFUL_SETS, NAMESPACE)),
  ];
  expect(new Set(sets.map(({ spec }) => spec?.template?.metadata?.labels?.['app.kubernetes.io/component']))).toEqual(
    new Set(['fileserver', 'redis']),
  );
  for (const [i, { spec }] of sets.entries()) {
    const { metadata, spec: podSpec } = spec?.template ?? {};
    // As the StatefulSet controller would, for the claims that it makes.
    const claims = (spec as V1StatefulSet['spec'])?.volumeClaimTemplates ?? [];
    const made = claims.map((claim) => ({
      name: claim.metadata?.name,
      persistentVolumeClaim: { claimName: `${claim.metadata?.name}-0` },
    }));
    const volumes = [...(podSpec?.volumes ?? []), ...made];
    await server.api.request('POST', `/api/v1/namespaces/${NAMESPACE}/pods`, {
      query: { dryRun: 'All', fieldValidation: 'Strict' },
      body: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { ...metadata, name: `pod-${i}` },
        spec: { ...podSpec, volumes },
      },
    });
  }
});

test('writes no secret anywhere but into Secrets', async () => {
  const secrets = await objects.list<V1Secret>(SECRETS, NAMESPACE);
  const values = secrets.flatMap(({ data = {} }) => {
    // Certificates are public, their keys are not.
    const hidden = Object.entries(data).filter(([key]) => !key.endsWith('.crt'));
    return hidden.flatMap(([, value]) => [value, Buffer.from(value, 'base64').toString('utf8')]);
  });
  expect(values).toContain(PASSWORD);
  expect(values.length).toBeGreaterThan(6);
  // Of a key any line would do.
  const needles = values
    .flatMap((value) => value.split('\n'))
    .filter((line) => line.length >= 16 && !line.startsWith('---'));
  const kinds = [
    CLUSTERS,
    MIGRATIONS,
    PODS,
    SERVICES,
    CONFIG_MAPS,
    SERVICE_ACCOUNTS,
    CLAIMS,
    REPLICA_SETS,
    STATEFUL_SETS,
  ];
  const written = await Promise.all(
    [...kinds, ENDPOINT_SLICES, DISRUPTION_BUDGETS, NETWORK_POLICIES, EVENTS].map(
      async (kind): Promise<[string, string]> => [kind.plural, JSON.stringify(await objects.list(kind, NAMESPACE))],
    ),
  );
  const args = JSON.stringify(operator.spawnargs);
  for (const [where, text] of [...written, ['log', said], ['args', args]] as const) {
    expect(text.length).toBeGreaterThan(1);
    // Not shown when it fails: the place is enough.
    expect([where, needles.filter((needle) => text.includes(needle)).length]).toEqual([where, 0]);
  }
});
