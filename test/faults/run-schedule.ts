import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '../../client/index.ts';
import type { LivenessOptions } from '../../client/session/liveness.ts';
import { delay } from '../../common/time.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { lateOnes } from '../history/late.ts';
import type { Pod, Pods } from './pods.ts';
import { Random } from './random.ts';
import { expectSound, recordVolume } from './recorded.ts';
import type { Fault, Schedule } from './schedule.ts';
import { Blocks, SLOTS } from './work/blocks.ts';
import { Cacher } from './work/cacher.ts';
import { COUNTER, Counter, counterValue, numberOf, placeOf } from './work/counter.ts';
import { ALONE, Loner } from './work/loner.ts';
import { GOAL, Names } from './work/names.ts';
import { Passing } from './work/passing.ts';
import type { Worker } from './work/worker.ts';

const CLIENTS = 3;
const SHARED = 'shared';
/** Every worker was through so often before the faults begin, and is through so often again when they are over. */
const ROUNDS = 2;
const GOES_ON_WITHIN_MS = 40_000;
/** So long an operation may take, and so long a server may be silent, on a quiet machine: what the client has by default. */
const OPERATION_MS = 60_000;
const SILENT_MS = { probeAfterMs: 500, probeTimeoutMs: 1000 };

export interface Outcome {
  events: number;
  rounds: number;
  reclaimed: number;
  failovers: number;
  /** From the end of the last fault until everybody went on, ms. */
  recoveredMs: number;
}

/**
 * Lets clients work through several pods while what the schedule says goes wrong, and checks what they saw. Throws what must not be.
 * @param isCoherent whether a change made through one pod's mount is seen at once through the others
 * @param slowness how many times longer than on a quiet machine everything may take
 */
export async function runSchedule(
  pods: Pods,
  schedule: Schedule,
  { isCoherent = true, slowness = 1 } = {},
): Promise<Outcome> {
  const withinMs = GOES_ON_WITHIN_MS * slowness;
  const random = new Random(schedule.seed ^ 0x5eed);
  const folder = `run-${schedule.seed}-${randomUUID().slice(0, 8)}`;
  mkdirSync(join(pods.volume, folder));
  const history = new History();
  const counts = { reclaimed: 0, failovers: 0 };
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) => connect(pods, i, slowness, history, counts)),
  );
  const joined: Pod[] = [];
  const work = workersOf(clients, folder, history, random, pods, slowness).filter(
    // Nobody promises what a handle reads of others' writes there, without a lock, while it stays open.
    (worker) => isCoherent || !worker.name.startsWith('shared'),
  );
  try {
    for (const worker of work) await worker.start();
    await goesOn(work, history, withinMs, 'before anything goes wrong');
    await strike(pods, schedule.faults, joined, history);
    const overMs = performance.now();
    await pods.mend();
    await goesOn(work, history, withinMs, 'after the faults');
    const recoveredMs = performance.now() - overMs;
    for (const worker of work) await worker.end();
    await Promise.all(clients.map((client) => client.close()));

    for (const name of [...(isCoherent ? [SHARED] : []), ...clients.map((_, i) => `own-blocks-${i}`)]) {
      recordVolume(history, pods.volume, `${folder}\\${name}`, SLOTS);
    }
    recordVolume(history, pods.volume, `${folder}\\${ALONE}`, 1);
    recordCounter(history, pods.volume, folder);
    expectSound(history);
    expectNumbers(work, pods.volume, folder, history);
    await nothingLeft(pods, withinMs);
    const rounds = work.reduce((sum, worker) => sum + worker.rounds, 0);
    return { events: history.events.length, rounds, recoveredMs, ...counts };
  } finally {
    for (const worker of work) worker.abandon();
    await Promise.allSettled(clients.map((client) => client.close()));
    await Promise.allSettled(joined.map((pod) => pods.retire(pod)));
  }
}

function livenessOf(slowness: number): Required<Omit<LivenessOptions, 'probeIdleMs'>> {
  const { probeAfterMs, probeTimeoutMs } = SILENT_MS;
  return { probeAfterMs: probeAfterMs * slowness, probeTimeoutMs: probeTimeoutMs * slowness };
}

/** A client that begins somewhere else than the others, and knows all pods. */
async function connect(
  pods: Pods,
  i: number,
  slowness: number,
  history: History,
  counts: { reclaimed: number; failovers: number },
): Promise<Client> {
  const liveness = livenessOf(slowness);
  const operationTimeoutMs = OPERATION_MS * slowness;
  const client = await pods.client(pods.pod(i % pods.list.length), { liveness, operationTimeoutMs });
  client.on('handleLost', ({ path, error }) =>
    history.add({ kind: 'lost', client: `client ${i}`, path, reason: error.message, atMs: performance.now() }),
  );
  client.on('failoverEnded', ({ reclaimed }) => {
    counts.failovers++;
    counts.reclaimed += reclaimed;
  });
  return client;
}

function workersOf(
  clients: Client[],
  folder: string,
  history: History,
  random: Random,
  pods: Pods,
  slowness: number,
): Worker[] {
  const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
  return clients.flatMap((client, i) => {
    const parts = (what: string) => ({
      ...{ name: `${what}-${i}`, client, folder, history },
      random: new Random(random.between(0, 0x7fff_ffff)),
    });
    const some: Worker[] = [
      new Blocks(parts('blocks'), `own-blocks-${i}`, slots),
      new Blocks(
        parts('shared'),
        SHARED,
        slots.filter((slot) => slot % CLIENTS === i),
      ),
      new Counter(parts('counter')),
      new Loner(parts('loner')),
      new Names(parts('names'), pods.volume),
      new Passing(parts('passing'), pods.volume),
    ];
    if (i < 2) some.push(new Cacher(parts('cacher'), () => pods.addresses, livenessOf(slowness)));
    return some;
  });
}

