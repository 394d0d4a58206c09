// Planned handoffs that something is in the way of: a volume that hangs, a target that has no room or does not answer.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Client } from '../../client/index.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { canMakeVolumes, LoopVolume } from '../loop-volume.ts';
import { Network } from './network.ts';
import { type Pod, Pods } from './pods.ts';
import type { RawClient, RawOpen } from './raw-client.ts';
import { BLOCK_BYTES, block, blockValue, expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { slowness } from './slowness.ts';
import { SOON_MS } from './stage.ts';

const LEASE_MS = 2000 * slowness();
const SLOTS = 4;
const FILES = 3;

let volume: LoopVolume | undefined;
let network: Network;
let pods: Pods;

beforeAll(async () => {
  if (canMakeVolumes) volume = await LoopVolume.make();
  network = await Network.enter();
  pods = await Pods.start(network, 3, {
    leaseMs: LEASE_MS,
    limits: (pod) => (pod === 2 ? { opens: 1 } : undefined),
    ...(volume ? { mounts: { of: volume.path, at: () => volume?.path ?? '' } } : {}),
  });
}, 240_000);
afterAll(async () => {
  await pods?.stop();
  network?.leave();
  await volume?.remove();
}, 60_000);

/** A client at one pod with handles that it writes through. */
class Rider {
  readonly history = new History();
  readonly files: RecordedFile[] = [];
  readonly client: Client;
  #acknowledged = 0;

  private constructor(client: Client) {
    this.client = client;
    client.on('handleLost', ({ path, error }) =>
      this.history.add({ kind: 'lost', client: 'rider', path, reason: error.message, atMs: performance.now() }),
    );
  }

  /** @param next where it goes when it has to leave */
  static async start(at: Pod, next: Pod, name: string): Promise<Rider> {
    const addresses = [...new Set([at, next, ...pods.list])].map(({ address }) => address);
    // Another pod may win the race for the first connection.
    const client = await eventually(`a client connects to ${at.name}`, SOON_MS, async () => {
      const connected = await pods.client(at, { addresses });
      if (connected.address === at.address) return connected;
      await connected.close();
    });
    const rider = new Rider(client);
    for (let i = 0; i < FILES; i++) {
      const file = await client.open(`${name}-${i}`, { access: 'readwrite', disposition: 'create' });
      await file.lock(1 << 20, 1);
      rider.files.push(new RecordedFile(file, `${name}-${i}`, rider.history));
    }
    await rider.write();
    return rider;
  }

  async write(): Promise<void> {
    for (const file of this.files) expect(await file.write(this.#acknowledged % SLOTS)).toBe(true);
    this.#acknowledged++;
  }

  async read(): Promise<void> {
    for (const file of this.files) expect(await file.read(0)).toBe(true);
  }

  /** Ends, and shows that no block, no handle and no lock was lost. */
  async end(): Promise<void> {
    await this.write();
    await this.read();
    for (const { file } of this.files) {
      await file.unlock(1 << 20, 1);
      await file.close();
    }
    for (const { path } of this.files) recordVolume(this.history, pods.volume, path, SLOTS);
    expectSound(this.history);
    await this.client.close();
  }
}

/** Whether a thread of a process hangs in the kernel over this file, where no signal reaches it. Others may wait there for a disk that is slow. */
function hangsOver(pid: number, path: string): boolean {
  return readdirSync(`/proc/${pid}/task`).some((task) => {
    const of = `/proc/${pid}/task/${task}`;
    const stat = readFileSync(`${of}/stat`, 'utf8');
    if (!stat.slice(stat.lastIndexOf(')') + 2).startsWith('D')) return false;
    // The number of the system call, and its arguments: of a write the descriptor is the first.
    const [, descriptor] = readFileSync(`${of}/syscall`, 'utf8').split(' ');
    return readlinkSync(`/proc/${pid}/fd/${Number(descriptor)}`) === path;
  });
}

function reclaim(raw: RawClient, path: string, { fileId, createGuid }: RawOpen): Promise<RawOpen | string> {
  return raw.tryOpen(path, { reclaim: { fileId, createGuid: createGuid ?? Buffer.alloc(16) } });
}

(canMakeVolumes ? test : test.skip)(
  'a write that hangs on the volume while its server drains: its open stays until it has returned, the others move at once',
  async () => {
    const [source, target] = [pods.pod(0), pods.pod(1)];
    const rider = await Rider.start(source, target, 'free');
    const writer = await pods.raw(source);
    const open = await writer.open('hung');
    expect(await writer.write(open, 0, block('writer', 1, 0))).toBe('STATUS_SUCCESS');
    const control = await pods.control(source);

    const frozen = await volume?.freeze();
    let migrated: ReturnType<typeof control.migrate>;
    try {
      const answered: string[] = [];
      writer.write(open, BLOCK_BYTES, block('writer', 2, 1)).then(
        (status) => answered.push(status),
        () => undefined,
      );
      const { pid = 0 } = source.parts.fileserver;
      const written = join(pods.volume, 'hung');
      await eventually('the write hangs', SOON_MS, () => hangsOver(pid, written) || undefined, 5);

      // Where a client lands is its own choice, also back at the source: what counts is what moved, not what is left there.
      let moved = 0n;
      const request = { migrationId: 'hung', targetPods: [target.name], timeoutMs: 120_000 };
      migrated = control.migrate(request, (progress) => {
        moved = progress.moved;
      });
      await eventually('the others have moved', SOON_MS, () => moved === BigInt(FILES) || undefined, 20);
      await rider.read();
      // Nobody has the open as long as what it was told may still be written; nor was that acknowledged.
      const early = await pods.raw(target, { clientGuid: writer.clientGuid });
      expect(await reclaim(early, 'hung', open)).toBe('STATUS_FILE_NOT_AVAILABLE');
      expect(moved).toBe(BigInt(FILES));
      expect(answered).toEqual([]);
    } finally {
      await frozen?.thaw();
    }

    expect(await migrated).toMatchObject({ phase: 'Done', moved: BigInt(FILES + 1), released: 0n, expired: 0n });
    const late = await pods.raw(target, { clientGuid: writer.clientGuid });
    const back = await eventually('its client has it back', SOON_MS, async () => {
      const again = await reclaim(late, 'hung', open);
      if (typeof again === 'string') throw new Error(again);
      return again;
    });
    const bytes = await late.read(back, BLOCK_BYTES, BLOCK_BYTES);
    expect(typeof bytes === 'string' ? bytes : blockValue(bytes, 1)).toBe('writer/2');
    expect(await late.closeFile(back)).toBe('STATUS_SUCCESS');
    await rider.end();
  },
  240_000,
);

test('a target that has no room refuses, and a client that comes to it goes on to another server: no handle is lost', async () => {
  const full = pods.pod(2);
  const holder = await pods.raw(full);
  const held = await holder.open('held');
  expect(await holder.refusal('more')).toBe('STATUS_INSUFFICIENT_RESOURCES');
  const rider = await Rider.start(pods.pod(0), full, 'many');
  const control = await pods.control(pods.pod(0));

  const outcome = await control.migrate({ migrationId: 'full', targetPods: [full.name] });

  expect(outcome).toMatchObject({ phase: 'Done', moved: 0n, released: BigInt(FILES), expired: 0n });
  await rider.write();
  expect(rider.client.address).not.toBe(full.address);
  await rider.end();
  expect(await holder.closeFile(held)).toBe('STATUS_SUCCESS');
}, 240_000);

test('a target that does not answer is left out, and the handles go on without it', async () => {
  const silent = pods.pod(1);
  const rider = await Rider.start(pods.pod(0), silent, 'silent');
  const control = await pods.control(pods.pod(0));
  await silent.freeze('fileserver', 'sidecar');
  try {
    const outcome = await control.migrate({ migrationId: 'silent', targetPods: [silent.name], timeoutMs: 120_000 });

    expect(outcome).toMatchObject({ phase: 'Done', moved: 0n, released: BigInt(FILES), expired: 0n });
    await rider.write();
    expect(rider.client.address).not.toBe(silent.address);
  } finally {
    silent.resume();
  }
  await pods.mend();
  await rider.end();
}, 240_000);
