import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A real Redis of its own, in a folder of its own, on a free port of the loopback. */
export class TestRedis {
  readonly port: number;
  readonly folder: string;
  #process: ChildProcess | undefined;

  constructor(port: number) {
    this.port = port;
    this.folder = mkdtempSync(join(tmpdir(), 'holdfast-redis-'));
  }

  static async start(): Promise<TestRedis> {
    const redis = new TestRedis(await freePort());
    await redis.up();
    return redis;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async up(...settings: string[]): Promise<void> {
    const given = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--dir', this.folder];
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--loglevel', 'warning'];
    this.#process = spawn('redis-server', [...given, ...durable, ...settings], { stdio: 'ignore' });
    await until(() => answers(this.port), 10_000);
  }

  /** SIGSTOP and SIGCONT: it answers nothing, and forgets nothing. */
  pause(): void {
    this.#process?.kill('SIGSTOP');
  }
  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  /** kill -9; the folder stays. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (!process) return;
    this.#process = undefined;
    await new Promise((resolve) => {
      process.once('exit', resolve);
      process.kill('SIGKILL');
    });
  }

  /** Its data is gone. */
  wipe(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  async stop(): Promise<void> {
    await this.kill();
    this.wipe();
  }
}

/** Waits for a condition, looking often. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 5000): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > untilMs) throw new Error(`not within ${timeoutMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (data) => {
      socket.destroy();
      resolve(data.toString().startsWith('+PONG'));
    });
  });
}
