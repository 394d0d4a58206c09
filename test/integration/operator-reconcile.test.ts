import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type {
  CoreV1Event,
  V1ConfigMap,
  V1Deployment,
  V1PersistentVolumeClaim,
  V1Pod,
  V1ReplicaSet,
  V1Secret,
  V1Service,
  V1StatefulSet,
} from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { issueCertificate } from '../../common/certificates.ts';
import { checkClusterConfig } from '../../common/config.ts';
import { SIDECAR_IDENTITY, STORE_IDENTITY } from '../../common/tls.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import {
  CLAIMS,
  CLUSTERS,
  CONFIG_MAPS,
  DISRUPTION_BUDGETS,
  MIGRATIONS,
  NETWORK_POLICIES,
  REPLICA_SETS,
  SECRETS,
  SERVICE_ACCOUNTS,
  SERVICES,
  STATEFUL_SETS,
} from '../../operator/kinds.ts';
import { authorityOf, ROTATE_AUTHORITY_ANNOTATION, readSecret } from '../../operator/resources/certificates.ts';
import { configMap } from '../../operator/resources/cluster-config.ts';
import { PAUSED_ANNOTATION } from '../../operator/resources/names.ts';
import { EVENTS } from '../../operator/runtime/events.ts';
import { type KubernetesObject, Objects, type Resource } from '../../operator/runtime/objects.ts';
import { type ApiServer, eventually, installDefinitions, NAMESPACES, startApiServer } from './operator-api-server.ts';

const root = join(import.meta.dirname, '../..');
/** The Secrets of a few clusters are looked at once a minute: nobody may list, and so watch, them. */
const SECRETS_SEEN_WITHIN_MS = 100_000;
const NAMESPACE = 'media';

let server: ApiServer;
let objects: Objects;
const operators: ChildProcess[] = [];

/** Starts the operator as its own process, as the chart's Deployment does. */
function startOperator(...args: string[]): ChildProcess {
  const child = spawn(
    process.execPath,
    [
      'operator/main.ts',
      '--kubeconfig',
      server.kubeconfig,
      '--image',
      'holdfast.dev/holdfast:test',
      '--metrics',
      '127.0.0.1:0',
      ...args,
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  if (process.env.SHOW_LOGS) child.stderr.pipe(process.stderr);
  else child.stderr.resume();
  operators.push(child);
  return child;
}

/** Where an operator that has just been started serves /metrics, as its log says. */
function metricsPortOf({ stderr }: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    if (!stderr) throw new Error('its log is not read');
    createInterface({ input: stderr }).on('line', (line) => {
      const [, port] = /"metricsPort":(\d+)/.exec(line) ?? [];
      if (port) resolve(Number(port));
    });
  });
}

function stopOperator(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => {
    child.once('exit', (code) => resolve(code));
    child.kill(signal);
  });
}

