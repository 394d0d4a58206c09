import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
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
const external = (change: Record<string, unknown>) =>
  but({ state: { external: { addresses: ['redis:6379'], ...change } } });

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
          accessBasedEnumeration: false,
          encryption: 'Desired',
          access: [],
        },
      ],
      state: { embedded: { replicas: 1, storage: '1Gi' } },
      handles: { persistentTimeout: '300s', durableTimeout: '60s' },
      failover: { leaseDuration: '5s', writeSettle: '1s' },
      migration: { maxConcurrent: 1, drainTimeout: '60s', onCordon: true, rebalance: true, strategy: 'Spread' },
      service: { type: 'LoadBalancer', port: 445, perServer: false },
      security: { signing: 'Required', minDialect: '3.0' },
      logLevel: 'info',
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

  const accepted: [string, () => FileServerCluster][] = [
    ['no file servers', () => but({ replicas: 0 })],
    ['as many file servers as there may be', () => but({ replicas: 1000 })],
    [
      'a claim that is to be made, of a whole number of bytes',
      () =>
        volume({
          volumeClaimTemplate: { storage: 1073741824, storageClassName: 'fast', accessModes: ['ReadWriteMany'] },
        }),
    ],
    [
      'two volumes, two shares of one of them',
      () =>
        but({
          volumes: [
            { name: 'data', persistentVolumeClaim: { claimName: 'media' }, fencing: 'NodeProven', coherent: false },
            { name: 'archive', volumeClaimTemplate: { storage: '1.5Ti' } },
          ],
          shares: [
            { name: 'Projects $1', volume: 'data', path: '/projects', comment: 'Ü', continuouslyAvailable: true },
            { name: 'scratch', volume: 'data', path: '/', scaleOut: true, encryption: 'Off' },
            {
              name: 'archive',
              volume: 'archive',
              access: [{ principal: '*', permission: 'Read' }, { principal: 'a.b-c_d' }],
            },
          ],
        }),
    ],
    [
      'an external store with everything',
      () =>
        external({
          mode: 'Sentinel',
          addresses: ['s1.example.com:26379', '[2001:db8::1]:26379'],
          masterName: 'main',
          username: 'holdfast',
          secretRef: { name: 'store' },
          tls: {
            caSecretRef: { name: 'ca', key: 'tls.crt' },
            clientSecretRef: { name: 'client' },
            serverName: 'redis',
          },
          durability: { mode: 'Replicated', replicas: 2 },
        }),
    ],
    ['a Redis Cluster', () => external({ mode: 'Cluster', addresses: ['a:6379', 'b:6379'], tls: {} })],
    [
      'durations of several units',
      () =>
        but({
          handles: { persistentTimeout: '1h30m', durableTimeout: '1500ms' },
          failover: { leaseDuration: '1s', writeSettle: '0s' },
          migration: { maxConcurrent: 100, drainTimeout: '1h', onCordon: false },
        }),
    ],
    [
      'a load balancer with everything',
      () =>
        but({
          service: {
            port: 4450,
            annotations: { 'service.beta.example.com/internal': 'true' },
            loadBalancerClass: 'example.com/internal-vip',
            loadBalancerSourceRanges: ['10.0.0.0/8', '2001:db8::/32', '::/0', '192.0.2.1/32'],
          },
        }),
    ],
    [
      'clients of some networks and namespaces only',
      () =>
        but({
          service: {
            type: 'NodePort',
            allowedFrom: [
              { ipBlock: { cidr: '10.0.0.0/8' } },
              { podSelector: {} },
              {
                namespaceSelector: { matchLabels: { team: 'film' } },
                podSelector: { matchExpressions: [{ key: 'smb', operator: 'Exists' }] },
              },
            ],
          },
        }),
    ],
    [
      'three embedded Redis',
      () => but({ state: { embedded: { replicas: 3, storage: '2Gi', storageClassName: 'fast' } } }),
    ],
    [
      'three embedded Redis that are waited for',
      () => but({ state: { embedded: { replicas: 3, durability: { mode: 'Replicated', replicas: 2 } } } }),
    ],
    ['an embedded store in the clear', () => but({ state: { embedded: { tls: 'Off' } } })],
    ['no load balancer', () => but({ service: { type: 'ClusterIP' } })],
    ['old clients', () => but({ security: { signing: 'Desired', minDialect: '2.0.2', anonymousIpc: true } })],
    ['more to be logged', () => but({ logLevel: 'debug' })],
    ['encryption for all', () => but({ security: { encryption: 'Required', minDialect: '3.1.1' } })],
    ['limits', () => but({ limits: { connections: 100, opens: 1000, perUser: { connections: 100, sessions: 5 } } })],
    [
      'a template with everything',
      () =>
        but({
          template: {
            labels: { team: 'film', 'example.com/tier': '' },
            annotations: { 'example.com/note': 'any text, with "signs"' },
            image: `registry.example.com:5000/holdfast:1.0@sha256:${'0'.repeat(64)}`,
            imagePullPolicy: 'Always',
            imagePullSecrets: [{ name: 'a' }, { name: 'b' }],
            resources: {
              fileserver: { requests: { cpu: '250m', memory: '512Mi' }, limits: { memory: '1Gi' } },
              sidecar: { requests: { cpu: 1 }, limits: { cpu: '1500m' } },
              redis: { limits: { memory: '2Gi' } },
            },
            nodeSelector: { 'kubernetes.io/arch': 'amd64' },
            affinity: { podAntiAffinity: {} },
            tolerations: [{ operator: 'Exists' }, { key: 'a', value: 'b', effect: 'NoExecute', tolerationSeconds: 5 }],
            topologySpreadConstraints: [
              { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'DoNotSchedule', minDomains: 2 },
            ],
            priorityClassName: 'system-cluster-critical',
            podSecurityContext: { runAsUser: 1000, supplementalGroups: [1001] },
          },
        }),
    ],
  ];
  test.each(accepted)('%s is accepted', async (_what, make) => {
    const made = make();
    expect(await objects.create<FileServerCluster>(CLUSTERS, made)).toMatchObject({ spec: made.spec });
  });

  const refused: [string, () => FileServerCluster, RegExp][] = [
    [
      'no volumes',
      () => cluster({ shares: smallest().shares, users: smallest().users }),
      /spec\.volumes: Required value/,
    ],
    ['an empty list of volumes', () => but({ volumes: [] }), /spec\.volumes.*at least 1 item/],
    [
      'a log level that is none',
      () => but({ logLevel: 'loud' as 'debug' }),
      /spec\.logLevel: Unsupported value: "loud": supported values: "error", "warn", "info", "debug", "trace"/,
    ],
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
      /durability\.mode Replicated needs replicas to wait for.*embedded\.replicas 3/,
    ],
    [
      'embedded and external',
      () => but({ state: { embedded: {}, external: { addresses: ['redis:6379'] } } }),
      /write exactly one of them/,
    ],
    [
      'more replicas to wait for than there are',
      () => but({ state: { embedded: { replicas: 3, durability: { mode: 'Replicated', replicas: 3 } } } }),
      /embedded\.durability\.replicas.*write 1 \(one may fail\), or 2/,
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
    [
      'two volumes of one claim',
      () =>
        but({
          volumes: [...smallest().volumes, { name: 'again', persistentVolumeClaim: { claimName: 'media' } }],
        }),
      /spec\.volumes.*two volumes have the same claim.*write one volume/,
    ],
    [
      'a volume on the claim that another one makes',
      () =>
        cluster(
          {
            ...smallest(),
            volumes: [
              { name: 'data', volumeClaimTemplate: { storage: '1Gi' } },
              { name: 'same', persistentVolumeClaim: { claimName: 'twice-data' } },
            ],
          },
          'twice',
        ),
      /names the claim that the operator makes for another one/,
    ],
    [
      'a claim’s name that is none',
      () => volume({ persistentVolumeClaim: { claimName: 'Media_Data' } }),
      /volumes\[0\]\.persistentVolumeClaim\.claimName.*write the name of an object/,
    ],
    [
      'a claim of no size',
      () => volume({ volumeClaimTemplate: { storage: 0 } }),
      /volumeClaimTemplate\.storage.*write a size with its unit, such as 500Gi/,
    ],
    [
      'a claim of a size that is none',
      () => volume({ volumeClaimTemplate: { storage: '5 GB' } }),
      /volumeClaimTemplate\.storage.*write a size with its unit, such as 500Gi/,
    ],
    [
      'a storage class that is none',
      () => volume({ volumeClaimTemplate: { storage: '1Gi', storageClassName: 'fast disks' } }),
      /storageClassName.*write the name of an object/,
    ],
    [
      'an access mode that is none',
      () => volume({ volumeClaimTemplate: { storage: '1Gi', accessModes: ['RWX'] } }),
      /Unsupported value: "RWX"/,
    ],
    [
      'a fencing that is none',
      () => volume({ persistentVolumeClaim: { claimName: 'a' }, fencing: 'Never' }),
      /Unsupported value: "Never"/,
    ],
    ['a share without a volume', () => but({ shares: [{ name: 'projects' }] }), /shares\[0\]\.volume: Required value/],
    ['a share without a name', () => but({ shares: [{ volume: 'data' }] }), /shares\[0\]\.name: Required value/],
    ['an empty share name', () => share({ name: '' }), /shares\[0\]\.name.*at least 1/],
    [
      'a share name that is too long',
      () => share({ name: 'n'.repeat(81) }),
      /shares\[0\]\.name.*81.*80|shares\[0\]\.name: Too long/,
    ],
    ['a share name with a blank at its end', () => share({ name: 'projects ' }), /begin or end with a blank/],
    ['a share comment of two lines', () => share({ comment: 'a\nb' }), /comment is one line/],
    ['an encryption that is none', () => share({ encryption: 'Always' }), /encryption: Unsupported value: "Always"/],
    [
      'a principal with a domain',
      () => share({ access: [{ principal: 'CORP\\alice' }] }),
      /access\[0\]\.principal.*as it stands in the users Secret, without a domain/,
    ],
    ['a principal that is a hidden key', () => share({ access: [{ principal: '.alice' }] }), /write a user's name/],
    [
      'an access rule for nobody',
      () => share({ access: [{ permission: 'Read' }] }),
      /access\[0\]\.principal: Required value/,
    ],
    ['users without a Secret', () => but({ users: {} }), /users\.secretRef: Required value/],
    [
      'a users Secret’s name that is none',
      () => but({ users: { secretRef: { name: 'media/users' } } }),
      /users\.secretRef\.name.*write the name of an object/,
    ],
    ['no replicas at all', () => but({ replicas: -1 }), /spec\.replicas.*greater than or equal to 0/],
    ['more replicas than there may be', () => but({ replicas: 1001 }), /spec\.replicas.*less than or equal to 1000/],
    ['replicas as a text', () => but({ replicas: '3' }), /spec\.replicas.*must be of type integer/],
    ['a store that is none', () => but({ state: { embedded: null } }), /write exactly one of them/],
    [
      'an embedded store of no size',
      () => but({ state: { embedded: { storage: '0' } } }),
      /embedded\.storage.*write a size with its unit/,
    ],
    ['two embedded Redis', () => but({ state: { embedded: { replicas: 2 } } }), /embedded\.replicas: write 1, or 3/],
    ['an external store without an address', () => but({ state: { external: { addresses: [] } } }), /at least 1 item/],
    [
      'an external address twice',
      () => external({ mode: 'Cluster', addresses: ['redis:6379', 'redis:6379'] }),
      /Duplicate value/,
    ],
    ['an external address without a port', () => external({ addresses: ['redis'] }), /write HOST:PORT/],
    [
      'an external address with a password',
      () => external({ addresses: ['me:pw@redis:6379'] }),
      /without a scheme or password/,
    ],
    ['an external port that is none', () => external({ addresses: ['redis:70000'] }), /write a port from 1 to 65535/],
    [
      'several addresses of one Redis',
      () => external({ addresses: ['a:6379', 'b:6379'] }),
      /external\.addresses.*mode Standalone has one address/,
    ],
    ['a master’s name without Sentinels', () => external({ masterName: 'main' }), /external\.masterName.*only with it/],
    [
      'a user of the store without a password',
      () => external({ username: 'holdfast' }),
      /external\.username.*write secretRef/,
    ],
    [
      'a key that no Secret can have',
      () => external({ secretRef: { name: 'store', key: 'pass word' } }),
      /secretRef\.key.*write a key of a Secret/,
    ],
    [
      'a number of replicas without durability Replicated',
      () => external({ durability: { mode: 'Always', replicas: 1 } }),
      /and only with it/,
    ],
    [
      'an empty authority of the store',
      () => external({ tls: { caSecretRef: {} } }),
      /tls\.caSecretRef\.name: Required value/,
    ],
    [
      'a duration that is a number',
      () => but({ handles: { persistentTimeout: 300 } }),
      /persistentTimeout.*must be of type string/,
    ],
    [
      'a duration in days',
      () => but({ handles: { persistentTimeout: '1d' } }),
      /persistentTimeout.*write a duration with its unit/,
    ],
    [
      'no migrations at all',
      () => but({ migration: { maxConcurrent: 0 } }),
      /maxConcurrent.*greater than or equal to 1/,
    ],
    ['a strategy that is none', () => but({ migration: { strategy: 'Pack' } }), /strategy: Unsupported value: "Pack"/],
    [
      'a Service type that is none',
      () => but({ service: { type: 'ExternalName' } }),
      /service\.type: Unsupported value/,
    ],
    ['a port beyond the last', () => but({ service: { port: 65536 } }), /service\.port.*less than or equal to 65535/],
    [
      'a load balancer class of a ClusterIP',
      () => but({ service: { type: 'ClusterIP', loadBalancerClass: 'a/b' } }),
      /service\.loadBalancerClass: write it with type LoadBalancer only/,
    ],
    [
      'a load balancer’s networks of a NodePort',
      () => but({ service: { type: 'NodePort', loadBalancerSourceRanges: ['10.0.0.0/8'] } }),
      /service\.loadBalancerSourceRanges: write it with type LoadBalancer only/,
    ],
    [
      'clients from nowhere in particular',
      () => but({ service: { allowedFrom: [{}] } }),
      /service\.allowedFrom\[0\].*write either "ipBlock/,
    ],
    [
      'clients of a network that are pods, too',
      () => but({ service: { allowedFrom: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] } }),
      /service\.allowedFrom\[0\].*write either "ipBlock/,
    ],
    [
      'clients by a label that is to be one of none',
      () =>
        but({ service: { allowedFrom: [{ podSelector: { matchExpressions: [{ key: 'smb', operator: 'In' }] } }] } }),
      /matchExpressions\[0\].*operators In and NotIn have values/,
    ],
    [
      'clients by a label whose name is none',
      () => but({ service: { allowedFrom: [{ namespaceSelector: { matchLabels: { 'a b': 'c' } } }] } }),
      /namespaceSelector\.matchLabels.*write label names such as team/,
    ],
    [
      'clients of a network that is none',
      () => but({ service: { allowedFrom: [{ ipBlock: { cidr: '10.0.0.0' } }] } }),
      /ipBlock\.cidr.*write a network with its prefix length/,
    ],
    [
      'a network without a prefix length',
      () => but({ service: { loadBalancerSourceRanges: ['10.0.0.0'] } }),
      /loadBalancerSourceRanges\[0\].*write a network with its prefix length/,
    ],
    [
      'a network that is none',
      () => but({ service: { loadBalancerSourceRanges: ['300.0.0.0/8'] } }),
      /write a network with its prefix length/,
    ],
    [
      'an annotation that is the operator’s',
      () => but({ template: { annotations: { 'holdfast.dev/leaving': 'Manual' } } }),
      /template\.annotations.*are set by the operator; write others/,
    ],
    [
      'an annotation of the Service whose name is none',
      () => but({ service: { annotations: { 'a b': 'c' } } }),
      /service\.annotations.*write annotation names such as/,
    ],
    [
      'a label whose value is none',
      () => but({ template: { labels: { team: 'film & tv' } } }),
      /template\.labels.*write label values/,
    ],
    [
      'a label whose name is none',
      () => but({ template: { labels: { 'my team': 'film' } } }),
      /template\.labels.*write label names/,
    ],
    [
      'a node label whose value is none',
      () => but({ template: { nodeSelector: { disk: 'very fast' } } }),
      /template\.nodeSelector.*write label values/,
    ],
    [
      'encryption that old clients cannot do',
      () => but({ security: { encryption: 'Required', minDialect: '2.1' } }),
      /security\.minDialect.*cannot encrypt; write "3\.0" or later/,
    ],
    [
      'a signing that is none',
      () => but({ security: { signing: 'Off' } }),
      /security\.signing: Unsupported value: "Off"/,
    ],
    ['a limit of nothing', () => but({ limits: { sessions: 0 } }), /limits\.sessions.*greater than or equal to 1/],
    ...['connections', 'sessions', 'opens', 'requests', 'waitingRequests', 'bytesInFlight'].map(
      (what): [string, () => FileServerCluster, RegExp] => [
        `a user who may have more ${what} than all`,
        () => but({ limits: { [what]: 100, perUser: { [what]: 101 } } }),
        new RegExp(`limits\\.perUser\\.${what}: one user cannot have more than the whole process`),
      ],
    ),
    [
      'a node label whose name is none',
      () => but({ template: { nodeSelector: { 'my disk': 'fast' } } }),
      /template\.nodeSelector.*write label names/,
    ],
    [
      'an annotation of the pods whose name is none',
      () => but({ template: { annotations: { 'a b': 'c' } } }),
      /template\.annotations.*write annotation names such as/,
    ],
    [
      'a class of load balancers that is none',
      () => but({ service: { loadBalancerClass: 'a b' } }),
      /service\.loadBalancerClass.*write the class of a load balancer/,
    ],
    [
      'a priority class that is no name',
      () => but({ template: { priorityClassName: 'Very High' } }),
      /template\.priorityClassName.*write the name of an object/,
    ],
    [
      'a pull secret that is no name',
      () => but({ template: { imagePullSecrets: [{ name: 'my/secret' }] } }),
      /imagePullSecrets\[0\]\.name.*write the name of an object/,
    ],
    [
      'a store’s Secret that is no name',
      () => external({ secretRef: { name: 'my/secret' } }),
      /external\.secretRef\.name.*write the name of an object/,
    ],
    [
      'more memory of a sidecar than its limit',
      () => but({ template: { resources: { sidecar: { requests: { memory: '2Gi' }, limits: { memory: '512Mi' } } } } }),
      /resources\.sidecar.*write requests that are at most the limits/,
    ],
    [
      'more connections before logon than connections',
      () => but({ limits: { connections: 10, connectionsBeforeLogon: 11 } }),
      /limits\.connectionsBeforeLogon.*write at most limits\.connections/,
    ],
    [
      'an image with a scheme',
      () => but({ template: { image: 'https://example.com/holdfast' } }),
      /template\.image.*without a scheme/,
    ],
    [
      'a pull policy that is none',
      () => but({ template: { imagePullPolicy: 'Sometimes' } }),
      /Unsupported value: "Sometimes"/,
    ],
    [
      'a pull secret twice',
      () => but({ template: { imagePullSecrets: [{ name: 'a' }, { name: 'a' }] } }),
      /imagePullSecrets\[1\]: Duplicate value/,
    ],
    [
      'memory that is no quantity',
      () => but({ template: { resources: { fileserver: { requests: { memory: '512 MB' } } } } }),
      /resources\.fileserver\.requests.*write a quantity with its unit/,
    ],
    [
      'more memory than the limit',
      () => but({ template: { resources: { redis: { requests: { memory: '2Gi' }, limits: { memory: '512Mi' } } } } }),
      /resources\.redis.*write requests that are at most the limits/,
    ],
    [
      'a toleration with a value that counts for nothing',
      () => but({ template: { tolerations: [{ key: 'a', operator: 'Exists', value: 'b' }] } }),
      /tolerations\[0\].*operator Exists has no value/,
    ],
    [
      'a toleration of nothing',
      () => but({ template: { tolerations: [{ value: 'b' }] } }),
      /tolerations\[0\].*write operator Exists/,
    ],
    [
      'a toleration for a while of what does not evict',
      () => but({ template: { tolerations: [{ key: 'a', effect: 'NoSchedule', tolerationSeconds: 5 }] } }),
      /tolerationSeconds goes with effect NoExecute only/,
    ],
    [
      'a spread constraint without its key',
      () => but({ template: { topologySpreadConstraints: [{ maxSkew: 1, whenUnsatisfiable: 'DoNotSchedule' }] } }),
      /topologySpreadConstraints\[0\]\.topologyKey: Required value/,
    ],
    [
      'a group that is root’s',
      () => but({ template: { podSecurityContext: { supplementalGroups: [0] } } }),
      /supplementalGroups\[0\].*greater than or equal to 1/,
    ],
    [
      'a user id beyond the last',
      () => but({ template: { podSecurityContext: { runAsUser: 4294967296 } } }),
      /runAsUser.*less than or equal to 2147483647/,
    ],
    [
      'a store that may speak TLS and may not',
      () => but({ state: { embedded: { tls: 'Desired' } } }),
      /embedded\.tls.*"Required", "Off"/,
    ],
    ['a name in capitals', () => cluster(smallest(), 'Media'), /metadata\.name/],
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
    await expect(patch({ state: { embedded: { replicas: 3 } } })).rejects.toThrow(
      /embedded\.replicas cannot be changed.*make a new cluster/,
    );
    // Neither set where it was left out, nor changed or taken away where it was not.
    for (const tls of ['Required', 'Off']) {
      await expect(patch({ state: { embedded: { tls } } })).rejects.toThrow(
        /embedded\.tls cannot be set or changed later.*make a new cluster/,
      );
    }
    const inTheClear = await objects.create<FileServerCluster>(CLUSTERS, but({ state: { embedded: { tls: 'Off' } } }));
    for (const tls of ['Required', null]) {
      const change = { spec: { state: { embedded: { tls } } } };
      await expect(objects.patch(CLUSTERS, namespace, inTheClear.metadata.name ?? '', change)).rejects.toThrow(
        /embedded\.tls cannot be set or changed later/,
      );
    }
    await patch({ replicas: 5, shares: [{ name: 'other', volume: 'data' }] });
    await expect(patch({ service: { loadBalancerClass: 'example.com/other' } })).rejects.toThrow(
      /service\.loadBalancerClass cannot be changed while the type is LoadBalancer.*set the type to ClusterIP first/,
    );

    const templated = await objects.create<FileServerCluster>(
      CLUSTERS,
      volume({ volumeClaimTemplate: { storage: '1Gi', storageClassName: 'fast' } }),
    );
    const other = { name: 'data', volumeClaimTemplate: { storage: '1Gi', storageClassName: 'slow' } };
    await expect(
      objects.patch(CLUSTERS, namespace, templated.metadata.name ?? '', { spec: { volumes: [other] } }),
    ).rejects.toThrow(/accessModes and storageClassName of a claim cannot be changed/);
    const sized = (storage: string) =>
      objects.patch(CLUSTERS, namespace, templated.metadata.name ?? '', {
        spec: { volumes: [{ name: 'data', volumeClaimTemplate: { storage, storageClassName: 'fast' } }] },
      });
    await sized('2Gi');
    await expect(sized('2047Mi')).rejects.toThrow(/storage.*a claim can grow, and not shrink; write at least/);
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
    [
      'a part of what a server has that ends',
      { cluster: 'media', source: 'a', reason: 'Drain', maxHandles: 5 },
      /spec\.maxHandles.*has to give all of them away/,
    ],
    ['a target twice', { cluster: 'media', source: 'a', targets: ['b', 'b'] }, /targets\[1\]: Duplicate value/],
    [
      'a source that is no pod’s name',
      { cluster: 'media', source: 'pod/a' },
      /spec\.source.*write the name of an object/,
    ],
    [
      'a target that is no pod’s name',
      { cluster: 'media', source: 'a', targets: ['B'] },
      /targets\[0\].*write the name of/,
    ],
    [
      'a cluster’s name that is none',
      { cluster: 'other/media', source: 'a' },
      /spec\.cluster.*write the name of an object/,
    ],
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

describe('what the documentation has people apply', () => {
  const folder = join(import.meta.dirname, '../..');
  const pages = readdirSync(join(folder, 'docs')).map((name) => join('docs', name));
  const texts = [...pages.filter((page) => page.endsWith('.md')), 'charts/holdfast/templates/NOTES.txt'].flatMap(
    (page) =>
      [...readFileSync(join(folder, page), 'utf8').matchAll(/<<'END'\n(.*?)\n *END$/gms)].map(
        ([, text = ''], i) => [`${page}, ${i + 1}`, text] as const,
      ),
  );

  test('is found', () => expect(texts.length).toBeGreaterThanOrEqual(5));

  test.each(texts)('%s: is accepted, every field of it', async (_where, text) => {
    for (const document of parseAllDocuments(text.replaceAll('POD', 'media-1x2y3z-abcde'))) {
      const { metadata: _, ...object } = document.toJS() as KubernetesObject; // some are there already
      const kind = object.kind === 'HandleMigration' ? 'handlemigrations' : 'fileserverclusters';
      await server.api.request('POST', `/apis/holdfast.dev/v1alpha1/namespaces/default/${kind}`, {
        query: { dryRun: 'All', fieldValidation: 'Strict' },
        body: { ...object, metadata: { namespace: 'default', generateName: 'documented-' } },
      });
    }
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
      conditions: [
        condition('Available', 'True', 'yes'),
        condition('Degraded', 'False', 'nothing wrong'),
        condition('StateStoreReady', 'True', 'yes'),
      ],
    };
    await objects.patch(CLUSTERS, 'default', metadata.name ?? '', { status }, 'status');
    expect(printed('fsc', metadata.name ?? '')).toMatchObject({
      ...{ NAME: metadata.name, DESIRED: '3', READY: '2', AVAILABLE: 'True', DEGRADED: 'False' },
      ...{ HANDLES: '24', STORE: 'True', DISCONNECTED: '5', MIGRATING: '1', ADDRESS: '192.0.2.7' },
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

describe('kubectl explain', () => {
  const explain = (path: string) =>
    execFileSync(join(server.bin, 'kubectl'), ['--kubeconfig', server.kubeconfig, 'explain', path], {
      encoding: 'utf8',
    });

  test.each([
    ['fsc', /A group of SMB3 file servers that serve the same shares/],
    [
      'fsc.spec.state.embedded.durability',
      /mode\s+<string>\s+enum: Always, EverySecond, Replicated\s+Always: on Redis' disk/,
    ],
    ['fsc.spec.migration.drainTimeout', /How long a server may take to hand over/],
    ['hm.spec', /targets\s+<\[\]string>\s+The pods that take them, in order of preference/],
  ])('of %s reads like documentation', async (path, text) => {
    await eventually('the API server publishes its schemas', async () => text.test(explain(path)));
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
