import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Machine } from './machine.ts';

/** What every benchmark is given. */
export interface BenchOptions {
  /** undefined: as many as the benchmark has by default. */
  rounds: number | undefined;
  seconds: number;
  servers: number;
  /** Only those whose name contains it. */
  only: string | undefined;
  /** Which of holdfast and smbd. */
  against: readonly string[];
  clients: number;
  leaseDurationMs: number;
  /** Of the handle state (smb). */
  durability: 'Always' | 'EverySecond';
  /** Nice value; undefined: as it is. */
  priority: number | undefined;
  profile: 'fileserver' | 'sidecar' | 'client' | undefined;
  /** Opens that the full table holds, and handles that are moved (handles). */
  held: number;
  moved: number;
  /** Everything for a moment only: whether it runs, not how fast. */
  short: boolean;
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints rows under heads, the first column to the left, all others to the right. */
export function printTable(heads: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  say(['', line(heads), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line), ''].join('\n'));
}

/** Writes bench/results/NAME.json: figures with the machine, the commit and the command that they come from. */
export function saveResults(name: string, machine: Machine, results: unknown): void {
  const folder = join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.json`);
  const command = ['make bench', commandArguments()].filter((part) => part !== '').join(' ');
  const content = { benchmark: name, command, measuredAt: new Date().toISOString(), machine, results };
  writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
  say(`written: ${relative(process.cwd(), path)}`);
}

function commandArguments(): string {
  const given = process.argv.slice(2);
  return given.length === 0 ? '' : `BENCH="${given.join(' ')}"`;
}

/** Three digits that count, with thousands separated. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  if (Math.abs(value) >= 10) return value.toFixed(1);
  return value.toFixed(2);
}
