import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientOptions } from '../../client/index.ts';
import { eventually } from '../cluster/shell.ts';
import type { History } from '../history/history.ts';
import { type LogLine, PASSWORD, Serving, USER } from '../serving.ts';
import { SidecarControl } from '../sidecar-control.ts';
import { RawClient, type RawOptions } from './raw-client.ts';

export const SHARE = 'share';
/** Short, so that what has to wait for a lease does not wait long. */
export const LEASE_MS = 2000;
/** For whatever has to happen on a machine that may be busy with other things. */
export const SOON_MS = 30_000;
const POLL_MS = 20;
export const BOB = 'bob';
export const BOBS_PASSWORD = 'hunter two';

/** A continuously available share of several servers, and everything that tests do to it. */
export class Stage {
  readonly serving: Serving;
  readonly stateDirectory: string;
  readonly #clients: Client[] = [];
  readonly #raws: RawClient[] = [];
  readonly #controls: SidecarControl[] = [];
  readonly #stopped = new Map<string, number>();

  private constructor(serving: Serving, stateDirectory: string) {
    this.serving = serving;
    this.stateDirectory = stateDirectory;
  }

  static async start(servers: number, flags: string[] = [], env?: NodeJS.ProcessEnv): Promise<Stage> {
    const stateDirectory = mkdtempSync(join(tmpdir(), 'holdfast-faults-'));
    const serving = await Serving.start({
      servers,
      env,
      flags: [
        ...['--continuously-available', '--lease-duration', `${LEASE_MS}ms`, '--state-dir', stateDirectory],
        ...['--user', `${BOB}:${BOBS_PASSWORD}`, ...flags],
      ],
    });
    return new Stage(serving, stateDirectory);
  }

  /** host:port of a file server. */
  address(server: number): string {
    const address = this.serving.addresses[server];
    if (address === undefined) throw new RangeError(`there is no file server ${server}`);
    return address;
  }

  /** A client of our library that begins at one server and knows all (`anywhere`: it may begin at another). What happens to its handles goes to `history`. */
  async client(
    prefers: number,
    options: Partial<ClientOptions> & { anywhere?: boolean; history?: History; name?: string } = {},
  ): Promise<Client> {
    const { anywhere, history, name = `client ${this.#clients.length}`, ...rest } = options;
    const all = this.serving.addresses;
    const addresses = [...all.slice(prefers), ...all.slice(0, prefers)];
    const connect = () => Client.connect({ addresses, user: USER, password: PASSWORD, share: SHARE, ...rest });
    // On a busy machine another server may win the race for the first connection.
    const client = await eventually(`a client connects to server ${prefers}`, SOON_MS, async () => {
      const connected = await connect();
      if (anywhere || connected.address === this.address(prefers)) return connected;
      await connected.close();
    });
    client.on('handleLost', ({ path, error }) =>
      history?.add({ kind: 'lost', client: name, path, reason: error.message, atMs: performance.now() }),
    );
    this.#clients.push(client);
    return client;
  }

  /** A client that sends single requests and hides nothing, on a connection of its own. */
  async raw(server: number, options: Partial<RawOptions> = {}): Promise<RawClient> {
    const raw = await RawClient.connect(this.address(server), {
      user: USER,
      password: PASSWORD,
      share: SHARE,
      ...options,
    });
    this.#raws.push(raw);
    return raw;
  }

  /** The operator's door to a sidecar. */
  async control(server: number): Promise<SidecarControl> {
    const address = this.serving.detail(`sidecar-${server}`, 'address');
    const control = await SidecarControl.connect(address, this.stateDirectory);
    this.#controls.push(control);
    return control;
  }

  /** Which server a library client is connected to now. */
  serverOf(client: Client): Promise<number> {
    return eventually(
      'the client is connected',
      SOON_MS,
      () => {
        const server = this.serving.addresses.indexOf(client.address ?? '');
        return server === -1 ? undefined : server;
      },
      POLL_MS,
    );
  }

  kill(name: string): void {
    this.serving.signal(name, 'SIGKILL');
  }

  /** SIGSTOP; `resume` or the end of the stage wakes them. Resolves when no thread of them runs any more. */
  async freeze(...names: string[]): Promise<void> {
    const pids = names.map((name) => this.serving.pid(name));
    for (const [i, pid] of pids.entries()) {
      process.kill(pid, 'SIGSTOP');
      this.#stopped.set(names[i] as string, pid);
    }
    for (const pid of pids) await eventually(`${pid} stands still`, SOON_MS, () => isStopped(pid) || undefined, 1);
  }

  resume(...names: string[]): void {
    for (const name of names) {
      const pid = this.#stopped.get(name);
      this.#stopped.delete(name);
      if (pid !== undefined) process.kill(pid, 'SIGCONT');
    }
  }

  /** Waits until file servers say that they serve; by default all. */
  async ready(...servers: number[]): Promise<void> {
    const list = servers.length > 0 ? servers : this.serving.addresses.map((_, i) => i);
    for (const server of list) {
      const ask = async () => (await this.serving.isReady(server)) || undefined;
      await eventually(`file server ${server} serves`, SOON_MS, ask, POLL_MS);
    }
  }

  /** Waits for a log line. @param from index into serving.log to begin at */
  logged(what: string, from: number, matches: (line: LogLine) => boolean, withinMs = SOON_MS): Promise<LogLine> {
    return eventually(what, withinMs, () => this.serving.log.slice(from).find(matches), POLL_MS);
  }

  /** Ends everything, whatever state the test left it in. */
  async stop(): Promise<void> {
    this.resume(...this.#stopped.keys());
    for (const control of this.#controls) control.close();
    for (const raw of this.#raws) raw.close();
    await Promise.allSettled(this.#clients.map((client) => client.close()));
    await this.serving.stop();
    rmSync(this.stateDirectory, { recursive: true, force: true });
  }
}

/** Whether every thread of a process is stopped; one that is in a system call ends that first. */
function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((task) => {
    const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  });
}

/** Runs `work` on a stage of its own. */
export async function onStage(servers: number, work: (stage: Stage) => Promise<void>, flags?: string[]): Promise<void> {
  const stage = await Stage.start(servers, flags);
  try {
    await work(stage);
  } catch (error) {
    // What the servers said last is what one wants to know.
    const said = stage.serving.log.filter((line) => line.level !== 'debug').slice(-60);
    process.stderr.write(`${said.map((line) => JSON.stringify(line)).join('\n')}\n`);
    throw error;
  } finally {
    await stage.stop();
  }
}

/** Fails when it takes too long, instead of hanging. */
export async function within<T>(limitMs: number, promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${limitMs / 1000} s for: ${what}`)), limitMs);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
