import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { createAuthority, issueCertificate } from '../../common/certificates.ts';
import { checkClusterConfig } from '../../common/config.ts';
import { SIDECAR_IDENTITY, STORE_IDENTITY } from '../../common/tls.ts';
import { cluster } from '../testing/fixtures.ts';
import { disruptionBudget, networkPolicies, volumeClaims } from './access.ts';
import type { ClusterAuthority } from './authority.ts';
import {
  authorityOf,
  authoritySecret,
  certificateSecret,
  isEnding,
  makeAuthority,
  needsCertificate,
  readSecret,
} from './certificates.ts';
import { clusterConfig, configMap, restartHash } from './cluster-config.ts';
import { podTemplate } from './pod-template.ts';
import { redisConfiguration, redisDisruptionBudget, redisSecret, redisService } from './redis.ts';
import { redisStatefulSet } from './redis-stateful-set.ts';
import { replicaSet } from './replica-set.ts';
import { clientService, headlessService } from './services.ts';

const IMAGE = 'holdfast.dev/holdfast:test';
const podOf = (...change: Parameters<typeof cluster>) => podTemplate(cluster(...change), IMAGE).template;
const container = (name: string, ...change: Parameters<typeof cluster>) => {
  const spec = podOf(...change).spec;
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].find((each) => each.name === name);
};

describe('config.json', () => {
  test('is what file servers and sidecars accept', () => {
    expect(checkClusterConfig(JSON.parse(JSON.stringify(clusterConfig(cluster()))))).toMatchObject({
      clusterId: '11111111-2222-3333-4444-555555555555',
      volumes: [{ name: 'data', path: '/volumes/data', fencing: 'Deadline' }],
      security: { signing: 'Required', minDialect: '3.0' },
      handles: { persistentTimeoutMs: 300_000, durableTimeoutMs: 60_000 },
      store: { mode: 'Standalone', addresses: ['media-redis.files.svc:6379'], durability: { mode: 'Always' } },
    });
  });

  test('says all of the spec that they go by', () => {
    const share = {
      ...{ name: 'projects', volume: 'data', path: '/projects', comment: 'Work', continuouslyAvailable: true },
      ...{ scaleOut: true, accessBasedEnumeration: true, encryption: 'Required' as const },
      access: [{ principal: 'alice', permission: 'Read' as const }],
    };
    const security = {
      ...{ signing: 'Desired' as const, encryption: 'Required' as const },
      ...{ minDialect: '3.0.2' as const, anonymousIpc: true },
    };
    const limits = { opens: 1000, perUser: { opens: 100 } };
    const config = clusterConfig(
      cluster({
        ...{ shares: [share], security, limits },
        volumes: [
          { name: 'data', persistentVolumeClaim: { claimName: 'media' }, fencing: 'NodeProven', coherent: false },
        ],
        handles: { persistentTimeout: '2m', durableTimeout: '30s' },
        failover: { leaseDuration: '7s', writeSettle: '1500ms' },
        logLevel: 'debug',
      }),
    );
    expect(checkClusterConfig(JSON.parse(JSON.stringify(config)))).toMatchObject({
      ...{ clusterName: 'media', shares: [share], security, limits },
      volumes: [{ name: 'data', path: '/volumes/data', fencing: 'NodeProven', coherent: false }],
      handles: { persistentTimeoutMs: 120_000, durableTimeoutMs: 30_000 },
      failover: { leaseDurationMs: 7000, writeSettleMs: 1500 },
      logLevel: 'debug',
    });
  });

  test('names an external store, and where its authority is mounted', () => {
    const external = {
      mode: 'Sentinel' as const,
      addresses: ['s:26379'],
      masterName: 'main',
      username: 'holdfast',
      tls: { caSecretRef: { name: 'ca', key: 'ca.crt' }, clientSecretRef: { name: 'client' } },
      durability: { mode: 'Replicated' as const, replicas: 1 },
    };
    expect(
      checkClusterConfig(JSON.parse(JSON.stringify(clusterConfig(cluster({ state: { external } }))))).store,
    ).toEqual({
      mode: 'Sentinel',
      addresses: ['s:26379'],
      masterName: 'main',
      username: 'holdfast',
      tls: {
        caFile: '/etc/holdfast/store-ca/ca.crt',
        certFile: '/etc/holdfast/store-client/tls.crt',
        keyFile: '/etc/holdfast/store-client/tls.key',
      },
      durability: { mode: 'Replicated', replicas: 1 },
    });
  });

  test('shares and the log level take effect live, everything else with new pods', () => {
    const before = restartHash(cluster());
    expect(restartHash(cluster({ shares: [] }))).toBe(before);
    expect(restartHash(cluster({ logLevel: 'debug' }))).toBe(before);
    expect(restartHash(cluster({ failover: { leaseDuration: '3s', writeSettle: '1s' } }))).not.toBe(before);
  });
});

