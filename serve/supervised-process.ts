import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Logger } from '../common/logging.ts';

const RESTART_BACKOFF_MIN_MS = 50;
const RESTART_BACKOFF_MAX_MS = 2_000;
/** A process that lived this long did not die of its start: the backoff begins anew. */
const SETTLED_AFTER_MS = 5_000;
const SETPRIV = '/usr/bin/setpriv';

/** One child process that is started again whenever it ends, until stop() is called. */
export class SupervisedProcess {
  readonly name: string;
  readonly #command: string;
  readonly #args: string[];
  readonly #log: Logger;
  readonly #details: Record<string, unknown>;
  #firstArgs: string[];
  #child: ChildProcess | undefined;
  #stopping = false;
  #backoffMs = RESTART_BACKOFF_MIN_MS;
  #restartTimer: NodeJS.Timeout | undefined;

  /**
   * @param details what the log line of its start says besides its pid, e.g. its addresses
   * @param firstArgs further arguments of its first start only
   */
  constructor(
    name: string,
    command: string,
    args: string[],
    log: Logger,
    details: Record<string, unknown> = {},
    firstArgs: string[] = [],
  ) {
    this.name = name;
    this.#firstArgs = firstArgs;
    // With setpriv the kernel ends the child when this process is killed, so that nothing is left behind.
    const wrapped = existsSync(SETPRIV);
    this.#command = wrapped ? SETPRIV : command;
    this.#args = wrapped ? ['--pdeathsig', 'TERM', '--', command, ...args] : args;
    this.#log = log;
    this.#details = details;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    const startedAt = performance.now();
    const args = [...this.#args, ...this.#firstArgs];
    this.#firstArgs = [];
    const child = spawn(this.#command, args, { stdio: ['ignore', 2, 2] }); // standard output is for "ready"
    this.#child = child;
    let ended = false;
    const onEnd = (how: Record<string, unknown>) => {
      if (ended) return;
      ended = true;
      this.#child = undefined;
      if (this.#stopping) return;
      if (performance.now() - startedAt > SETTLED_AFTER_MS) this.#backoffMs = RESTART_BACKOFF_MIN_MS;
      this.#log.warn(
        { process: this.name, childPid: child.pid, ...how, restartInMs: this.#backoffMs },
        'ended; starting it again',
      );
      this.#restartTimer = setTimeout(() => this.start(), this.#backoffMs);
      this.#backoffMs = Math.min(this.#backoffMs * 2, RESTART_BACKOFF_MAX_MS);
    };
    child.once('error', (error) => onEnd({ reason: error.message }));
    child.once('exit', (code, signal) => onEnd({ code, signal }));
    if (child.pid !== undefined)
      this.#log.info(
        { process: this.name, childPid: child.pid, ...this.#details },
        `started ${this.name}, pid ${child.pid}`,
      );
  }

  /** Ends the process with SIGTERM, with SIGKILL if it is still there after graceMs. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const killTimer = setTimeout(() => {
      this.#log.warn({ process: this.name, childPid: child.pid, graceMs }, 'did not end in time; killed');
      child.kill('SIGKILL');
    }, graceMs);
    await gone;
    clearTimeout(killTimer);
  }
}
