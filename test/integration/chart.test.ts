import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { V1Deployment, V1NetworkPolicy, V1NetworkPolicyPeer } from '@kubernetes/client-node';
import { parse, parseAllDocuments, parseDocument, stringify, type YAMLMap } from 'yaml';
import { CLUSTERS } from '../../operator/kinds.ts';
import { type KubernetesObject, Objects } from '../../operator/runtime/objects.ts';
import { type ApiServer, eventually, NAMESPACES, startApiServer } from './operator-api-server.ts';

const ROOT = join(import.meta.dirname, '../..');
const CHART = join(ROOT, 'charts/holdfast');
const NAMESPACE = 'holdfast-system';

let server: ApiServer;
let objects: Objects;

beforeAll(async () => {
  server = await startApiServer();
  objects = new Objects(server.api);
  for (const name of [NAMESPACE, 'team', 'other', 'grafana']) {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await objects.create(NAMESPACES, { metadata: { name, labels } });
  }
  kubectl(['apply', '-f', '-'], readFileSync(join(import.meta.dirname, 'chart/monitoring-crds.yaml'), 'utf8'));
  await eventually('ServiceMonitors are served', () =>
    server.api.request('GET', '/apis/monitoring.coreos.com/v1/servicemonitors').then(() => true),
  );
}, 120_000);

afterAll(() => server?.stop());

