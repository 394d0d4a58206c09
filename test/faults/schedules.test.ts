import { mkdirSync, writeFileSync } from 'node:fs';
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
/** Side by side: one leaves two cores idle most of the time, unless something else has them. */
const LANES = Number(process.env.LANES ?? (slowness() > 1 ? 1 : 2));
/** The same pods go from schedule to schedule, as pods do; after so many they are made anew. */
const SCHEDULES_A_LIFE = 10;
const LOGS = join(import.meta.dirname, '../../out/faults');

let network: Network;
const all = seeds(SCHEDULES, FIRST_SEED);
/** What became of each schedule; undefined: it passed. */
const ends = new Map(all.map((seed) => [seed, Promise.withResolvers<Error | undefined>()]));
let lanes: Promise<void>[] = [];

beforeAll(async () => {
  network = await Network.enter();
  const left = [...all];
  lanes = Array.from({ length: Math.min(LANES, all.length) }, (_, i) => lane(i, left));
  void Promise.allSettled(lanes).then((how) => {
    const reason = how.find((one) => one.status === 'rejected')?.reason ?? 'no lane came to it';
    for (const { resolve } of ends.values()) resolve(new Error(`it was not run: ${reason}`));
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
    const failure = await ends.get(seed)?.promise;
    if (failure) throw failure;
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
      const failure = await failureOf(pods, seed, slow);
      ends.get(seed)?.resolve(failure);
      if (!failure) continue;
      await pods.stop();
      pods = undefined;
    }
  } finally {
    await pods?.stop();
  }
}

/** Says how it went; what the parts said while it failed is kept in out/faults. */
async function failureOf(pods: Pods, seed: number, slow: number): Promise<Error | undefined> {
  const planned = schedule(seed, PODS, LEASE_MS * slow);
  const what = planned.faults.map(textOf).join('; ');
  const since = pods.log.length;
  const beganMs = performance.now();
  try {
    const { events, rounds, reclaimed, recoveredMs } = await runSchedule(pods, planned, { slowness: slow });
    const seconds = ((performance.now() - beganMs) / 1000).toFixed(1);
    process.stdout.write(
      `SEED=${seed} passed in ${seconds} s: ${rounds} rounds, ${events} events, ${reclaimed} reclaimed, all went on after ${Math.round(recoveredMs)} ms; ${what}\n`,
    );
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    mkdirSync(LOGS, { recursive: true });
    writeFileSync(join(LOGS, `${seed}.log`), `${what}\n${message}\n\n${pods.said(since)}\n`);
    process.stdout.write(`SEED=${seed} FAILED: ${what}\n${message}\n`);
    return new Error(`${what}: ${message}`);
  }
}
