import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Registry } from 'prom-client';
import { Command } from '../smb/constants.ts';
import { statusName } from '../smb/status.ts';
import type { Protection } from './session/protection-in-use.ts';

/** Upper bounds of the latency histogram, microseconds. */
const BOUNDS_US = [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 100_000, 500_000, 2_000_000, 10_000_000];
const commandNames: readonly string[] = Object.keys(Command);
const COMMANDS = commandNames.length;
const BUCKETS = BOUNDS_US.length + 1;

/** What the gauges look at when somebody scrapes. */
export interface Observed {
  connections(): number;
  sessions(): number;
  opens(): number;
  /** Opens that the table holds while no client has them, and how often one of them was had again. */
  keptOpens(): number;
  reusedOpens(): number;
  selfFencings(): number;
  /** Bytes of requests and replies in memory, requests that wait for somebody (docs/limits.md). */
  bytesInFlight(): number;
  waitingRequests(): number;
  /** Whether the deadline is ahead. */
  mayServe(): boolean;
  /** What is in use of each thing that there is a limit of, and how much may be (docs/limits.md). */
  limited(): Record<string, { inUse: number; limit: number }>;
  /** How each session is protected. */
  protections(): Iterable<Protection>;
}

/** Counters of this process. On the hot path they are numbers in arrays; prom-client sees them when it is scraped. */
export class Metrics {
  readonly registry = new Registry();
  readonly #buckets = new Float64Array(COMMANDS * BUCKETS);
  readonly #microseconds = new Float64Array(COMMANDS);
  /** By command, then by status. */
  readonly #statuses: Map<number, number>[] = Array.from({ length: COMMANDS }, () => new Map());
  readonly #protected = { encrypted: 0, signed: 0, plain: 0 };
  #bytesIn = 0;
  #bytesOut = 0;
  #logonFailures = 0;

