import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse, parseAllDocuments } from 'yaml';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import { CLUSTERS, MIGRATIONS, SECRETS } from '../../operator/kinds.ts';
import type { KubernetesObject } from '../../operator/runtime/objects.ts';
import { Objects } from '../../operator/runtime/objects.ts';
import { type ApiServer, eventually, installDefinitions, startApiServer } from './operator-api-server.ts';

const crds = join(import.meta.dirname, '../../crds');
let server: ApiServer;
let objects: Objects;

beforeAll(async () => {
  server = await startApiServer();
  objects = new Objects(server.api);
  await installDefinitions(objects);
  await eventually('clusters can be listed', () => objects.list(CLUSTERS, 'default').then(() => true));
  await eventually('migrations can be listed', () => objects.list(MIGRATIONS, 'default').then(() => true));
}, 120_000);

afterAll(() => server?.stop());

/** The smallest useful cluster. */
const smallest = () => ({
  volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
  shares: [{ name: 'projects', volume: 'data' }],
  users: { secretRef: { name: 'media-users' } },
});

let counter = 0;
function cluster(spec: unknown, name = `c${++counter}`): FileServerCluster {
  return { metadata: { namespace: 'default', name }, spec } as FileServerCluster;
}

/** The smallest cluster with something else in it. */
const but = (change: Record<string, unknown>) => cluster({ ...smallest(), ...change });
const share = (change: Record<string, unknown>) => but({ shares: [{ name: 'projects', volume: 'data', ...change }] });
const volume = (change: Record<string, unknown>) => but({ volumes: [{ name: 'data', ...change }] });

