import type { OpenRecord } from '../../proto/generated/handles.ts';
import { shardOfId } from '../table/keys.ts';

/**
 * Opens that the table has given to another server, and of which that server has not said yet that it knows of them. Until then who gave
 * them away remembers them (invariant 8): should the store lose its data, nobody else does.
 */
export class Given {
  /** By the identity of the new owner. */
  readonly #byOwner = new Map<string, Map<bigint, OpenRecord>>();
  /** Called when something is given while nothing was waited for. */
  onFirst: () => void = () => {};

  get count(): number {
    let sum = 0;
    for (const opens of this.#byOwner.values()) sum += opens.size;
    return sum;
  }

  /** To whom opens were given that have not arrived, as far as is known. */
  get owners(): string[] {
    return [...this.#byOwner.keys()];
  }

  /** @param owner serverId@epoch @param opens as the table has them from now on */
  add(owner: string, opens: Iterable<OpenRecord>): void {
    const wasEmpty = this.#byOwner.size === 0;
    const given = this.#byOwner.get(owner) ?? new Map<bigint, OpenRecord>();
    for (const open of opens) given.set(open.openId, open);
    if (given.size === 0) return;
    this.#byOwner.set(owner, given);
    if (wasEmpty) this.onFirst();
  }

  /** The owner knows of these, or they are not its own any more. */
  arrived(owner: string, opens: Iterable<OpenRecord>): void {
    const given = this.#byOwner.get(owner);
    if (!given) return;
    for (const open of opens) {
      // The same open may have been here again since, and have been given once more.
      const known = given.get(open.openId);
      if (known && known.ownershipVersion <= open.ownershipVersion) given.delete(open.openId);
    }
    if (given.size === 0) this.#byOwner.delete(owner);
  }

  of(owner: string): OpenRecord[] {
    return [...(this.#byOwner.get(owner)?.values() ?? [])];
  }

  /** Those of some shards, whoever has them now. */
  inShards(shards: ReadonlySet<number>): OpenRecord[] {
    return this.owners.flatMap((owner) => this.of(owner).filter(({ openId }) => shards.has(shardOfId(openId))));
  }
}
