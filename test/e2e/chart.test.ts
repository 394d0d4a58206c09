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
      expect(await held.finish()).toMatchObject({ errors: [], lost: 0, torn: 0 });
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
});
