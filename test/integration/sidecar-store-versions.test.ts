// A rolling upgrade: sidecars of an earlier version and of this one, side by side in one store.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { ComingOpen, Durability, HandlesClient, OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import type { Sidecar } from '../../sidecar/sidecar.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { recordsOf } from '../../sidecar/testing/fleeting.ts';
import { PodProcess } from '../../sidecar/testing/pod-process.ts';
import { until } from '../../sidecar/testing/redis.ts';

const ROOT = join(import.meta.dirname, '../..');
/** The last commit before the store named its schema. With a release this becomes its tag. */
const EARLIER = '9c5ffb6f47900f9c88226dd89fdf89e6f2ef4798';
const LEASE_MS = 3000;
const LEASE = { key: Buffer.alloc(16, 5), state: 7, epoch: 0, version: 2, parentKey: Buffer.alloc(0), breaking: false };

let folder: string;
let cluster: TestCluster;
let earlier: PodProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-earlier-'));
});
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

/** How many records of files are in the memory of Redis alone. */
const fleeting = async () => (await recordsOf(cluster.redis.admin)).filter((is) => is).length;

test('an earlier sidecar and this one decide together, before and after Redis was restarted', async () => {
  cluster = await TestCluster.start(1, LEASE_MS);
  const { server } = cluster.pod(0);
  await server.session(1n);
  const mine = await server.open('mine', { shareAccess: 0 });
  expect(mine.outcome).toBe(Outcome.GRANTED);
  const PLAIN = { durability: Durability.NOT_DURABLE, createGuid: Buffer.alloc(0) };
  await server.open('before', PLAIN);
  expect(await fleeting()).toBe(1);

  earlier = new PodProcess(cluster, 'earlier', checkOut());
  await earlier.start(2n, ['theirs', 'mine', 'both']);
  // What this version wrote keeps the earlier one out, and the other way round.
  const { GRANTED, SHARING_VIOLATION } = Outcome;
  const outcomes = [GRANTED, GRANTED, SHARING_VIOLATION, GRANTED]; // of the session, and of the files in their order
  expect(JSON.parse(earlier.said[0] ?? '')).toEqual({ outcomes });
  expect((await server.open('theirs', { shareAccess: 0 })).outcome).toBe(Outcome.SHARING_VIOLATION);
  // It does not know records that are fleeting: as long as it is there, there are none, once its coming was heard of.
  await until(async () =>
    [...(cluster.pod(0).sidecar?.components.cluster.servers ?? [])].some(({ pod }) => pod === 'earlier'),
  );
  await until(async () => (await fleeting()) === 0);
  const plain = await server.open('plain', PLAIN);
  expect(plain.outcome).toBe(Outcome.GRANTED);
  expect(await fleeting()).toBe(0);
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
  await server.open('another', PLAIN);
  expect(await fleeting()).toBe(1);
  expect(server.fenced).toBe(false);
}, 90_000);

test('an earlier sidecar and this one give their handles to each other', async () => {
  cluster = await TestCluster.start(1, LEASE_MS);
  const pod = cluster.pod(0);
  const { server } = pod;
  await server.session(1n);
  const fields = { sessionId: 1n, oplock: OplockLevel.OPLOCK_LEASE, lease: LEASE };
  const { record } = await server.open('mine', fields);
  await server.lock(record, 3, 4);

  earlier = new PodProcess(cluster, 'earlier', checkOut());
  await earlier.start(2n, ['theirs']);
  const { handoff } = pod.sidecar as Sidecar;
  await until(async () => [...(pod.sidecar?.components.cluster.servers ?? [])].some(({ pod }) => pod === 'earlier'));
  const request = { migrationId: 'm', targetPods: ['earlier'], timeoutMs: 10_000, leaving: false };
  expect(await handoff.migrate(request, () => {})).toMatchObject({ phase: 'Done', moved: 1n, left: 0n });
  expect(server.records.size).toBe(0);

  // What it moves is what it remembers: also what it was just told of.
  const client = new HandlesClient(`unix:${join(earlier.runDir, 'sidecar.sock')}`, credentials.createInsecure());
  const drained = await new Promise((resolve, reject) =>
    client.drain({ timeoutMs: 10_000 }, (error, reply) => (error ? reject(error) : resolve(reply))),
  );
  client.close();
  expect(drained).toMatchObject({ moved: 2n, released: 0n, left: 0n });
  const coming = server.got('warmUp').flatMap(({ opens }) => opens.map((open) => ComingOpen.decode(open)));
  expect(coming.map(({ path }) => path).sort()).toEqual(['mine', 'theirs']);
  const [member] = pod.sidecar?.components.cluster.members.values() ?? [];
  const paths = [...(member?.opens.values() ?? [])].map((open) => open.record.path);
  expect(paths.sort()).toEqual(['mine', 'theirs']);

  await server.session(3n);
  const back = await server.reclaim(record, { sessionId: 3n, leaseKey: LEASE.key });
  expect(back.outcome).toBe(Outcome.GRANTED);
  expect(back.record).toMatchObject({ ownershipVersion: 4n, lease: { state: 7 }, locks: [{ offset: 3n, length: 4n }] });
}, 90_000);