async function goesOn(work: Worker[], history: History, withinMs: number, when: string): Promise<void> {
  const before = work.map((worker) => worker.rounds);
  const late = () => work.filter((worker, i) => worker.rounds < (before[i] ?? 0) + ROUNDS);
  const bad = () => history.of('error').length > 0 || history.of('lost').length > 0;
  try {
    await eventually(`everybody goes on ${when}`, withinMs, () => late().length === 0 || bad() || undefined, 20);
  } catch (error) {
    const stuck = late().map((worker) => `${worker.name}: ${worker.doing}`);
    throw new Error(`${(error as Error).message} (now ${Math.round(performance.now())}):\n${stuck.join('\n')}`);
  }
}

async function strike(pods: Pods, faults: readonly Fault[], joined: Pod[], history: History): Promise<void> {
  const beganMs = performance.now();
  await Promise.all(
    faults.map(async (fault) => {
      await delay(Math.max(0, beganMs + fault.atMs - performance.now()));
      await inject(pods, fault, joined, history);
    }),
  );
}

/** Resolves when the fault is over. */
async function inject(pods: Pods, fault: Fault, joined: Pod[], history: History): Promise<void> {
  switch (fault.kind) {
    case 'kill':
      return pods.pod(fault.pod).kill(...fault.parts);
    case 'freeze': {
      const pod = pods.pod(fault.pod);
      await pod.freeze(...fault.parts);
      const fromMs = performance.now();
      await delay(fault.forMs);
      if (fault.parts.includes('fileserver')) {
        history.add({ kind: 'stopped', server: pod.name, fromMs, untilMs: performance.now() });
      }
      return pod.resume();
    }
    case 'cut': {
      const pod = pods.pod(fault.pod);
      await pod.cut(...fault.wires);
      await delay(fault.forMs);
      return pod.mend();
    }
    case 'kill store':
      return pods.killStore(fault);
    case 'freeze store':
      await pods.store.freeze();
      await delay(fault.forMs);
      return pods.store.signal('SIGCONT');
    case 'migrate': {
      // Whatever becomes of it while other things go wrong: what counts is what the clients see.
      const control = await pods.control(pods.pod(fault.pod)).catch(() => undefined);
      await control?.migrate({ migrationId: randomUUID() }).catch(() => undefined);
      return;
    }
    case 'join':
      joined.push(await pods.add());
      return;
  }
}

/** What the volume has of the number in the end. */
function recordCounter(history: History, volume: string, folder: string): void {
  const calledMs = performance.now();
  const value = counterValue(join(volume, folder, COUNTER));
  const returnedMs = performance.now();
  history.add({ kind: 'read', client: 'the volume', place: placeOf(folder), value, calledMs, returnedMs });
}

/** What only the whole tells: nothing counted was lost, and every file has the one name that its last rename gave it. */
function expectNumbers(work: Worker[], volume: string, folder: string, history: History): void {
  const wrong: string[] = [];
  const counters = work.filter((worker) => worker instanceof Counter);
  const counted = counters.reduce((sum, worker) => sum + worker.counted, 0);
  const found = numberOf(counterValue(join(volume, folder, COUNTER)));
  // A write that came late, when a stopped server went on, takes the number back, and nobody can help it; that it was one the history tells.
  const counts = history.of('write').filter(({ place }) => place === placeOf(folder));
  const mayBeLess = lateOnes(counts, history.of('stopped')).length > 0;
  if (found > counted || (found < counted && !mayBeLess)) {
    wrong.push(`counted ${counted} times, and the number is ${found}`);
  }
  const files = readdirSync(join(volume, folder)).filter((name) => !name.startsWith('.'));
  const movers = work.filter((worker) => worker instanceof Names);
  for (const { name, place } of movers) {
    const content = files.includes(place) ? readFileSync(join(volume, folder, place), 'utf8') : 'not there';
    if (content !== name) wrong.push(`${place} should be ${name}'s file, and is ${content}`);
  }
  const goals = files.filter((name) => name.toLowerCase() === GOAL.toLowerCase());
  if (goals.length > 1) wrong.push(`there are ${goals.join(' and ')}`);
  const late = work.flatMap((worker) => (worker instanceof Passing ? worker.madeLate : []));
  const left = files.filter((name) => name.startsWith('passing') && !late.includes(name));
  if (left.length > 0) wrong.push(`should have been deleted: ${left.join(', ')}`);
  if (wrong.length > 0) throw new Error(wrong.join('\n'));
}

/** Everything was closed: neither a server nor the store has an open any more. */
async function nothingLeft(pods: Pods, withinMs: number): Promise<void> {
  const controls = await Promise.all(pods.list.map((pod) => pods.control(pod)));
  await eventually('no open is left', withinMs, async () => {
    const left = await pods.filesInStore();
    for (const [i, control] of controls.entries()) {
      for (const { opensActive, opensDisconnected } of (await control.status()).servers) {
        if (opensActive + opensDisconnected > 0n) left.push(`${opensActive} and ${opensDisconnected} at pod ${i}`);
      }
    }
    if (left.length > 0) throw new Error(left.join(', '));
    return true;
  });
}
