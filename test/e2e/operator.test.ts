import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Kubernetes } from '../cluster/kubernetes.ts';
import { eventually, run } from '../cluster/shell.ts';
import { installOperator } from '../demo/installation.ts';
import { HeldFiles } from './held.ts';
import { TestNamespace } from './namespace.ts';

const NAMESPACE = 'holdfast-e2e';
const MINUTES = 60_000;
const NODE = join(import.meta.dirname, '../cluster/node.sh');
/** Lease duration, writeSettle and a second: what it may cost where nobody can prove that the pod is dead. */
const TAKEN_OVER_WITHIN_MS = 7000;

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
    'a pod whose processes all die at once costs its clients no more than a pause',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write('left out: processes of a cluster that is not our own are left alone\n');
        return;
      }
      await kubernetes.apply(namespace.cluster('killed', { replicas: 2 }));
      await namespace.becomes('killed', 'Available', 'True', 3 * MINUTES);
      const held = await HeldFiles.open(await namespace.addresses('killed', 2));
      const [host] = held.server.split(':');
      const victim = (await namespace.pods('killed')).find(
        ({ status }) => (status as { podIP?: string }).podIP === host,
      );
      const containers = ['sidecar', 'fileserver'];
      const pids = await Promise.all(
        containers.map((container) => run(NODE, ['pid', victim?.metadata.name ?? '', container, NAMESPACE])),
      );
      for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
      await held.goesOn();
      const { longestPauseMs, verified, ...outcome } = await held.finish();
      process.stdout.write(`a killed pod's clients waited ${Math.round(longestPauseMs)} ms\n`);
      expect(outcome).toEqual({ errors: [], lost: 0, torn: 0 });
      expect(verified).toBeGreaterThan(0);
      expect(longestPauseMs).toBeLessThan(TAKEN_OVER_WITHIN_MS);
      await kubernetes.kubectl(['delete', 'fileservercluster', 'killed', '-n', NAMESPACE]);
    },
    8 * MINUTES,
  );

  test(
    'scales, moves what a person asks to be moved, and takes away what it made',
    async () => {
      await kubernetes.apply(namespace.cluster('small', { replicas: 2 }));
      await namespace.becomes('small', 'Available', 'True', 3 * MINUTES);
      const pods = () => namespace.pods('small');
      const source = await eventually('two pods run', MINUTES, async () => {
        const found = await pods();
        return found.length === 2 ? found[0]?.metadata.name : undefined;
      });
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
