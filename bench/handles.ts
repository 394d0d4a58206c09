import { execFileSync } from 'node:child_process';
import { TestCluster } from '../sidecar/testing/cluster.ts';
import { moveAndFence } from './handles/moving.ts';
import { asClientsAsk, NOT_PERSISTENT } from './handles/requests.ts';
import { StreamLoad, type StreamRound } from './handles/stream-load.ts';
import { fillTable } from './handles/table-filler.ts';
import { describeMachine, machineText } from './machine.ts';
import { type BenchOptions, figure, printTable, saveResults, say } from './report.ts';
import { quantile } from './statistics.ts';
import { warmUp } from './warm-up.ts';

const DEFAULT_ROUNDS = 5;
const IN_FLIGHT = 64;
const LEASE_MS = 5000;
const WARM_UP_SECONDS = 2;

/** How much of everything. */
interface Scale {
  seconds: number;
  rounds: number;
  held: number;
  moved: number;
}

/** One line of the table. */
export interface HandlesResult {
  what: string;
  value: number;
  unit: string;
  aim: { most: number } | { least: number } | undefined;
  detail: string;
}

/** The table of opens without SMB: rates at the sidecar's stream, memory, many handles held, moved, and taken over. */
export async function handles(options: BenchOptions): Promise<void> {
  const machine = describeMachine();
  say(`handles: ${machineText(machine)}`);
  const { short, held, moved } = options;
  const scale: Scale = short
    ? { seconds: 0.3, rounds: 1, held: 2000, moved: 300 }
    : { seconds: options.seconds, rounds: options.rounds ?? DEFAULT_ROUNDS, held, moved };
  const results: HandlesResult[] = [];
  for (const [name, measure] of Object.entries(PARTS)) {
    if (options.only !== undefined && !name.includes(options.only)) continue;
    for (const result of await measure(scale)) {
      results.push(result);
      say(`${result.what}: ${figure(result.value)} ${result.unit} (${result.detail})`);
    }
  }
  printTable(
    ['what', 'value', 'aim', 'detail'],
    results.map((result) => [result.what, `${figure(result.value)} ${result.unit}`, judged(result), result.detail]),
  );
  if (options.only === undefined && !short) saveResults('handles', machine, results);
}

const PARTS: Record<string, (scale: Scale) => Promise<HandlesResult[]>> = { stream, memory, held, moving };

/** Whether the aim was met, for people. */
export function judged({ value, aim }: Pick<HandlesResult, 'value' | 'aim'>): string {
  if (!aim) return '';
  if ('most' in aim) return `at most ${figure(aim.most)}: ${value <= aim.most ? 'met' : '**missed**'}`;
  return `${figure(aim.least)}: ${value >= aim.least ? 'met' : '**missed**'}`;
}

async function stream({ seconds, rounds }: Scale): Promise<HandlesResult[]> {
  const cluster = await TestCluster.start(0, LEASE_MS);
  const load = await StreamLoad.start(cluster);
  const kinds = [
    { what: 'open + close, not persistent', fields: NOT_PERSISTENT, least: 20_000, rounds: [] as StreamRound[] },
    { what: 'open + close, persistent, durability Always', fields: {}, least: 10_000, rounds: [] as StreamRound[] },
  ];
  try {
    for (const { fields } of kinds) {
      await warmUp(seconds, async (time) => (await load.run(IN_FLIGHT, time, fields)).rate * time);
    }
    for (let round = 0; round < rounds; round++) {
      for (const kind of kinds) kind.rounds.push(await load.run(IN_FLIGHT, seconds, kind.fields));
    }
  } finally {
    await load.stop();
    await cluster.stop();
  }
  return kinds.map(({ what, least, rounds: all }) => ({
    what: `${what}, ${IN_FLIGHT} in flight at the stream`,
    value: median(all.map(({ rate }) => rate)),
    unit: '/s',
    aim: { least },
    detail: `CPU us a pair: ${cpuText(all)}`,
  }));
}

