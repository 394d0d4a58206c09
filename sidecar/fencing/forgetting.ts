import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { inSlices } from '../../common/slices.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { SHARDS, Understanding } from '../constants.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import { identityText } from '../table/keys.ts';
import type { Table } from '../table/table.ts';
import { isLive, isOver, type Registry, type ServerRecord } from './registry.ts';
import { Retention } from './retention.ts';

/** The servers that are there take turns: each waits so much longer than the one before, and finds it done. */
const TURN_MS = 60_000;
/** One of which something still waits in a shard is tried again after so long. */
const AGAIN_MS = 60_000;
const SHARDS_AT_ONCE = 8;

export interface ForgettingParts {
  registry: Registry;
  table: Table;
  cluster: ClusterView;
  log: Logger;
  /** How long servers that are over are kept, ms; without it as long as Retention has it. */
  keptMs?: number;
  /** How soon one is tried again of which something still waits in a shard, ms. */
  againMs?: number;
}

/**
 * Forgets servers that are over: first in the shards, where each leaves an entry in the fence, then in the registry. What a sidecar dies
 * over is done again, by it or by another. Shards forget only servers whose own sidecar knows that they do (it would be refused when it
 * wakes up), and only while every server's does: an older one takes an owner that has no entry for one that lives.
 */
export class Forgetting {
  readonly #is: ForgettingParts;
  readonly #retention: Retention;
  /** When those are tried again of which something waited, by identity, monotonic ms. */
  readonly #againMs = new Map<string, number>();
  #running = false;

  constructor(parts: ForgettingParts) {
    this.#is = parts;
    this.#retention = new Retention(parts.keptMs);
  }

  /** @param servers all that the store has */
  look(servers: readonly ServerRecord[], nowMs: number): void {
    const { registry, table, cluster, log } = this.#is;
    const there = new Set(servers.map(identityText));
    for (const identity of this.#againMs.keys()) if (!there.has(identity)) this.#againMs.delete(identity);
    const turn = shardsForget(servers)
      ? turnOf(servers, (server) => cluster.member(identityText(server)) !== undefined)
      : -1;
    const due = this.#retention.due(servers, nowMs, (server) => {
      if (!understands(server)) return 0;
      const waits = this.#running || turn < 0 || nowMs < (this.#againMs.get(identityText(server)) ?? 0);
      return waits || !table.store.open ? Number.POSITIVE_INFINITY : turn * TURN_MS;
    });
    const member = cluster.anyMember();
    const everywhere: ServerRecord[] = [];
    for (const server of due) {
      if (understands(server)) everywhere.push(server);
      else registry.forget(server).catch((error: unknown) => log.debug({ err: error }, 'a server is forgotten later'));
    }
    if (!member || everywhere.length === 0) return;
    this.#running = true;
    void this.#forget(member, everywhere, nowMs).finally(() => {
      this.#running = false;
    });
  }

  async #forget(member: Member, servers: readonly ServerRecord[], nowMs: number): Promise<void> {
    const { registry, table, log } = this.#is;
    const shards = Array.from({ length: SHARDS }, (_, shard) => shard);
    for (const server of servers) {
      const identity = identityText(server);
      this.#againMs.set(identity, nowMs + (this.#is.againMs ?? AGAIN_MS));
      try {
        const outcomes = await inSlices(shards, SHARDS_AT_ONCE, (shard) =>
          table.forgetFence(member.identity, shard, server),
        );
        if (!outcomes.every((outcome) => outcome === Outcome.GRANTED)) continue;
        await registry.forget(server);
        log.info({ server: identity }, 'a server that was fenced long ago is forgotten');
      } catch (error) {
        log.debug({ reason: reasonOf(error), server: identity }, 'a server is forgotten later');
      }
    }
  }
}

function understands(server: ServerRecord): boolean {
  return server.understands >= Understanding.FORGETTING;
}

/** Whether all that may decide anything know what an owner without an entry is. */
export function shardsForget(servers: readonly ServerRecord[]): boolean {
  return servers.every((server) => isOver(server) || understands(server));
}

/** How many servers are before the first of ours, the longest known first; -1: none of ours is there. */
export function turnOf(servers: readonly ServerRecord[], isOurs: (server: ServerRecord) => boolean): number {
  return servers
    .filter(isLive)
    .sort((a, b) => a.epoch - b.epoch)
    .findIndex(isOurs);
}
