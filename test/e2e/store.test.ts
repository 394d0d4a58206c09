// Three Redis on the three-node cluster: the primary's pod is evicted and deleted, and its node is lost.
import type { ConnectionOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { storeConnection } from '../../common/tls.ts';
import { PRIMARY_NAME } from '../../operator/resources/redis.ts';
import { asked, roleAt } from '../../sidecar/member/local.ts';
import type { KubeObject } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';
import { installOperator } from '../demo/installation.ts';
import { HeldFiles } from './held.ts';
import { type Condition, TestNamespace } from './namespace.ts';
import { OpenedFiles } from './opened.ts';

const MINUTES = 60_000;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;
/** As the pods of our own cluster see it. */
const THIS_MACHINE = '10.77.0.1';
/** While a store is away so long, servers go on by their last renewal. */
const LEASE_MS = 5000;
/** Of three nodes that share a machine with whatever else it does; processes alone take some tenths of a second. */
const HANDED_OVER_WITHIN_MS = 2 * LEASE_MS;

function isReady({ metadata, status }: KubeObject): boolean {
  const conditions = (status?.conditions ?? []) as Condition[];
  const ready = conditions.some((one) => one.type === 'Ready' && one.status === 'True');
  return ready && metadata.deletionTimestamp === undefined;
}

/** Policies add up: this machine may ask Redis and Sentinels, as no client may. */
const asksTheStore = (namespace: string) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-asks-the-store, namespace: ${namespace}}
spec:
  podSelector: {matchLabels: {holdfast.dev/cluster: three, app.kubernetes.io/component: redis}}
  policyTypes: [Ingress]
  ingress:
    - from: [{ipBlock: {cidr: ${THIS_MACHINE}/32}}]
      ports: [{port: ${REDIS_PORT}, protocol: TCP}, {port: ${SENTINEL_PORT}, protocol: TCP}]
