import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestCluster } from './cluster.ts';
import { freePort, until } from './redis.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

/** A pod whose sidecar and file server are processes of their own: they can be stopped, and have a share of the machine like others. */
export class PodProcess {
  readonly name: string;
  readonly runDir: string;
  /** What the file server wrote: one line of outcomes, then "fenced" if it was. */
  readonly said: string[] = [];
  readonly #cluster: TestCluster;
  readonly #processes: ChildProcess[] = [];

  readonly #root: string;

  /** @param root the source tree that its programs are from */
  constructor(cluster: TestCluster, name: string, root = ROOT) {
    this.#root = root;
    this.#cluster = cluster;
    this.name = name;
    this.runDir = join(cluster.folder, name);
    mkdirSync(this.runDir);
  }

  /** Returns when the file server has its session and these files open. */
  async start(sessionId: bigint, files: string[]): Promise<void> {
    const config = join(this.runDir, 'config.json');
    writeFileSync(config, JSON.stringify(this.#cluster.config));
    const address = `127.0.0.1:${await freePort()}`;
    const places = ['--config', config, '--run-dir', this.runDir, '--tls-dir', this.#cluster.tlsDir];
    const names = ['--listen', address, '--advertise', address, '--server-id', `uid-${this.name}`, '--pod', this.name];
    const sidecar = this.#spawn([join(this.#root, 'sidecar/main.ts'), ...places, ...names, '--new-store']);
    sidecar.stdout?.resume();
    await until(() => existsSync(join(this.runDir, 'server-id')), 30_000); // written when it listens
    const server = this.#spawn([
      join(this.#root, 'sidecar/testing/file-server-main.ts'),
      this.runDir,
      String(sessionId),
      ...files,
    ]);
    const lines = createInterface({ input: server.stdout as NodeJS.ReadableStream });
    await new Promise<void>((resolve, reject) => {
      lines.on('line', (line) => {
        this.said.push(line);
        resolve();
      });
      server.once('exit', (code) => reject(new Error(`the file server of ${this.name} ended with ${code}`)));
    });
  }

  /** SIGSTOP, SIGCONT and SIGKILL for the whole pod. */
  signal(signal: NodeJS.Signals): void {
    for (const process of this.#processes) process.kill(signal);
  }

  #spawn(args: string[]): ChildProcess {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#processes.push(child);
    return child;
  }
}
