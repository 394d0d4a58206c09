import { readdirSync, readFileSync } from 'node:fs';
import { run } from '../cluster/shell.ts';
import type { LogLine } from '../serving.ts';
import type { KeptProcess } from './kept-process.ts';
import type { PodNetwork } from './network.ts';

/** Of each process. */
const LOG_LINES = 15;
const ASKED_MS = 5000;

export interface Suspect {
  name: string;
  network: PodNetwork;
  /** The pod's processes, and the store. */
  processes: KeptProcess[];
  /** What all of them said. */
  log: readonly LogLine[];
  /** A command to the store, and what it printed. */
  redis(...command: string[]): Promise<string>;
  /** What the store knows of servers. */
  servers(): Promise<unknown>;
}

/** What tells why a pod does not serve: what its processes and the store said last and do now, its network, its ports, who the store has. */
export async function whyNot({ name, network, processes, log, redis, servers }: Suspect): Promise<string> {
  const inside = ([program = '', ...args]: string[]) => asked(program, args);
  const facts: [string, string | Promise<string>][] = [
    ...processes.map((one): [string, string] => [`${one.name} said last`, lastOf(log, one.name)]),
    ...processes.map((one): [string, string] => [`${one.name} is at`, whereabouts(one.pid)]),
    [`addresses of ${name}`, inside(network.inside(['ip', '-brief', 'address']))],
    [`neighbours of ${name}`, inside(network.inside(['ip', 'neighbour']))],
    [`connections of ${name}`, inside(network.inside(['ss', '-Htanp']))],
    [`local sockets of ${name}`, inside(network.inside(['ss', '-Hxlp']))],
    ['wires', asked('ip', ['-brief', 'link'])],
    ['neighbours here', asked('ip', ['neighbour'])],
    ['the store is connected with', redis('client', 'list')],
    ['the store knows', servers().then((known) => JSON.stringify(known))],
  ];
  const said = await Promise.all(
    facts.map(async ([what, fact]) => {
      const text = await Promise.resolve(fact).catch((error: Error) => error.message);
      return `${what}:\n${text.trimEnd().replaceAll(/^/gm, '  ')}`;
    }),
  );
  return said.join('\n');
}

const asked = (program: string, args: string[]) => run(program, args, { timeoutMs: ASKED_MS });

function lastOf(log: readonly LogLine[], process: string): string {
  const own = log.filter((line) => line.process === process).slice(-LOG_LINES);
  return own.map((line) => JSON.stringify(line)).join('\n');
}

/** The states of a process' threads, and where in the kernel they are. */
function whereabouts(pid: number | undefined): string {
  if (pid === undefined) return 'not running';
  try {
    const tasks = readdirSync(`/proc/${pid}/task`).map((task) => {
      const of = `/proc/${pid}/task/${task}`;
      const stat = readFileSync(`${of}/stat`, 'utf8');
      return `${stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)} ${readFileSync(`${of}/wchan`, 'utf8')}`;
    });
    return `pid ${pid}: ${tasks.join(', ')}`;
  } catch (error) {
    return `pid ${pid}: ${(error as Error).message}`;
  }
}