beforeAll(async () => {
  server = await startApiServer();
  objects = new Objects(server.api);
  await installDefinitions(objects);
  await objects.create(NAMESPACES, {
    metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  startOperator('--namespace', NAMESPACE, '--leader-elect', '--leader-elect-namespace', NAMESPACE);
}, 120_000);

afterAll(async () => {
  await Promise.all(operators.map((child) => stopOperator(child, 'SIGKILL')));
  await server?.stop();
});

const get = <T extends KubernetesObject>(resource: Resource, name: string) => objects.get<T>(resource, NAMESPACE, name);

async function condition(name: string, type: string) {
  const cluster = await get<FileServerCluster>(CLUSTERS, name);
  return cluster.status?.conditions?.find((candidate) => candidate.type === type);
}

/** What Events say of an object: "type reason: message". */
async function eventsOf(name: string): Promise<string[]> {
  const events = await objects.list<CoreV1Event>(EVENTS, NAMESPACE);
  return events
    .filter(({ involvedObject }) => involvedObject.name === name)
    .map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
}

const spec = () => ({
  replicas: 3,
  volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
  shares: [
    {
      name: 'projects',
      volume: 'data',
      path: '/projects',
      continuouslyAvailable: true,
      access: [{ principal: 'alice' }],
    },
  ],
  users: { secretRef: { name: 'media-users' } },
});

describe('the operator, on a real API server', () => {
  test('says what is missing, and goes on when it is there', async () => {
    await objects.create(CLUSTERS, {
      metadata: { namespace: NAMESPACE, name: 'media' },
      spec: spec(),
    } as KubernetesObject);
    await eventually('the missing claim is named', async () => {
      const degraded = await condition('media', 'Degraded');
      return degraded?.status === 'True' && degraded.reason === 'ClaimMissing' && degraded.message.includes('"media"');
    });
    expect((await condition('media', 'Degraded'))?.message).toMatch(/Secret "media-users".*kubectl create secret/);
    expect(await objects.list(REPLICA_SETS, NAMESPACE)).toEqual([]);

    await objects.create(CLAIMS, {
      metadata: { namespace: NAMESPACE, name: 'media' },
      spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
    } as KubernetesObject);
    await eventually(
      'the missing users are named',
      async () => (await condition('media', 'Degraded'))?.reason === 'UsersSecretMissing',
    );
    const users = { metadata: { namespace: NAMESPACE, name: 'media-users' } };
    await objects.create<V1Secret>(SECRETS, users);
    await eventually(
      'the empty Secret is named',
      async () => (await condition('media', 'Degraded'))?.reason === 'UsersSecretEmpty',
    );
    await objects.patch(SECRETS, NAMESPACE, 'media-users', { stringData: { alice: 'secret' } });
    await eventually('it mends itself', async () => (await objects.list(REPLICA_SETS, NAMESPACE)).length === 1);
    // Each of them is told once, and that it is over.
    const told = await eventually('it is told', async () => {
      const events = await eventsOf('media');
      return events.some((event) => event.startsWith('Normal AsExpected')) && events;
    });
    for (const reason of ['ClaimMissing', 'UsersSecretMissing', 'UsersSecretEmpty']) {
      expect(told.filter((event) => event.startsWith(`Warning ${reason}: `))).toHaveLength(1);
    }
  }, 60_000);

  test('makes everything that a cluster is made of', async () => {
    const [set] = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE);
    expect(set?.spec?.replicas).toBe(3);
    const config = await get<V1ConfigMap>(CONFIG_MAPS, 'media-config');
    const cluster = await get<FileServerCluster>(CLUSTERS, 'media');
    const read = checkClusterConfig(JSON.parse(config.data?.['config.json'] ?? ''));
    expect(read).toMatchObject({
      clusterId: cluster.metadata.uid,
      store: {
        addresses: ['media-redis.media.svc:6379'],
        tls: { caFile: '/etc/holdfast/tls/ca.crt', serverName: STORE_IDENTITY },
      },
    });
    expect(cluster.status?.storeTLS).toBe('Required');
    for (const [resource, name] of [
      [SERVICES, 'media'],
      [SERVICES, 'media-servers'],
      [SERVICES, 'media-redis'],
      [STATEFUL_SETS, 'media-redis'],
      [SECRETS, 'media-ca'],
      [SECRETS, 'media-tls'],
      [SECRETS, 'media-redis'],
      [SECRETS, 'media-redis-tls'],
      [SERVICE_ACCOUNTS, 'media-fileserver'],
      [DISRUPTION_BUDGETS, 'media-fileserver'],
      [NETWORK_POLICIES, 'media-fileserver'],
      [NETWORK_POLICIES, 'media-redis'],
    ] as const) {
      const object = await get(resource, name);
      expect(object.metadata?.ownerReferences?.map((owner) => owner.name)).toEqual(['media']);
    }
    for (const [name, identity] of [
      ['media-tls', SIDECAR_IDENTITY],
      ['media-redis-tls', STORE_IDENTITY],
    ] as const) {
      const { data = {} } = await get<V1Secret>(SECRETS, name);
      expect(Object.keys(data).sort()).toEqual(['ca.crt', 'tls.crt', 'tls.key']);
      const shown = new X509Certificate(Buffer.from(data['tls.crt'] ?? '', 'base64'));
      expect(shown.subjectAltName).toBe(`DNS:${identity}`);
    }
    const servers = await get<V1Service>(SERVICES, 'media-servers');
    expect(servers.spec?.clusterIP).toBe('None');
  });

  test('its pods meet the restricted Pod Security Standard', async () => {
    const [set] = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE);
    const redis = await get<V1StatefulSet>(STATEFUL_SETS, 'media-redis');
    for (const template of [set?.spec?.template, redis.spec?.template]) {
      // What a StatefulSet adds from its claim templates.
      const claims = template === redis.spec?.template ? [{ name: 'data', emptyDir: {} }] : [];
      const podSpec = { ...template?.spec, volumes: [...(template?.spec?.volumes ?? []), ...claims] };
      const pod = { metadata: { generateName: 'probe-', namespace: NAMESPACE }, spec: podSpec };
      await server.api.request('POST', `/api/v1/namespaces/${NAMESPACE}/pods`, {
        query: { dryRun: 'All' },
        body: { apiVersion: 'v1', kind: 'Pod', ...pod },
      });
      const bad = structuredClone(pod) as V1Pod;
      for (const container of bad.spec?.containers ?? []) delete container.securityContext;
      await expect(
        server.api.request('POST', `/api/v1/namespaces/${NAMESPACE}/pods`, { query: { dryRun: 'All' }, body: bad }),
      ).rejects.toThrow(/violates PodSecurity "restricted/);
    }
  });

  test('replaces the certificate authority in steps: all trust the next, then show its certificates, then forget the old one', async () => {
    const wish = (text: string) =>
      objects.patch(CLUSTERS, NAMESPACE, 'media', {
        metadata: { annotations: { [ROTATE_AUTHORITY_ANNOTATION]: text } },
      });
    /** The step that runs has lasted long enough. */
    const longAgo = () =>
      objects.patch(SECRETS, NAMESPACE, 'media-ca', {
        metadata: {
          annotations: { 'holdfast.dev/authority-step-since': new Date(Date.now() - 600_000).toISOString() },
        },
      });
    /** Who is trusted, by whom the certificate in use is, and whether its key is where pods are. */
    const read = async () => {
      const { data = {} } = await get<V1Secret>(SECRETS, 'media-tls');
      const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString();
      const trusted = text('ca.crt').match(/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/g) ?? [];
      const shown = new X509Certificate(text('tls.crt'));
      return {
        keys: Object.keys(data).sort(),
        trusted: trusted.map((pem) => new X509Certificate(pem).subject),
        by: trusted.map((pem) => new X509Certificate(pem)).find(({ publicKey }) => shown.verify(publicKey))?.subject,
      };
    };
    const before = await read();
    expect(before.trusted).toEqual([before.by]);

    await wish('one');
    const learning = await eventually('two are trusted', async () => {
      const now = await read();
      return now.trusted.length === 2 && now;
    });
    const [next] = learning.trusted;
    expect(learning).toEqual({ keys: before.keys, trusted: [next, before.by], by: before.by });

    await longAgo();
    await wish('another, meanwhile'); // waits for its turn
    const changed = await eventually('the next one signs', async () => {
      const now = await read();
      return now.by === next && now;
    });
    expect(changed.trusted).toEqual([next, before.by]);

    await longAgo();
    await wish('one');
    await eventually('the old one is forgotten', async () => {
      const now = await read();
      return now.trusted.length === 1 && now.trusted[0] === next && now.by === next;
    });
    const authority = await get<V1Secret>(SECRETS, 'media-ca');
    expect(Object.keys(authority.data ?? {}).sort()).toEqual(['ca.crt', 'ca.key']);
  }, 60_000);

  test('replaces certificates that are nearly over, though nothing else happens', async () => {
    const authority = authorityOf(await get<V1Secret>(SECRETS, 'media-ca'));
    if (!authority) throw new Error('there is no authority');
    const shown = async (name: string) => {
      const secret = await get<V1Secret>(SECRETS, name);
      return new X509Certificate(readSecret(secret, 'tls.crt') ?? '');
    };
    const daysLeft = (certificate: X509Certificate) => (Date.parse(certificate.validTo) - Date.now()) / 86_400_000;
    const identities = [
      ['media-tls', SIDECAR_IDENTITY],
      ['media-redis-tls', STORE_IDENTITY],
    ] as const;
    for (const [name, identity] of identities) {
      const { certificate, key } = await issueCertificate(authority.signer, [identity], 29);
      await objects.patch(SECRETS, NAMESPACE, name, { stringData: { 'tls.crt': certificate, 'tls.key': key } });
      expect(daysLeft(await shown(name))).toBeLessThan(30);
    }
    for (const [name, identity] of identities) {
      const renewed = await eventually(
        `${name} is good for longer`,
        async () => {
          const certificate = await shown(name);
          return daysLeft(certificate) > 89 && certificate;
        },
        SECRETS_SEEN_WITHIN_MS,
      );
      expect(renewed.subjectAltName).toBe(`DNS:${identity}`);
      expect(renewed.verify(new X509Certificate(authority.signer.certificate).publicKey)).toBe(true);
    }
  }, 150_000);

  test('puts back what was changed or deleted by hand', async () => {
    await objects.delete(CONFIG_MAPS, NAMESPACE, 'media-config');
    await objects.patch(SERVICES, NAMESPACE, 'media-servers', { spec: { selector: { 'holdfast.dev/serving': 'no' } } });
    await eventually('the ConfigMap is back', () => get(CONFIG_MAPS, 'media-config'));
    await eventually('the selector is back', async () => {
      const service = await get<V1Service>(SERVICES, 'media-servers');
      return service.spec?.selector?.['holdfast.dev/serving'] === 'true';
    });
  });

  test('leaves alone what has a name that a cluster needs, and says so', async () => {
    const foreign = {
      metadata: { namespace: NAMESPACE, name: 'shop', labels: { app: 'shop' } },
      spec: { selector: { app: 'shop' }, ports: [{ port: 80 }] },
    };
    const tls = { metadata: { namespace: NAMESPACE, name: 'shop-tls' }, stringData: { 'tls.crt': 'theirs' } };
    const account = { metadata: { namespace: NAMESPACE, name: 'shop-fileserver' } };
    const theirs: [Resource, KubernetesObject][] = [
      [SECRETS, await objects.create(SECRETS, tls as KubernetesObject)],
      [SERVICES, await objects.create(SERVICES, foreign as KubernetesObject)],
      [SERVICE_ACCOUNTS, await objects.create(SERVICE_ACCOUNTS, account)],
    ];
    await objects.create(CLUSTERS, {
      metadata: { namespace: NAMESPACE, name: 'shop' },
      spec: { ...spec(), users: { secretRef: { name: 'nobody' } } }, // without them it makes no ReplicaSet, which other tests count
    } as KubernetesObject);
    const says = (...named: string[]) =>
      eventually(
        `it names ${named.join(', ')}`,
        async () => {
          const degraded = await condition('shop', 'Degraded');
          return (
            degraded?.status === 'True' &&
            named.every((name) => degraded.message.includes(`there is a ${name} that is not this cluster's`))
          );
        },
        60_000,
      );
    await says('Secret "shop-tls"');
    await objects.delete(SECRETS, NAMESPACE, 'shop-tls');
    await says('Service "shop"', 'ServiceAccount "shop-fileserver"');
    for (const [resource, { metadata }] of theirs.slice(1)) {
      const now = await get(resource, metadata?.name ?? '');
      expect(now.metadata?.resourceVersion).toBe(metadata?.resourceVersion);
      await objects.delete(resource, NAMESPACE, metadata?.name ?? '');
    }
    await eventually(
      'it goes on when the names are free',
      async () => {
        const service = await get<V1Service>(SERVICES, 'shop').catch(() => undefined);
        return service?.metadata?.ownerReferences?.[0]?.name === 'shop';
      },
      60_000,
    );
    await objects.delete(CLUSTERS, NAMESPACE, 'shop');
  }, 200_000);

  test('a share is a change of the configuration alone, an image one of the pods', async () => {
    const [before] = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE);
    await objects.patch(CLUSTERS, NAMESPACE, 'media', {
      spec: { shares: [...spec().shares, { name: 'more', volume: 'data', path: '/more' }] },
    });
    await eventually('the share is in the configuration', async () =>
      (await get<V1ConfigMap>(CONFIG_MAPS, 'media-config')).data?.['config.json']?.includes('/more'),
    );
    expect((await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE)).map((set) => set.metadata?.name)).toEqual([
      before?.metadata?.name,
    ]);
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { template: { image: 'holdfast.dev/holdfast:next' } } });
    await eventually('the new template is the only one, for no pod was there to keep', async () => {
      const sets = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE);
      return sets.length === 1 && sets[0]?.metadata?.name !== before?.metadata?.name && sets[0]?.spec?.replicas === 3;
    });
  });

  test('a migration off a pod that is not there fails, and says how to find one', async () => {
    await objects.create(MIGRATIONS, {
      metadata: { namespace: NAMESPACE, name: 'wrong' },
      spec: { cluster: 'media', source: 'nobody' },
    } as KubernetesObject);
    const ended = await eventually('it ended', async () => {
      const migration = await get<HandleMigration>(MIGRATIONS, 'wrong');
      return migration.status?.phase === 'Failed' && migration;
    });
    expect(ended.status?.message).toMatch(/there is no pod "nobody".*kubectl get pod/);
    await eventually('both objects have an Event', async () => {
      const events = await Promise.all([eventsOf('wrong'), eventsOf('media')]);
      return events.every((each) => each.some((event) => /^Warning MigrationFailed: .*"nobody"/.test(event)));
    });
  });

  test('a store of three is a StatefulSet of them, with a budget and names of their own, and the restricted standard met', async () => {
    await objects.create(CLUSTERS, {
      metadata: { namespace: NAMESPACE, name: 'three' },
      spec: { ...spec(), state: { embedded: { replicas: 3 } } },
    } as KubernetesObject);
    const set = await eventually('it is there', () => get<V1StatefulSet>(STATEFUL_SETS, 'three-redis'));
    expect(set.spec).toMatchObject({ replicas: 3, serviceName: 'three-redis-members' });
    expect((await get<V1Service>(SERVICES, 'three-redis-members')).spec?.clusterIP).toBe('None');
    await eventually('it has a budget', () => get(DISRUPTION_BUDGETS, 'three-redis'));
    const { volumes = [], ...rest } = set.spec?.template.spec ?? { containers: [] };
    await server.api.request('POST', `/api/v1/namespaces/${NAMESPACE}/pods`, {
      query: { dryRun: 'All' },
      body: {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { generateName: 'probe-' } },
        spec: { ...rest, volumes: [...volumes, { name: 'data', emptyDir: {} }] },
      },
    });
    const config = await get<V1ConfigMap>(CONFIG_MAPS, 'three-config');
    expect(checkClusterConfig(JSON.parse(config.data?.['config.json'] ?? '')).store).toMatchObject({
      mode: 'Sentinel',
      durability: { mode: 'Replicated', replicas: 1 },
    });
    await objects.delete(CLUSTERS, NAMESPACE, 'three');
  });

  test('a store that an earlier version made stays in the clear, and says so', async () => {
    const made = (await objects.create(CLUSTERS, {
      metadata: { namespace: NAMESPACE, name: 'older', annotations: { [PAUSED_ANNOTATION]: 'true' } },
      spec: spec(),
    } as KubernetesObject)) as FileServerCluster;
    // As that version left it: without a word of TLS.
    const { annotations: _none, ...metadata } = configMap(made).metadata ?? {};
    await objects.create(CONFIG_MAPS, { metadata, data: {} } as KubernetesObject);
    await objects.patch(CLUSTERS, NAMESPACE, 'older', { metadata: { annotations: { [PAUSED_ANNOTATION]: null } } });
    const set = await eventually('it has a store', () => get<V1StatefulSet>(STATEFUL_SETS, 'older-redis'));
    expect(JSON.stringify(set.spec)).not.toContain('tls');
    const config = await get<V1ConfigMap>(CONFIG_MAPS, 'older-config');
    expect(checkClusterConfig(JSON.parse(config.data?.['config.json'] ?? '')).store).not.toHaveProperty('tls');
    await eventually('it says so', async () => {
      const { status } = await get<FileServerCluster>(CLUSTERS, 'older');
      return status?.storeTLS === 'Off';
    });
    await expect(get(SECRETS, 'older-redis-tls')).rejects.toThrow(/not found/);
    await objects.delete(CLUSTERS, NAMESPACE, 'older');
  }, 60_000);

  test('makes the claim of a template, and warns nobody of what it is about to make', async () => {
    const volumes = [{ name: 'data', volumeClaimTemplate: { storage: '1Gi' } }];
    await objects.create(CLUSTERS, {
      metadata: { namespace: NAMESPACE, name: 'templated' },
      spec: { ...spec(), volumes },
    } as KubernetesObject);
    await eventually('nothing is wrong', async () => (await condition('templated', 'Degraded'))?.status === 'False');
    const claim = await eventually('the claim is there', () => get<V1PersistentVolumeClaim>(CLAIMS, 'templated-data'));
    expect(await eventsOf('templated')).not.toContainEqual(expect.stringMatching(/^Warning/));
    expect(claim.spec?.accessModes).toEqual(['ReadWriteMany']);
    expect(claim.metadata?.ownerReferences).toBeUndefined();
    await objects.delete(CLUSTERS, NAMESPACE, 'templated');
  }, 30_000);

  test('a second operator waits for the first and says how it is, and takes over at once when that stops', async () => {
    const second = startOperator('--namespace', NAMESPACE, '--leader-elect', '--leader-elect-namespace', NAMESPACE);
    const port = await metricsPortOf(second);
    const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
    expect((await ask('/livez')).status).toBe(200);
    await eventually('it is ready', async () => (await ask('/readyz')).status === 200);
    const metrics = await (await ask('/metrics')).text();
    expect(metrics).toMatch(/^holdfast_operator_leading 0$/m);
    expect(metrics).toMatch(/^holdfast_operator_queue_depth\{.*\} \d+$/m);

    const [first] = operators;
    expect(await stopOperator(first as ChildProcess, 'SIGTERM')).toBe(0);
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { spec: { replicas: 4 } });
    await eventually('the second acts', async () =>
      (await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE)).some((set) => set.spec?.replicas === 4),
    );
    expect(await stopOperator(second, 'SIGTERM')).toBe(0);
  }, 120_000);
});

