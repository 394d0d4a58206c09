import { type Contestant, fillForRates, startHoldfast, startSmbd } from './contestants.ts';
import { cpuTimeUs } from './cpu-time.ts';
import type { LoadResult } from './load.ts';
import { LoadClient } from './load-client.ts';
import { describeMachine, machineText } from './machine.ts';
import { loadProfiled } from './profile.ts';
import { type BenchOptions, figure, printTable, saveResults, say } from './report.ts';
import { type Spread, spreadOf } from './statistics.ts';
import { warmUp } from './warm-up.ts';
import { WORKLOADS, type Workload } from './workloads.ts';

const DEFAULT_ROUNDS = 5;

interface Round {
  rate: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU time by process, "client" among them. */
  cpuUsPerRequest: Record<string, number>;
  /** How busy the client was, 1 = one core: near 1 it is the client that is measured. */
  clientCores: number;
}

interface RateResult {
  workload: string;
  title: string;
  server: string;
  unit: string;
  protection: string;
  target: number | undefined;
  rate: Spread;
  rates: number[];
  p50Ms: number;
  p99Ms: number;
  cpuUsPerRequest: Record<string, number>;
  clientCores: number;
}

/** Requests a second, and CPU time a request, of one server; smbd takes turns with it where it can do the same. */
export async function rates(options: BenchOptions): Promise<void> {
  const machine = describeMachine();
  say(`rates: ${machineText(machine)}`);
  const chosen = chosenWorkloads(options.only);
  const contestants = await startContestants(chosen, options);
  const results: RateResult[] = [];
  try {
    for (const workload of chosen) {
      const entered = contestants.filter(({ persistent }) => persistent === workload.persistent);
      results.push(...(await measure(workload, entered, options)));
    }
  } finally {
    for (const { contestant } of contestants) await contestant.stop();
  }
  print(results);
  if (options.profile === undefined && options.only === undefined) saveResults('rates', machine, results);
}

function chosenWorkloads(only: string | undefined): readonly Workload[] {
  if (only === undefined) return WORKLOADS;
  const exact = WORKLOADS.filter(({ name }) => name === only);
  return exact.length > 0 ? exact : WORKLOADS.filter(({ name }) => name.includes(only));
}

interface Entry {
  contestant: Contestant;
  persistent: boolean;
}

async function startContestants(workloads: readonly Workload[], options: BenchOptions): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const persistent of [false, true]) {
    if (!workloads.some((workload) => workload.persistent === persistent)) continue;
    if (options.against.includes('holdfast')) {
      say(`starting holdfast serve${persistent ? ' --continuously-available' : ''}`);
      const flags = persistent ? ['--continuously-available'] : [];
      entries.push({ contestant: await startHoldfast(flags, fillForRates), persistent });
    }
    if (persistent || !options.against.includes('smbd')) continue;
    // Signing as we have it.
    const smbd = await startSmbd(['server signing = mandatory'], fillForRates);
    if (smbd) entries.push({ contestant: smbd, persistent });
    else say('no smbd to compare with: it is not installed, or this is not root');
  }
  return entries;
}

/** All rounds of one workload: the servers take turns, so that what else happens on the machine hits them alike. */
async function measure(workload: Workload, entries: readonly Entry[], options: BenchOptions): Promise<RateResult[]> {
  const lanes: { contestant: Contestant; clients: LoadClient[]; rounds: Round[] }[] = [];
  try {
    for (const { contestant } of entries) {
      const clients: LoadClient[] = [];
      lanes.push({ contestant, clients, rounds: [] });
      for (let i = 0; i < options.clients; i++) {
        const share = { ...workload, inFlight: Math.max(1, Math.round(workload.inFlight / options.clients)) };
        clients.push(await LoadClient.start(contestant.target, share));
      }
      await warmUp(options.seconds, async (seconds) => {
        const results = await Promise.all(clients.map((client) => client.run(seconds)));
        return results.reduce((sum, { requests }) => sum + requests, 0);
      });
    }
    for (let round = 0; round < (options.rounds ?? DEFAULT_ROUNDS); round++) {
      for (const lane of lanes) {
        const measured = await measureRound(workload, lane.contestant, lane.clients, options);
        lane.rounds.push(measured);
        say(
          `${workload.name}, round ${round + 1}, ${lane.contestant.name}: ${figure(measured.rate)} ${unitOf(workload)}`,
        );
      }
    }
    return lanes.map(({ contestant, clients, rounds }) =>
      summary(workload, contestant, clients[0]?.protection ?? '', rounds),
    );
  } finally {
    for (const { clients } of lanes) for (const client of clients) client.stop();
  }
}

