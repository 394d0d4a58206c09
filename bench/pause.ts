import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type File } from '../client/index.ts';
import { eventually } from '../test/cluster/shell.ts';
import { PASSWORD, type Serving, USER } from '../test/serving.ts';
import { SidecarControl } from '../test/sidecar-control.ts';
import { startServing } from './contestants.ts';
import { describeMachine, machineText } from './machine.ts';
import { type BenchOptions, figure, printTable, saveResults, say } from './report.ts';
import { histogram, quantile } from './statistics.ts';
import { SteadyWriter } from './steady-writer.ts';

const FILE = 'pause.dat';
const DEFAULT_ROUNDS = 100;
/** A server that is cut off costs a lease and more each time. */
const DEFAULT_CUT_OFF_ROUNDS = 20;
const WRITE_SETTLE_MS = 1000;
const ROUND_WITHIN_MS = 30_000;
/** Writes that have to go well before the next event, and after one. */
const CALM_WRITES = 50;
const READY_POLL_MS = 20;
const LIMITS_MS = [5, 10, 20, 30, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 3000, 3500, 4000, 5000];
const BAR_WIDTH = 50;

interface Failover {
  durationMs: number;
  connectedMs: number;
  to: string;
}

interface Round {
  pauseMs: number;
  /** From the event until the client noticed. */
  noticedMs: number;
  /** From then until the share was connected again, and until the handle was reclaimed. */
  connectedMs: number;
  reclaimedMs: number;
}

interface Event {
  name: string;
  title: string;
  defaultRounds: number;
  /** Which quantile of the pauses has to be below which time. */
  aim: { share: number; ms: number };
  /** Does it to the server that has the handle; what it gives back mends the server afterwards. */
  strike(stage: Stage, server: number): () => Promise<void>;
}

/** What one client's steady writes see when their server goes: the longest gap between two acknowledgements. */
export async function pause(options: BenchOptions): Promise<void> {
  const machine = describeMachine();
  say(`pause: ${machineText(machine)}`);
  const chosen = events(options).filter(({ name }) => options.only === undefined || name.includes(options.only));
  const results = [];
  for (const event of chosen) results.push(await measure(event, options));
  printTable(
    [
      'event',
      'rounds',
      'min ms',
      'p50 ms',
      'p99 ms',
      'max ms',
      'aim',
      'noticed',
      'connected',
      'reclaimed',
      'errors',
      'lost',
    ],
    results.map((result) => [
      result.event,
      String(result.rounds),
      figure(result.pauseMs.min),
      figure(result.pauseMs.p50),
      figure(result.pauseMs.p99),
      figure(result.pauseMs.max),
      `${result.aim.share === 1 ? 'max' : `p${result.aim.share * 100}`} < ${result.aim.ms} ${result.met ? 'met' : 'MISSED'}`,
      figure(result.medianMs.noticed),
      figure(result.medianMs.connected),
      figure(result.medianMs.reclaimed),
      String(result.callerErrors),
      String(result.lostBlocks),
    ]),
  );
  if (options.only === undefined) saveResults('pause', machine, results);
}

function events({ leaseDurationMs }: BenchOptions): Event[] {
  return [
    {
      name: 'planned',
      title: 'planned migration',
      defaultRounds: DEFAULT_ROUNDS,
      aim: { share: 0.99, ms: 250 },
      strike: (stage, server) => {
        const migrated = stage.migrate(server);
        migrated.catch(() => undefined);
        return () => migrated;
      },
    },
    {
      name: 'kill',
      title: 'file server process killed',
      defaultRounds: DEFAULT_ROUNDS,
      aim: { share: 1, ms: 1000 },
      strike: (stage, server) => {
        const name = `fileserver-${server}`;
        const old = stage.serving.pid(name);
        stage.serving.signal(name, 'SIGKILL');
        return async () => {
          await eventually(
            `${name} is started again`,
            ROUND_WITHIN_MS,
            () => stage.serving.pid(name) !== old || undefined,
            READY_POLL_MS,
          );
        };
      },
    },
    {
      name: 'cut-off',
      title: 'file server and sidecar silent',
      defaultRounds: DEFAULT_CUT_OFF_ROUNDS,
      aim: { share: 1, ms: leaseDurationMs + WRITE_SETTLE_MS + 1000 },
      strike: (stage, server) => {
        const names = [`fileserver-${server}`, `sidecar-${server}`];
        for (const name of names) stage.serving.signal(name, 'SIGSTOP');
        return async () => {
          for (const name of names) stage.serving.signal(name, 'SIGCONT');
        };
      },
    },
  ];
}