async function memory({ moved }: Scale): Promise<HandlesResult[]> {
  const cluster = await TestCluster.start(0, LEASE_MS);
  const load = await StreamLoad.start(cluster); // it opens the store
  try {
    const opens = Math.min(moved, 50_000);
    const before = usedMemory(cluster);
    await fillTable(cluster, opens);
    const bytes = (usedMemory(cluster) - before) / opens;
    const detail = `${figure(opens)} opens; all that the store holds for them`;
    return [
      {
        what: 'memory of Redis, a persistent open with a lease',
        value: bytes,
        unit: 'bytes',
        aim: { most: 1024 },
        detail,
      },
    ];
  } finally {
    await load.stop();
    await cluster.stop();
  }
}

/** Two tables side by side, one empty, one full: they take turns, so that what else happens on the machine hits both alike. */
async function held({ seconds, rounds, held: count }: Scale): Promise<HandlesResult[]> {
  const clusters = [await TestCluster.start(0, LEASE_MS), await TestCluster.start(0, LEASE_MS)];
  const loads: StreamLoad[] = [];
  const rates: number[][] = clusters.map(() => []);
  const ratios: number[] = [];
  const fields = asClientsAsk('', { withLease: false });
  const asked = { attachment: fields.attachment, user: fields.user };
  try {
    for (const cluster of clusters) loads.push(await StreamLoad.start(cluster));
    const beganMs = performance.now();
    await fillTable(clusters[1] as TestCluster, count);
    say(`${figure(count)} handles held after ${figure((performance.now() - beganMs) / 1000)} s`);
    for (const load of loads) await load.run(IN_FLIGHT, Math.min(seconds, WARM_UP_SECONDS), asked);
    for (let round = 0; round < rounds; round++) {
      for (const [i, load] of loads.entries()) rates[i]?.push((await load.run(IN_FLIGHT, seconds, asked)).rate);
      ratios.push((rates[1]?.at(-1) ?? 0) / (rates[0]?.at(-1) ?? 1));
    }
  } finally {
    for (const load of loads) await load.stop();
    for (const cluster of clusters) await cluster.stop();
  }
  const [empty = [], full = []] = rates;
  return [
    {
      what: `open + close with ${figure(count)} handles held, as a share of an empty table's`,
      value: median(ratios),
      unit: '',
      aim: { least: 0.9 },
      detail: `${figure(median(full))} /s and ${figure(median(empty))} /s; persistent, pairs: ${ratios.map(figure).join(', ')}`,
    },
  ];
}

async function moving({ moved: count }: Scale): Promise<HandlesResult[]> {
  const { moved, fenced } = await moveAndFence(count);
  const memoryDetail = `${figure(moved.moreMemoryMib)} MiB more in the sidecar that gives them away, at its highest; CPU us a handle: ${partsText(moved.cpuUsPerHandle)}`;
  return [
    {
      what: `${figure(moved.handles)} handles moved to two other servers`,
      value: moved.seconds,
      unit: 's',
      aim: { most: 5 },
      detail: memoryDetail,
    },
    ...fenced.map(({ handles: had, ms }) => ({
      what: `a dead process' handle is at another server`,
      value: ms,
      unit: 'ms',
      aim: undefined,
      detail: `it had ${figure(had)} handles; fenced in all shards, then reclaimed`,
    })),
  ];
}

function usedMemory({ redis }: TestCluster): number {
  const info = execFileSync('redis-cli', ['-p', String(redis.port), 'info', 'memory'], { encoding: 'utf8' });
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
}

function cpuText(all: readonly StreamRound[]): string {
  const parts = Object.keys(all[0]?.cpuUsPerPair ?? {});
  return partsText(
    Object.fromEntries(
      parts.map((part) => [part, median(all.map(({ cpuUsPerPair }) => cpuUsPerPair[part] ?? 0))] as const),
    ),
  );
}

function partsText(us: Record<string, number>): string {
  return Object.entries(us)
    .map(([part, value]) => `${part} ${figure(value)}`)
    .join(', ');
}

const median = (values: readonly number[]) => quantile([...values], 0.5);
