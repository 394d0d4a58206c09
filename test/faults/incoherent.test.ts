// A volume as NFS is one: every node has its own mount, whose caches know nothing of what other nodes do.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { run } from '../cluster/shell.ts';
import { Network } from './network.ts';
import { Pods } from './pods.ts';
import { seeds } from './random.ts';
import { runSchedule } from './run-schedule.ts';
import { schedule, textOf } from './schedule.ts';

const LEASE_MS = 1500;
const PODS = 3;
const ROUNDS = 8;
const SCHEDULES = 3;

let network: Network;
let pods: Pods;
const folder = mkdtempSync(join(tmpdir(), 'holdfast-mounts-'));
const shared = join(folder, 'shared');
const mounts = Array.from({ length: PODS + 1 }, (_, pod) => join(folder, `mount-${pod}`));

beforeAll(async () => {
  mkdirSync(shared);
  for (const mount of mounts) {
    mkdirSync(mount);
    // What is read of an open file stays cached until it is opened again, as between NFS' open and close.
    await run('bindfs', ['-o', 'attr_timeout=0', shared, mount]);
  }
  network = await Network.enter();
  const at = (pod: number) => mounts[pod] ?? '';
  pods = await Pods.start(network, PODS, { leaseMs: LEASE_MS, coherent: false, mounts: { of: shared, at } });
}, 240_000);
afterAll(async () => {
  await pods?.stop();
  network?.leave();
  for (const mount of mounts) await run('umount', ['--lazy', mount]).catch(() => undefined);
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

test('what was written under a lock at one pod is read under the next lock at another, through handles that stay open', async () => {
  const clients = [await pods.client(pods.pod(0)), await pods.client(pods.pod(1))];
  const files = await Promise.all(
    clients.map((client) => client.open('passed', { access: 'readwrite', disposition: 'openIf' })),
  );
  for (let i = 0; i < ROUNDS; i++) {
    const [writer, reader] = i % 2 === 0 ? files : files.toReversed();
    if (!writer || !reader) throw new Error('both were opened');
    const said = `round ${i}`.padEnd(16);
    await writer.lock(1 << 20, 1, { wait: true });
    await writer.write(0, Buffer.from(said));
    await writer.unlock(1 << 20, 1);
    await reader.lock(1 << 20, 1, { wait: true });
    expect((await reader.read(0, said.length)).toString()).toBe(said);
    await reader.unlock(1 << 20, 1);
  }
  for (const file of files) await file.close();
}, 120_000);

test('what was written and closed at one pod is read by who opens the file at another', async () => {
  const clients = [await pods.client(pods.pod(0)), await pods.client(pods.pod(1))];
  for (let i = 0; i < ROUNDS; i++) {
    const [writer, reader] = i % 2 === 0 ? clients : clients.toReversed();
    if (!writer || !reader) throw new Error('both are there');
    const said = `round ${i}`.repeat(i + 1);
    const written = await writer.open('closed', { access: 'write', disposition: 'openIf' });
    await written.write(0, Buffer.from(said));
    await written.close();
    const read = await reader.open('closed');
    expect((await read.read(0, 4096)).toString()).toBe(said);
    await read.close();
  }
}, 120_000);

// Not part of the suite. bindfs gives no file handles, so a file is known by its inode number alone, which the file system beneath gives to
// the next file at once: while the removal of a file is not over, a new one is taken for it and refused with STATUS_DELETE_PENDING. And
// what a mount knows of names is as old as a second: whose session has moved does not find a file by the name that it has just given it.
const random = process.env.SCHEDULES || process.env.SEED ? test : test.skip;
random.each(seeds(SCHEDULES).slice(0, SCHEDULES))(
  'random faults (SEED=%i)',
  async (seed) => {
    const planned = schedule(seed, PODS, LEASE_MS);
    const faults = planned.faults.filter(({ kind }) => kind !== 'join'); // a node that comes would need a mount
    process.stdout.write(`SEED=${seed}: ${faults.map(textOf).join('; ')}\n`);
    await runSchedule(pods, { seed, faults }, { isCoherent: false });
  },
  150_000,
);