async function measure(event: Event, options: BenchOptions) {
  const rounds = options.rounds ?? event.defaultRounds;
  say(`\n${event.title}: ${rounds} rounds, ${options.servers} servers, lease duration ${options.leaseDurationMs} ms`);
  const stage = await Stage.set(options);
  const measured: Round[] = [];
  try {
    for (let i = 0; i < rounds; i++) {
      measured.push(await stage.round(event));
      if ((i + 1) % 10 === 0) say(`${event.name}: ${i + 1} of ${rounds} rounds, so far ${summaryText(measured)}`);
    }
  } finally {
    await stage.clear();
  }
  const pauses = measured.map(({ pauseMs }) => pauseMs);
  const buckets = histogram(pauses, LIMITS_MS);
  printHistogram(buckets, rounds);
  const median = (pick: (round: Round) => number) => quantile(measured.map(pick), 0.5);
  return {
    event: event.name,
    title: event.title,
    servers: options.servers,
    leaseDurationMs: options.leaseDurationMs,
    writeSettleMs: WRITE_SETTLE_MS,
    rounds,
    pauseMs: {
      min: Math.min(...pauses),
      p50: quantile(pauses, 0.5),
      p99: quantile(pauses, 0.99),
      max: Math.max(...pauses),
    },
    aim: event.aim,
    met: quantile(pauses, event.aim.share) < event.aim.ms && stage.callerErrors === 0 && stage.lostBlocks === 0,
    medianMs: {
      noticed: median(({ noticedMs }) => noticedMs),
      connected: median(({ connectedMs }) => connectedMs),
      reclaimed: median(({ reclaimedMs }) => reclaimedMs),
    },
    histogramMs: buckets.filter(({ count }) => count > 0),
    callerErrors: stage.callerErrors,
    lostBlocks: stage.lostBlocks,
    pausesMs: pauses.map((ms) => Math.round(ms * 10) / 10),
  };
}

/** Several servers, a client with one persistent handle, and its writer. */
class Stage {
  readonly serving: Serving;
  readonly #stateDirectory: string;
  readonly #client: Client;
  readonly #file: File;
  readonly #writer: SteadyWriter;
  readonly #controls = new Map<number, SidecarControl>();
  readonly #migrationPrefix = Date.now().toString(36);
  #migrations = 0;
  callerErrors = 0;
  lostBlocks = 0;

  private constructor(serving: Serving, stateDirectory: string, client: Client, file: File) {
    this.serving = serving;
    this.#stateDirectory = stateDirectory;
    this.#client = client;
    this.#file = file;
    this.#writer = new SteadyWriter(file);
  }

  static async set({ servers, leaseDurationMs }: BenchOptions): Promise<Stage> {
    const stateDirectory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
    const serving = await startServing({
      servers,
      flags: ['--continuously-available', '--lease-duration', `${leaseDurationMs}ms`, '--state-dir', stateDirectory],
    });
    const client = await Client.connect({
      addresses: serving.addresses,
      user: USER,
      password: PASSWORD,
      share: 'share',
    });
    const file = await client.open(FILE, { access: 'readwrite', disposition: 'openIf' });
    if (file.durability !== 'persistent') throw new Error(`the handle is ${file.durability}, not persistent`);
    const stage = new Stage(serving, stateDirectory, client, file);
    for (let i = 0; i < servers; i++) stage.#controls.set(i, await stage.#connectControl(i));
    return stage;
  }

