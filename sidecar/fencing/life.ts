import { createHash, randomBytes } from 'node:crypto';
import type { StoreConfig } from '../../common/config.ts';

/** One life of the store's data in the Redis processes that serve it now. */
export interface Life {
  generation: string;
  /** By shard: "run_id:generation", as the shard's store key has it once its state is there. */
  tags: readonly string[];
  /** Nothing that was answered can be missing in it. */
  isComplete: boolean;
  /** This sidecar has not served with it yet: what it remembers may be missing in it. */
  isOther: boolean;
  /** All of them in one: what a server that has put its state back leaves in the registry. */
  tag: string;
}

/** Whether all shards have their state in this life. */
export function isOpen({ tags }: Life, stores: readonly string[]): boolean {
  return tags.every((tag, shard) => stores[shard] === tag);
}

/** Of one Redis process its own tag, as all versions write it. */
export function tagOfAll(tags: readonly string[]): string {
  if (tags.every((tag) => tag === tags[0])) return tags[0] ?? '';
  return createHash('sha256').update(tags.join()).digest('hex').slice(0, 40);
}

/**
 * Whether a restart or failover may lose what was answered before: then a server may have come of which nobody else has heard.
 * What replicas had to confirm is not lost, nor is what stands in an append-only file that is written before each answer.
 */
export function mayLoseWrites({ mode, durability }: StoreConfig): boolean {
  return mode === 'Standalone' ? durability.mode === 'EverySecond' : durability.mode !== 'Replicated';
}

export function newGeneration(): string {
  return randomBytes(8).toString('hex');
}
