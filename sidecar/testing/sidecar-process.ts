import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestCluster } from './cluster.ts';
import { freePort, until } from './redis.ts';

const MAIN = new URL('../main.ts', import.meta.url).pathname;

/** A sidecar that is a process of its own, so that its CPU time and memory are its own; what asks it is a TestFileServer at `runDir`. */
export class SidecarProcess {
  readonly runDir: string;
  readonly #process: ChildProcess;

  private constructor(runDir: string, child: ChildProcess) {
    this.runDir = runDir;
    this.#process = child;
  }

  /** Returns when it listens. @param nodeOptions of the process, such as --cpu-prof */
  static async start(cluster: TestCluster, name: string, nodeOptions: readonly string[] = []): Promise<SidecarProcess> {
    const runDir = join(cluster.folder, name);
    mkdirSync(runDir);
    const config = join(runDir, 'config.json');
    writeFileSync(config, JSON.stringify(cluster.config));
    const address = `127.0.0.1:${await freePort()}`;
    const places = ['--config', config, '--run-dir', runDir, '--tls-dir', cluster.tlsDir];
    const names = ['--listen', address, '--advertise', address, '--server-id', `uid-${name}`, '--pod', name];
    const child = spawn(process.execPath, [...nodeOptions, MAIN, ...places, ...names, '--new-store'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, HOLDFAST_LOG_LEVEL: 'error' },
    });
    await until(() => existsSync(join(runDir, 'server-id')), 30_000); // written when it listens
    return new SidecarProcess(runDir, child);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGINT');
    await new Promise((resolve) => this.#process.once('exit', resolve));
  }
}