describe('FileServerCluster', () => {
  test('the smallest useful one gets safe defaults for everything else', async () => {
    const made = await objects.create<FileServerCluster>(CLUSTERS, cluster(smallest()));
    expect(made.spec).toEqual({
      ...smallest(),
      replicas: 2,
      volumes: [{ ...smallest().volumes[0], fencing: 'Deadline' }],
      shares: [
        {
          name: 'projects',
          volume: 'data',
          path: '/',
          continuouslyAvailable: false,
          scaleOut: false,
          encryption: 'Desired',
          access: [],
        },
      ],
      state: { embedded: { replicas: 1, storage: '1Gi', durability: { mode: 'Always' } } },
      handles: { persistentTimeout: '300s', durableTimeout: '60s' },
      failover: { leaseDuration: '5s', writeSettle: '1s' },
      migration: { maxConcurrent: 1, drainTimeout: '60s', onCordon: true, strategy: 'Spread' },
      service: { type: 'LoadBalancer', port: 445, perServer: false },
      security: { signing: 'Required', minDialect: '3.0' },
      template: {
        imagePullPolicy: 'IfNotPresent',
        podSecurityContext: { runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532 },
      },
    });
  });

  test('an external store gets no embedded one beside it', async () => {
    const made = await objects.create<FileServerCluster>(
      CLUSTERS,
      but({ state: { external: { addresses: ['redis:6379'] } } }),
    );
    expect(made.spec.state).toEqual({
      external: { mode: 'Standalone', addresses: ['redis:6379'], durability: { mode: 'Always' } },
    });
  });

  test('the sample is accepted', async () => {
    const documents = parseAllDocuments(readFileSync(join(crds, 'samples/fileservercluster.yaml'), 'utf8'));
    const [secret, sample] = documents.map((document) => document.toJS() as KubernetesObject);
    await objects.apply(SECRETS, { ...secret, metadata: { ...secret?.metadata, namespace: 'default' } });
    await objects.apply(CLUSTERS, { ...sample, metadata: { ...sample?.metadata, namespace: 'default' } });
  });

  const refused: [string, () => FileServerCluster, RegExp][] = [
    [
      'no volumes',
      () => cluster({ shares: smallest().shares, users: smallest().users }),
      /spec\.volumes: Required value/,
    ],
    ['an empty list of volumes', () => but({ volumes: [] }), /spec\.volumes.*at least 1 item/],
    [
      'no shares',
      () => cluster({ volumes: smallest().volumes, users: smallest().users }),
      /spec\.shares: Required value/,
    ],
    [
      'no users',
      () => cluster({ volumes: smallest().volumes, shares: smallest().shares }),
      /spec\.users: Required value/,
    ],
    [
      'a share of a volume that is not there',
      () => share({ volume: 'dta' }),
      /the "volume" of a share is not among "volumes"/,
    ],
    [
      'two shares of one name',
      () => but({ shares: [...smallest().shares, ...smallest().shares] }),
      /Duplicate value.*projects/,
    ],
    [
      'two shares that differ in case only',
      () => but({ shares: [...smallest().shares, { name: 'Projects', volume: 'data' }] }),
      /two shares have the same name \(upper and lower case/,
    ],
    [
      'two volumes of one name',
      () => but({ volumes: [...smallest().volumes, ...smallest().volumes] }),
      /Duplicate value.*data/,
    ],
    ['a relative share path', () => share({ path: 'projects' }), /begins with "\/", such as \/projects/],
    ['a share path that leaves the volume', () => share({ path: '/a/../../etc' }), /must not contain "\.\."/],
    ['a share path of another system', () => share({ path: '/a\\b' }), /written with "\/"/],
    ['a reserved share name', () => share({ name: 'IPC$' }), /reserved by the protocol/],
    ['a share name with a slash', () => share({ name: 'a/b' }), /must not contain any of/],
    [
      'an unknown permission',
      () => share({ access: [{ principal: 'alice', permission: 'Write' }] }),
      /Unsupported value: "Write".*"Full", "Change", "Read"/,
    ],
    ['a principal twice', () => share({ access: [{ principal: 'alice' }, { principal: 'alice' }] }), /Duplicate value/],
    ['a volume without a claim', () => volume({}), /write exactly one of them/],
    [
      'a volume with two claims',
      () => volume({ persistentVolumeClaim: { claimName: 'a' }, volumeClaimTemplate: { storage: '1Gi' } }),
      /write exactly one of them/,
    ],
    [
      'a claim template for one node',
      () => volume({ volumeClaimTemplate: { storage: '1Gi', accessModes: ['ReadWriteOnce'] } }),
      /write accessModes: \[ReadWriteMany\]/,
    ],
    [
      'a volume name in capitals',
      () => but({ volumes: [{ ...smallest().volumes[0], name: 'Data' }], shares: [{ name: 'a', volume: 'Data' }] }),
      /write lower-case letters, digits and "-"/,
    ],
    [
      'fencing that this version has not',
      () => volume({ persistentVolumeClaim: { claimName: 'a' }, fencing: 'NetworkFence' }),
      /NetworkFence is not supported by this version; write Deadline/,
    ],
    [
      'a duration without a unit',
      () => but({ handles: { persistentTimeout: '300' } }),
      /write a duration with its unit, such as 500ms, 5s, 2m or 1h/,
    ],
    [
      'a lease that is too short',
      () => but({ failover: { leaseDuration: '500ms' } }),
      /write at least 1s and at most 60s/,
    ],
    [
      'handles that expire before failover',
      () => but({ handles: { persistentTimeout: '5s' } }),
      /write more than failover\.leaseDuration plus failover\.writeSettle/,
    ],
    [
      'handles that are kept for longer than a day',
      () => but({ handles: { persistentTimeout: '25h' } }),
      /persistentTimeout.*write at least 1s and at most 24h/,
    ],
    [
      'durable handles that are kept for no time',
      () => but({ handles: { durableTimeout: '500ms' } }),
      /durableTimeout.*write at least 1s and at most 24h/,
    ],
    [
      'last writes that take more than a minute',
      () => but({ failover: { writeSettle: '61s' } }),
      /writeSettle.*write at most 60s/,
    ],
    [
      'a drain that takes a day',
      () => but({ migration: { drainTimeout: '24h' } }),
      /drainTimeout.*write at least 1s and at most 1h/,
    ],
    [
      'an embedded Redis that is to be replicated',
      () => but({ state: { embedded: { durability: { mode: 'Replicated', replicas: 1 } } } }),
      /durability\.mode Replicated needs a replicated store/,
    ],
    [
      'embedded and external',
      () => but({ state: { embedded: {}, external: { addresses: ['redis:6379'] } } }),
      /write exactly one of them/,
    ],
    [
      'three embedded Redis',
      () => but({ state: { embedded: { replicas: 3 } } }),
      /runs one embedded Redis; write 1, or use "external"/,
    ],
    [
      'durability Replicated without a number',
      () => but({ state: { external: { addresses: ['redis:6379'], durability: { mode: 'Replicated' } } } }),
      /write "replicas: N" with mode Replicated/,
    ],
    [
      'an external address with a scheme',
      () => but({ state: { external: { addresses: ['redis://redis:6379'] } } }),
      /write HOST:PORT/,
    ],
    [
      'Sentinel without the name of its master',
      () => but({ state: { external: { mode: 'Sentinel', addresses: ['s:26379'] } } }),
      /write the name that the Sentinels use/,
    ],
    [
      'a Service for each server',
      () => but({ service: { perServer: true } }),
      /not supported by this version; write false/,
    ],
    ['port 0', () => but({ service: { port: 0 } }), /spec\.service\.port.*greater than or equal to 1/],
    ['an unknown dialect', () => but({ security: { minDialect: '3.2' } }), /Unsupported value: "3\.2"/],
    [
      'a label that is the operator’s',
      () => but({ template: { labels: { 'holdfast.dev/serving': 'false' } } }),
      /are set by the operator; write others/,
    ],
    [
      'pods as root',
      () => but({ template: { imagePullPolicy: 'IfNotPresent', podSecurityContext: { runAsUser: 0 } } }),
      /runAsUser.*greater than or equal to 1/,
    ],
    ['a name that is too long', () => cluster(smallest(), 'c'.repeat(41)), /write a name of at most 40/],
    ['a name that no Service can have', () => cluster(smallest(), '1st'), /begins with a letter/],
  ];
  test.each(refused)('%s is refused with what to write instead', async (_what, make, message) => {
    await expect(objects.create(CLUSTERS, make())).rejects.toThrow(message);
  });

  test('what cannot change is refused later too', async () => {
    const made = await objects.create<FileServerCluster>(CLUSTERS, but({}));
    const { namespace = '', name = '' } = made.metadata;
    const patch = (spec: unknown) => objects.patch(CLUSTERS, namespace, name, { spec });
    await expect(patch({ volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'other' } }] })).rejects.toThrow(
      /claim behind a volume cannot be changed/,
    );
    await expect(patch({ state: { embedded: null, external: { addresses: ['redis:6379'] } } })).rejects.toThrow(
      /cannot move between an embedded and an external store/,
    );
    await expect(patch({ state: { embedded: { storage: '2Gi' } } })).rejects.toThrow(
      /embedded\.storage cannot be changed by this version/,
    );
    await patch({ replicas: 5, shares: [{ name: 'other', volume: 'data' }] });

    const templated = await objects.create<FileServerCluster>(
      CLUSTERS,
      volume({ volumeClaimTemplate: { storage: '1Gi', storageClassName: 'fast' } }),
    );
    const other = { name: 'data', volumeClaimTemplate: { storage: '1Gi', storageClassName: 'slow' } };
    await expect(
      objects.patch(CLUSTERS, namespace, templated.metadata.name ?? '', { spec: { volumes: [other] } }),
    ).rejects.toThrow(/accessModes and storageClassName of a claim cannot be changed/);
  });

  test('status and scale are subresources', async () => {
    const made = await objects.create<FileServerCluster>(CLUSTERS, but({}));
    const { namespace = '', name = '' } = made.metadata;
    await objects.patch(CLUSTERS, namespace, name, { status: { replicas: 2, selector: 'a=b' } }, 'status');
    const scale = await objects.patch(CLUSTERS, namespace, name, { spec: { replicas: 7 } }, 'scale');
    expect(scale).toMatchObject({ spec: { replicas: 7 }, status: { replicas: 2, selector: 'a=b' } });
    const now = await objects.get<FileServerCluster>(CLUSTERS, namespace, name);
    expect(now.spec.replicas).toBe(7);
  });
});

