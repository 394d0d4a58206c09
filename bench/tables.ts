import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BusyResult } from './busy.ts';
import { type HandlesResult, judged } from './handles.ts';
import { type Machine, machineText } from './machine.ts';
import { figure } from './report.ts';
import type { SideBySide } from './smb.ts';

const DOCUMENT = join(import.meta.dirname, '../docs/performance.md');

interface Result {
  command: string;
  measuredAt: string;
  machine: Machine;
  // The shape depends on the benchmark: each table below reads what its benchmark wrote.
  results: Record<string, unknown>[];
}

/** Puts the newest results into the tables of docs/performance.md, between the marks that name them. */
export function updateDocument(): void {
  let text = readFileSync(DOCUMENT, 'utf8');
  for (const [name, table] of Object.entries(TABLES)) {
    const path = join(import.meta.dirname, 'results', `${name}.json`);
    if (!existsSync(path)) continue;
    const result = JSON.parse(readFileSync(path, 'utf8')) as Result;
    const source = `\`${result.command}\`, ${result.measuredAt.slice(0, 10)}, ${machineText(result.machine)}, load before ${result.machine.loadBefore}:`;
    text = between(text, name, `${source}\n\n${markdown(table(result.results))}`);
  }
  writeFileSync(DOCUMENT, text);
}

function between(text: string, name: string, content: string): string {
  const begin = `<!-- begin ${name} -->`;
  const end = `<!-- end ${name} -->`;
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${DOCUMENT} has no marks for ${name}`);
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
}

function markdown([heads = [], ...rows]: string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(heads), `|${heads.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

const TABLES: Record<string, (results: Record<string, unknown>[]) => string[][]> = {
  rates: (results) => [
    ['workload', 'server', 'rate', 'least to most', 'aim', 'p50, p99 ms', 'CPU us a request'],
    ...(results as unknown as RateRow[]).map((row) => [
      row.title,
      row.server,
      `${figure(row.rate.median)} ${row.unit}`,
      `${figure(row.rate.min)} to ${figure(row.rate.max)}`,
      row.target === undefined || row.server !== 'holdfast'
        ? ''
        : `${figure(row.target)}: ${row.rate.median >= row.target ? 'met' : '**missed**'}`,
      `${figure(row.p50Ms)}, ${figure(row.p99Ms)}`,
      Object.entries(row.cpuUsPerRequest)
        .map(([part, us]) => `${part} ${figure(us)}`)
        .join(', '),
    ]),
  ],
  smb: (results) => [
    [
      'work',
      'holdfast',
      'smbd',
      'ratio',
      'floor',
      'goal',
      'p50, p99 ms',
      'p50, p99 ms of smbd',
      'server CPU us a request',
      'of smbd',
      'of the client',
    ],
    ...(results as unknown as SideBySide[]).map(({ title, unit, sides: { holdfast, smbd }, ratio, floor, goal }) => [
      title,
      `${figure(holdfast?.rate.median ?? Number.NaN)} ${unit}`,
      `${figure(smbd?.rate.median ?? Number.NaN)} ${unit}`,
      figure(ratio ?? Number.NaN),
      `${floor}: ${(ratio ?? 0) >= floor ? 'met' : '**missed**'}`,
      `${goal}: ${(ratio ?? 0) >= goal ? 'met' : 'missed'}`,
      `${figure(holdfast?.p50Ms ?? Number.NaN)}, ${figure(holdfast?.p99Ms ?? Number.NaN)}`,
      `${figure(smbd?.p50Ms ?? Number.NaN)}, ${figure(smbd?.p99Ms ?? Number.NaN)}`,
      Object.entries(holdfast?.cpuUsPerRequest ?? {})
        .filter(([, us]) => us >= 0.5)
        .map(([part, us]) => `${part} ${figure(us)}`)
        .join(', '),
      figure(smbd?.serverUsPerRequest ?? Number.NaN),
      figure(holdfast?.clientUsPerRequest ?? Number.NaN),
    ]),
  ],
  handles: (results) => [
    ['what', 'value', 'aim', 'detail'],
    ...(results as unknown as HandlesResult[]).map((result) => [
      result.what,
      `${figure(result.value)} ${result.unit}`,
      judged(result),
      result.detail,
    ]),
  ],
  pause: (results) => [
    [
      'event',
      'rounds',
      'p50 ms',
      'p99 ms',
      'max ms',
      'aim',
      'noticed, connected, reclaimed ms',
      'errors',
      'blocks lost',
    ],
    ...(results as unknown as PauseRow[]).map((row) => [
      row.title,
      String(row.rounds),
      figure(row.pauseMs.p50),
      figure(row.pauseMs.p99),
      figure(row.pauseMs.max),
      `${row.aim.share === 1 ? 'max' : `p${row.aim.share * 100}`} < ${figure(row.aim.ms)}: ${row.met ? 'met' : '**missed**'}`,
      [row.medianMs.noticed, row.medianMs.connected, row.medianMs.reclaimed].map(figure).join(', '),
      String(row.callerErrors),
      String(row.lostBlocks),
    ]),
  ],
  busy: (results) => [
    [
      'minutes',
      'lease duration ms',
      'busy programs',
      'load',
      'writes',
      'longest pause ms',
      'fencings',
      'errors',
      'blocks lost',
    ],
    ...(results as unknown as BusyResult[]).map((row) => [
      String(row.minutes),
      figure(row.leaseDurationMs),
      String(row.busyProcesses),
      figure(row.load),
      figure(row.writes),
      figure(row.longestPauseMs),
      `${row.fencings}, 0: ${row.fencings === 0 ? 'met' : '**missed**'}`,
      String(row.callerErrors),
      String(row.lostBlocks),
    ]),
  ],
  connect: (results) => [
    ['bad servers', 'way', 'median ms', 'p90 ms', 'max ms'],
    ...(results as unknown as ConnectRow[]).map(({ bad, way, ms }) => [
      bad,
      way,
      figure(ms.median),
      figure(ms.p90),
      figure(ms.max),
    ]),
  ],
};

interface RateRow {
  title: string;
  server: string;
  unit: string;
  target?: number;
  rate: { median: number; min: number; max: number };
  p50Ms: number;
  p99Ms: number;
  cpuUsPerRequest: Record<string, number>;
}

interface PauseRow {
  title: string;
  rounds: number;
  pauseMs: { p50: number; p99: number; max: number };
  aim: { share: number; ms: number };
  met: boolean;
  medianMs: { noticed: number; connected: number; reclaimed: number };
  callerErrors: number;
  lostBlocks: number;
}

interface ConnectRow {
  bad: string;
  way: string;
  ms: { median: number; p90: number; max: number };
}
