import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LoadResult, Target } from './load.ts';
import type { LoadAnswer, LoadOrder } from './load-process.ts';
import { raisePriorityOf } from './priority.ts';
import type { Profilable } from './profile.ts';
import type { Workload } from './workloads.ts';

/** One load process, prepared for one workload on one server. */
export class LoadClient implements Profilable {
  readonly #child: ChildProcess;
  readonly #stderr: string[] = [];
  #protection = '';

  private constructor() {
    this.#child = fork(join(import.meta.dirname, 'load-process.ts'), {
      execArgv: ['--inspect-port=0'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      // A session of its own, as smbd has to have: where the scheduler weighs sessions, server and client are two for all servers.
      detached: true,
    });
    if (this.#child.pid !== undefined) raisePriorityOf(this.#child.pid);
    if (this.#child.stderr)
      createInterface({ input: this.#child.stderr }).on('line', (line) => this.#stderr.push(line));
  }

  static async start(target: Target, workload: Workload): Promise<LoadClient> {
    const client = new LoadClient();
    try {
      const answer = await client.#order({ do: 'prepare', target, workload });
      if (answer.did === 'prepare') client.#protection = answer.protection;
      return client;
    } catch (error) {
      client.stop();
      throw error;
    }
  }

  /** Dialect and signing that were negotiated. */
  get protection(): string {
    return this.#protection;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  lines(): string[] {
    return this.#stderr;
  }

  async run(seconds: number): Promise<LoadResult> {
    const answer = await this.#order({ do: 'run', seconds });
    if (answer.did !== 'run') throw new Error(`the load process answered ${answer.did}`);
    return answer.result;
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #order(order: LoadOrder): Promise<LoadAnswer> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error(`the load process ended:\n${this.#stderr.slice(-20).join('\n')}`));
      this.#child.once('exit', onExit);
      this.#child.once('message', (message) => {
        this.#child.off('exit', onExit);
        const answer = message as LoadAnswer;
        if (answer.did === 'fail') reject(new Error(answer.reason));
        else resolve(answer);
      });
      this.#child.send(order);
    });
  }
}
