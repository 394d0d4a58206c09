import type { Logger } from '../../common/logging.ts';
import { delay } from '../../common/time.ts';
import { SHARDS } from '../constants.ts';
import type { SidecarMetrics } from '../metrics.ts';
import { type Identity, identityText } from '../table/keys.ts';
import type { Table } from '../table/table.ts';
import type { Registry, ServerRecord } from './registry.ts';

/**
 * Fences servers: `fencing` in the registry, the lowest valid epoch raised in every shard, then `fenced`. One small write a shard, however
 * many opens it had. Anyone may finish what another began; every step may be repeated.
 */
export class Fencer {
  readonly #registry: Registry;
  readonly #table: Table;
  readonly #log: Logger;
  readonly #metrics: SidecarMetrics;
  readonly #writeSettleMs: number;
  readonly #by: string;
  readonly #running = new Map<string, Promise<boolean>>();
  /** Called when the registry says that a server is being fenced: nobody need wait for it any more. */
  onBegun: (identity: string) => void = () => {};
  /** Called when orphans of a server may be seen to. */
  onFenced: (identity: string) => void = () => {};

  /** @param by this sidecar, for the record */
  constructor(
    registry: Registry,
    table: Table,
    writeSettleMs: number,
    by: string,
    log: Logger,
    metrics: SidecarMetrics,
  ) {
    this.#registry = registry;
    this.#table = table;
    this.#writeSettleMs = writeSettleMs;
    this.#by = by;
    this.#log = log;
    this.#metrics = metrics;
  }

  /** The process is proven dead: its node lives, nothing of it is on its way any more. @returns whether it is fenced now */
  fenceDead(server: Identity, reason: 'process_ended' | 'containers_ended'): Promise<boolean> {
    return this.#once(server, () => this.#fence(server, -1, false, reason));
  }

  /** It went silent: fenced if its counter still is the one that was seen unchanged. What it gave to the kernel may still reach the volume. */
  fenceSilent(server: ServerRecord): Promise<boolean> {
    return this.#once(server, () => this.#fence(server, server.counter, true, 'silent'));
  }

  /** Another began and may not have come to the end. */
  finish(server: ServerRecord): Promise<boolean> {
    return this.#once(server, () => this.#fence(server, -1, server.silent, 'finished'));
  }

  /** Resolves when no fencing runs here any more, complete or not. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }

  #once(server: Identity, run: () => Promise<boolean>): Promise<boolean> {
    const key = identityText(server);
    let running = this.#running.get(key);
    if (!running) {
      running = run().finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    return running;
  }

  async #fence(server: Identity, counter: number, silent: boolean, reason: string): Promise<boolean> {
    const { began, state } = await this.#registry.beginFencing(server, counter, this.#by, silent);
    if (!began) return false;
    this.onBegun(identityText(server));
    if (state === 'fenced' || state === 'gone') return true;
    this.#log.warn({ server: identityText(server), reason }, 'fencing a server');
    this.#metrics.fencings.labels(reason).inc();
    await this.#inAllShards(server, silent ? 'settle' : 'fence', silent ? 'lost' : 'alive');
    if (silent) {
      this.onFenced(identityText(server)); // what only reads need not wait for the last writes
      await delay(this.#writeSettleMs);
      await this.#inAllShards(server, 'fence', 'lost');
    }
    await this.#registry.endFencing(server);
    this.onFenced(identityText(server));
    this.#log.warn({ server: identityText(server), reason }, 'fenced a server: its opens are orphaned');
    return true;
  }

  async #inAllShards(server: Identity, what: 'settle' | 'fence', node: 'lost' | 'alive'): Promise<void> {
    await Promise.all(Array.from({ length: SHARDS }, (_, shard) => this.#table.fence(shard, server, what, node)));
  }
}