describe('the pod', () => {
  test('meets the restricted standard and may listen on 445', () => {
    const spec = podOf().spec;
    expect(spec?.securityContext).toMatchObject({
      runAsNonRoot: true,
      sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '445' }],
    });
    for (const each of [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]) {
      expect(each.securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
    expect(spec?.automountServiceAccountToken).toBe(false);
  });

  test('the sidecar starts before the file server and ends after it', () => {
    expect(podOf().spec?.initContainers).toMatchObject([{ name: 'sidecar', restartPolicy: 'Always' }]);
  });

  test('drains before it ends, and is given the time for that', () => {
    const migration = {
      maxConcurrent: 1,
      drainTimeout: '90s',
      onCordon: true,
      rebalance: true,
      strategy: 'Spread' as const,
    };
    const drain = container('fileserver', { migration })?.lifecycle?.preStop?.exec?.command;
    expect(drain).toEqual(['holdfast', 'fileserver', 'drain', '--run-dir', '/run/holdfast', '--timeout', '90s']);
    expect(podOf({ migration }).spec?.terminationGracePeriodSeconds).toBeGreaterThan(90);
  });

  test('the key of the authority is in no pod, and no secret in arguments or environment', () => {
    const text = JSON.stringify(podOf());
    expect(text).not.toContain('media-ca');
    expect(text).not.toContain('secretKeyRef');
  });

  test('only the sidecar gets at certificates and Redis, only the file server at users and data', () => {
    const mounts = (name: string) =>
      container(name)
        ?.volumeMounts?.map((mount) => mount.name)
        .sort();
    expect(mounts('sidecar')).toEqual(['config', 'run', 'store', 'tls', 'tmp']);
    expect(mounts('fileserver')).toEqual(['config', 'run', 'tmp', 'users', 'volume-data']);
  });

  test("an external store's secrets are files of the sidecar alone", () => {
    const external = {
      mode: 'Cluster' as const,
      addresses: ['redis:6379'],
      secretRef: { name: 'redis-password', key: 'password' },
      tls: { caSecretRef: { name: 'ca', key: 'ca.crt' }, clientSecretRef: { name: 'client' } },
      durability: { mode: 'Always' as const },
    };
    const spec = { state: { external } };
    const mounts = (name: string) => container(name, spec)?.volumeMounts?.map((mount) => mount.name) ?? [];
    expect(mounts('sidecar')).toEqual(expect.arrayContaining(['store', 'store-ca', 'store-client']));
    expect(mounts('fileserver').filter((name) => name.startsWith('store'))).toEqual([]);
    expect(container('sidecar', spec)?.args).toContain('--store-password-file');
    expect(JSON.stringify(container('sidecar', spec)?.env)).not.toContain('redis-password');
  });

  test('an external store without a password needs no file for it', () => {
    const external = {
      mode: 'Standalone' as const,
      addresses: ['redis:6379'],
      durability: { mode: 'Always' as const },
    };
    expect(container('sidecar', { state: { external } })?.args).not.toContain('--store-password-file');
  });

  test('the hash follows the template and nothing else', () => {
    const hash = (...change: Parameters<typeof cluster>) => podTemplate(cluster(...change), IMAGE).hash;
    expect(hash({ replicas: 9 })).toBe(hash());
    expect(hash({ shares: [] })).toBe(hash());
    expect(podTemplate(cluster(), 'other').hash).not.toBe(hash());
    expect(hash({ template: { ...cluster().spec.template, annotations: { a: 'b' } } })).not.toBe(hash());
  });

  test('is placed, pulled and sized as its template says, and so is Redis', () => {
    const zones = {
      maxSkew: 2,
      topologyKey: 'topology.kubernetes.io/zone',
      whenUnsatisfiable: 'DoNotSchedule' as const,
    };
    const placed = {
      imagePullSecrets: [{ name: 'registry' }],
      nodeSelector: { disk: 'fast' },
      tolerations: [{ key: 'files', operator: 'Exists' as const }],
      priorityClassName: 'files-first',
    };
    const apart = { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [] } };
    const template = {
      ...{ ...cluster().spec.template, ...placed, affinity: apart, topologySpreadConstraints: [zones] },
      ...{ annotations: { note: 'x' }, image: 'registry.example.com/holdfast:1', imagePullPolicy: 'Always' as const },
      resources: {
        fileserver: { requests: { cpu: 2 }, limits: { memory: '1Gi' } },
        sidecar: { requests: { cpu: '300m' } },
        redis: { limits: { memory: '2Gi' } },
      },
    };
    const { metadata, spec } = podOf({ template });
    expect(metadata?.annotations).toMatchObject({ note: 'x' });
    expect(spec).toMatchObject({ ...placed, affinity: apart });
    const labelSelector = { matchLabels: expect.objectContaining({ 'holdfast.dev/cluster': 'media' }) };
    expect(spec?.topologySpreadConstraints).toEqual([{ ...zones, labelSelector }]);
    const image = { image: 'registry.example.com/holdfast:1', imagePullPolicy: 'Always' };
    expect(container('fileserver', { template })).toMatchObject({
      ...image,
      resources: { requests: { cpu: '2' }, limits: { memory: '1Gi' } },
    });
    expect(container('sidecar', { template })).toMatchObject({ ...image, resources: { requests: { cpu: '300m' } } });
    const redis = redisStatefulSet(cluster({ template }), IMAGE).spec?.template.spec;
    expect(redis).toMatchObject(placed);
    const [server] = redis?.containers ?? [];
    expect(server).toMatchObject({ ...image, resources: { limits: { memory: '2Gi' } } });
    // Where nothing is said servers are apart where they can be.
    expect(podOf().spec?.topologySpreadConstraints).toHaveLength(2);
  });

  test('labels of the operator win over those of the template', () => {
    const template = { ...cluster().spec.template, labels: { 'holdfast.dev/cluster': 'x', team: 'film' } };
    expect(podOf({ template }).metadata?.labels).toMatchObject({ 'holdfast.dev/cluster': 'media', team: 'film' });
  });
});

