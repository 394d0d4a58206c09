import { reasonOf } from '../../common/errors.ts';
import { chunks } from '../../common/slices.ts';
import { delay } from '../../common/time.ts';
import type { OpenRecord } from '../../proto/generated/handles.ts';
import { PEER_CALL_TIMEOUT_MS } from '../constants.ts';
import type { Components } from '../services/components.ts';
import { parseIdentity } from '../table/keys.ts';
import { shardOfOpen } from '../table/table.ts';
import { next } from './telling.ts';

/** Between two rounds: a target that could not be told is seldom back sooner. */
const ROUND_MS = 1000;
/** Opens of one shard that the table is asked for at once. */
const LOOKED_UP_AT_ONCE = 500;

/**
 * What a handoff could not tell its target goes on being told, until the target says that it knows, or the table says that it is not the
 * target's any more: its client has got it back elsewhere, or it ended, as it does at its timeout at the latest. So what is remembered
 * for the target has an end.
 */
export class Reminding {
  readonly #is: Components;
  readonly #stopped = new AbortController();
  #running = false;

  constructor(components: Components) {
    this.#is = components;
    components.given.onFirst = () => void this.#run();
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    const { given, log } = this.#is;
    const { signal } = this.#stopped;
    // The handoff that gave them tells its target first.
    for (let waits = true; waits; waits = given.owners.length > 0) {
      await delay(ROUND_MS, signal).catch(() => {});
      if (signal.aborted) return;
      await Promise.all(
        given.owners.map((owner) =>
          this.#round(owner).catch((error: unknown) =>
            log.debug({ reason: reasonOf(error), target: owner }, 'a target is told later what is its own'),
          ),
        ),
      );
    }
    this.#running = false;
  }

  async #round(owner: string): Promise<void> {
    const { given, cluster, table } = this.#is;
    if (!table.store.open) return;
    const waiting = await this.#stillIts(owner, given.of(owner));
    const identity = parseIdentity(owner);
    const target = identity && cluster.server(identity.serverId);
    if (!identity || !target || !cluster.mayLive(owner)) return; // fenced: all sidecars look after what it has
    const words = [{ source: undefined, opens: waiting, trace: undefined }];
    for (let word = next(words); word; word = next(words)) {
      const { opens } = word;
      const request = { migrationId: '', source: undefined, targetServerId: identity.serverId, opens };
      const to = { ...identity, address: target.address };
      const { ok } = await this.#is.peers.call(to, (client) => client.transferred, request, PEER_CALL_TIMEOUT_MS);
      if (!ok) return;
      given.arrived(owner, opens);
    }
  }

  /** What the table still has as that server's; the rest is not remembered any longer. */
  async #stillIts(owner: string, opens: readonly OpenRecord[]): Promise<OpenRecord[]> {
    const { given, table } = this.#is;
    const still: OpenRecord[] = [];
    for (const [shard, ofShard] of Map.groupBy(opens, shardOfOpen)) {
      for (const some of chunks(ofShard, LOOKED_UP_AT_ONCE)) {
        const owned = await table.owns(shard, owner, some);
        given.arrived(
          owner,
          some.filter((_, i) => !owned[i]),
        );
        still.push(...some.filter((_, i) => owned[i]));
      }
    }
    return still;
  }
}