describe('HandleMigration', () => {
  const migration = (spec: Record<string, unknown>) =>
    ({ metadata: { namespace: 'default', name: `m${++counter}` }, spec }) as unknown as HandleMigration;

  test('a person needs to write a cluster and a source only', async () => {
    const made = await objects.create<HandleMigration>(MIGRATIONS, migration({ cluster: 'media', source: 'media-x' }));
    expect(made.spec).toEqual({ cluster: 'media', source: 'media-x', reason: 'Manual' });
  });

  test.each([
    ['no cluster', { source: 'a' }, /spec\.cluster: Required value/],
    ['no source', { cluster: 'media' }, /spec\.source: Required value/],
    ['an unknown reason', { cluster: 'media', source: 'a', reason: 'Because' }, /Unsupported value: "Because"/],
    ['the source as target', { cluster: 'media', source: 'a', targets: ['b', 'a'] }, /cannot be its own target/],
    ['no target in the list', { cluster: 'media', source: 'a', targets: [] }, /at least 1 item/],
  ])('%s is refused', async (_what, spec, message) => {
    await expect(objects.create(MIGRATIONS, migration(spec))).rejects.toThrow(message);
  });

  test('its spec is fixed', async () => {
    const made = await objects.create<HandleMigration>(MIGRATIONS, migration({ cluster: 'media', source: 'a' }));
    await expect(
      objects.patch(MIGRATIONS, 'default', made.metadata.name ?? '', { spec: { source: 'b' } }),
    ).rejects.toThrow(/cannot be changed once it is made; delete it and create another/);
  });
});

