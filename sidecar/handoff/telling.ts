import { reasonOf } from '../../common/errors.ts';
import { chunks } from '../../common/slices.ts';
import { delay } from '../../common/time.ts';
import type { TraceRequest } from '../../common/tracing.ts';
import type { OpenRecord } from '../../proto/generated/handles.ts';
import type { TransferredRequest } from '../../proto/generated/peer.ts';
import { PEER_CALL_TIMEOUT_MS, RECORD_BATCH, RETRY_MS } from '../constants.ts';
import type { Components } from '../services/components.ts';
import { PeerFencedError } from '../services/peers.ts';
import type { Target } from './targets.ts';

/** So many sessions' targets may still be on their way to know what is theirs when the next sessions move: what waits to be told takes memory. */
const AT_ONCE = 4;
/** A target that so often does not answer is told nothing more. */
const TRIES = 3;

/** Tells the targets of a handoff what is theirs now. A target that was not told reads it from the table when clients come. */
export class Telling {
  readonly #is: Components;
  readonly #migrationId: string;
  readonly #running = new Set<Promise<void>>();
  readonly #silent = new Set<Target>();

  constructor(components: Components, migrationId: string) {
    this.#is = components;
    this.#migrationId = migrationId;
  }

  /** @param opens that the store has given to the target @param trace who wants spans of it */
  begin(
    source: TransferredRequest['source'],
    target: Target,
    opens: OpenRecord[],
    trace: TraceRequest | undefined,
  ): void {
    const running = this.#tell(source, target, opens, trace).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Waits until few enough are being told. */
  async room(): Promise<void> {
    while (this.#running.size > AT_ONCE) await Promise.race(this.#running);
  }

  /** Waits until all have been told, or given up. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #tell(
    source: TransferredRequest['source'],
    target: Target,
    opens: OpenRecord[],
    trace: TraceRequest | undefined,
  ): Promise<void> {
    for (const batch of chunks(opens, RECORD_BATCH)) {
      const request = { migrationId: this.#migrationId, source, targetServerId: target.serverId, opens: batch, trace };
      for (let tries = 1; !this.#silent.has(target); tries++) {
        try {
          await this.#is.peers.call(target, (client) => client.transferred, request, PEER_CALL_TIMEOUT_MS);
          break;
        } catch (error) {
          this.#is.log.info({ reason: reasonOf(error), target: target.identity, tries }, 'the target was not told');
          if (error instanceof PeerFencedError || tries === TRIES) this.#silent.add(target);
          else await delay(RETRY_MS);
        }
      }
    }
  }
}