  async round(event: Event): Promise<Round> {
    await this.#calm();
    const server = this.#holder();
    let noticedAtMs = 0;
    this.#client.once('failoverStarted', () => {
      noticedAtMs = performance.now();
    });
    const failedOver = new Promise<Failover>((resolve) => this.#client.once('failoverEnded', resolve));
    const struckMs = performance.now();
    const mend = event.strike(this, server);
    const failover = await within(ROUND_WITHIN_MS, failedOver, `${event.title}, server ${server}: the client goes on`);
    await within(ROUND_WITHIN_MS, this.#writer.more(CALM_WRITES), `${event.title}: writes after the failover`);
    const pauseMs = this.#writer.longestGapSince(struckMs);
    await mend();
    return {
      pauseMs,
      noticedMs: noticedAtMs - struckMs,
      connectedMs: failover.connectedMs,
      reclaimedMs: failover.durationMs,
    };
  }

  async migrate(server: number): Promise<void> {
    const control = this.#controls.get(server);
    if (!control) throw new Error(`there is no sidecar ${server}`);
    const migrationId = `bench-${this.#migrationPrefix}-${this.#migrations++}`;
    const progress = await control.migrate({ migrationId });
    if (progress.phase !== 'Done') throw new Error(`a migration ended in ${progress.phase}: ${progress.message}`);
    if (Number(progress.moved) + Number(progress.released) === 0) {
      throw new Error(`a migration moved nothing: ${JSON.stringify(progress)}`);
    }
  }

  async clear(): Promise<void> {
    await this.#writer.stop();
    this.callerErrors = this.#writer.errors.length;
    for (const error of this.#writer.errors) say(`the writer saw: ${(error as Error).message}`);
    await this.#file.close().catch((error: Error) => say(`closing: ${error.message}`));
    await this.#client.close();
    this.lostBlocks = this.#writer.lostBlocks(join(this.serving.directory, FILE));
    for (const control of this.#controls.values()) control.close();
    await this.serving.stop();
    rmSync(this.#stateDirectory, { recursive: true, force: true });
  }

  /** All servers are ready and writes go well. */
  async #calm(): Promise<void> {
    for (let i = 0; i < this.serving.addresses.length; i++) {
      await eventually(`file server ${i} is ready`, ROUND_WITHIN_MS, () => this.#isReady(i), READY_POLL_MS);
    }
    await within(ROUND_WITHIN_MS, this.#writer.more(CALM_WRITES), 'writes before the event');
  }

  async #isReady(server: number): Promise<true | undefined> {
    const response = await fetch(`http://${this.#detail(`fileserver-${server}`, 'metrics')}/readyz`);
    await response.arrayBuffer();
    return response.ok || undefined;
  }

  /** Which server has the handle. */
  #holder(): number {
    const server = this.serving.addresses.indexOf(this.#client.address ?? '');
    if (server === -1) throw new Error('the client is not connected');
    return server;
  }

  #connectControl(server: number): Promise<SidecarControl> {
    return SidecarControl.connect(this.#detail(`sidecar-${server}`, 'address'), this.#stateDirectory);
  }

  /** A field of the log line that started a process. */
  #detail(process_: string, field: string): string {
    const line = this.serving.log.findLast((entry) => entry.process === process_ && entry[field] !== undefined);
    return String(line?.[field]);
  }
}

async function within<T>(limitMs: number, promise: Promise<T>, what: string): Promise<T> {
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

function summaryText(rounds: readonly Round[]): string {
  const pauses = rounds.map(({ pauseMs }) => pauseMs);
  return `p50 ${figure(quantile(pauses, 0.5))} ms, max ${figure(Math.max(...pauses))} ms`;
}

function printHistogram(buckets: ReturnType<typeof histogram>, total: number): void {
  const first = buckets.findIndex(({ count }) => count > 0);
  const last = buckets.findLastIndex(({ count }) => count > 0);
  for (const { to, count } of buckets.slice(first, last + 1)) {
    const label = to === undefined ? 'more' : `<= ${to} ms`;
    say(`${label.padStart(10)} ${String(count).padStart(4)} ${'#'.repeat(Math.round((count / total) * BAR_WIDTH))}`);
  }
}
