import { type Contestant, startHoldfast, startSmbd } from './contestants.ts';
import { cpuTimeUs } from './cpu-time.ts';
import { describeMachine, machineText } from './machine.ts';
import { loadProfiled } from './profile.ts';
import { type BenchOptions, figure, printTable, saveResults, say } from './report.ts';
import { buildGenerator, Generator } from './smb/generator.ts';
import { fillShare } from './smb/share.ts';
import { chosenWorks, type Work } from './smb/works.ts';
import { type Spread, spreadOf } from './statistics.ts';
import { warmUp } from './warm-up.ts';

const DEFAULT_ROUNDS = 3;
const SHORT_SECONDS = 0.1;

interface Round {
  rate: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU time of the server by process. */
  cpuUsPerRequest: Record<string, number>;
  clientUsPerRequest: number;
}

/** One server at one work. */
interface Side {
  rate: Spread;
  p50Ms: number;
  p99Ms: number;
  cpuUsPerRequest: Record<string, number>;
  /** All of the server's processes together. */
  serverUsPerRequest: number;
  clientUsPerRequest: number;
}

export interface SideBySide {
  work: string;
  title: string;
  unit: string;
  floor: number;
  goal: number;
  sides: Record<string, Side>;
  /** Our rate as a share of smbd's; undefined where one of them was not measured. */
  ratio: number | undefined;
}

interface Lane {
  contestant: Contestant;
  generator: Generator;
  rounds: Round[];
}

/** Ours and smbd side by side: the same compiled client, files, signing and encryption, taking turns. */
export async function smb(options: BenchOptions): Promise<void> {
  const machine = describeMachine();
  say(`smb: ${machineText(machine)}`);
  const program = buildGenerator();
  const contestants = await startContestants(options);
  const results: SideBySide[] = [];
  try {
    for (const work of chosenWorks(options.only)) results.push(await measure(program, work, contestants, options));
  } finally {
    for (const contestant of contestants) await contestant.stop();
  }
  print(results, !options.short);
  const isWhole = options.profile === undefined && options.only === undefined && !options.short;
  const isAsItComes = options.durability === 'Always';
  if (isWhole && isAsItComes) saveResults('smb', machine, results);
}

async function startContestants({ against, durability }: BenchOptions): Promise<Contestant[]> {
  const contestants: Contestant[] = [];
  if (against.includes('holdfast')) {
    const flags = ['--signing', 'Desired', '--durability', durability];
    contestants.push(await startHoldfast(flags, fillShare));
  }
  if (against.includes('smbd')) {
    const smbd = await startSmbd([], fillShare);
    if (smbd) contestants.push(smbd);
    else say('no smbd to compare with: it is not installed, or this is not root');
  }
  return contestants;
}

async function measure(
  program: string,
  work: Work,
  contestants: readonly Contestant[],
  options: BenchOptions,
): Promise<SideBySide> {
  const lanes: Lane[] = [];
  const seconds = options.short ? SHORT_SECONDS : options.seconds;
  try {
    for (const contestant of contestants) {
      const generator = await Generator.start(program, contestant.target, work);
      lanes.push({ contestant, generator, rounds: [] });
      await warmUp(seconds, async (time) => (await generator.run(time)).requests);
    }
    const rounds = options.short ? 1 : (options.rounds ?? DEFAULT_ROUNDS);
    for (let round = 0; round < rounds; round++) {
      for (const lane of lanes) lane.rounds.push(await measureRound(work, lane, seconds, options.profile));
    }
  } finally {
    for (const { generator } of lanes) generator.stop();
  }
  const result = compared(work, lanes);
  say(line(result));
  return result;
}

