import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where the models and their counterexamples are. */
export const MODELS = join(import.meta.dirname, '../../docs/model');

/** A model with its constants: what `spin -D` takes. */
export interface Configuration {
  model: string;
  constants: Record<string, number>;
}

/** What the checker found. */
export interface Verdict {
  /** States that were visited. */
  states: number;
  /** All of them: nothing was cut off by a limit. */
  isExhaustive: boolean;
  counterexample?: Counterexample | undefined;
}

export interface Counterexample {
  /** Name of the assertion that failed, as the comment behind it in the model says. */
  violated: string;
  /** What happened, a line a step. */
  text: string;
  /** As spin replays it. */
  trail: string;
}

/** Spin's search goes so deep; a longer run counts as cut off. */
const DEPTH = 300_000;
const MEMORY_MB = 1900;
const TIMEOUT_MS = 300_000;

/** Checks that may run side by side; the others wait for their turn. */
let free = availableParallelism();
const waiting: (() => void)[] = [];

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (free > 0) free--;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else free++;
  }
}

function run(program: string, args: string[], cwd: string): Promise<{ code: number; output: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, timeout: TIMEOUT_MS, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error);
      else resolve({ code: typeof error?.code === 'number' ? error.code : 0, output: stdout + stderr });
    });
  });
}

async function must(program: string, args: string[], cwd: string): Promise<string> {
  const { code, output } = await run(program, args, cwd);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}:\n${output}`);
  return output;
}

/** Works in a folder of its own, with the models in it; spin leaves its files where it runs. */
async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-model-'));
  try {
    for (const name of await readdir(MODELS)) {
      if (name.endsWith('.pml')) await copyFile(join(MODELS, name), join(folder, name));
    }
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function defines({ constants }: Configuration, guard?: string): string[] {
  const given = Object.entries(constants).map(([name, value]) => `-D${name}=${value}`);
  return guard ? [...given, `-DNO_GUARD_${guard}`] : given;
}

/**
 * Visits every state of a model, or stops at the first violation.
 * @param guard the one to remove; then the search goes broad, and what it finds is as short as can be
 */
export function check(configuration: Configuration, guard?: string): Promise<Verdict> {
  return inTurn(() => inFolder((folder) => checkIn(folder, configuration, guard)));
}

async function checkIn(folder: string, configuration: Configuration, guard: string | undefined): Promise<Verdict> {
  const file = `${configuration.model}.pml`;
  await must('spin', ['-a', ...defines(configuration, guard), file], folder);
  // The checker is one long function: optimised it takes the compiler longer than most searches take without.
  const flags = [guard ? '-O0' : '-O1', '-w', '-DSAFETY', '-DNOCLAIM', '-DNOREDUCE', `-DMEMLIM=${MEMORY_MB}`];
  await must('gcc', [...flags, ...(guard ? ['-DBFS'] : []), '-o', 'pan', 'pan.c'], folder);
  // -E: a state in which nothing more happens is none of an error.
  const { output } = await run(join(folder, 'pan'), ['-E', '-n', '-w24', ...(guard ? [] : [`-m${DEPTH}`])], folder);
  const states = Number(/^\s*([\d.e+]+) states, stored/m.exec(output)?.[1] ?? Number.NaN);
  const isFound = (await readdir(folder)).includes(`${file}.trail`);
  return {
    states,
    isExhaustive: /errors: 0/.test(output) && !/too small|out of memory|interrupted|not completed/i.test(output),
    counterexample: isFound
      ? await replayIn(folder, configuration, guard, await readFile(join(folder, `${file}.trail`), 'utf8'))
      : undefined,
  };
}

/** Replays a trail; a model that has changed since does other things, or none. */
export function replay(configuration: Configuration, guard: string, trail: string): Promise<Counterexample> {
  return inTurn(() => inFolder((folder) => replayIn(folder, configuration, guard, trail)));
}

async function replayIn(folder: string, configuration: Configuration, guard: string | undefined, trail: string) {
  const file = `${configuration.model}.pml`;
  await writeFile(join(folder, 'kept.trail'), trail);
  const { output } = await run('spin', ['-k', 'kept.trail', ...defines(configuration, guard), file], folder);
  const at = /^spin: (\w+\.pml):(\d+), Error: assertion violated/m.exec(output);
  const line = at && (await readFile(join(folder, at[1] ?? ''), 'utf8')).split('\n')[Number(at[2]) - 1];
  const violated = /\/\* (\w+)/.exec(line ?? '')?.[1] ?? 'nothing';
  const steps = output
    .slice(0, at?.index)
    .split('\n')
    .map((step) => step.trim());
  return {
    violated,
    trail,
    text: `${[...steps.filter((step) => step !== '' && !step.startsWith('spin: ')), `violated: ${violated}`].join('\n')}\n`,
  };
}
