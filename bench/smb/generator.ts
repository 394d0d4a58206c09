import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Target } from '../load.ts';
import { raisePriorityOf } from '../priority.ts';
import { DATA_FILE, DATA_FILE_BYTES } from '../workloads.ts';
import { DIRECTORY, ENTRIES, NEW_FILES } from './share.ts';
import { CONNECTIONS, OUTSTANDING, type Work } from './works.ts';

/** A server that has just started with a new store lets nobody log on until a lease has passed. */
const START_WITHIN_MS = 30_000;
const RETRY_MS = 250;
/** What a client offers to QUERY_DIRECTORY. */
const OUTPUT_BYTES = 64 * 1024;

/** What one run comes to; the generator's main.go has it under the same names. */
export interface GeneratorResult {
  requests: number;
  seconds: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU time of the generator. */
  cpuUs: number;
}

/** Builds the load generator if need be. @returns its path */
export function buildGenerator(): string {
  const output = execFileSync(join(import.meta.dirname, 'build.sh'), { stdio: ['ignore', 'pipe', 'inherit'] });
  return output.toString().trim().split('\n').at(-1) ?? '';
}

/** One process of the load generator, prepared for one work on one server. */
export class Generator {
  readonly #child: ChildProcess;
  readonly #answers: string[] = [];
  #stderr = '';
  #wake: (() => void) | undefined;
  #hasEnded = false;

  private constructor(program: string) {
    // A session of its own, see LoadClient.
    this.#child = spawn(program, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    if (this.#child.pid !== undefined) raisePriorityOf(this.#child.pid);
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        this.#answers.push(line);
        this.#wake?.();
      });
    }
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    this.#child.stdin?.on('error', () => {});
    const onEnd = () => {
      this.#hasEnded = true;
      this.#wake?.();
    };
    this.#child.on('error', onEnd);
    this.#child.on('close', onEnd);
  }

  static async start(program: string, target: Target, work: Work): Promise<Generator> {
    const endMs = performance.now() + START_WITHIN_MS;
    for (;;) {
      const generator = new Generator(program);
      try {
        await generator.#order(orderOf(target, work));
        return generator;
      } catch (error) {
        if (performance.now() > endMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async run(seconds: number): Promise<GeneratorResult> {
    return (await this.#order({ seconds })) as GeneratorResult;
  }

  /** It ends with its standard input. */
  stop(): void {
    this.#child.stdin?.end();
  }

  async #order(order: object): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    while (this.#answers.length === 0) {
      if (this.#hasEnded) throw new Error(`the load generator ended: ${this.#stderr.trim()}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return JSON.parse(this.#answers.shift() ?? '');
  }
}

/** As the generator's works.go wants it. */
function orderOf({ address, share, user, password }: Target, work: Work): object {
  return {
    address: `${address.host}:${address.port}`,
    share,
    user,
    password,
    kind: work.kind,
    protection: work.protection,
    bytes: work.bytes,
    connections: CONNECTIONS,
    outstanding: OUTSTANDING,
    dataFile: DATA_FILE,
    dataBytes: DATA_FILE_BYTES,
    fileFormat: 'open-%06d',
    files: work.files,
    newFiles: NEW_FILES,
    directory: DIRECTORY,
    names: ENTRIES,
    outputBytes: OUTPUT_BYTES,
  };
}