describe('the ReplicaSet', () => {
  test('counts members of its template, whether they serve or not', () => {
    const set = replicaSet(cluster(), IMAGE, 3);
    const { hash } = podTemplate(cluster(), IMAGE);
    expect(set.metadata?.name).toBe(`media-${hash}`);
    expect(set.spec?.selector.matchLabels).toMatchObject({
      'holdfast.dev/template': hash,
      'holdfast.dev/member': 'true',
    });
    expect(set.spec?.selector.matchLabels).not.toHaveProperty(['holdfast.dev/serving']);
    expect(set.spec?.template?.metadata?.labels).toMatchObject(set.spec?.selector.matchLabels ?? {});
  });
});

describe('the Services', () => {
  test('offer serving pods, and keep a client at its server', () => {
    expect(clientService(cluster()).spec).toMatchObject({
      type: 'LoadBalancer',
      sessionAffinity: 'ClientIP',
      externalTrafficPolicy: 'Local',
      selector: { 'holdfast.dev/serving': 'true' },
      ports: [{ port: 445, targetPort: 445 }],
    });
    expect(headlessService(cluster()).spec).toMatchObject({
      clusterIP: 'None',
      selector: { 'holdfast.dev/serving': 'true' },
    });
  });

  test('a ClusterIP has no external traffic policy', () => {
    const service = { type: 'ClusterIP' as const, port: 445, perServer: false };
    expect(clientService(cluster({ service })).spec).not.toHaveProperty('externalTrafficPolicy');
  });
});

