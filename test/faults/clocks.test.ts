import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { eventually, run } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import type { LogLine } from '../serving.ts';
import { Network } from './network.ts';
import { Pods } from './pods.ts';
import { expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { slowness } from './slowness.ts';
import { SOON_MS } from './stage.ts';

const LEASE_MS = 3000 * slowness();
const SLOTS = 4;
const LIBRARY = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';
/** What jumps bring shows within a lease, or when the next timer fires. */
const WATCHED_MS = LEASE_MS + 500;
const JUMPS = ['+3600', '-7200', '+86400', '+0'];
/** A promise of peers harms nobody: on a busy machine an answer of the store that takes its time is enough for one. */
const isHarm = ({ msg = '' }: LogLine) => /fenc|deadline/.test(msg) && !msg.includes('all promise not to fence');

let network: Network;
let pods: Pods;
/** Holds how far the wall clock of every file server and sidecar, and of the store, is off; read at every look at the clock. */
const folder = mkdtempSync(join(tmpdir(), 'holdfast-clock-'));
const offset = join(folder, 'offset');

beforeAll(async () => {
  if (!existsSync(LIBRARY)) throw new Error(`${LIBRARY} is not there: install libfaketime`);
  writeFileSync(offset, '+0');
  const ofStore = join(folder, 'wall-clock.so');
  await run('gcc', ['-shared', '-fPIC', '-o', ofStore, join(import.meta.dirname, 'wall-clock.c')]);
  network = await Network.enter();
  const faketime = { FAKETIME_TIMESTAMP_FILE: offset, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' };
  pods = await Pods.start(network, 2, {
    leaseMs: LEASE_MS,
    env: { LD_PRELOAD: LIBRARY, ...faketime },
    storeEnv: { LD_PRELOAD: ofStore, HOLDFAST_TEST_CLOCK: offset },
  });
}, 240_000);
afterAll(async () => {
  await pods?.stop();
  network?.leave();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

test('the wall clocks of all pods and of the store jump forward and back: nobody is fenced, nothing expires, no client notices', async () => {
  const history = new History();
  const client = await pods.client(pods.pod(0));
  let failovers = 0;
  client.on('failoverStarted', () => failovers++);
  const file = await client.open('steady', { access: 'readwrite', disposition: 'create' });
  const recorded = new RecordedFile(file, 'writer', history);
  await file.lock(1 << 20, 1);

  // A handle that waits for its client: an hour on the wall clock must not be an hour to it.
  const gone = await pods.raw(pods.pod(1));
  const waiting = await gone.open('waiting', { shareAccess: 0, timeoutMs: 300_000 });
  gone.close();

  const since = pods.log.length;
  const storeSaid: number[] = [];
  for (const jump of JUMPS) {
    writeFileSync(offset, jump);
    const untilMs = performance.now() + WATCHED_MS;
    for (let i = 0; performance.now() < untilMs; i++) {
      expect(await recorded.write(i % SLOTS)).toBe(true);
      expect(await recorded.read(i % SLOTS)).toBe(true);
      await delay(5);
    }
    storeSaid.push(Number((await pods.redis('time')).split('\n')[0]));
    // What is decided through the table and by calls between pods goes on too.
    const other = await pods.raw(pods.pod(1));
    const theirs = await other.open('steady');
    expect(await other.lock(theirs, 1 << 20, 1)).toBe('STATUS_LOCK_NOT_GRANTED');
    expect(await other.closeFile(theirs)).toBe('STATUS_SUCCESS');
    other.close();
  }
  // The faults were real: what the parts and the store said of the time is days apart.
  const said = pods.log.slice(since).map(({ time }) => Date.parse(String(time)));
  const times = said.filter((ms) => !Number.isNaN(ms));
  expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(86_400_000);
  expect(Math.max(...storeSaid) - Math.min(...storeSaid)).toBeGreaterThan(86_400);
  expect(pods.log.slice(since).filter(isHarm)).toEqual([]);
  expect(failovers).toBe(0);

  const back = await pods.raw(pods.pod(0), { clientGuid: gone.clientGuid });
  const reclaim = { fileId: waiting.fileId, createGuid: waiting.createGuid ?? Buffer.alloc(16) };
  const again = await eventually('the handle is reclaimed', SOON_MS, async () => {
    const answer = await back.tryOpen('waiting', { reclaim });
    if (typeof answer === 'string') throw new Error(answer);
    return answer;
  });
  expect(await back.closeFile(again)).toBe('STATUS_SUCCESS');
  recordVolume(history, pods.volume, 'steady', SLOTS);
  expectSound(history);
  await file.unlock(1 << 20, 1);
  await client.close();
}, 240_000);
