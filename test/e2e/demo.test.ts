import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { CommandError, run } from '../cluster/shell.ts';

interface DemoResult {
  steps: {
    name: string;
    handles: number;
    moved: number;
    reclaimed: number;
    expired: number;
    pauseMs: { p50: number; max: number };
    callerErrors: number;
  }[];
  ackedBlocks: number;
  verifiedBlocks: number;
  overwrittenBlocks: number;
  lostBlocks: number;
  seconds: number;
}

const DEMO_TIMEOUT_MS = 15 * 60_000;
/** On a cluster that is not our own no process is killed and no node cut off. */
const OWN_STEPS = process.env.HOLDFAST_KUBECONFIG ? [] : ['file server killed', 'node cut off'];
const STEPS = ['node drained', 'rolling upgrade', ...OWN_STEPS];

describe('the demo on the three-node cluster', () => {
  let result: DemoResult;
  const said: string[] = [];

  beforeAll(async () => {
    await run(process.execPath, [join(ROOT, 'test/demo/main.ts')], {
      timeoutMs: DEMO_TIMEOUT_MS,
      onLine: (line) => {
        said.push(line);
        process.stderr.write(`${line}\n`);
      },
    });
    result = JSON.parse(readFileSync(join(ROOT, 'out/demo.json'), 'utf8')) as DemoResult;
  }, DEMO_TIMEOUT_MS);

  test('went through drain, upgrade, kill and the loss of a node', () => {
    expect(result.steps.map((step) => step.name)).toEqual(STEPS);
  });

  test('lost no block: every acknowledged one was read back, or overwritten by a later acknowledged one', () => {
    expect(result.lostBlocks).toBe(0);
    expect(result.ackedBlocks).toBeGreaterThan(1000);
    expect(result.verifiedBlocks + result.overwrittenBlocks).toBe(result.ackedBlocks);
  });

  test('overwrote every second block: a writer that is late would show', () => {
    const overwritten = result.overwrittenBlocks / result.ackedBlocks;
    expect(overwritten).toBeGreaterThan(0.4);
    expect(overwritten).toBeLessThan(0.6);
  });

  test('said of each step, when it ended, what its writers saw of it', () => {
    const words =
      /\] (.+): the writers paused for (\d+) ms \(median\) and (\d+) ms \(longest\), reclaimed (\d+) handles, and saw (\d+) errors$/;
    const lines = said.flatMap((line) => {
      const [, name, ...numbers] = words.exec(line) ?? [];
      const [p50 = 0, max = 0, reclaimed = 0, errors = 0] = numbers.map(Number);
      return name === undefined ? [] : [{ name, p50, max, reclaimed, errors }];
    });
    expect(lines.map(({ name, errors }) => ({ name, errors }))).toEqual(STEPS.map((name) => ({ name, errors: 0 })));
    for (const { name, p50, max, reclaimed } of lines) {
      expect(p50).toBeGreaterThan(0);
      expect(max).toBeGreaterThanOrEqual(p50);
      if (OWN_STEPS.includes(name)) expect(reclaimed).toBeGreaterThan(0);
    }
  });

  test.each(STEPS)('%s: no caller saw an error', (name) => {
    const step = result.steps.find((one) => one.name === name);
    expect(step?.handles).toBe(24);
    expect(step?.callerErrors).toBe(0);
    expect(step?.expired).toBe(0);
  });

  test.each(['node drained', 'rolling upgrade'])('%s: the operator moved handles before their pods went', (name) => {
    const step = result.steps.find((one) => one.name === name);
    if (!step?.moved) throw new Error(`no handle moved: ${JSON.stringify(step)}`);
  });

  for (const name of OWN_STEPS) {
    test(`${name}: handles were reclaimed elsewhere`, () => {
      expect(result.steps.find((one) => one.name === name)?.reclaimed).toBeGreaterThan(0);
    });
  }

  test('drew its picture', () => {
    const page = readFileSync(join(ROOT, 'out/demo.html'), 'utf8');
    expect(page).toContain('<svg');
    expect(page.match(/writer-[a-f]-\d+\.blocks/g)?.length).toBeGreaterThanOrEqual(24);
  });

  const own = process.env.HOLDFAST_KUBECONFIG ? test.skip : test;
  own(
    'leaves an operator alone that somebody else has installed',
    async () => {
      // The one that the README has people install, as this cluster has it now.
      const state = process.env.HOLDFAST_CLUSTER_DIR ?? '/var/lib/holdfast-cluster';
      const cluster = new Kubernetes(join(state, 'admin.conf'), true, state, join(state, 'bin'));
      const history = () => cluster.helm(['history', 'holdfast', '-n', 'holdfast-system', '-o', 'json']);
      const objects = 'deployments.apps,fileserverclusters,customresourcedefinitions';
      const versions = 'jsonpath={range .items[*]}{.metadata.uid} {.metadata.generation}{"\\n"}{end}';
      const specs = () => cluster.kubectl(['get', objects, '--all-namespaces', '-o', versions]);
      const before = [await history(), await specs()];
      const env = {
        ...cluster.environment(),
        HOLDFAST_KUBECONFIG: cluster.kubeconfig,
        IMAGE: 'registry.invalid/another:1',
      };
      const options = { env, timeoutMs: 60_000 };
      const refused = await run(process.execPath, [join(ROOT, 'test/demo/main.ts')], options).catch((error) => error);
      expect(refused).toBeInstanceOf(CommandError);
      expect((refused as CommandError).stdout).toMatch(/Deployment holdfast-operator in the namespace holdfast-system/);
      expect([await history(), await specs()]).toEqual(before);
      expect(await cluster.get('namespace', '', 'holdfast-demo-system')).toBeUndefined();
    },
    90_000,
  );
});
