import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { Client } from '../../client/index.ts';
import { delay } from '../../common/time.ts';
import { ShareAccess } from '../../smb/constants.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { Network, type Wire } from './network.ts';
import { Pods } from './pods.ts';
import { expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { SOON_MS } from './stage.ts';

const LEASE_MS = 1500;
const SLOTS = 4;
const WRITES = 5;
/** Long enough for everybody to have noticed, fenced and gone on. */
const CUT_MS = 3 * LEASE_MS;

let network: Network;
let pods: Pods;
beforeAll(async () => {
  network = await Network.enter();
  pods = await Pods.start(network, 3, { leaseMs: LEASE_MS });
}, 240_000);
afterEach(() => pods.mend(), 60_000);
afterAll(async () => {
  await pods?.stop();
  network?.leave();
}, 60_000);

/** A client that writes all the time through a handle that lets nobody else write, and holds a lock on it. */
class Writer {
  readonly client: Client;
  readonly file: RecordedFile;
  readonly history: History;
  longestPauseMs = 0;
  #running = true;
  readonly #loop: Promise<void>;

  private constructor(client: Client, file: RecordedFile, history: History) {
    this.client = client;
    this.file = file;
    this.history = history;
    this.#loop = this.#write();
  }

  static async start(path: string): Promise<Writer> {
    const client = await eventually('a client of pod 0', SOON_MS, async () => {
      const one = await pods.client(pods.pod(0));
      if (one.address === pods.pod(0).address) return one;
      await one.close();
    });
    const shareAccess = ShareAccess.READ;
    const file = await client.open(path, { access: 'readwrite', disposition: 'create', shareAccess });
    await file.lock(1 << 20, 1);
    const history = new History();
    const writer = new Writer(client, new RecordedFile(file, 'writer', history), history);
    client.on('handleLost', ({ error }) =>
      history.add({ kind: 'lost', client: 'writer', path, reason: error.message, atMs: performance.now() }),
    );
    await writer.goesOn();
    return writer;
  }

  async goesOn(): Promise<void> {
    const before = this.file.acknowledged;
    const enough = () => this.file.acknowledged >= before + WRITES || this.history.of('error').length > 0 || undefined;
    await eventually('it writes on', SOON_MS * 2, enough, 5);
  }

  async end(): Promise<void> {
    this.#running = false;
    await this.#loop;
    recordVolume(this.history, pods.volume, this.file.path, SLOTS);
    expectSound(this.history);
    await this.file.file.unlock(1 << 20, 1); // throws when it was lost
    await this.file.file.close();
    await this.client.close();
  }

  async #write(): Promise<void> {
    let lastMs = performance.now();
    for (let i = 0; this.#running; i++) {
      if (!(await this.file.write(i % SLOTS)) || !(await this.file.read(i % SLOTS))) return;
      this.longestPauseMs = Math.max(this.longestPauseMs, performance.now() - lastMs);
      lastMs = performance.now();
      await delay(5);
    }
  }
}

test('the store is away for several leases: all promise not to fence one another, and a client reads and writes on', async () => {
  const writer = await Writer.start('promised');
  await eventually('all servers have heard of each other', SOON_MS, async () => {
    const servers = (await pods.servers()).filter(({ state }) => state === 'active');
    const last = Math.max(...servers.map(({ epoch }) => epoch));
    return servers.every(({ knows, extensionMs }) => knows >= last && extensionMs > 0) || undefined;
  });
  await pods.store.freeze();
  await delay(CUT_MS); // the length of the fault, not a wait for something
  await writer.goesOn(); // while it is away still
  pods.store.signal('SIGCONT');
  await writer.goesOn();
  process.stdout.write(`the store was away: the longest pause was ${Math.round(writer.longestPauseMs)} ms\n`);
  await writer.end();
}, 180_000);

const CASES: { from: string; wires: Wire[] }[] = [
  { from: 'the store', wires: ['store'] },
  { from: 'its peers', wires: ['peers'] },
  { from: 'its clients', wires: ['clients'] },
  { from: 'store and peers, but not from its clients', wires: ['store', 'peers'] },
  { from: 'everything', wires: ['store', 'peers', 'clients'] },
];

test.each(CASES)(
  'a pod that is cut off from $from: its client goes on with its handle, and a pod that joins meanwhile gives it to nobody',
  async ({ from, wires }) => {
    const path = `cut-${wires.join('-')}`;
    const writer = await Writer.start(path);
    const cutMs = performance.now();
    await pods.pod(0).cut(...wires);

    const joined = await pods.add();
    const newcomer = await pods.raw(joined);
    const answers = new Set<string>();
    while (performance.now() - cutMs < CUT_MS) {
      answers.add(await newcomer.refusal(path, { shareAccess: ShareAccess.READ }));
      await delay(50);
    }
    // Whether its owner was known to be dead at the time or not: it was never free.
    expect(
      [...answers].filter((answer) => !/SHARING_VIOLATION|FILE_NOT_AVAILABLE|SERVER_UNAVAILABLE/.test(answer)),
    ).toEqual([]);
    // With the wire still cut.
    await writer.goesOn();

    await pods.mend();
    await writer.goesOn();
    process.stdout.write(`cut off from ${from}: the longest pause was ${Math.round(writer.longestPauseMs)} ms\n`);
    await writer.end();
    expect(await newcomer.refusal(path, { shareAccess: ShareAccess.READ })).toBe('STATUS_SUCCESS');
    newcomer.close();
    await pods.retire(joined);
  },
  180_000,
);