async function measureRound(
  workload: Workload,
  contestant: Contestant,
  clients: readonly LoadClient[],
  options: BenchOptions,
): Promise<Round> {
  const before = cpuByPart(contestant);
  const load = () => Promise.all(clients.map((client) => client.run(options.seconds)));
  const { profile } = options;
  const subject = profile === 'client' || profile === undefined ? clients[0] : contestant.profilable(profile);
  const results = await (profile ? loadProfiled(workload.name, profile, subject, load) : load());
  const after = cpuByPart(contestant);
  const requests = results.reduce((sum, result) => sum + result.requests, 0);
  const perSecond = results.reduce((sum, result) => sum + result.requests / result.seconds, 0);
  const cpuUsPerRequest: Record<string, number> = {};
  for (const [part, us] of Object.entries(after)) cpuUsPerRequest[part] = (us - (before[part] ?? 0)) / requests;
  const clientUs = results.reduce((sum, result) => sum + result.cpuUs, 0);
  cpuUsPerRequest.client = clientUs / requests;
  return {
    rate: workload.inMegabytes ? (perSecond * workload.bytes) / 1e6 : perSecond,
    p50Ms: worst(results, 'p50Ms'),
    p99Ms: worst(results, 'p99Ms'),
    cpuUsPerRequest,
    clientCores: clientUs / 1e6 / worst(results, 'seconds') / clients.length,
  };
}

function worst(results: readonly LoadResult[], field: 'p50Ms' | 'p99Ms' | 'seconds'): number {
  return Math.max(...results.map((result) => result[field]));
}

function cpuByPart(contestant: Contestant): Record<string, number> {
  const parts = Object.entries(contestant.processes());
  return Object.fromEntries(parts.map(([part, pids]) => [part, pids.reduce((sum, pid) => sum + cpuTimeUs(pid), 0)]));
}

function unitOf(workload: Workload): string {
  return workload.inMegabytes ? 'MB/s' : '/s';
}

function summary(workload: Workload, contestant: Contestant, protection: string, rounds: readonly Round[]): RateResult {
  const ofRounds = (pick: (round: Round) => number) => spreadOf(rounds.map(pick)).median;
  const parts = Object.keys(rounds[0]?.cpuUsPerRequest ?? {});
  return {
    workload: workload.name,
    title: workload.title,
    server: contestant.name,
    unit: unitOf(workload),
    protection,
    target: workload.target,
    rate: spreadOf(rounds.map(({ rate }) => rate)),
    rates: rounds.map(({ rate }) => rate),
    p50Ms: ofRounds(({ p50Ms }) => p50Ms),
    p99Ms: ofRounds(({ p99Ms }) => p99Ms),
    cpuUsPerRequest: Object.fromEntries(
      parts.map((part) => [part, ofRounds(({ cpuUsPerRequest }) => cpuUsPerRequest[part] ?? 0)]),
    ),
    clientCores: ofRounds(({ clientCores }) => clientCores),
  };
}

function print(results: readonly RateResult[]): void {
  printTable(
    ['workload', 'server', 'median', 'least', 'most', 'unit', 'aim', 'p50 ms', 'p99 ms', 'CPU us a request'],
    results.map((result) => [
      result.workload,
      result.server,
      figure(result.rate.median),
      figure(result.rate.min),
      figure(result.rate.max),
      result.unit,
      result.target === undefined || result.server !== 'holdfast' ? '' : aim(result.rate.median, result.target),
      figure(result.p50Ms),
      figure(result.p99Ms),
      Object.entries(result.cpuUsPerRequest)
        .map(([part, us]) => `${part} ${figure(us)}`)
        .join(', '),
    ]),
  );
  for (const { workload, server, clientCores } of results) {
    if (clientCores > 0.9) say(`${workload} on ${server}: the client was busy all the time; try --clients 2`);
  }
}

function aim(rate: number, target: number): string {
  return `${figure(target)} ${rate >= target ? 'met' : 'MISSED'}`;
}