function run(program: string, args: string[], input = ''): string {
  try {
    const env = { ...process.env, HELM_CACHE_HOME: server.folder, HELM_CONFIG_HOME: server.folder };
    return execFileSync(join(server.bin, program), args, { input, encoding: 'utf8', stdio: 'pipe', env });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${program} ${args.join(' ')}: ${stderr}${stdout}`);
  }
}

function kubectl(args: string[], input = ''): string {
  return run('kubectl', ['--kubeconfig', server.kubeconfig, ...args], input);
}

function helm(...args: string[]): string {
  return run('helm', ['--kubeconfig', server.kubeconfig, ...args]);
}

const values = (set: object): string[] =>
  Object.entries(set).flatMap(([key, value]) => ['--set-json', `${key}=${JSON.stringify(value)}`]);

function template(set: object): KubernetesObject[] {
  const flags = ['--namespace', NAMESPACE, '--kube-version', '1.34.0', ...values(set)];
  const text = run('helm', ['template', 'holdfast', CHART, ...flags]);
  return parseAllDocuments(text)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((object) => object !== null);
}

/** Where objects of a kind are in the API. */
const PLURALS: Record<string, string> = { NetworkPolicy: 'networkpolicies' };

/** Server-side apply of which nothing stays. Unknown fields are errors. */
function dryRun(object: KubernetesObject): Promise<unknown> {
  const { apiVersion = '', kind = '', metadata } = object;
  const plural = PLURALS[kind] ?? `${kind.toLowerCase()}s`;
  const within = metadata?.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
  const path = `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}${within}/${plural}/${metadata?.name}`;
  return server.api.request('PATCH', path, {
    query: { dryRun: 'All', fieldManager: 'helm', fieldValidation: 'Strict', force: true },
    contentType: 'application/apply-patch+yaml',
    body: object,
  });
}

/** Pods as the Deployments would have them made. */
function podsOf(manifest: readonly KubernetesObject[]): KubernetesObject[] {
  return (manifest as V1Deployment[])
    .filter(({ kind }) => kind === 'Deployment')
    .map(({ metadata, spec }) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...spec?.template.metadata, name: `${metadata?.name}-0`, namespace: metadata?.namespace },
      spec: spec?.template.spec,
    }));
}

const kinds = (manifest: readonly KubernetesObject[]) =>
  manifest.map(({ kind, metadata }) => `${kind} ${metadata?.namespace ?? ''}/${metadata?.name}`);

const MONITORED = {
  'metrics.serviceMonitor': { enabled: true, labels: { release: 'prometheus' }, interval: '30s' },
  'metrics.prometheusRule': {
    enabled: true,
    labels: { release: 'prometheus' },
    runbookBase: 'https://wiki.example/runbooks',
  },
  'metrics.dashboards': { enabled: true, namespace: 'grafana', annotations: { grafana_folder: 'Holdfast' } },
};
const TRIED = { cluster: 'media', share: 'projects/checks', user: 'alice', passwordSecret: 'media-users' };
const SPREAD = { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'DoNotSchedule' };
const NODE = { nodeSelectorTerms: [{ matchExpressions: [{ key: 'pool', operator: 'In', values: ['system'] }] }] };

/** Values as people set them, each with what has to come of it. */
const SETS: [string, object, (manifest: KubernetesObject[]) => void][] = [
  ['nothing', {}, (made) => expect(kinds(made)).toContain(`Deployment ${NAMESPACE}/holdfast-operator`)],
  [
    'an image of one’s own',
    { image: { repository: 'registry.example:5000/a/b', tag: '1.2.3', pullPolicy: 'Always' } },
    (made) => expect(JSON.stringify(made)).toContain('"registry.example:5000/a/b:1.2.3"'),
  ],
  [
    'a digest',
    { 'image.digest': `sha256:${'a'.repeat(64)}` },
    (made) => expect(JSON.stringify(made)).toContain(`holdfast.dev/holdfast@sha256:${'a'.repeat(64)}`),
  ],
  [
    'a private registry',
    { imagePullSecrets: [{ name: 'registry' }] },
    (made) => expect(JSON.stringify(made)).toContain('"imagePullSecrets":[{"name":"registry"}]'),
  ],
  ['one operator', { replicas: 1 }, (made) => expect(kinds(made).join()).not.toContain('PodDisruptionBudget')],
  ['five operators', { replicas: 5 }, (made) => expect(kinds(made).join()).toContain('PodDisruptionBudget')],
  [
    'no budget',
    { 'podDisruptionBudget.enabled': false },
    (made) => expect(kinds(made).join()).not.toContain('PodDisruptionBudget'),
  ],
  [
    'one namespace, and nothing beyond it',
    { watch: { namespaces: ['team'], nodes: false }, 'crds.install': false },
    (made) => {
      expect(made.every(({ metadata }) => metadata?.namespace !== undefined)).toBe(true);
      expect(kinds(made).filter((one) => one.startsWith('Role '))).toEqual([
        `Role team/${NAMESPACE}-holdfast-operator`,
        `Role ${NAMESPACE}/holdfast-operator-leader`,
      ]);
    },
  ],
  [
    'the operator’s own namespace',
    { watch: { namespaces: [NAMESPACE], nodes: false } },
    (made) => expect(kinds(made).join()).not.toContain('ClusterRole'),
  ],
  [
    'two namespaces, with nodes',
    { 'watch.namespaces': ['team', 'other'] },
    (made) =>
      expect(kinds(made).filter((one) => one.startsWith('ClusterRole '))).toEqual([
        `ClusterRole /${NAMESPACE}-holdfast-operator-nodes`,
      ]),
  ],
  [
    'no definitions',
    { 'crds.install': false },
    (made) => expect(kinds(made).join()).not.toContain('CustomResourceDefinition'),
  ],
  [
    'permissions by somebody else',
    { 'rbac.create': false },
    (made) => expect(kinds(made).join()).not.toContain('Role'),
  ],
  [
    'an account that is there',
    { serviceAccount: { create: false, name: 'mine' } },
    (made) => {
      expect(kinds(made).join()).not.toContain('ServiceAccount');
      expect(JSON.stringify(made)).toContain('"serviceAccountName":"mine"');
    },
  ],
  [
    'an account with annotations',
    { 'serviceAccount.annotations': { 'eks.amazonaws.com/role-arn': 'arn:x' } },
    (made) => expect(JSON.stringify(made)).toContain('arn:x'),
  ],
  [
    'debug logs',
    { logLevel: 'debug' },
    (made) => expect(JSON.stringify(made)).toContain('{"name":"HOLDFAST_LOG_LEVEL","value":"debug"}'),
  ],
  [
    'resources',
    { resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: 2, memory: '1Gi' } } },
    (made) => expect(JSON.stringify(made)).toContain('"requests":{"cpu":"1","memory":"1Gi"}'),
  ],
  [
    'labels and annotations',
    { podLabels: { team: 'storage' }, podAnnotations: { 'linkerd.io/inject': 'disabled' } },
    (made) => expect(JSON.stringify(made)).toContain('"team":"storage"'),
  ],
  [
    'a place for system pods',
    {
      nodeSelector: { pool: 'system' },
      tolerations: [{ key: 'system', operator: 'Exists' }],
      priorityClassName: 'system-cluster-critical',
      affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: NODE } },
    },
    (made) => expect(JSON.stringify(made)).toContain('"priorityClassName":"system-cluster-critical"'),
  ],
  [
    'spread over zones',
    { topologySpreadConstraints: [SPREAD] },
    (made) => expect(JSON.stringify(made)).toMatch(/"topologyKey":"topology.kubernetes.io\/zone"/),
  ],
  [
    'a network policy',
    { networkPolicy: { enabled: true } },
    (made) => expect(kinds(made)).toContain(`NetworkPolicy ${NAMESPACE}/holdfast-operator`),
  ],
  [
    'a network policy for Prometheus',
    {
      networkPolicy: {
        enabled: true,
        metricsFrom: [
          { namespaceSelector: { matchLabels: { name: 'monitoring' } } },
          { ipBlock: { cidr: '10.0.0.0/8' } },
        ],
      },
    },
    (made) => {
      expect(JSON.stringify(made)).toContain('"cidr":"10.0.0.0/8"');
      // Or `helm test` could not ask the operator.
      const labels = made.find(({ kind }) => kind === 'Pod')?.metadata?.labels ?? {};
      const { spec } = made.find(({ kind }) => kind === 'NetworkPolicy') as V1NetworkPolicy & {
        spec: { ingress: { from: V1NetworkPolicyPeer[] }[] };
      };
      const isTest = ({ podSelector }: V1NetworkPolicyPeer) =>
        Object.entries(podSelector?.matchLabels ?? { none: '' }).every(([key, value]) => labels[key] === value);
      expect(spec.ingress[0]?.from.filter(isTest)).toHaveLength(1);
    },
  ],
  [
    'monitoring',
    MONITORED,
    (made) => {
      expect(kinds(made).filter((one) => /Monitor|PrometheusRule/.test(one))).toHaveLength(3);
      expect(kinds(made).filter((one) => one.startsWith('ConfigMap grafana/holdfast-dashboard-'))).toHaveLength(4);
      expect(JSON.stringify(made)).toContain('https://wiki.example/runbooks/HoldfastNoOperator');
      expect(JSON.stringify(made)).not.toContain('holdfast.dev/docs/runbooks');
    },
  ],
  [
    'monitoring of one namespace',
    { ...MONITORED, 'watch.namespaces': ['team'] },
    (made) => expect(JSON.stringify(made)).toContain('"namespaceSelector":{"matchNames":["team"]}'),
  ],
  [
    'traces',
    { 'tracing.endpoint': 'http://collector:4318' },
    (made) => expect(JSON.stringify(made)).toContain('"OTEL_EXPORTER_OTLP_ENDPOINT","value":"http://collector:4318"'),
  ],
  [
    'a cluster to try',
    { test: TRIED },
    (made) => expect(JSON.stringify(made)).toContain(`"smb://alice@media-servers.${NAMESPACE}.svc/projects/checks"`),
  ],
  [
    'a cluster elsewhere to try',
    { test: { ...TRIED, namespace: 'team' }, imagePullSecrets: [{ name: 'registry' }] },
    (made) => expect(kinds(made)).toContain('Pod team/holdfast-test'),
  ],
];

describe('the chart', () => {
  test('passes helm lint', () => {
    expect(helm('lint', '--strict', CHART)).toContain('1 chart(s) linted, 0 chart(s) failed');
  });

  test.each(SETS)('with %s is what the API server takes', async (_, set, check) => {
    const manifest = template(set);
    check(manifest);
    // What the Deployment makes is to be taken by a namespace that enforces *restricted*, too.
    await Promise.all([...manifest, ...podsOf(manifest)].map(dryRun));
  });

  test.each([
    ['a digest that is none', { 'image.digest': 'latest' }, /image\.digest|image\/digest/],
    ['too many operators', { replicas: 9 }, /replicas/],
    ['an affinity that is none', { 'affinity.nodes': {} }, /affinity/],
    ['a namespace twice', { 'watch.namespaces': ['a', 'a'] }, /namespaces/],
    [
      'a spread with a selector',
      { topologySpreadConstraints: [{ ...SPREAD, labelSelector: {} }] },
      /topologySpreadConstraints/,
    ],
    ['a cluster to try without a user', { test: { cluster: 'media', share: 'projects' } }, /user/],
    ['metrics from nobody in particular', { 'networkPolicy.metricsFrom': [{}] }, /metricsFrom/],
    ['a runbook base that is no address', { 'metrics.prometheusRule.runbookBase': 'runbooks' }, /runbookBase/],
  ])('refuses %s', (_, set, message) => {
    expect(() => template(set)).toThrow(message);
  });
});

describe('every value', () => {
  const { contents } = parseDocument(readFileSync(join(CHART, 'values.yaml'), 'utf8'));
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema;

  interface Schema {
    description?: string;
    properties?: Record<string, Schema>;
  }

  /** Values that people set: maps that the chart itself names, down to their leaves. @returns path, comment, schema */
  function leaves(map: YAMLMap, path: string, within: Schema | undefined): [string, string, Schema | undefined][] {
    return map.items.flatMap(({ key, value }, index) => {
      const name = (key as { value: string }).value;
      const own = within?.properties?.[name];
      const at = path === '' ? name : `${path}.${name}`;
      // The comment before the first entry of a map hangs on the map.
      const comment =
        (key as { commentBefore?: string }).commentBefore ?? (index === 0 ? (map.commentBefore ?? '') : '');
      const inner = value as YAMLMap | null;
      const isMap =
        inner !== null && typeof inner === 'object' && 'items' in inner && inner.constructor.name === 'YAMLMap';
      const documented = comment.includes(' -- ');
      if (isMap && inner.items.length > 0 && !documented) return leaves(inner, at, own);
      return [[at, comment, own] as [string, string, Schema | undefined]];
    });
  }

  const all = leaves(contents as unknown as YAMLMap, '', schema);

  test('is documented, and in the schema with a description', () => {
    expect(all.length).toBeGreaterThan(35);
    for (const [path, comment, own] of all) {
      expect([path, comment.includes(' -- '), own?.description !== undefined]).toEqual([path, true, true]);
    }
  });

  test('that the schema knows is in values.yaml', () => {
    const named = new Set(all.map(([path]) => path));
    const known = (within: Schema, path: string): string[] =>
      Object.entries(within.properties ?? {}).flatMap(([name, inner]) => {
        const at = path === '' ? name : `${path}.${name}`;
        return named.has(at) || at === 'global' ? [] : inner.properties ? known(inner, at) : [at];
      });
    expect(known(schema, '')).toEqual([]);
  });
});

describe('a release', () => {
  /** The chart as it may have been a version ago: a field of the definition is missing, and a value. */
  function olderChart(): string {
    const folder = join(server.folder, 'older');
    mkdirSync(folder);
    execFileSync('cp', ['-a', `${CHART}/.`, folder]);
    const file = join(folder, 'files/crds/fileserverclusters.yaml');
    const crd = parse(readFileSync(file, 'utf8'), { merge: true });
    delete crd.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.limits;
    writeFileSync(file, stringify(crd));
    const values = parseDocument(readFileSync(join(folder, 'values.yaml'), 'utf8'));
    values.delete('tracing');
    writeFileSync(join(folder, 'values.yaml'), values.toString());
    const deployment = join(folder, 'templates/deployment.yaml');
    writeFileSync(deployment, readFileSync(deployment, 'utf8').replace('.Values.tracing.endpoint', '""'));
    return folder;
  }

  const explained = () => kubectl(['explain', 'fileservercluster.spec', '--api-version=holdfast.dev/v1alpha1']);
  const media = () => ({
    metadata: { namespace: 'team', name: 'media' },
    spec: {
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
      shares: [{ name: 'projects', volume: 'data' }],
      users: { secretRef: { name: 'media-users' } },
    },
  });

  test('upgrades the definitions with clusters in them, and leaves both when it is uninstalled', async () => {
    const flags = ['--namespace', NAMESPACE];
    expect(helm('install', 'holdfast', olderChart(), ...flags, '--set', 'replicas=3')).toContain('kubectl get fsc,hm');
    await eventually('clusters can be made', () => objects.create(CLUSTERS, media() as KubernetesObject));
    const uid = (await objects.get(CLUSTERS, 'team', 'media')).metadata?.uid;
    expect(explained()).not.toMatch(/^ {2}limits\t/m);

    // As docs/upgrade.md has it: what was set stays, and what is new is there.
    helm('upgrade', 'holdfast', CHART, ...flags, '--reset-then-reuse-values');
    const replicas = ['get', 'deployment', 'holdfast-operator', ...flags, '-o', 'jsonpath={.spec.replicas}'];
    expect(kubectl(replicas)).toBe('3');
    await eventually('the new field is known', async () => /^ {2}limits\t/m.test(explained()));
    await objects.patch(CLUSTERS, 'team', 'media', { spec: { limits: { sessions: 7 } } });
    expect(await objects.get(CLUSTERS, 'team', 'media')).toMatchObject({
      metadata: { uid },
      spec: { limits: { sessions: 7 } },
    });

    helm('uninstall', 'holdfast', ...flags);
    expect((await objects.get(CLUSTERS, 'team', 'media')).metadata?.uid).toBe(uid);
    const left = kubectl(['get', 'all,sa,cm,secret,role,rolebinding,netpol,pdb', ...flags, '-o', 'name']);
    expect(left.trim()).toBe('');
    expect(kubectl(['get', 'clusterrole,clusterrolebinding', '-o', 'name'])).not.toContain('holdfast');

    // And it is installed again beside what was kept.
    helm('install', 'holdfast', CHART, ...flags);
    expect((await objects.get(CLUSTERS, 'team', 'media')).metadata?.uid).toBe(uid);
    helm('uninstall', 'holdfast', ...flags);
  }, 60_000);
});
