import { type ChildProcess, spawn } from 'node:child_process';
import { constants, existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ended, eventually } from './cluster/shell.ts';

const ROOT = join(import.meta.dirname, '..');
/** What `holdfast serve` is made of. */
const PARTS = ['smb', 'common', 'proto', 'fileserver', 'sidecar', 'client', 'serve'];
const SETPRIV = '/usr/bin/setpriv';
/** How often other ports are tried when somebody else was faster. */
const PORT_ATTEMPTS = 5;
export const USER = 'alice';
export const PASSWORD = 'correct horse';

/** A log line of one of the processes, as pino writes it. */
export interface LogLine {
  part?: string;
  process?: string;
  childPid?: number;
  level?: string;
  msg?: string;
  [field: string]: unknown;
}

export interface ServingOptions {
  servers?: number;
  /** Further flags of `holdfast serve`. */
  flags?: string[];
  directory?: string;
  /** Of all its processes. */
  env?: NodeJS.ProcessEnv;
}

/** `holdfast serve` as a process, with the folder it shares: what tests and benchmarks run against. */
export class Serving {
  readonly directory: string;
  readonly addresses: string[];
  readonly log: LogLine[];
  readonly #child: ChildProcess;
  readonly #ownsDirectory: boolean;

  private static async ports(count: number): Promise<number> {
    // A run of free ports: ask for one and try its successors.
    for (;;) {
      const first = await listenOnce(0);
      let free = 1;
      while (free < count && (await listenOnce(first + free).catch(() => 0)) !== 0) free++;
      if (free === count) return first;
    }
  }

  constructor(directory: string, ownsDirectory: boolean, addresses: string[], log: LogLine[], child: ChildProcess) {
    this.directory = directory;
    this.#ownsDirectory = ownsDirectory;
    this.addresses = addresses;
    this.log = log;
    this.#child = child;
  }

  /** Starts it and waits until all servers accept clients. */
  static async start(options: ServingOptions = {}): Promise<Serving> {
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'holdfast-share-'));
    for (let attempt = 1; ; attempt++) {
      try {
        return await Serving.#start(directory, options);
      } catch (error) {
        const { message } = error as Error;
        if (attempt < PORT_ATTEMPTS && message.includes('cannot listen on')) continue;
        // Seen a few times on machines under load, cause unknown: what it logged is shown, and it gets one more chance.
        if (attempt === 1 && message.includes('was not ready within')) {
          process.stderr.write(`${message}\n`);
          continue;
        }
        if (options.directory === undefined) rmSync(directory, { recursive: true, force: true });
        throw error;
      }
    }
  }

  static async #start(directory: string, options: ServingOptions): Promise<Serving> {
    const servers = options.servers ?? 1;
    const port = await Serving.ports(servers);
    const command = [
      ...partProgram('serve'),
      ...[directory, '--user', `${USER}:${PASSWORD}`],
      ...['--servers', String(servers), '--port', String(port), ...(options.flags ?? [])],
    ];
    // The kernel ends it when this process is killed, and it ends its own then: nothing is left behind.
    if (existsSync(SETPRIV)) command.unshift(SETPRIV, '--pdeathsig', 'TERM', '--');
    const [program = '', ...args] = command;
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } });
    const log: LogLine[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (process.env.HOLDFAST_TEST_LOG) process.stderr.write(`${line}\n`);
      try {
        log.push(JSON.parse(line) as LogLine);
      } catch {
        log.push({ msg: line });
      }
    });
    const gone = ended(child).then((code) => {
      const why = log.filter((line) => line.msg?.startsWith('holdfast serve:'));
      const last = [...why, ...log.slice(-80)].map((line) => JSON.stringify(line));
      throw new Error(`holdfast serve ended with ${code} before it was ready:\n${last.join('\n')}`);
    });
    gone.catch(() => {});
    const ready = new Promise<string>((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.startsWith('ready ')) resolve(line);
      });
    });
    const line = await Promise.race([ready, gone]);
    return new Serving(directory, options.directory === undefined, line.split(' ').slice(1), log, child);
  }

  /** The newest pid of one of the processes: "fileserver-0", "sidecar-1", "redis". */
  pid(name: string): number {
    const line = this.log.findLast((entry) => entry.process === name && entry.msg?.startsWith('started'));
    if (line?.childPid === undefined) throw new Error(`no process ${name} was started`);
    return line.childPid;
  }

  /** With what flags (O_*, as open(2) has them) a file server has a file of the share open to write it. */
  writingFlags(server: number, path: string): number[] {
    const pid = this.pid(`fileserver-${server}`);
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== join(this.directory, path)) return [];
        const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
        const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? '', 8);
        return (flags & (constants.O_WRONLY | constants.O_RDWR)) === 0 ? [] : [flags];
      } catch {
        return []; // closed meanwhile
      }
    });
  }

  /** A field of the log line that last started a process, e.g. `address` or `metrics`. */
  detail(name: string, field: string): string {
    const line = this.log.findLast((entry) => entry.process === name && entry[field] !== undefined);
    if (line === undefined) throw new Error(`no log line that started ${name} says its ${field}`);
    return String(line[field]);
  }

  /** Whether a file server says that it serves. */
  async isReady(server: number): Promise<boolean> {
    try {
      const url = `http://${this.detail(`fileserver-${server}`, 'metrics')}/readyz`;
      const response = await fetch(url, { signal: AbortSignal.timeout(1000) });
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false;
    }
  }

  signal(name: string, signal: NodeJS.Signals): void {
    process.kill(this.pid(name), signal);
  }

  /** Kills a process and waits until another runs in its place. */
  async kill(name: string): Promise<void> {
    const old = this.pid(name);
    process.kill(old, 'SIGKILL');
    await eventually(`${name} is started again`, 10_000, () => (this.pid(name) === old ? undefined : true), 10);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const over = ended(this.#child);
      this.#child.kill('SIGTERM');
      await over;
    }
    if (this.#ownsDirectory) rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One of the parts' programs as it was built, or from its sources where those are newer. */
export function partProgram(part: 'serve' | 'sidecar' | 'fileserver' | 'client/cli'): string[] {
  const node = join(ROOT, 'node_modules/node/bin/node');
  const built = statSync(join(ROOT, 'dist/.built'), { throwIfNoEntry: false });
  if (built && PARTS.every((one) => newestMs(join(ROOT, one)) <= built.mtimeMs)) {
    return [node, '--enable-source-maps', join(ROOT, 'dist', part, 'main.js')];
  }
  return [node, '--disable-warning=ExperimentalWarning', join(ROOT, part, 'main.ts')];
}

function newestMs(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Math.max(0, ...files.map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs));
}

async function listenOnce(port: number): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const got = (server.address() as AddressInfo).port;
  await new Promise((resolve) => server.close(resolve));
  return got;
}
