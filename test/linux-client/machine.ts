import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ended, eventually } from '../cluster/shell.ts';

const START = join(import.meta.dirname, '../cluster/linux-client/linux-client.sh');
/** Where the small machine finds this one's loopback. */
export const HOST = '10.0.2.2';
/** The machine ends with this process, however that ends. */
const SETPRIV = '/usr/bin/setpriv';
const MEMORY_MIB = 1024;
const POLL_MS = 50;
const SHOWN_LINES = 40;

/** An emulated machine whose SMB client is the Linux kernel's, while it runs the commands that it was started with. */
export class LinuxMachine {
  /** What it has said so far. */
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #over: Promise<number | null>;
  #isOver = false;
  readonly #folder: string;
  readonly #doors: Server;
  readonly #waiting = new Map<string, Socket[]>();
  readonly #open = new Set<string>();

  private constructor(child: ChildProcess, folder: string, doors: Server) {
    this.#child = child;
    this.#folder = folder;
    this.#doors = doors;
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on('line', (line) => {
        if (process.env.HOLDFAST_TEST_LOG) process.stderr.write(`${line}\n`);
        if (line.trim() !== '') this.lines.push(line.trim());
      });
    }
    doors.on('connection', (socket) => this.#knock(socket));
    this.#over = ended(child).finally(() => {
      this.#isOver = true;
    });
    this.#over.catch(() => {});
  }

  /** @param commands for its shell; `wait_for NAME` in them goes on when `release(NAME)` was called here */
  static async start(commands: string, timeoutSeconds: number): Promise<LinuxMachine> {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-machine-'));
    const doors = createServer();
    await new Promise<void>((resolve) => doors.listen(0, '127.0.0.1', resolve));
    const { port } = doors.address() as AddressInfo;
    const file = join(folder, 'commands');
    const waitFor = `cat > /tmp/wait.sh <<'END'
wait_for() { until [ "$(echo "$1" | nc ${HOST} ${port} 2>/dev/null)" = go ]; do sleep 0.2; done; }
END
`;
    writeFileSync(file, `${waitFor}. /tmp/wait.sh\n${commands}`, { mode: 0o600 });
    const command = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'TERM', '--', START, file] : [START, file];
    const [program = '', ...args] = command;
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NAMESPACE: '', TIMEOUT_SECONDS: String(timeoutSeconds), MEMORY_MIB: String(MEMORY_MIB) },
    });
    return new LinuxMachine(child, folder, doors);
  }

  /** Lets the commands go on behind `wait_for NAME`. */
  release(name: string): void {
    this.#open.add(name);
    for (const socket of this.#waiting.get(name) ?? []) socket.end('go\n');
    this.#waiting.delete(name);
  }

  /** Waits for a line, also among those said already from `since` on. Throws when the machine ends first. */
  said(what: RegExp, withinMs: number, since = 0): Promise<RegExpExecArray> {
    return eventually(
      `the machine says ${what}`,
      withinMs,
      () => {
        for (const line of this.lines.slice(since)) {
          const found = what.exec(line);
          if (found) return found;
        }
        if (this.#isOver) throw new Error('it has ended');
        return undefined;
      },
      POLL_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.lines.slice(-SHOWN_LINES).join('\n')}`);
    });
  }

  /** Resolves with the status of its commands when it has switched itself off. */
  over(): Promise<number | null> {
    return this.#over;
  }

  async stop(): Promise<void> {
    if (!this.#isOver) this.#child.kill('SIGTERM');
    await this.#over.catch(() => {});
    for (const sockets of this.#waiting.values()) for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => this.#doors.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #knock(socket: Socket): void {
    socket.on('error', () => {});
    createInterface({ input: socket }).once('line', (name) => {
      if (this.#open.has(name)) socket.end('go\n');
      else this.#waiting.set(name, [...(this.#waiting.get(name) ?? []), socket]);
    });
  }
}