`;

describe('an embedded store of three', () => {
  let namespace: TestNamespace;
  let lost = '';

  beforeAll(async () => {
    namespace = await TestNamespace.make('holdfast-e2e-store');
    await installOperator(namespace.kubernetes, process.env.IMAGE || undefined);
    if (!namespace.kubernetes.embedded) return;
    await namespace.kubernetes.apply(namespace.cluster('three', { replicas: 3, stores: 3 }));
    await namespace.kubernetes.apply(asksTheStore(namespace.name));
    await namespace.becomes('three', 'StateStoreReady', 'True', 5 * MINUTES);
    await namespace.becomes('three', 'Available', 'True', 3 * MINUTES);
  }, 15 * MINUTES);

  afterAll(async () => {
    await HeldFiles.abandon();
    await OpenedFiles.abandon();
    if (lost !== '') await namespace.kubernetes.node('join', lost);
    await namespace?.remove();
  }, 10 * MINUTES);

  async function secret(name: string, key: string): Promise<Buffer> {
    const path = ['-o', `jsonpath={.data.${key.replace('.', '\\.')}}`];
    const secret = ['get', 'secret', name, '-n', namespace.name];
    return Buffer.from(await namespace.kubernetes.kubectl([...secret, ...path]), 'base64');
  }

  async function passwords(): Promise<string[]> {
    return [(await secret('three-redis', 'password')).toString('utf8')];
  }

  /** As a sidecar speaks to the store. */
  async function tls(): Promise<ConnectionOptions> {
    const of = (key: string) => secret('three-tls', key);
    return storeConnection({ ca: await of('ca.crt'), certificate: await of('tls.crt'), key: await of('tls.key') });
  }

  /** The node of the primary, by what the members say themselves. */
  async function primary(): Promise<{ pod: string; uid: string; node: string }> {
    const [known, speech] = [await passwords(), await tls()];
    return eventually('a Redis says that it is the primary', 2 * MINUTES, async () => {
      for (const { metadata, spec, status } of await namespace.pods('three', 'redis')) {
        const [host, node] = [(status as { podIP?: string }).podIP, (spec as { nodeName?: string }).nodeName];
        if (!host || !node || node === lost) continue;
        if ((await roleAt({ host, port: REDIS_PORT, tls: speech }, known)) === 'master')
          return { pod: metadata.name, uid: metadata.uid, node };
      }
      return undefined;
    });
  }

  /** Each Sentinel knows of both replicas and of both others: a second or two after the store was set up. */
  async function settled(): Promise<void> {
    const [known, speech] = [await passwords(), await tls()];
    await eventually('the Sentinels know all members', 2 * MINUTES, async () => {
      for (const { status } of await namespace.pods('three', 'redis')) {
        const host = (status as { podIP?: string }).podIP ?? '';
        const flat = await asked({ host, port: SENTINEL_PORT, tls: speech }, known, (sentinel) =>
          sentinel.call('SENTINEL', 'MASTER', PRIMARY_NAME),
        );
        const field = (name: string) => (flat as string[] | undefined)?.[(flat as string[]).indexOf(name) + 1];
        if (field('num-slaves') !== '2' || field('num-other-sentinels') !== '2') return undefined;
      }
      return true;
    });
  }

  /** Three members that are there to stay, none of them the pod that went. */
  async function complete(gone: string): Promise<void> {
    await eventually('there are three members again', 3 * MINUTES, async () => {
      const ready = (await namespace.pods('three', 'redis')).filter((pod) => pod.metadata.uid !== gone && isReady(pod));
      return ready.length === 3 ? true : undefined;
    });
    await settled();
  }

  /** As `kubectl drain` does: it may be refused, by the budget. */
  async function evict(pod: string): Promise<void> {
    const path = `/api/v1/namespaces/${namespace.name}/pods/${pod}/eviction`;
    const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: pod, namespace: namespace.name } };
    await namespace.kubernetes.kubectl(['create', '--raw', path, '-f', '-'], { input: JSON.stringify(eviction) });
  }

  async function remove(pod: string): Promise<void> {
    await namespace.kubernetes.kubectl(['delete', 'pod', pod, '-n', namespace.name, '--wait=false']);
  }

  function sentinelSince(pod: string, since: string): Promise<string> {
    const of = ['logs', pod, '-n', namespace.name, '-c', 'sentinel'];
    return namespace.kubernetes.kubectl([...of, `--since-time=${since}`]);
  }

  test.each([
    ['evicted', evict],
    ['deleted', remove],
  ])(
    'whose primary’s pod is %s has handed over before it ends: no Sentinel has to notice a loss, and no handle is lost',
    async (what, end) => {
      if (!namespace.kubernetes.embedded) {
        process.stderr.write('left out: pods of a cluster that is not our own are not reached from here\n');
        return;
      }
      await settled();
      const addresses = await namespace.addresses('three', 3);
      const held = await HeldFiles.open(addresses);
      const opened = await OpenedFiles.begin(addresses);
      const before = await primary();
      const since = new Date().toISOString();
      await end(before.pod);
      await complete(before.uid);
      const after = await primary();
      expect(after.pod).not.toBe(before.pod);
      await held.goesOn();
      const { longestMs, count } = await opened.end();
      const longestPauseMs = await held.expectWhole();
      process.stdout.write(
        `a primary ${what}: the longest of ${count} opens took ${Math.round(longestMs)} ms, writes paused for ${Math.round(longestPauseMs)} ms at most\n`,
      );
      expect(longestPauseMs).toBeLessThan(LEASE_MS);
      expect(longestMs).toBeLessThan(HANDED_OVER_WITHIN_MS);
      // The Sentinels had not to agree first that there is no primary any more.
      const others = (await namespace.pods('three', 'redis')).filter(({ metadata }) => metadata.name !== before.pod);
      const said = await Promise.all(others.map(({ metadata }) => sentinelSince(metadata.name, since)));
      expect(said.join('\n')).toMatch(/\+switch-master/);
      expect(said.join('\n')).not.toMatch(/\+odown master/);
    },
    10 * MINUTES,
  );

  test(
    'is replaced member by member, and who holds files notices nothing',
    async () => {
      if (!namespace.kubernetes.embedded) {
        process.stderr.write('left out: pods of a cluster that is not our own are not reached from here\n');
        return;
      }
      await settled();
      const addresses = await namespace.addresses('three', 3);
      const held = await HeldFiles.open(addresses);
      const opened = await OpenedFiles.begin(addresses);
      const before = new Set((await namespace.pods('three', 'redis')).map(({ metadata }) => metadata.uid));
      const patch = JSON.stringify({ spec: { template: { resources: { redis: { requests: { cpu: '110m' } } } } } });
      const cluster = ['fileservercluster', 'three', '-n', namespace.name];
      await namespace.kubernetes.kubectl(['patch', ...cluster, '--type=merge', '-p', patch]);
      await eventually('all members are new ones', 6 * MINUTES, async () => {
        const ready = (await namespace.pods('three', 'redis')).filter(isReady);
        return (ready.length === 3 && ready.every(({ metadata }) => !before.has(metadata.uid))) || undefined;
      });
      await settled();
      await held.goesOn();
      const { longestMs, count } = await opened.end();
      const longestPauseMs = await held.expectWhole();
      process.stdout.write(
        `three members replaced: the longest of ${count} opens took ${Math.round(longestMs)} ms, writes paused for ${Math.round(longestPauseMs)} ms at most\n`,
      );
      expect(longestPauseMs).toBeLessThan(LEASE_MS);
    },
    10 * MINUTES,
  );

  test(
    'survives the node of its primary: another member takes over, and who holds files elsewhere goes on',
    async () => {
      const { kubernetes } = namespace;
      if (!kubernetes.embedded) {
        process.stderr.write('left out: nodes of a cluster that is not our own are left alone\n');
        return;
      }
      const addresses = await namespace.addresses('three', 3);
      const held = await HeldFiles.open(addresses);
      const opened = await OpenedFiles.begin(addresses);

      await settled();
      // By nothing but TLS: who speaks in the clear, or without a certificate, hears nothing.
      const [known, { cert: _cert, key: _key, ...nameless }] = [await passwords(), await tls()];
      for (const { status } of await namespace.pods('three', 'redis')) {
        const host = (status as { podIP?: string }).podIP ?? '';
        for (const speech of [undefined, nameless]) {
          for (const port of [REDIS_PORT, SENTINEL_PORT]) {
            expect(await asked({ host, port, tls: speech }, known, (redis) => redis.call('PING'))).toBeUndefined();
          }
        }
      }
      const before = await primary();
      lost = before.node;
      await kubernetes.node('cut', before.node);
      await held.goesOn();
      const after = await primary();
      expect(after.pod).not.toBe(before.pod);
      expect(after.node).not.toBe(before.node);
      await eventually('files are opened again', 2 * MINUTES, () => opened.sinceLastMs < 1000 || undefined);
      const { longestMs } = await opened.end();
      const longestPauseMs = await held.expectWhole();
      process.stdout.write(
        `a primary’s node cut off: the longest open took ${Math.round(longestMs)} ms, writes paused for ${Math.round(longestPauseMs)} ms at most\n`,
      );

      await kubernetes.node('join', before.node);
      lost = '';
      await namespace.becomes('three', 'StateStoreReady', 'True', 5 * MINUTES);
    },
    20 * MINUTES,
  );
});
