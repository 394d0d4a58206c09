// The chart on the three-node cluster: its own test, and an upgrade from the chart as it was.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ROOT } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';
import { installOperator, releaseFor } from '../demo/installation.ts';
import { HeldFiles } from './held.ts';
import { SHARE, TestNamespace, USER } from './namespace.ts';

const MINUTES = 60_000;
/** A chart before defaults, permissions and definitions became what they are; there is no released one yet. */
const PREVIOUS = 'f69f2c3be4f823a6ebfde04d5e969733de14d8d5';
const image = process.env.IMAGE || undefined;

/** The chart of that commit in a folder; undefined where the history is not here (a shallow clone). */
function previousChart(folder: string): string | undefined {
  try {
    const archive = execFileSync('git', ['archive', PREVIOUS, 'charts/holdfast'], { cwd: ROOT, stdio: 'pipe' });
    execFileSync('tar', ['-x', '-C', folder], { input: archive });
    return join(folder, 'charts/holdfast');
  } catch {
    return undefined;
  }
}

describe('the chart on the three-node cluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-chart-'));
  let namespace: TestNamespace;

  const definition = async (name: string) =>
    JSON.parse(await namespace.kubernetes.kubectl(['get', 'crd', `${name}.holdfast.dev`, '-o', 'json'])) as {
      metadata: { uid: string };
      spec: { versions: { schema: { openAPIV3Schema: object } }[] };
    };

  beforeAll(async () => {
    namespace = await TestNamespace.make('holdfast-e2e-chart');
  }, 5 * MINUTES);

  afterAll(async () => {
    await HeldFiles.abandon();
    rmSync(folder, { recursive: true, force: true });
    await namespace?.remove();
  }, 5 * MINUTES);

  test(
    'is upgraded from the one before: its definitions with it, and nobody who holds files notices',
    async () => {
      const { kubernetes } = namespace;
      const previous = previousChart(folder);
      if (!previous || !kubernetes.embedded) {
        process.stderr.write(`left out: ${previous ? 'not our own cluster' : `no commit ${PREVIOUS} in this clone`}\n`);
        return;
      }
      await installOperator(kubernetes, image, { chart: previous });
      const before = await definition('fileserverclusters');
      await kubernetes.apply(namespace.cluster('upgraded', { replicas: 2 }));
      await namespace.becomes('upgraded', 'Available', 'True', 3 * MINUTES);
      const held = await HeldFiles.open(await namespace.addresses('upgraded', 2));

      await installOperator(kubernetes, image);
      const after = await definition('fileserverclusters');
      expect(after.metadata.uid).toBe(before.metadata.uid); // or all clusters would have gone with it
      expect(JSON.stringify(before.spec)).not.toContain('serverAddresses');
      expect(JSON.stringify(after.spec)).toContain('serverAddresses');
      await held.goesOn();
      // What the one before refused can be asked for, and the new operator does it.
      const patch = JSON.stringify({ spec: { service: { perServer: true } } });
      await kubernetes.kubectl([
        'patch',
        'fileservercluster',
        'upgraded',
        '-n',
        namespace.name,
        '--type=merge',
        '-p',
        patch,
      ]);
      await eventually('there is a Service for each server', 2 * MINUTES, async () => {
        const services = await kubernetes.list('services', namespace.name, 'holdfast.dev/cluster=upgraded');
        return services.length >= 4 ? true : undefined; // theirs, that of all, the headless one, and Redis'
      });
      await namespace.becomes('upgraded', 'Progressing', 'False', 5 * MINUTES);
      await held.goesOn();
      await held.expectWhole();
    },
    15 * MINUTES,
  );

  test(
    'has a test that opens, writes, has moved and closes a file',
    async () => {
      const { kubernetes } = namespace;
      await installOperator(kubernetes, image);
      await kubernetes.apply(namespace.cluster('tried', { replicas: 2 }));
      await namespace.becomes('tried', 'Available', 'True', 3 * MINUTES);
      const about = { cluster: 'tried', namespace: namespace.name, share: SHARE, user: USER, passwordSecret: 'users' };
      const values = Object.entries(about).flatMap(([key, value]) => ['--set', `test.${key}=${value}`]);
      const { name, namespace: system } = releaseFor(kubernetes);
      const release = [name, '-n', system];
      const upgrade = ['upgrade', ...release.slice(0, 1), join(ROOT, 'charts/holdfast'), ...release.slice(1)];
      await kubernetes.helm([...upgrade, '--reuse-values', '--wait', '--timeout', '3m', ...values]);
      const said = await kubernetes.helm(['test', ...release, '--timeout', '3m']);
      expect(said).toMatch(/Phase:\s+Succeeded/);
      const migrations = await kubernetes.list('handlemigrations', namespace.name);
      const ended = migrations.filter(({ spec }) => (spec as { cluster?: string }).cluster === 'tried');
      expect(ended.map(({ status }) => (status as { phase?: string }).phase)).toContain('Succeeded');
    },
    10 * MINUTES,
  );

  test(
    'is taken away, all of it but the definitions, their clusters and the operators’ Lease; servers serve on, and it comes back to them',
    async () => {
      const { kubernetes } = namespace;
      if (!kubernetes.embedded) {
        process.stderr.write('left out: pods of a cluster that is not our own are not reached from here\n');
        return;
      }
      const { name, namespace: system } = releaseFor(kubernetes);
      await installOperator(kubernetes, image);
      await kubernetes.apply(namespace.cluster('kept', { replicas: 2 }));
      await namespace.becomes('kept', 'Available', 'True', 3 * MINUTES);
      const servers = async () => (await namespace.readyPods('kept', 2)).map(({ metadata }) => metadata.uid).sort();
      const before = await servers();
      const held = await HeldFiles.open(await namespace.addresses('kept', 2));

      await kubernetes.helm(['uninstall', name, '-n', system, '--wait', '--timeout', '2m']);
      const kinds = await kubernetes.kubectl(['api-resources', '--namespaced', '--verbs=list', '-o', 'name']);
      const listed = kinds
        .trim()
        .split('\n')
        .filter((kind) => !/^events/.test(kind));
      const left = async () => {
        const found = await kubernetes.kubectl(['get', listed.join(','), '-n', system, '-o', 'name']);
        return found.trim().split('\n').sort();
      };
      const kept = [
        'configmap/kube-root-ca.crt', // of every namespace, as the account
        'lease.coordination.k8s.io/holdfast-operator',
        'serviceaccount/default',
      ];
      // Pods have a moment more than what owned them.
      await eventually('nothing else is left', MINUTES, async () => {
        const rest = (await left()).filter((one) => !kept.includes(one));
        if (rest.length > 0) throw new Error(`there is ${rest.join(', ')}`);
        return true;
      });
      expect(await left()).toEqual(kept);
      const beyond = await kubernetes.kubectl([
        'get',
        'clusterroles,clusterrolebindings,priorityclasses,validatingwebhookconfigurations,crds',
        '-o',
        'name',
      ]);
      const own = beyond.split('\n').filter((one) => /\/.*holdfast(?!:)/.test(one)); // holdfast:... are of the test cluster
      expect(own.sort()).toEqual([
        'customresourcedefinition.apiextensions.k8s.io/fileserverclusters.holdfast.dev',
        'customresourcedefinition.apiextensions.k8s.io/handlemigrations.holdfast.dev',
      ]);
      await held.goesOn();

      await installOperator(kubernetes, image);
      await kubernetes.kubectl(['scale', 'fileservercluster', 'kept', '-n', namespace.name, '--replicas=3']);
      await namespace.readyPods('kept', 3);
      await kubernetes.kubectl(['scale', 'fileservercluster', 'kept', '-n', namespace.name, '--replicas=2']);
      await eventually(
        'it does what it is asked again',
        3 * MINUTES,
        async () => (await namespace.pods('kept')).length === 2 || undefined,
      );
      expect((await servers()).filter((uid) => before.includes(uid))).not.toEqual([]);
      await held.goesOn();
      await held.expectWhole();
      await kubernetes.kubectl(['delete', 'fileservercluster', 'kept', '-n', namespace.name]);
    },
    12 * MINUTES,
  );
});
