import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { PORTS } from '../../operator/resources/names.ts';
import type { KubeObject, Kubernetes } from '../cluster/kubernetes.ts';
import { eventually, run } from '../cluster/shell.ts';
import { installOperator } from '../demo/installation.ts';
import { HeldFiles } from './held.ts';
import { TestNamespace } from './namespace.ts';
import { Visitor } from './visitor.ts';

const NAMESPACE = 'holdfast-e2e';
const MINUTES = 60_000;
const NODE = join(import.meta.dirname, '../cluster/node.sh');
const UP = join(import.meta.dirname, '../cluster/up.sh');
/** Lease duration, writeSettle and a second: what it may cost where nobody can prove that the pod is dead. */
const TAKEN_OVER_WITHIN_MS = 7000;
/** Files that a client of the Service leaves alone: with so many it is worth a move to a server that has none. */
const IDLE = 12;
/** Between the end of one move to a new server and the begin of the next, to the second that a status is written in. */
const REBALANCE_PAUSE_MS = 28_000;

describe('the operator on the three-node cluster', () => {
  let namespace: TestNamespace;
  let kubernetes: Kubernetes;

  beforeAll(async () => {
    namespace = await TestNamespace.make(NAMESPACE);
    kubernetes = namespace.kubernetes;
    await installOperator(kubernetes, process.env.IMAGE || undefined);
  }, 5 * MINUTES);

  afterAll(() => HeldFiles.abandon());

  test(
    'a cluster whose Secret is missing says so, and mends itself when it comes',
    async () => {
      await kubernetes.apply(namespace.cluster('no-users', { secret: 'late-users' }));
      const found = await namespace.becomes('no-users', 'Degraded', 'True', MINUTES);
      expect(found.message).toContain('late-users');
      await kubernetes.apply(namespace.secret('late-users'));
      await namespace.becomes('no-users', 'Available', 'True', 3 * MINUTES);
      await namespace.becomes('no-users', 'Degraded', 'False', MINUTES);
      await kubernetes.kubectl(['delete', 'fileservercluster', 'no-users', '-n', NAMESPACE]);
    },
    5 * MINUTES,
  );

  test(
    'a cluster whose claim is missing says so',
    async () => {
      await kubernetes.apply(namespace.cluster('no-claim', { claim: 'nowhere' }));
      const found = await namespace.becomes('no-claim', 'Degraded', 'True', MINUTES);
      expect(found.message).toContain('nowhere');
      await kubernetes.kubectl(['delete', 'fileservercluster', 'no-claim', '-n', NAMESPACE]);
    },
    3 * MINUTES,
  );

  test(
    'is reached by those alone that it has to do with',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write(
          'left out: whether the network of a cluster that is not our own keeps policies is not known\n',
        );
        return;
      }
      await kubernetes.apply(namespace.cluster('guarded', { replicas: 2, stores: 3 }));
      await namespace.becomes('guarded', 'Available', 'True', 4 * MINUTES);
      const pods = await namespace.readyPods('guarded', 2);
      const servers = pods.map(ipOf);
      const stores = (await namespace.pods('guarded', 'redis')).map(ipOf);
      const containers = pods[0]?.spec?.containers as { image: string }[] | undefined;
      const image = containers?.[0]?.image ?? '';
      const at = (hosts: string[], port: number) => hosts.map((host) => `${host}:${port}`);
      const smb = at(servers, PORTS.smb);
      const metrics = [...at(servers, PORTS.fileserverMetrics), ...at(servers, PORTS.sidecarMetrics)];
      const inner = [
        ...at(servers, PORTS.peer),
        ...[PORTS.redis, PORTS.sentinel, PORTS.keeper].flatMap((port) => at(stores, port)),
      ];
      const all = [...smb, ...metrics, ...inner];
      const stranger = await Visitor.come(namespace, 'stranger', image, {});
      const friend = await Visitor.come(namespace, 'friend', image, { may: 'connect' });
      // The network takes a moment to know a policy, and a pod.
      const only = (visitor: Visitor, expected: string[]) =>
        eventually('it reaches what it may', MINUTES, async () => {
          const found = await visitor.reaches(all);
          if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(`it reaches ${found.join(', ')}`);
          return true;
        });
      await only(stranger, [...smb, ...metrics]);
      const allowedFrom = [{ podSelector: { matchLabels: { may: 'connect' } } }];
      const patch = JSON.stringify({ spec: { service: { allowedFrom } } });
      await kubernetes.kubectl(['patch', 'fileservercluster', 'guarded', '-n', NAMESPACE, '--type=merge', '-p', patch]);
      await only(stranger, metrics);
      await only(friend, [...smb, ...metrics]);
      // They still have one another, and the operator has them: it moves what is open, with nobody else let in.
      await namespace.becomes('guarded', 'Available', 'True', MINUTES);
      const [source] = await namespace.readyPods('guarded', 2);
      await kubernetes.kubectl(['delete', 'pod', source?.metadata.name ?? '', '-n', NAMESPACE, '--wait=false']);
      await moved('guarded', 'Drain');
      await namespace.readyPods('guarded', 2);
      await Promise.all([stranger.leave(), friend.leave()]);
      await kubernetes.kubectl(['delete', 'fileservercluster', 'guarded', '-n', NAMESPACE]);
    },
    10 * MINUTES,
  );

  test(
    'a pod whose processes all die at once costs its clients no more than a pause',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write('left out: processes of a cluster that is not our own are left alone\n');
        return;
      }
      await kubernetes.apply(namespace.cluster('killed', { replicas: 2 }));
      await namespace.becomes('killed', 'Available', 'True', 3 * MINUTES);
      const held = await HeldFiles.open(await namespace.addresses('killed', 2));
      const pids = await processesAt('killed', held.server);
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await held.goesOn();
      const longestPauseMs = await held.expectWhole();
      process.stdout.write(`a killed pod's clients waited ${Math.round(longestPauseMs)} ms\n`);
      expect(longestPauseMs).toBeLessThan(TAKEN_OVER_WITHIN_MS);
      await kubernetes.kubectl(['delete', 'fileservercluster', 'killed', '-n', NAMESPACE]);
    },
    8 * MINUTES,
  );

  test(
    'the API server is away for a minute: a server that dies meanwhile costs no more than ever, and the operator goes on afterwards',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write('left out: the API server of a cluster that is not our own is left alone\n');
        return;
      }
      await kubernetes.apply(namespace.cluster('alone', { replicas: 2 }));
      await namespace.becomes('alone', 'Available', 'True', 3 * MINUTES);
      const held = await HeldFiles.open(await namespace.addresses('alone', 2));
      const pids = await processesAt('alone', held.server);
      const pidOf = (part: string) =>
        Number(readFileSync(join(kubernetes.stateDirectory, 'run', `${part}.pid`), 'utf8'));
      const apiServer = pidOf('kube-apiserver');
      process.kill(apiServer, 'SIGSTOP');
      try {
        for (const pid of pids) process.kill(pid, 'SIGKILL');
        await Promise.all([held.goesOn(), delay(MINUTES)]);
        await held.goesOn();
      } finally {
        process.kill(apiServer, 'SIGCONT');
      }
      // All nodes were silent for it, too. Its node controller may evict nobody from the next one that is: it is started anew.
      process.kill(pidOf('kube-controller-manager'), 'SIGKILL');
      await run(UP, []);
      await eventually('the API server answers', 2 * MINUTES, () =>
        kubernetes.kubectl(['scale', 'fileservercluster', 'alone', '-n', NAMESPACE, '--replicas=3']),
      );
      await namespace.readyPods('alone', 3);
      await held.goesOn();
      const longestPauseMs = await held.expectWhole();
      process.stdout.write(`a killed pod's clients waited ${Math.round(longestPauseMs)} ms without an API server\n`);
      expect(longestPauseMs).toBeLessThan(TAKEN_OVER_WITHIN_MS);
      await kubernetes.kubectl(['delete', 'fileservercluster', 'alone', '-n', NAMESPACE]);
    },
    12 * MINUTES,
  );

  test(
    'scales, moves what a person asks to be moved, and takes away what it made; who holds files notices nothing',
    async () => {
      await kubernetes.apply(namespace.cluster('small', { replicas: 2 }));
      await namespace.becomes('small', 'Available', 'True', 3 * MINUTES);
      const two = await namespace.readyPods('small', 2);
      const source = two[0]?.metadata.name ?? '';
      const held: HeldFiles[] = [];
      if (kubernetes.embedded) held.push(await heldAt('small', two));
      else
        process.stderr.write(
          'no files are held open: pods of a cluster that is not our own are not reached from here\n',
        );
      const atLeast = held.length;
      // What somebody finds who gets into a container: what it runs, and nothing to run beside.
      const inside = (...command: string[]) =>
        kubernetes.kubectl(['exec', '-n', NAMESPACE, source, '-c', 'fileserver', '--', ...command]);
      expect(await inside('node', '-p', 'process.getuid()')).toBe('65532\n');
      for (const shell of ['sh', '/bin/sh', 'bash', 'busybox']) {
        await expect(inside(shell, '-c', 'true')).rejects.toThrow(/no such file|not found/);
      }

      await kubernetes.kubectl(['create', '-f', '-'], {
        input: `
apiVersion: holdfast.dev/v1alpha1
kind: HandleMigration
metadata: {name: by-hand, namespace: ${NAMESPACE}}
spec: {cluster: small, source: ${source}, reason: Manual}
`,
      });
      expect(await moved('small', 'Manual')).toBeGreaterThanOrEqual(atLeast);
      for (const files of held) await files.goesOn();

      const [deleted] = two.filter(({ metadata }) => metadata.name !== source);
      await kubernetes.kubectl(['delete', 'pod', deleted?.metadata.name ?? '', '-n', NAMESPACE, '--wait=false']);
      expect(await moved('small', 'Drain')).toBeGreaterThanOrEqual(atLeast);
      for (const files of held) await files.goesOn();

      // Whichever goes, it has files open.
      const again = await namespace.readyPods('small', 2);
      for (const pod of kubernetes.embedded ? again : []) {
        const isServed = held.some(({ server }) => server === addressOf(pod));
        if (!isServed) held.push(await heldAt('small', [pod, ...again]));
      }
      await kubernetes.kubectl(['scale', 'fileservercluster', 'small', '-n', NAMESPACE, '--replicas=1']);
      expect(await moved('small', 'ScaleDown')).toBeGreaterThanOrEqual(atLeast);
      await eventually('one pod is left', 3 * MINUTES, async () =>
        (await namespace.pods('small')).length === 1 ? true : undefined,
      );
      for (const files of held) {
        await files.goesOn();
        const longestPauseMs = await files.expectWhole();
        process.stdout.write(`who held files waited ${Math.round(longestPauseMs)} ms at most\n`);
      }
      await kubernetes.kubectl(['delete', 'fileservercluster', 'small', '-n', NAMESPACE]);
      await eventually('its pods are gone', 2 * MINUTES, async () =>
        (await namespace.pods('small')).length === 0 ? true : undefined,
      );
      expect(await kubernetes.get('persistentvolumeclaim', NAMESPACE, 'data')).toBeDefined();
    },
    10 * MINUTES,
  );

  test(
    'nodes that are drained at once give their handles away; who holds files there notices nothing',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write('left out: nodes of a cluster that is not our own are not drained\n');
        return;
      }
      await kubernetes.apply(namespace.cluster('drained', { replicas: 3 }));
      await namespace.becomes('drained', 'Available', 'True', 3 * MINUTES);
      const pods = await namespace.readyPods('drained', 3);
      const [store] = await namespace.pods('drained', 'redis'); // it is not what this is about: its node stays
      const all = (await kubernetes.kubectl(['get', 'nodes', '-o', 'name'])).trim().split('\n');
      const nodes = all.map((name) => name.replace('node/', '')).filter((node) => node !== (store && nodeOf(store)));
      expect(nodes).toHaveLength(2);
      const leaving = pods.filter((pod) => nodes.includes(nodeOf(pod)));
      expect(leaving).not.toEqual([]);
      const held: HeldFiles[] = [];
      for (const pod of leaving) held.push(await heldAt('drained', [pod, ...pods]));
      const beganMs = performance.now();
      try {
        const how = ['--ignore-daemonsets', '--delete-emptydir-data', '--timeout=240s'];
        await Promise.all(nodes.map((node) => kubernetes.kubectl(['drain', node, ...how])));
        const drainedMs = performance.now() - beganMs;
        for (const files of held) await files.goesOn();
        const migrations = (await kubernetes.list('handlemigrations', NAMESPACE)).filter(
          ({ spec }) => spec?.cluster === 'drained',
        );
        const sources = new Set(migrations.map(({ spec }) => spec?.source));
        for (const { metadata } of leaving) expect(sources).toContain(metadata.name);
        for (const { status } of migrations) expect(status?.phase).toBe('Succeeded');
        expect((await namespace.pods('drained')).filter((pod) => nodes.includes(nodeOf(pod)))).toEqual([]);
        process.stdout.write(`two nodes were drained in ${(drainedMs / 1000).toFixed(1)} s\n`);
      } finally {
        for (const node of nodes) await kubernetes.kubectl(['uncordon', node]);
      }
      for (const files of held) {
        const longestPauseMs = await files.expectWhole();
        process.stdout.write(`who held files there waited ${Math.round(longestPauseMs)} ms at most\n`);
      }
      await kubernetes.kubectl(['delete', 'fileservercluster', 'drained', '-n', NAMESPACE]);
    },
    10 * MINUTES,
  );

  test(
    'scales from five to two and to five again: nobody who holds files notices, and new servers get their share of them',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write('left out: pods of a cluster that is not our own are not reached from here\n');
        return;
      }
      const scale = (replicas: number) =>
        kubernetes.kubectl(['scale', 'fileservercluster', 'scaled', '-n', NAMESPACE, `--replicas=${replicas}`]);
      await kubernetes.apply(namespace.cluster('scaled', { replicas: 5 }));
      await namespace.becomes('scaled', 'Available', 'True', 3 * MINUTES);
      const five = await namespace.readyPods('scaled', 5);
      const held: HeldFiles[] = [];
      for (const pod of five) held.push(await heldAt('scaled', [pod, ...five]));

      await scale(2);
      await eventually(
        'two pods are left',
        4 * MINUTES,
        async () => (await namespace.pods('scaled')).length === 2 || undefined,
      );
      const down = await migrationsOf('scaled', 'ScaleDown');
      expect(down.map(({ status }) => status?.phase)).toEqual(['Succeeded', 'Succeeded', 'Succeeded']);
      for (const files of held) await files.goesOn();

      // As clients come that know the cluster by its one address: to whom that leads them.
      const two = await namespace.readyPods('scaled', 2);
      const service = await namespace.serviceAddress('scaled');
      for (let i = 0; i < 6; i++) held.push(await HeldFiles.open(service, IDLE));
      await scale(5);
      const all = await namespace.readyPods('scaled', 5);
      const isNew = (pod: string) => two.every(({ metadata }) => metadata.name !== pod);
      await eventually('a new server has a client', 5 * MINUTES, async () => {
        const cluster = await kubernetes.get('fileservercluster', NAMESPACE, 'scaled');
        const servers = (cluster?.status?.servers ?? []) as { pod: string; handles?: number }[];
        return servers.some(({ pod, handles = 0 }) => isNew(pod) && handles >= IDLE) || undefined;
      });
      const moves = await migrationsOf('scaled', 'Rebalance');
      expect(moves).not.toEqual([]);
      for (const { spec } of moves) {
        expect(isNew((spec as { targets: string[] }).targets[0] ?? '')).toBe(true);
        expect(all.map(({ metadata }) => metadata.name)).toContain(spec?.source);
      }
      // One at a time, and not at once: each is a pause for somebody.
      const begun = moves.map(({ status }) => status as { startTime?: string; endTime?: string });
      const ordered = begun
        .flatMap(({ startTime, endTime }) => (startTime === undefined ? [] : [{ startTime, endTime }]))
        .sort((a, b) => Date.parse(a.startTime) - Date.parse(b.startTime));
      for (const [i, { startTime }] of ordered.entries()) {
        const before = ordered[i - 1]?.endTime;
        if (before !== undefined)
          expect(Date.parse(startTime) - Date.parse(before)).toBeGreaterThan(REBALANCE_PAUSE_MS);
      }
      for (const files of held) {
        await files.goesOn();
        const longestPauseMs = await files.expectWhole();
        process.stdout.write(`who held files waited ${Math.round(longestPauseMs)} ms at most\n`);
      }
      await kubernetes.kubectl(['delete', 'fileservercluster', 'scaled', '-n', NAMESPACE]);
    },
    15 * MINUTES,
  );

  async function migrationsOf(cluster: string, reason: string): Promise<KubeObject[]> {
    const all = await kubernetes.list('handlemigrations', NAMESPACE);
    return all.filter(({ spec }) => spec?.cluster === cluster && spec.reason === reason);
  }

  /** What runs in the pod that serves at that address, as this machine knows it. */
  async function processesAt(cluster: string, address: string): Promise<number[]> {
    const pod = (await namespace.pods(cluster)).find((one) => addressOf(one) === address);
    const containers = ['sidecar', 'fileserver'];
    const pids = await Promise.all(
      containers.map((container) => run(NODE, ['pid', pod?.metadata.name ?? '', container, NAMESPACE])),
    );
    return pids.map(Number);
  }

  /** How many handles a cluster's migration for that reason has moved, as soon as it has succeeded. */
  function moved(cluster: string, reason: string): Promise<number> {
    return eventually(`the migration is done: ${reason}`, 2 * MINUTES, async () => {
      const migrations = await kubernetes.list('handlemigrations', NAMESPACE);
      const found = migrations.find(({ spec }) => spec?.cluster === cluster && spec.reason === reason);
      if (found?.status?.phase !== 'Succeeded') throw new Error(`its phase is ${found?.status?.phase}`);
      return (found.status.handles as { moved?: number } | undefined)?.moved ?? 0;
    });
  }

  /** Files that are open at the first of these pods: another one may be quicker to answer, and have them. */
  async function heldAt(cluster: string, pods: KubeObject[]): Promise<HeldFiles> {
    const [first = '', ...others] = pods.map(addressOf);
    const service = await namespace.serviceAddress(cluster);
    return eventually(`files are open at ${first}`, MINUTES, async () => {
      const held = await HeldFiles.open([first, ...others, ...service]);
      if (held.server === first) return held;
      await held.finish();
      return undefined;
    });
  }
});

/** Where this machine reaches its file server. */
function addressOf({ status }: KubeObject): string {
  return `${(status as { podIP?: string }).podIP}:445`;
}

function ipOf({ status }: KubeObject): string {
  return (status as { podIP?: string }).podIP ?? '';
}

function nodeOf({ spec }: KubeObject): string {
  return (spec as { nodeName?: string }).nodeName ?? '';
}