  constructor(observed: Observed) {
    const registers = [this.registry];
    const loop = monitorEventLoopDelay({ resolution: 10 });
    loop.enable();
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    const counter = (name: string, help: string, value: () => number) =>
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(value());
        },
      });
    gauge('holdfast_fileserver_connections', 'Connections of clients', observed.connections);
    gauge('holdfast_fileserver_sessions', 'Sessions', observed.sessions);
    gauge('holdfast_fileserver_opens', 'Opens in memory, connected or waiting for their client', observed.opens);
    gauge('holdfast_fileserver_kept_opens', 'Opens that the table holds while no client has them', observed.keptOpens);
    counter(
      'holdfast_fileserver_reused_opens_total',
      'Opens that were kept from before, without a decision of the sidecar',
      observed.reusedOpens,
    );
    gauge('holdfast_fileserver_may_serve', '1 while the deadline of the last renewal is ahead', () =>
      observed.mayServe() ? 1 : 0,
    );
    gauge('holdfast_fileserver_in_flight_bytes', 'Bytes of requests and replies in memory', observed.bytesInFlight);
    gauge('holdfast_fileserver_waiting_requests', 'Requests that wait for somebody', observed.waitingRequests);
    counter('holdfast_fileserver_self_fencings_total', 'Times the deadline passed', observed.selfFencings);
    counter('holdfast_fileserver_received_bytes_total', 'Bytes from clients', () => this.#bytesIn);
    counter('holdfast_fileserver_sent_bytes_total', 'Bytes to clients', () => this.#bytesOut);
    counter('holdfast_fileserver_logon_failures_total', 'Logons that were refused', () => this.#logonFailures);
    gauge('holdfast_fileserver_event_loop_delay_seconds', 'The 99th percentile since the last scrape', () => {
      const seconds = loop.percentile(99) / 1e9;
      loop.reset();
      return seconds;
    });
    this.#registerLimits(observed);
    this.#registerProtections(observed);
    this.#registerRequests();
  }

  /** Counts a request: `microseconds` from its arrival to its answer. */
  request(
    command: number,
    status: number,
    microseconds: number,
    cameAs: 'encrypted' | 'signed' | 'plain' = 'plain',
  ): void {
    if (command >= COMMANDS) return;
    this.#protected[cameAs]++;
    let bucket = 0;
    while (bucket < BUCKETS - 1 && microseconds > (BOUNDS_US[bucket] ?? 0)) bucket++;
    const at = command * BUCKETS + bucket;
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1;
    this.#microseconds[command] = (this.#microseconds[command] ?? 0) + microseconds;
    const statuses = this.#statuses[command];
    statuses?.set(status, (statuses.get(status) ?? 0) + 1);
  }

  bytesIn(bytes: number): void {
    this.#bytesIn += bytes;
  }

  bytesOut(bytes: number): void {
    this.#bytesOut += bytes;
  }

  logonFailed(): void {
    this.#logonFailures++;
  }

  #registerLimits({ limited }: Observed): void {
    const registers = [this.registry];
    const gauge = (name: string, help: string, value: (of: { inUse: number; limit: number }) => number) =>
      new Gauge({
        name,
        help,
        labelNames: ['resource'],
        registers,
        collect() {
          for (const [resource, of] of Object.entries(limited())) this.set({ resource }, value(of));
        },
      });
    gauge('holdfast_fileserver_in_use', 'What is in use, of each thing that there is a limit of', (of) => of.inUse);
    gauge('holdfast_fileserver_limit', 'How much of each thing may be in use at once', (of) => of.limit);
  }

  #registerProtections({ protections }: Observed): void {
    new Gauge({
      name: 'holdfast_fileserver_protected_sessions',
      help: 'Sessions by dialect, signing algorithm and cipher in use (none: requests come unsigned, in the clear)',
      labelNames: ['dialect', 'signing', 'encryption'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const { dialect, signing, encryption } of protections()) this.inc({ dialect, signing, encryption });
      },
    });
    const counts = this.#protected;
    new Counter({
      name: 'holdfast_fileserver_protected_requests_total',
      help: 'Requests by how they came: encrypted, signed in the clear, or plain',
      labelNames: ['protection'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [protection, count] of Object.entries(counts)) this.inc({ protection }, count);
      },
    });
  }

  #registerRequests(): void {
    const statuses = this.#statuses;
    new Counter({
      name: 'holdfast_fileserver_requests_total',
      help: 'Requests by command and status',
      labelNames: ['command', 'status'],
      registers: [this.registry],
      collect() {
        this.reset();
        statuses.forEach((byStatus, command) => {
          for (const [status, count] of byStatus) {
            this.inc({ command: commandNames[command] ?? '', status: statusName(status) }, count);
          }
        });
      },
    });
    this.#registerLatency();
  }

  /** A histogram whose counts are kept here, in the three families that Prometheus expects of one. */
  #registerLatency(): void {
    const buckets = this.#buckets;
    const sums = this.#microseconds;
    const name = 'holdfast_fileserver_request_duration_seconds';
    const registers = [this.registry];
    const ofCommands = (visit: (command: string, index: number, count: number) => void) =>
      commandNames.forEach((command, index) => {
        const count = buckets.subarray(index * BUCKETS, (index + 1) * BUCKETS).reduce((sum, one) => sum + one, 0);
        if (count > 0) visit(command, index, count);
      });
    new Counter({
      name: `${name}_bucket`,
      help: 'Requests that took at most so long, from arrival to answer',
      labelNames: ['command', 'le'],
      registers,
      collect() {
        this.reset();
        ofCommands((command, index) => {
          let sum = 0;
          for (let bucket = 0; bucket < BUCKETS; bucket++) {
            sum += buckets[index * BUCKETS + bucket] ?? 0;
            const bound = BOUNDS_US[bucket];
            this.inc({ command, le: bound === undefined ? '+Inf' : String(bound / 1e6) }, sum);
          }
        });
      },
    });
    new Counter({
      name: `${name}_sum`,
      help: 'Seconds that requests took',
      labelNames: ['command'],
      registers,
      collect() {
        this.reset();
        ofCommands((command, index) => this.inc({ command }, (sums[index] ?? 0) / 1e6));
      },
    });
    new Counter({
      name: `${name}_count`,
      help: 'Requests that were answered',
      labelNames: ['command'],
      registers,
      collect() {
        this.reset();
        ofCommands((command, _index, count) => this.inc({ command }, count));
      },
    });
  }
}
