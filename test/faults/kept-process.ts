import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { eventually } from '../cluster/shell.ts';
import type { LogLine } from '../serving.ts';

/** As a kubelet does, only sooner. */
const RESTART_AFTER_MS = 50;
const RESTART_AFTER_MAX_MS = 1000;
const SETTLED_MS = 3000;
const STOP_GRACE_MS = 10_000;
const SOON_MS = 30_000;

export interface KeptProcessOptions {
  name: string;
  command: readonly string[];
  /** Further arguments of its first start only. */
  firstArgs?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Where its log lines go. */
  log: LogLine[];
}

/** A process that is started again whenever it ends, and that can be killed and stopped on purpose. The kernel kills it when this process ends. */
export class KeptProcess {
  readonly name: string;
  readonly #options: KeptProcessOptions;
  #child: ChildProcess | undefined;
  #gone: Promise<void> = Promise.resolve();
  #ending = false;
  #isHeld = false;
  /** The last kill after which it is started by hand. Two at once would start two, of which one is known to nobody, and has its port. */
  #held: Promise<void> = Promise.resolve();
  #starts = 0;
  #backoffMs = RESTART_AFTER_MS;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: KeptProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.#start();
  }

  /** Undefined between an end and the next start. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** SIGSTOP; resolves when no thread of it runs any more, or when it is gone. */
  async freeze(): Promise<void> {
    const { pid } = this;
    if (pid === undefined) return;
    this.#child?.kill('SIGSTOP');
    await eventually(`${this.name} stands still`, SOON_MS, () => this.pid !== pid || isStopped(pid) || undefined, 1);
  }

  /** kill -9. It is started again soon, or when `meanwhile` is over: then the next such kill waits for that start. */
  async kill(meanwhile?: () => void): Promise<void> {
    if (!meanwhile) {
      this.#child?.kill('SIGKILL');
      return;
    }
    const killed = this.#held.then(() => this.#killHeld(meanwhile));
    this.#held = killed.catch(() => undefined);
    return killed;
  }

  async #killHeld(meanwhile: () => void): Promise<void> {
    if (this.#ending) return;
    this.#isHeld = true;
    this.#child?.kill('SIGKILL');
    await this.#gone;
    clearTimeout(this.#timer);
    try {
      meanwhile();
    } finally {
      this.#isHeld = false;
    }
    if (!this.#ending) this.#start();
  }

  /** Ends it for good: with SIGTERM, and with SIGKILL when that takes too long. */
  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.#ending = true;
    clearTimeout(this.#timer);
    this.#child?.kill('SIGCONT');
    this.#child?.kill(signal);
    const killTimer = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_GRACE_MS);
    await this.#gone;
    clearTimeout(killTimer);
  }

  #start(): void {
    const { name, command, firstArgs = [], env, log } = this.#options;
    const all = [...command, ...(this.#starts++ === 0 ? firstArgs : [])];
    const startedMs = performance.now();
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...all], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#child = child;
    for (const output of [child.stdout, child.stderr]) {
      createInterface({ input: output }).on('line', (line) => log.push({ process: name, ...parsed(line) }));
    }
    log.push({ process: name, time: Date.now(), msg: 'TEST: started', childPid: child.pid });
    this.#gone = new Promise((resolve) => {
      child.once('error', (error) => log.push({ process: name, msg: `TEST: cannot be started: ${error.message}` }));
      child.once('close', (code, signal) => {
        log.push({ process: name, time: Date.now(), msg: 'TEST: ended', code, signal });
        this.#child = undefined;
        resolve();
        if (this.#ending || this.#isHeld) return;
        if (performance.now() - startedMs > SETTLED_MS) this.#backoffMs = RESTART_AFTER_MS;
        this.#timer = setTimeout(() => this.#start(), this.#backoffMs);
        this.#backoffMs = Math.min(2 * this.#backoffMs, RESTART_AFTER_MAX_MS);
      });
    });
  }
}

/** Whether every thread of a process is stopped; one that is in a system call ends that first. */
export function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((task) => {
    const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  });
}

function parsed(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return { msg: line };
  }
}
