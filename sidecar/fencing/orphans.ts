import { Durability, type OpenRecord } from '../../proto/generated/handles.ts';
import { shardOfId } from '../table/keys.ts';

/** Opens of one owner, by id. */
type Kept = Map<bigint, OpenRecord>;

/**
 * The custodian's memory: opens of fenced servers, and released ones, that wait for their client. Should the store lose them, nobody else remembers them
 * (invariant 8). A shard's are found without looking at any other's: there may be hundreds of thousands.
 */
export class Orphans {
  /** By the identity of the fenced server (NOBODY: released) and by shard. */
  readonly #kept = new Map<string, Map<number, Kept>>();

  get count(): number {
    let sum = 0;
    for (const shards of this.#kept.values()) for (const opens of shards.values()) sum += opens.size;
    return sum;
  }

  has(identity: string, openId: bigint): boolean {
    return this.#kept.get(identity)?.get(shardOfId(openId))?.has(openId) ?? false;
  }

  /** Those that are durable are kept; one that is kept already is replaced. */
  keep(identity: string, records: Iterable<OpenRecord>): void {
    for (const record of records) {
      if (record.durability !== Durability.NOT_DURABLE)
        this.#in(identity, shardOfId(record.openId)).set(record.openId, record);
    }
  }

  /** Their clients have got these back. */
  forget(identity: string, records: Iterable<OpenRecord>): void {
    for (const { openId } of records) {
      const shard = shardOfId(openId);
      const kept = this.#kept.get(identity)?.get(shard);
      if (kept?.delete(openId)) this.retain(identity, shard, new Set(kept.keys()));
    }
  }

  /** In this shard only these still wait: the others have been had back, or have ended. */
  retain(identity: string, shard: number, waiting: ReadonlySet<bigint>): void {
    const shards = this.#kept.get(identity);
    const opens = shards?.get(shard);
    if (!shards || !opens) return;
    for (const openId of opens.keys()) if (!waiting.has(openId)) opens.delete(openId);
    if (opens.size > 0) return;
    shards.delete(shard);
    if (shards.size === 0) this.#kept.delete(identity);
  }

  /** Whose opens are kept; NOBODY among them, if released ones are. */
  get owners(): string[] {
    return [...this.#kept.keys()];
  }

  /** Where something of an owner is kept. */
  shardsOf(identity: string): number[] {
    return [...(this.#kept.get(identity)?.keys() ?? [])];
  }

  /** What is kept of an owner, in one shard or in all. */
  of(identity: string, shard?: number): OpenRecord[] {
    const shards = this.#kept.get(identity);
    if (shard !== undefined) return [...(shards?.get(shard)?.values() ?? [])];
    return [...(shards?.values() ?? [])].flatMap((opens) => [...opens.values()]);
  }

  #in(identity: string, shard: number): Kept {
    const shards = this.#kept.get(identity) ?? new Map<number, Kept>();
    this.#kept.set(identity, shards);
    const opens = shards.get(shard) ?? new Map();
    shards.set(shard, opens);
    return opens;
  }
}
