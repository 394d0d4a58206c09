import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';

export interface TestRedisOptions {
  /** Further settings, as on the command line: '--requirepass', 'secret'. */
  settings?: string[];
  /** How a client that may do everything connects; host and port are known. */
  admin?: RedisOptions;
  /** It speaks TLS only; the settings name the certificates. */
  tls?: boolean;
}

/** A real Redis of its own, in a folder of its own, on a free port of the loopback. */
export class TestRedis {
  readonly port: number;
  readonly folder: string;
  readonly #options: TestRedisOptions;
  #process: ChildProcess | undefined;
  #admin: Redis | undefined;

  constructor(port: number, options: TestRedisOptions = {}) {
    this.port = port;
    this.folder = mkdtempSync(join(tmpdir(), 'holdfast-redis-'));
    this.#options = options;
  }

  static async start(options: TestRedisOptions = {}): Promise<TestRedis> {
    const redis = new TestRedis(await freePort(), options);
    await redis.up();
    return redis;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** A connection for the test itself. */
  get admin(): Redis {
    if (!this.#admin) {
      const retryStrategy = () => 20;
      const options = { host: '127.0.0.1', port: this.port, connectTimeout: 1000, retryStrategy };
      this.#admin = new Redis({ ...options, maxRetriesPerRequest: null, ...this.#options.admin });
      this.#admin.on('error', () => {});
    }
    return this.#admin;
  }

  /** Starts it. @param settings that count for this time only */
  async up(...settings: string[]): Promise<void> {
    const port = this.#options.tls ? ['--port', '0', '--tls-port', String(this.port)] : ['--port', String(this.port)];
    const given = [...port, '--bind', '127.0.0.1', '--save', '', '--dir', this.folder];
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--loglevel', 'warning'];
    const asOperators = '--hash-max-listpack-entries 16 --hash-max-listpack-value 1024 --latency-tracking no'.split(
      ' ',
    );
    const all = [...given, ...durable, ...asOperators, ...(this.#options.settings ?? []), ...settings];
    this.#process = spawn('redis-server', all, { stdio: 'ignore' });
    await until(() => this.#answers(), 10_000);
  }

  async #answers(): Promise<boolean> {
    const redis = new Redis({
      ...{ host: '127.0.0.1', port: this.port, lazyConnect: true, retryStrategy: null, enableReadyCheck: false },
      ...this.#options.admin,
    });
    redis.on('error', () => {});
    try {
      await redis.connect();
      return (await redis.ping()) === 'PONG';
    } catch {
      return false;
    } finally {
      redis.disconnect();
    }
  }

  /** A copy of what is on its disk now, to go back to. Nothing may be written meanwhile. */
  backUp(): string {
    const copy = `${this.folder}-backup`;
    rmSync(copy, { recursive: true, force: true });
    cpSync(this.folder, copy, { recursive: true });
    return copy;
  }

  /** Killed, and started again with the data of a copy. */
  async restore(copy: string): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
    cpSync(copy, this.folder, { recursive: true });
    await this.up();
  }

  /** Killed, and started again without its data; what it knows of a Redis Cluster stays. */
  async restartEmpty(): Promise<void> {
    await this.kill();
    rmSync(join(this.folder, 'appendonlydir'), { recursive: true, force: true });
    await this.up();
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
    this.#admin?.disconnect();
    await this.kill();
    this.wipe();
    rmSync(`${this.folder}-backup`, { recursive: true, force: true });
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
