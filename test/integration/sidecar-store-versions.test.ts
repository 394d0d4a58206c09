// A rolling upgrade: sidecars of an earlier version and of this one, side by side in one store.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { Outcome } from '../../proto/generated/handles.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { PodProcess } from '../../sidecar/testing/pod-process.ts';
import { until } from '../../sidecar/testing/redis.ts';

const ROOT = join(import.meta.dirname, '../..');
/** The last commit before the store named its schema. With a release this becomes its tag. */
const EARLIER = '9c5ffb6f47900f9c88226dd89fdf89e6f2ef4798';
const LEASE_MS = 3000;

const folder = mkdtempSync(join(tmpdir(), 'holdfast-earlier-'));
let cluster: TestCluster;
let earlier: PodProcess | undefined;
afterEach(async () => {
  earlier?.signal('SIGKILL');
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The programs as they were then, with the libraries of now. */
function checkOut(): string {
  const archive = join(folder, 'earlier.tar');
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  execFileSync('git', ['-C', ROOT, 'archive', '-o', archive, EARLIER, 'sidecar', 'common', 'proto', 'package.json']);
  execFileSync('tar', ['-xf', archive, '-C', tree]);
  symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
  return tree;
}

test('an earlier sidecar and this one decide together, before and after Redis was restarted', async () => {
  cluster = await TestCluster.start(1, LEASE_MS);
  const { server } = cluster.pod(0);
  await server.session(1n);
  const mine = await server.open('mine', { shareAccess: 0 });
  expect(mine.outcome).toBe(Outcome.GRANTED);

  earlier = new PodProcess(cluster, 'earlier', checkOut());
  await earlier.start(2n, ['theirs', 'mine', 'both']);
  // What this version wrote keeps the earlier one out, and the other way round.
  const { GRANTED, SHARING_VIOLATION } = Outcome;
  const outcomes = [GRANTED, GRANTED, SHARING_VIOLATION, GRANTED]; // of the session, and of the files in their order
  expect(JSON.parse(earlier.said[0] ?? '')).toEqual({ outcomes });
  expect((await server.open('theirs', { shareAccess: 0 })).outcome).toBe(Outcome.SHARING_VIOLATION);
  const both = await server.open('both');
  expect(both.outcome).toBe(Outcome.GRANTED);
  expect((await server.lock(both.record, 0, 10)).outcome).toBe(Outcome.GRANTED);

  await cluster.redis.kill();
  await cluster.redis.up();
  expect((await server.open('theirs', { shareAccess: 0 })).outcome).toBe(Outcome.SHARING_VIOLATION);
  expect((await server.close(both.record)).outcome).toBe(Outcome.GRANTED);

  // It is fenced, and what it wrote is kept for its clients.
  earlier.signal('SIGKILL');
  const gone = async () => (await server.open('theirs', { shareAccess: 0 })).outcome === Outcome.FILE_NOT_AVAILABLE;
  await until(gone, 30_000);
  expect(server.fenced).toBe(false);
}, 90_000);
