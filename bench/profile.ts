import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '../test/cluster/shell.ts';
import { printTable, say } from './report.ts';

const ROOT = join(import.meta.dirname, '..');
const SAMPLING_INTERVAL_US = 250;
const INSPECTOR_WITHIN_MS = 5000;
const TOP_FUNCTIONS = 25;

/** A Node process that can be profiled: it was started with --inspect-port=0, and what it writes to standard error is known. */
export interface Profilable {
  pid: number;
  lines(): readonly string[];
}

/** The parts of a V8 CPU profile that are used here. */
interface CpuProfile {
  nodes: {
    id: number;
    callFrame: { functionName: string; url: string; lineNumber: number; columnNumber: number };
  }[];
  samples: number[];
  timeDeltas: number[];
}

export interface FunctionCost {
  name: string;
  /** Path in the repository and line, where it is code of ours; else the module. */
  at: string;
  /** Share of the time that the process was not idle. */
  share: number;
}

/**
 * Records a CPU profile of another process while `work` runs: SIGUSR1 starts the inspector of a running Node, so that
 * processes run with the flags they always have, and only the measured time is in the profile.
 */
export async function profiled<T>(
  process_: Profilable,
  work: () => Promise<T>,
): Promise<{ result: T; profile: CpuProfile }> {
  const before = process_.lines().length;
  process.kill(process_.pid, 'SIGUSR1');
  const url = await eventually(
    `the inspector of process ${process_.pid} listens`,
    INSPECTOR_WITHIN_MS,
    () =>
      process_
        .lines()
        .slice(before)
        .map((line) => /Debugger listening on (ws:\S+)/.exec(line)?.[1])
        .find((found) => found !== undefined),
    20,
  );
  const inspector = await Inspector.connect(url);
  try {
    await inspector.call('Profiler.enable');
    await inspector.call('Profiler.setSamplingInterval', { interval: SAMPLING_INTERVAL_US });
    await inspector.call('Profiler.start');
    const result = await work();
    const { profile } = (await inspector.call('Profiler.stop')) as { profile: CpuProfile };
    return { result, profile };
  } finally {
    inspector.close();
  }
}

/** Runs `load` with a profile of one process, if it can be had; prints the functions that cost most and keeps the whole. */
export async function loadProfiled<T>(
  workload: string,
  part: string,
  subject: Profilable | undefined,
  load: () => Promise<T>,
): Promise<T> {
  if (!subject) return load();
  const { result, profile } = await profiled(subject, load);
  const { costs, idleShare } = topFunctions(profile);
  say(`\n${part} under ${workload}: idle ${percent(idleShare)}, of the rest, by self time:`);
  printTable(
    ['function', 'share', 'where'],
    costs.map(({ name, at, share }) => [name, percent(share), at]),
  );
  say(`the whole profile: ${saveProfile(`${workload}-${part}`, profile)}`);
  return result;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

/** Keeps a profile where Chrome's and VS Code's viewers (flame graph) can open it. @returns its path */
export function saveProfile(name: string, profile: CpuProfile): string {
  const folder = join(ROOT, 'out/profiles');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.cpuprofile`);
  writeFileSync(path, JSON.stringify(profile));
  return relative(process.cwd(), path);
}

/** Self time by function, largest first, as shares of the time in which the process was not idle. */
export function topFunctions(profile: CpuProfile): { costs: FunctionCost[]; idleShare: number } {
  const selfUs = new Map<number, number>();
  profile.samples.forEach((id, i) => {
    selfUs.set(id, (selfUs.get(id) ?? 0) + Math.max(0, profile.timeDeltas[i] ?? 0));
  });
  const byFunction = new Map<string, { name: string; at: string; us: number }>();
  let idleUs = 0;
  let busyUs = 0;
  for (const { id, callFrame } of profile.nodes) {
    const us = selfUs.get(id) ?? 0;
    if (callFrame.functionName === '(idle)') {
      idleUs += us;
      continue;
    }
    busyUs += us;
    const at = placeOf(callFrame);
    const key = `${callFrame.functionName} ${at}`;
    const cost = byFunction.get(key) ?? { name: callFrame.functionName || '(anonymous)', at, us: 0 };
    cost.us += us;
    byFunction.set(key, cost);
  }
  const costs = [...byFunction.values()]
    .sort((a, b) => b.us - a.us)
    .slice(0, TOP_FUNCTIONS)
    .map(({ name, at, us }) => ({ name, at, share: us / busyUs }));
  return { costs, idleShare: idleUs / (idleUs + busyUs) };
}

type CallFrame = CpuProfile['nodes'][number]['callFrame'];

/** The place in the source: compiled code is looked up in its source map. */
function placeOf({ url, lineNumber, columnNumber }: CallFrame): string {
  if (url === '') return '';
  if (!url.startsWith('file:')) return url;
  const path = fileURLToPath(url);
  const original = sourceMapOf(path)?.findEntry(lineNumber, columnNumber);
  if (original && 'originalSource' in original) {
    const source = fileURLToPath(new URL(original.originalSource, url));
    return `${relative(ROOT, source)}:${original.originalLine + 1}`;
  }
  return `${relative(ROOT, path)}:${lineNumber + 1}`;
}

const sourceMaps = new Map<string, SourceMap | undefined>();

function sourceMapOf(path: string): SourceMap | undefined {
  if (!sourceMaps.has(path)) {
    const mapPath = `${path}.map`;
    const map = existsSync(mapPath) ? new SourceMap(JSON.parse(readFileSync(mapPath, 'utf8'))) : undefined;
    sourceMaps.set(path, map);
  }
  return sourceMaps.get(path);
}

/** As much of the inspector's protocol as a profile needs. */
class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => this.#onMessage(String(data)));
    socket.addEventListener('close', () => this.#fail(new Error('the inspector closed the connection')));
  }

  static async connect(url: string): Promise<Inspector> {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve, { once: true });
      socket.addEventListener('error', () => reject(new Error(`cannot connect to the inspector at ${url}`)), {
        once: true,
      });
    });
    return new Inspector(socket);
  }

  call(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  close(): void {
    this.#socket.close();
  }

  #onMessage(text: string): void {
    const { id, result, error } = JSON.parse(text) as { id?: number; result?: unknown; error?: { message: string } };
    const waiting = id === undefined ? undefined : this.#waiting.get(id);
    if (!waiting || id === undefined) return;
    this.#waiting.delete(id);
    if (error) waiting.reject(new Error(error.message));
    else waiting.resolve(result);
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
