import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { Client, type File } from '../client/index.ts';
import { PASSWORD, type Serving, USER } from '../test/serving.ts';
import { startServing } from './contestants.ts';
import { describeMachine, machineText } from './machine.ts';
import { type BenchOptions, figure, printTable, saveResults, say } from './report.ts';
import { SteadyWriter } from './steady-writer.ts';

const DEFAULT_MINUTES = 10;
const MINUTE_MS = 60_000;
/** Programs that compute and nothing else, for each processor. */
const BUSY_A_PROCESSOR = 2;

export interface BusyResult {
  minutes: number;
  servers: number;
  leaseDurationMs: number;
  /** Processes that kept the processors busy, and the load average of the last minute. */
  busyProcesses: number;
  load: number;
  writes: number;
  longestPauseMs: number;
  fencings: number;
  callerErrors: number;
  lostBlocks: number;
}

/**
 * Whether leases hold on a machine that has no time: every processor is kept busy by programs of the same weight while a client of each
 * server writes. A server that is fenced though it lives is a false alarm. `rounds` are minutes.
 */
export async function busy(options: BenchOptions): Promise<void> {
  const machine = describeMachine();
  const minutes = options.rounds ?? DEFAULT_MINUTES;
  const { servers, leaseDurationMs } = options;
  const busyProcesses = BUSY_A_PROCESSOR * availableParallelism();
  say(`busy: ${machineText(machine)}`);
  say(`${minutes} minutes, ${servers} servers, lease duration ${leaseDurationMs} ms, ${busyProcesses} busy programs`);
  const serving = await startServing({
    servers,
    flags: ['--continuously-available', '--lease-duration', `${leaseDurationMs}ms`],
  });
  const clients: { client: Client; file: File; writer: SteadyWriter; name: string }[] = [];
  const programs: ChildProcess[] = [];
  try {
    for (const [i, address] of serving.addresses.entries()) {
      const addresses = [address, ...serving.addresses.filter((other) => other !== address)];
      const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: 'share' });
      const name = `busy-${i}.dat`;
      const file = await client.open(name, { access: 'readwrite', disposition: 'openIf' });
      clients.push({ client, file, writer: new SteadyWriter(file), name });
    }
    for (let i = 0; i < busyProcesses; i++)
      programs.push(spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }));
    const beganMs = performance.now();
    for (let minute = 1; minute <= minutes; minute++) {
      await new Promise((resolve) => setTimeout(resolve, MINUTE_MS));
      const longest = Math.max(...clients.map(({ writer }) => writer.longestGapSince(beganMs)));
      say(
        `after ${minute} of ${minutes} minutes: ${await fencings(serving)} fencings, longest pause ${figure(longest)} ms`,
      );
    }
    const result: BusyResult = {
      minutes,
      servers,
      leaseDurationMs,
      busyProcesses,
      load: loadavg()[0] ?? 0,
      writes: 0,
      longestPauseMs: Math.max(...clients.map(({ writer }) => writer.longestGapSince(beganMs))),
      fencings: await fencings(serving),
      callerErrors: 0,
      lostBlocks: 0,
    };
    for (const program of programs) program.kill('SIGKILL');
    for (const { client, file, writer, name } of clients) {
      await writer.stop();
      result.writes += writer.acknowledgedMs.length;
      result.callerErrors += writer.errors.length;
      for (const error of writer.errors) say(`a writer saw: ${(error as Error).message}`);
      await file.close();
      await client.close();
      result.lostBlocks += writer.lostBlocks(join(serving.directory, name));
    }
    printTable(
      ['minutes', 'lease ms', 'busy programs', 'writes', 'longest pause ms', 'fencings', 'errors', 'lost'],
      [
        [
          String(minutes),
          figure(leaseDurationMs),
          `${busyProcesses}, load ${figure(result.load)}`,
          figure(result.writes),
          figure(result.longestPauseMs),
          `${result.fencings} ${result.fencings === 0 ? 'met' : 'MISSED'}`,
          String(result.callerErrors),
          String(result.lostBlocks),
        ],
      ],
    );
    saveResults('busy', machine, [result]);
  } finally {
    for (const program of programs) program.kill('SIGKILL');
    await serving.stop();
  }
}

/** Servers that any sidecar has fenced since it was started. */
async function fencings(serving: Serving): Promise<number> {
  let sum = 0;
  for (let i = 0; i < serving.addresses.length; i++) {
    const line = serving.log.findLast((entry) => entry.process === `sidecar-${i}` && entry.metrics !== undefined);
    const response = await fetch(`http://${String(line?.metrics)}/metrics`);
    const text = await response.text();
    for (const [, value] of text.matchAll(/^holdfast_fencings_total\{[^}]*\} (\d+)/gm)) sum += Number(value);
  }
  return sum;
}
