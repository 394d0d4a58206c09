import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDurationMs } from '../common/time.ts';
import { busy } from './busy.ts';
import { connect } from './connect.ts';
import { handles } from './handles.ts';
import { pause } from './pause.ts';
import { raisePriority } from './priority.ts';
import { rates } from './rates.ts';
import type { BenchOptions } from './report.ts';
import { smb } from './smb.ts';
import { updateDocument } from './tables.ts';

const BENCHMARKS: Record<string, (options: BenchOptions) => Promise<void>> = {
  rates,
  smb,
  handles,
  pause,
  connect,
  busy,
};

await new Command('bench')
  .description(
    `Benchmarks on this machine: ${Object.keys(BENCHMARKS).join(', ')} (default: all).\n` +
      'Prints a table, and writes bench/results/NAME.json. docs/performance.md says what the figures mean.',
  )
  .argument('[names...]', 'which to run', Object.keys(BENCHMARKS))
  .option('--rounds <n>', 'how often each thing is measured (busy: minutes)', wholeNumber)
  .option('--seconds <s>', 'how long one round of a rate lasts', Number, 3)
  .option('--servers <n>', 'file servers, where a benchmark has several', wholeNumber, 3)
  .option('--clients <n>', 'load processes side by side, where the client is the limit', wholeNumber, 1)
  .option(
    '--only <text>',
    'only the workload or event of that name, or those whose name contains it; no results are written',
  )
  .option('--against <names>', 'which servers rates and smb measure: holdfast, smbd', list, ['holdfast', 'smbd'])
  .addOption(
    new Option('--durability <mode>', 'of the handle state, for smb; no results are written but for Always')
      .choices(['Always', 'EverySecond'])
      .default('Always'),
  )
  .option('--held <n>', 'opens that the full table of handles holds', wholeNumber, 1_000_000)
  .option('--moved <n>', 'handles that one server gives to others, for handles', wholeNumber, 100_000)
  .option('--short', 'smb, handles: each work for a moment only, to see that it runs; no results are written', false)
  .option('--lease-duration <duration>', 'of the handle state, for pause and busy', duration, 2000)
  .option('--priority <nice>', 'scheduling priority, for a machine that others use too (as root: -10)', Number)
  .addOption(
    new Option(
      '--profile <part>',
      'CPU profile of a process during rates: its top functions, and out/profiles/',
    ).choices(['fileserver', 'sidecar', 'client']),
  )
  .action(async (names: string[], flags: Omit<BenchOptions, 'leaseDurationMs'> & { leaseDuration: number }) => {
    if (flags.priority !== undefined) raisePriority(flags.priority);
    const unknown = names.filter((name) => !(name in BENCHMARKS));
    if (unknown.length > 0) throw new Error(`there is no benchmark ${unknown.join(', ')}`);
    for (const name of names) await BENCHMARKS[name]?.({ ...flags, leaseDurationMs: flags.leaseDuration });
    if (flags.only === undefined && flags.profile === undefined && !flags.short) updateDocument();
  })
  .parseAsync();

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number from 1');
  return value;
}

function list(text: string): string[] {
  return text.split(',');
}

function duration(text: string): number {
  return parseDurationMs(text);
}
