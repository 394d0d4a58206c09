import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Result } from './smbtorture.ts';
import { UnderTest } from './under-test.ts';
import type { Variant, VariantName } from './variants.ts';

/** What a script of this folder ends with where this machine does not have what it needs (EX_UNAVAILABLE). */
const UNAVAILABLE = 69;

/** This machine cannot have the surroundings that a variant needs. */
export class Unavailable extends Error {}

/** Runs one test after another. */
export interface Runner {
  run(test: string): Promise<Result>;
  stop(): Promise<void>;
}

/** Servers of a variant, in the surroundings that it needs. Rejects with Unavailable where they cannot be had. */
export function startRunner(name: VariantName, variant: Variant): Promise<Runner> {
  return variant.within === undefined ? UnderTest.start(variant) : Inside.start(name, variant.within);
}

/** A process in the surroundings that a script made. */
class Inside implements Runner {
  readonly #lines: AsyncIterator<string>;
  readonly #write: (line: string) => void;
  readonly #end: () => Promise<void>;

  private constructor(lines: AsyncIterator<string>, write: (line: string) => void, end: () => Promise<void>) {
    this.#lines = lines;
    this.#write = write;
    this.#end = end;
  }

  static async start(name: VariantName, script: string): Promise<Inside> {
    const command = [process.execPath, join(import.meta.dirname, 'inside.ts'), name];
    const child = spawn(join(import.meta.dirname, script), command, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    ended.catch(() => {});
    child.stdin.on('error', () => {});
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value } = await lines.next();
    if (value !== 'ready') {
      const code = await ended;
      if (code === UNAVAILABLE) throw new Unavailable();
      throw new Error(`${script} ended with ${code} before its servers were ready`);
    }
    return new Inside(
      lines,
      (line) => void child.stdin.write(`${line}\n`),
      async () => {
        child.stdin.end();
        await ended;
      },
    );
  }

  async run(test: string): Promise<Result> {
    this.#write(test);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the servers ended during ${test}`);
    return JSON.parse(value) as Result;
  }

  stop(): Promise<void> {
    return this.#end();
  }
}