describe('Redis', () => {
  test('stores every change before it answers, and throws nothing away', () => {
    const lines = redisConfiguration(cluster()).split('\n');
    expect(lines).toEqual(
      expect.arrayContaining(['appendonly yes', 'appendfsync always', 'maxmemory-policy noeviction']),
    );
  });

  test('has its password in a file, and not among its arguments', () => {
    const secret = redisSecret(cluster(), { password: 'pw', accepted: ['pw'] });
    expect(readSecret(secret, 'password')).toBe('pw');
    const spec = redisStatefulSet(cluster(), IMAGE).spec?.template?.spec;
    expect(spec?.volumes).toMatchObject([{ secret: { secretName: secret.metadata?.name } }]);
    expect(JSON.stringify([spec?.containers, spec?.initContainers])).not.toContain('secretKeyRef');
  });

  test('its volume goes with the cluster, and not with a member of it', () => {
    expect(redisStatefulSet(cluster(), IMAGE).spec?.persistentVolumeClaimRetentionPolicy).toEqual({
      whenDeleted: 'Delete',
      whenScaled: 'Retain',
    });
  });

  test('a durability that changes restarts it', () => {
    const everySecond = { embedded: { replicas: 1, storage: '1Gi', durability: { mode: 'EverySecond' as const } } };
    const annotations = (state?: typeof everySecond) =>
      redisStatefulSet(cluster(state ? { state } : {}), IMAGE).spec?.template?.metadata?.annotations;
    expect(annotations(everySecond)).not.toEqual(annotations());
  });
});

