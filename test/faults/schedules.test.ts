import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from '@jest/globals';
import { Network } from './network.ts';
import { Pods } from './pods.ts';
import { seeds } from './random.ts';
import { runSchedule } from './run-schedule.ts';
import { schedule, textOf } from './schedule.ts';
import { slowness } from './slowness.ts';

const LEASE_MS = 2000;
const PODS = 3;
/** The same each time, unless SCHEDULES or SEED say otherwise; SCHEDULES=1000 is what a release has to pass. */
const SCHEDULES = 40;
const FIRST_SEED = 1000;
/** More clients than this process, which has all of them, can serve beside those of other lanes in good time. */
const MOST_AT_ONCE = 8;
/** Side by side: one takes half of a core, and waits for the rest of its time. Where something else has the cores, one alone. */
const AT_ONCE = Number(process.env.AT_ONCE ?? (slowness() > 1 ? 1 : Math.min(availableParallelism(), MOST_AT_ONCE)));
/** The same pods go from schedule to schedule, as pods do; after so many they are made anew. */
const SCHEDULES_A_LIFE = 10;
const LOGS = join(import.meta.dirname, '../../out/faults');

/** What became of a schedule: what is to be said of it, or how it failed. */
type End = { passed: string; failure?: undefined } | { passed?: undefined; failure: string };

let network: Network;
const all = seeds(SCHEDULES, FIRST_SEED);
const ends = new Map(all.map((seed) => [seed, Promise.withResolvers<End>()]));
let lanes: Promise<void>[] = [];

beforeAll(async () => {
  network = await Network.enter();
  const left = [...all];
  lanes = Array.from({ length: Math.min(AT_ONCE, all.length) }, (_, i) => lane(i, left));
  void Promise.allSettled(lanes).then((how) => {
    const reason = how.find((one) => one.status === 'rejected')?.reason ?? 'no lane came to it';
    for (const { resolve } of ends.values()) resolve({ failure: `it was not run: ${reason}` });
  });
});
afterAll(async () => {
  try {
    await Promise.all(lanes); // one that ended early is no success, though another did its work
  } finally {
    await Promise.allSettled(lanes);
    await network?.leave();
  }
}, 120_000);

test.each(all)(
  'random faults (SEED=%i)',
  async (seed) => {
    const { passed, failure } = (await ends.get(seed)?.promise) ?? {};
    // Said here, so that they are in order whatever ended first.
    process.stdout.write(`SEED=${seed} ${failure === undefined ? passed : `FAILED: ${failure}`}\n`);
    if (failure !== undefined) throw new Error(`${failure}\nTo repeat it: make test-faults SEED=${seed}`);
  },
  60_000 + all.length * 240_000, // nobody knows which of them are before it in its lane
);

/** Runs one schedule after the other, until none is left. */
async function lane(number: number, left: number[]): Promise<void> {
  let pods: Pods | undefined;
  let slow = 1;
  try {
    for (let served = 0; left.length > 0; served++) {
      if (served % SCHEDULES_A_LIFE === 0) {
        await pods?.stop();
        pods = undefined;
      }
      if (!pods) slow = slowness();
      pods ??= await Pods.start(network, PODS, { leaseMs: LEASE_MS * slow, storePort: 6379 + number });
      const seed = left.shift();
      if (seed === undefined) continue;
      const end = await endOf(pods, seed, slow);
      ends.get(seed)?.resolve(end);
      if (end.failure === undefined) continue;
      await pods.stop();
      pods = undefined;
    }
  } finally {
    await pods?.stop();
  }
}

/** How it went; what the parts said while it failed, and what was open then, is kept in out/faults. */
async function endOf(pods: Pods, seed: number, slow: number): Promise<End> {
  const planned = schedule(seed, PODS, LEASE_MS * slow);
  const what = planned.faults.map(textOf).join('; ');
  const since = pods.log.length;
  const beganMs = performance.now();
  try {
    const { events, rounds, reclaimed, recoveredMs } = await runSchedule(pods, planned, { slowness: slow });
    const seconds = ((performance.now() - beganMs) / 1000).toFixed(1);
    return {
      passed: `passed in ${seconds} s: ${rounds} rounds, ${events} events, ${reclaimed} reclaimed, all went on after ${Math.round(recoveredMs)} ms; ${what}`,
    };
  } catch (error) {
    const { message } = error as Error;
    mkdirSync(LOGS, { recursive: true });
    const open = await pods.filesInStore().catch((reason: Error) => [`the store does not say: ${reason.message}`]);
    const files = ['What the store has open:', ...open].join('\n');
    writeFileSync(join(LOGS, `${seed}.log`), `${what}\n${message}\n${files}\n\n${pods.said(since)}\n`);
    return { failure: `${what}\n${message}` };
  }
}