describe('the chart', () => {
  const helm = (...args: string[]) =>
    execFileSync(
      join(server.bin, 'helm'),
      [
        'template',
        'holdfast',
        join(root, 'charts/holdfast'),
        '--namespace',
        NAMESPACE,
        '--kube-version',
        '1.34.0',
        ...args,
      ],
      { encoding: 'utf8', stdio: 'pipe' },
    );

  test.each([
    ['no values', []],
    ['namespaces, without nodes', ['--set', 'watch.namespaces={media,other},watch.nodes=false']],
    ['one operator, dashboards', ['--set', 'replicas=1,metrics.dashboards.enabled=true,crds.install=false']],
  ])('with %s is accepted by the API server', async (_what, args) => {
    if (_what.startsWith('namespaces')) await objects.create(NAMESPACES, { metadata: { name: 'other' } });
    const manifest = helm(...args);
    const applied = execFileSync(
      join(server.bin, 'kubectl'),
      ['--kubeconfig', server.kubeconfig, 'apply', '--server-side', '--force-conflicts', '--dry-run=server', '-f', '-'],
      { input: manifest, encoding: 'utf8', stdio: 'pipe' },
    );
    expect(applied).toMatch(/deployment\.apps\/holdfast-operator serverside-applied/);
  });

  test('with no values two operators run, of which one leads, for all namespaces', () => {
    const deployment = parseAllDocuments(helm())
      .map((document) => document.toJS() as V1Deployment | null)
      .find((object) => object?.kind === 'Deployment');
    expect(deployment?.spec?.replicas).toBe(2);
    const [operator] = deployment?.spec?.template.spec?.containers ?? [];
    expect(operator?.args).toEqual(expect.arrayContaining(['--all-namespaces', '--leader-elect']));
    expect(operator?.securityContext).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true });
  });

  test.each([
    ['a misspelt value', ['--set', 'replica=3'], /replica/],
    ['a log level that is none', ['--set', 'logLevel=loud'], /logLevel/],
    ['a text where a list belongs', ['--set', 'watch.namespaces=media'], /namespaces/],
  ])('%s is refused', (_what, args, message) => {
    let output = '';
    try {
      helm(...args);
    } catch (error) {
      output = String((error as { stderr?: string }).stderr);
    }
    expect(output).toMatch(message);
  });

  test('asks for no wildcard and no cluster-wide write where it looks after namespaces', () => {
    const manifest = helm('--set', 'watch.namespaces={media}');
    const roles = manifest.split(/^---$/m).filter((part) => /^kind: (Cluster)?Role$/m.test(part));
    expect(roles.join('')).not.toContain('*');
    const clusterRoles = roles.filter((part) => /^kind: ClusterRole$/m.test(part));
    expect(clusterRoles).toHaveLength(1);
    expect(clusterRoles[0]).toMatch(/resources: \[nodes\]\n {2}verbs: \[list, watch\]/);
  });

  test('ships the definitions as they are', () => {
    for (const file of ['fileserverclusters.yaml', 'handlemigrations.yaml']) {
      const read = (folder: string) => readFileSync(join(root, folder, file), 'utf8');
      expect(read('charts/holdfast/files/crds')).toBe(read('crds'));
    }
  });

  test('an operator with just the chart’s permissions does its work', async () => {
    const manifest = helm('--set', 'crds.install=false');
    execFileSync(join(server.bin, 'kubectl'), ['--kubeconfig', server.kubeconfig, 'apply', '-f', '-'], {
      input: manifest,
      stdio: 'pipe',
    });
    const token = await server.api.request<{ status: { token: string } }>(
      'POST',
      `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/holdfast-operator/token`,
      { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
    );
    const kubeconfig = JSON.parse(readFileSync(server.kubeconfig, 'utf8'));
    kubeconfig.users[0].user.token = token.status.token;
    const file = join(server.folder, 'operator.kubeconfig');
    writeFileSync(file, JSON.stringify(kubeconfig), { mode: 0o600 });
    const limited = spawn(
      process.execPath,
      [
        'operator/main.ts',
        '--kubeconfig',
        file,
        '--image',
        'holdfast.dev/holdfast:test',
        '--metrics',
        '127.0.0.1:0',
        '--all-namespaces',
        '--leader-elect',
        '--leader-elect-namespace',
        NAMESPACE,
      ],
      { cwd: root, stdio: ['ignore', 'ignore', process.env.SHOW_LOGS ? 'inherit' : 'ignore'] },
    );
    operators.push(limited);
    await objects.create(CLUSTERS, {
      metadata: { namespace: NAMESPACE, name: 'limited' },
      spec: spec(),
    } as KubernetesObject);
    await eventually('all of it is there', async () => {
      await get(CONFIG_MAPS, 'limited-config');
      await get(STATEFUL_SETS, 'limited-redis');
      const sets = await objects.list<V1ReplicaSet>(REPLICA_SETS, NAMESPACE, {
        labelSelector: 'holdfast.dev/cluster=limited',
      });
      return sets.length === 1;
    });
    await eventually('its conditions are told', async () => (await condition('limited', 'Degraded')) !== undefined);
    expect((await condition('limited', 'Degraded'))?.message).not.toMatch(/forbidden/);
    expect(await stopOperator(limited, 'SIGTERM')).toBe(0);
  }, 120_000);
});