describe('kubectl get', () => {
  const printed = (what: string, name: string) => {
    const flags = ['--kubeconfig', server.kubeconfig, '-n', 'default', 'get', what, name, '-o', 'wide'];
    const [head = '', row = ''] = execFileSync(join(server.bin, 'kubectl'), flags, { encoding: 'utf8' }).split('\n');
    const cells = (line: string) => line.trim().split(/ {2,}/);
    return Object.fromEntries(cells(head).map((column, i) => [column, cells(row)[i]]));
  };
  const now = new Date().toISOString();
  const condition = (type: string, status: string, message: string) => ({
    ...{ type, status, message, reason: 'Test', lastTransitionTime: now },
  });

  test('shows of a cluster what it is asked for and how it is', async () => {
    const { metadata } = await objects.create<FileServerCluster>(CLUSTERS, but({ replicas: 3 }));
    const status = {
      readyReplicas: 2,
      handles: { open: 24, disconnected: 5 },
      migrations: { active: 1 },
      addresses: ['192.0.2.7'],
      conditions: [condition('Available', 'True', 'yes'), condition('Degraded', 'False', 'nothing wrong')],
    };
    await objects.patch(CLUSTERS, 'default', metadata.name ?? '', { status }, 'status');
    expect(printed('fsc', metadata.name ?? '')).toMatchObject({
      ...{ NAME: metadata.name, DESIRED: '3', READY: '2', AVAILABLE: 'True', DEGRADED: 'False' },
      ...{ HANDLES: '24', DISCONNECTED: '5', MIGRATING: '1', ADDRESS: '192.0.2.7' },
      ...{ AGE: expect.stringMatching(/^\d+s$/), MESSAGE: 'nothing wrong' },
    });
  });

  test('shows of a migration what moves and how far it is', async () => {
    const { metadata } = await objects.create(MIGRATIONS, {
      metadata: { namespace: 'default', name: 'printed' },
      spec: { cluster: 'media', source: 'media-x', reason: 'Manual' },
    } as KubernetesObject);
    const handles = { total: 24, moved: 20, expired: 3 };
    const status = { phase: 'Succeeded', handles, duration: '0.250s', message: 'moved 20' };
    await objects.patch(MIGRATIONS, 'default', metadata?.name ?? '', { status }, 'status');
    expect(printed('hm', 'printed')).toMatchObject({
      ...{ NAME: 'printed', CLUSTER: 'media', SOURCE: 'media-x', REASON: 'Manual', PHASE: 'Succeeded' },
      ...{ HANDLES: '24', MOVED: '20', EXPIRED: '3', DURATION: '0.250s', MESSAGE: 'moved 20' },
      AGE: expect.stringMatching(/^\d+s$/),
    });
  });
});

describe('the definitions', () => {
  test.each(['fileserverclusters.yaml', 'handlemigrations.yaml'])('every field of %s has a description', (file) => {
    const crd = parse(readFileSync(join(crds, file), 'utf8'));
    const without: string[] = [];
    const walk = (schema: Record<string, unknown>, path: string) => {
      if (!schema.description && path !== '.metadata') without.push(path);
      for (const [key, value] of Object.entries((schema.properties as Record<string, never>) ?? {}))
        walk(value, `${path}.${key}`);
      if (schema.items) walk(schema.items as Record<string, unknown>, `${path}[]`);
    };
    walk(crd.spec.versions[0].schema.openAPIV3Schema, '');
    expect(without).toEqual([]);
  });
});