describe('a store that is spoken to by TLS alone', () => {
  const of = (replicas: number, tls: 'Required' | 'Off') =>
    cluster({ state: { embedded: { replicas, storage: '1Gi', tls } } });
  const password = { password: 'pw', accepted: ['pw'] };

  test('listens for nothing else, asks for certificates, and replicates so', () => {
    const single = readSecret(redisSecret(of(1, 'Required'), password), 'redis.conf');
    const three = redisSecret(of(3, 'Required'), password);
    expect(single).toContain('port 0\ntls-port 6379\n');
    for (const file of [single, readSecret(three, 'redis.conf'), readSecret(three, 'sentinel.conf')]) {
      for (const line of ['tls-auth-clients yes', 'tls-replication yes', 'tls-protocols TLSv1.3']) {
        expect(file).toContain(`${line}\n`);
      }
      expect(file).toMatch(/^tls-cert-file \/etc\/redis-tls\/tls\.crt$/m);
    }
  });

  test('is checked by the cluster’s authority and its name, and shown the sidecar’s certificate', () => {
    for (const replicas of [1, 3]) {
      expect(checkClusterConfig(JSON.parse(JSON.stringify(clusterConfig(of(replicas, 'Required'))))).store.tls).toEqual(
        {
          caFile: '/etc/holdfast/tls/ca.crt',
          certFile: '/etc/holdfast/tls/tls.crt',
          keyFile: '/etc/holdfast/tls/tls.key',
          serverName: STORE_IDENTITY,
        },
      );
    }
  });

  test('has its certificate, and not the sidecars’, in every container of its pods, and no probe that could not speak to it', () => {
    for (const replicas of [1, 3]) {
      const spec = redisStatefulSet(of(replicas, 'Required'), IMAGE).spec?.template.spec;
      expect(JSON.stringify(spec?.volumes)).toContain('"media-redis-tls"');
      expect(JSON.stringify(spec?.volumes)).not.toContain('"media-tls"');
      const keepers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
      for (const { name, volumeMounts, readinessProbe, livenessProbe } of keepers) {
        expect(volumeMounts).toContainEqual({ name: 'tls', mountPath: '/etc/redis-tls', readOnly: true });
        expect(livenessProbe).toBeUndefined();
        // Of three the keeper says how Redis is; of a single one clients must not be kept from Redis for want of a keeper.
        const speaks = replicas > 1 && name === 'keeper';
        expect(readinessProbe).toEqual(speaks ? expect.objectContaining({ httpGet: expect.anything() }) : undefined);
      }
      expect(JSON.stringify(keepers.find(({ name }) => name === 'keeper')?.args)).toContain('"--tls-dir"');
    }
  });

  test('in the clear it is as it was before anybody could choose', () => {
    for (const replicas of [1, 3]) {
      const before = cluster({ state: { embedded: { replicas, storage: '1Gi' } } });
      const off = of(replicas, 'Off');
      expect(redisStatefulSet(off, IMAGE)).toEqual(redisStatefulSet(before, IMAGE));
      expect(redisSecret(off, password)).toEqual(redisSecret(before, password));
      expect([configMap(off), podTemplate(off, IMAGE)]).toEqual([configMap(before), podTemplate(before, IMAGE)]);
      expect(JSON.stringify(redisStatefulSet(off, IMAGE))).not.toContain('tls');
    }
  });
});

test('a single Redis is evicted only when the operator says so', () => {
  expect(redisDisruptionBudget(cluster(), false).spec).toMatchObject({ maxUnavailable: 0 });
  expect(redisDisruptionBudget(cluster(), true).spec).toMatchObject({ maxUnavailable: 1 });
});

