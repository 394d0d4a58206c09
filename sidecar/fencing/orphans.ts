import { Durability, type OpenRecord } from '../../proto/generated/handles.ts';
import { shardOfOpen } from '../table/table.ts';

/**
 * The custodian's memory: opens of fenced servers, and released ones, that wait for their client. Should the store lose them, nobody else remembers them
 * (invariant 8).
 */
export class Orphans {
  /** By the identity of the fenced server; NOBODY: released. */
  readonly #kept = new Map<string, Map<bigint, OpenRecord>>();

  get count(): number {
    let sum = 0;
    for (const opens of this.#kept.values()) sum += opens.size;
    return sum;
  }

  has(identity: string, openId: bigint): boolean {
    return this.#kept.get(identity)?.has(openId) ?? false;
  }

  keep(identity: string, records: Iterable<OpenRecord>): void {
    let opens = this.#kept.get(identity);
    for (const record of records) {
      if (record.durability === Durability.NOT_DURABLE) continue;
      if (!opens) {
        opens = new Map();
        this.#kept.set(identity, opens);
      }
      opens.set(record.openId, record);
    }
  }

  /** In this shard only these still wait: the others have been had back, or have ended. */
  retain(identity: string, shard: number, waiting: ReadonlySet<bigint>): void {
    const opens = this.#kept.get(identity);
    for (const [openId, record] of opens ?? []) {
      if (shardOfOpen(record) === shard && !waiting.has(openId)) opens?.delete(openId);
    }
    if (opens?.size === 0) this.#kept.delete(identity);
  }

  /** Shards in which something is kept, by identity. */
  *places(): Iterable<[identity: string, shard: number]> {
    for (const [identity, opens] of this.#kept) {
      for (const shard of new Set([...opens.values()].map(shardOfOpen))) yield [identity, shard];
    }
  }

  /** All that is kept, by the identity of the fenced server; NOBODY: released. */
  get all(): ReadonlyMap<string, ReadonlyMap<bigint, OpenRecord>> {
    return this.#kept;
  }
}