async function measureRound(
  work: Work,
  { contestant, generator }: Lane,
  seconds: number,
  profile: string | undefined,
): Promise<Round> {
  const before = cpuByPart(contestant);
  const load = () => generator.run(seconds);
  const subject = profile && profile !== 'client' ? contestant.profilable(profile) : undefined;
  const result = await loadProfiled(work.name, profile ?? '', subject, load);
  const after = cpuByPart(contestant);
  const perSecond = result.requests / result.seconds;
  const parts = Object.entries(after).map(([part, us]) => [part, (us - (before[part] ?? 0)) / result.requests]);
  return {
    rate: work.inMegabytes ? (perSecond * work.bytes) / 1e6 : perSecond,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    cpuUsPerRequest: Object.fromEntries(parts),
    clientUsPerRequest: result.cpuUs / result.requests,
  };
}

function cpuByPart(contestant: Contestant): Record<string, number> {
  const parts = Object.entries(contestant.processes());
  return Object.fromEntries(parts.map(([part, pids]) => [part, pids.reduce((sum, pid) => sum + cpuTimeUs(pid), 0)]));
}

function compared(work: Work, lanes: readonly Lane[]): SideBySide {
  const sides = Object.fromEntries(lanes.map(({ contestant, rounds }) => [contestant.name, sideOf(rounds)]));
  const ours = sides.holdfast?.rate.median;
  const theirs = sides.smbd?.rate.median;
  return {
    work: work.name,
    title: work.title,
    unit: work.inMegabytes ? 'MB/s' : '/s',
    floor: work.floor,
    goal: work.goal,
    sides,
    ratio: ours !== undefined && theirs ? ours / theirs : undefined,
  };
}

function sideOf(rounds: readonly Round[]): Side {
  const median = (pick: (round: Round) => number) => spreadOf(rounds.map(pick)).median;
  const parts = Object.keys(rounds[0]?.cpuUsPerRequest ?? {});
  const cpuUsPerRequest = Object.fromEntries(
    parts.map((part) => [part, median((round) => round.cpuUsPerRequest[part] ?? 0)]),
  );
  return {
    rate: spreadOf(rounds.map(({ rate }) => rate)),
    p50Ms: median(({ p50Ms }) => p50Ms),
    p99Ms: median(({ p99Ms }) => p99Ms),
    cpuUsPerRequest,
    serverUsPerRequest: Object.values(cpuUsPerRequest).reduce((sum, us) => sum + us, 0),
    clientUsPerRequest: median((round) => round.clientUsPerRequest),
  };
}

function line({ work, unit, sides, ratio }: SideBySide): string {
  const rates = Object.entries(sides).map(([name, { rate }]) => `${name} ${figure(rate.median)} ${unit}`);
  return `${work}: ${rates.join(', ')}${ratio === undefined ? '' : `, ratio ${figure(ratio)}`}`;
}

/** `judges`: the rates are worth holding against the floors. */
function print(results: readonly SideBySide[], judges: boolean): void {
  printTable(
    [
      'work',
      'unit',
      'holdfast',
      'smbd',
      'ratio',
      'floor',
      'goal',
      'p50, p99 ms',
      'smbd',
      'CPU us',
      'smbd',
      'client us',
    ],
    results.map(({ work, unit, sides: { holdfast, smbd }, ratio, floor, goal }) => [
      work,
      unit,
      holdfast ? figure(holdfast.rate.median) : '',
      smbd ? figure(smbd.rate.median) : '',
      ratio === undefined ? '' : figure(ratio),
      `${floor}${ratio === undefined || !judges ? '' : ratio >= floor ? ' met' : ' MISSED'}`,
      String(goal),
      holdfast ? `${figure(holdfast.p50Ms)}, ${figure(holdfast.p99Ms)}` : '',
      smbd ? `${figure(smbd.p50Ms)}, ${figure(smbd.p99Ms)}` : '',
      holdfast ? figure(holdfast.serverUsPerRequest) : '',
      smbd ? figure(smbd.serverUsPerRequest) : '',
      figure(holdfast?.clientUsPerRequest ?? smbd?.clientUsPerRequest ?? Number.NaN),
    ]),
  );
}