describe('three Redis', () => {
  const embedded = (durability?: { mode: 'Always' | 'Replicated'; replicas?: number }) =>
    cluster({ state: { embedded: { replicas: 3, storage: '1Gi', ...(durability ? { durability } : {}) } } });
  const set = redisStatefulSet(embedded(), IMAGE);
  const pod = set.spec?.template?.spec;

  test('are found through their Sentinels, and have to agree with one other before an answer', () => {
    expect(checkClusterConfig(JSON.parse(JSON.stringify(clusterConfig(embedded())))).store).toEqual({
      mode: 'Sentinel',
      addresses: [0, 1, 2].map((i) => `media-redis-${i}.media-redis-members.files.svc:26379`),
      masterName: 'holdfast',
      durability: { mode: 'Replicated', replicas: 1 },
    });
    expect(clusterConfig(embedded({ mode: 'Always' })).store.durability).toEqual({ mode: 'Always' });
  });

  test('a primary that is cut off grants nothing, whatever the durability', () => {
    expect(redisConfiguration(embedded())).not.toContain('min-replicas');
    expect(redisConfiguration(embedded({ mode: 'Always' }))).toContain('min-replicas-to-write 1\n');
  });

  test('run on different nodes, do not wait for each other to start, and one at a time is evicted', () => {
    expect(set.spec).toMatchObject({
      replicas: 3,
      serviceName: 'media-redis-members',
      podManagementPolicy: 'Parallel',
    });
    expect(pod?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution).toMatchObject([
      { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: set.spec?.selector.matchLabels } },
    ]);
    expect(redisDisruptionBudget(embedded(), false).spec).toMatchObject({
      maxUnavailable: 1,
      selector: { matchLabels: set.spec?.selector.matchLabels },
      unhealthyPodEvictionPolicy: 'IfHealthyBudget',
    });
  });

  test('find each other by name before they are ready', () => {
    expect(redisService(embedded())).toMatchObject({
      metadata: { name: 'media-redis-members' },
      spec: { clusterIP: 'None', publishNotReadyAddresses: true, ports: [{ port: 6379 }, { port: 26379 }] },
    });
  });

  test('are Redis, a Sentinel and a keeper each; the primary hands over before it ends', () => {
    expect(pod?.initContainers).toMatchObject([
      { name: 'keeper', restartPolicy: 'Always', startupProbe: { httpGet: { path: '/readyz', port: 9448 } } },
    ]);
    expect(pod?.containers).toMatchObject([
      { name: 'redis', command: ['redis-server', '/data/conf/redis.conf'] },
      { name: 'sentinel', command: ['redis-server', '/data/conf/sentinel.conf', '--sentinel'] },
    ]);
    const hook = pod?.containers[0]?.lifecycle?.preStop?.exec?.command;
    expect(hook?.slice(0, 3)).toEqual(['holdfast', 'store', 'hand-over']);
    expect(JSON.stringify(hook)).not.toContain('$('); // Kubernetes fills in nothing there
    for (const each of [...(pod?.containers ?? []), ...(pod?.initContainers ?? [])]) {
      expect(each.securityContext).toMatchObject({ readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
    }
  });

  test('talk to each other and to file servers alone', () => {
    const policy = networkPolicies(embedded()).find((each) => each.metadata?.name === 'media-redis');
    expect(JSON.stringify(policy?.spec?.ingress?.[1])).toContain('26379');
    expect(policy?.spec?.ingress?.every((rule) => 'from' in rule)).toBe(true);
  });

  test('one has neither Sentinel nor budget nor neighbours', () => {
    const single = redisStatefulSet(cluster(), IMAGE).spec;
    expect(single?.template.spec?.containers.map(({ name }) => name)).toEqual(['redis', 'keeper']);
    expect(single?.template.spec?.containers[0]?.command).toEqual(['redis-server', '/etc/redis/redis.conf']);
    expect(single?.template.spec?.affinity).toBeUndefined();
    expect(single).toMatchObject({ replicas: 1, serviceName: 'media-redis' });
  });
});

describe('the rest', () => {
  test('the data volume outlives the cluster', () => {
    const volumes = [
      {
        name: 'data',
        fencing: 'Deadline' as const,
        volumeClaimTemplate: { storage: '1Gi', accessModes: ['ReadWriteMany' as const] },
      },
    ];
    const [claim] = volumeClaims(cluster({ volumes }));
    expect(claim?.metadata).toEqual({ name: 'media-data', namespace: 'files', labels: expect.anything() });
  });

  test('one eviction at a time; pods that are being replaced count', () => {
    const budget = disruptionBudget(cluster());
    expect(budget.spec?.maxUnavailable).toBe(1);
    expect(budget.spec?.selector?.matchLabels).not.toHaveProperty(['holdfast.dev/member']);
  });

  test('clients are let in from anywhere, or from where the cluster says; metrics and peers are as ever', () => {
    const ingress = (service: object) => {
      const [policy] = networkPolicies(
        cluster({ service: { type: 'ClusterIP', port: 445, perServer: false, ...service } }),
      );
      return policy?.spec?.ingress as unknown as { ports: { port: number }[]; from?: object[] }[];
    };
    const from = (rules: ReturnType<typeof ingress>, port: number) =>
      rules.filter(({ ports }) => ports.some((each) => each.port === port)).map((rule) => rule.from);
    const allowedFrom = [{ ipBlock: { cidr: '10.0.0.0/8' } }, { namespaceSelector: {} }];
    expect(from(ingress({}), 445)).toEqual([undefined]);
    expect(from(ingress({ allowedFrom }), 445)).toEqual([allowedFrom]);
    for (const port of [7445, 9445, 9446]) {
      expect(from(ingress({ allowedFrom }), port)).toEqual(from(ingress({}), port));
    }
  });

  test('network policies are written with the API’s own field names', () => {
    const text = JSON.stringify(networkPolicies(cluster()));
    expect(text).toContain('"from":');
    expect(text).not.toContain('_from');
  });

  describe('certificates', () => {
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    async function newAuthority(): Promise<ClusterAuthority> {
      const signer = await makeAuthority(cluster());
      return { signer, trusted: [signer.certificate] };
    }

    test('are made once, and again when they run out or the authority is another', async () => {
      const authority = await newAuthority();
      expect(needsCertificate(undefined, authority)).toBe(true);
      const issued = await certificateSecret(cluster(), authority);
      expect(needsCertificate(issued, authority)).toBe(false);
      expect(readSecret(issued, 'ca.key')).toBeUndefined();
      const certificate = new X509Certificate(readSecret(issued, 'tls.crt') ?? '');
      expect(certificate.subjectAltName).toBe(`DNS:${SIDECAR_IDENTITY}`);
      expect(certificate.verify(new X509Certificate(authority.signer.certificate).publicKey)).toBe(true);
      // Nearly over: another is made while the old one is still good.
      for (const [days, isDue] of [
        [29, true],
        [31, false],
      ] as const) {
        const late = await issueCertificate(authority.signer, [SIDECAR_IDENTITY], days);
        const data = { 'tls.crt': base64(late.certificate), 'tls.key': base64(late.key) };
        expect([days, needsCertificate({ data: { ...issued.data, ...data } }, authority)]).toEqual([days, isDue]);
      }
      expect(needsCertificate(issued, await newAuthority())).toBe(true);
    });

    test('are made again at each step of a replacement of the authority', async () => {
      const [old, next] = [await newAuthority(), await newAuthority()];
      const both = [next.signer.certificate, old.signer.certificate];
      const issued = await certificateSecret(cluster(), old);
      const learning = { signer: old.signer, trusted: both, next: next.signer };
      expect(needsCertificate(issued, learning)).toBe(true);
      const ofBoth = await certificateSecret(cluster(), learning);
      expect(needsCertificate(ofBoth, learning)).toBe(false);
      const changed = { signer: next.signer, trusted: both };
      expect(needsCertificate(ofBoth, changed)).toBe(true);
      const ofNext = await certificateSecret(cluster(), changed);
      expect(needsCertificate(ofNext, changed)).toBe(false);
      expect(needsCertificate(ofNext, next)).toBe(true);
    });

    test('an authority and its replacement stand in the Secret, so that any operator goes on', async () => {
      const [old, next] = [await newAuthority(), await newAuthority()];
      const both = [next.signer.certificate, old.signer.certificate];
      for (const state of [
        old,
        { ...old, trusted: both, next: next.signer, sinceMs: 1_800_000_000_000, madeFor: 'x' },
        { ...next, trusted: both, sinceMs: 1_800_000_000_000, madeFor: 'x' },
        { ...next, madeFor: 'x' },
      ]) {
        const secret = authoritySecret(cluster(), state);
        expect(authorityOf(secret)).toEqual({
          ...{ next: undefined, sinceMs: undefined, madeFor: undefined },
          ...state,
        });
      }
      expect(authorityOf({ data: { 'ca.crt': 'bm8=', 'ca.key': 'bm8=' } })).toBeUndefined();
      // Two of one cluster are told apart by their names.
      const names = [old, next].map(({ signer }) => new X509Certificate(signer.certificate).subject);
      expect(new Set(names).size).toBe(2);
    });

    test('an authority ends when what it issues could outlive it', async () => {
      for (const [days, ends] of [
        [179, true],
        [181, false],
      ] as const) {
        const signer = await createAuthority('short', days);
        expect([days, isEnding({ signer, trusted: [signer.certificate] }, Date.now())]).toEqual([days, ends]);
      }
    });
  });
});
