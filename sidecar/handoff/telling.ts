import { reasonOf } from '../../common/errors.ts';
import { delay } from '../../common/time.ts';
import type { TraceRequest } from '../../common/tracing.ts';
import type { OpenRecord } from '../../proto/generated/handles.ts';
import type { TransferredRequest } from '../../proto/generated/peer.ts';
import { PEER_CALL_TIMEOUT_MS, RECORD_BYTES, RETRY_MS, TOLD_AT_ONCE } from '../constants.ts';
import type { Components } from '../services/components.ts';
import { PeerFencedError } from '../services/peers.ts';
import type { Target } from './targets.ts';

/** So many opens' targets may still have to hear of them when the next sessions move: what waits to be told takes memory. */
const MOST_WAITING = 4 * TOLD_AT_ONCE;
/** A target that so often does not answer is told nothing more by this handoff, but reminded (reminding.ts). */
const TRIES = 3;

/** What a target is to be told in one piece, at most. */
interface Word {
  source: TransferredRequest['source'];
  opens: OpenRecord[];
  trace: TraceRequest | undefined;
}

/**
 * Tells the targets of a handoff what is theirs now: one call after the other to each, and what has come meanwhile, of however many
 * sessions, in the next. A target that was not told reads it from the table when clients come, and hears it later.
 */
export class Telling {
  readonly #is: Components;
  readonly #migrationId: string;
  /** What a target that is being told has to hear next. */
  readonly #waiting = new Map<Target, Word[]>();
  readonly #running = new Set<Promise<void>>();
  readonly #silent = new Set<Target>();
  #opens = 0;

  constructor(components: Components, migrationId: string) {
    this.#is = components;
    this.#migrationId = migrationId;
  }

  /** @param opens that the store has given to the target @param trace who wants spans of it */
  begin(source: Word['source'], target: Target, opens: OpenRecord[], trace: TraceRequest | undefined): void {
    this.#opens += opens.length;
    const waiting = this.#waiting.get(target);
    if (waiting) {
      waiting.push({ source, opens, trace });
      return;
    }
    const words = [{ source, opens, trace }];
    this.#waiting.set(target, words);
    const running = this.#tellAll(target, words).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Waits until few enough are waiting to be told of. */
  async room(): Promise<void> {
    while (this.#opens > MOST_WAITING) await Promise.race([...this.#running, delay(RETRY_MS)]);
  }

  /** Waits until all have been told, or given up. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #tellAll(target: Target, words: Word[]): Promise<void> {
    for (let word = next(words); word; word = next(words)) {
      await this.#tell(target, word);
      this.#opens -= word.opens.length;
    }
    this.#waiting.delete(target);
  }

  async #tell(target: Target, { source, opens, trace }: Word): Promise<void> {
    const request = { migrationId: this.#migrationId, source, targetServerId: target.serverId, opens, trace };
    for (let tries = 1; !this.#silent.has(target); tries++) {
      try {
        const { peers, given } = this.#is;
        const reply = await peers.call(target, (client) => client.transferred, request, PEER_CALL_TIMEOUT_MS);
        if (!reply.ok) throw new Error(reply.reason);
        given.arrived(target.identity, opens);
        return;
      } catch (error) {
        this.#is.log.info({ reason: reasonOf(error), target: target.identity, tries }, 'the target was not told');
        if (error instanceof PeerFencedError || tries === TRIES) this.#silent.add(target);
        else await delay(RETRY_MS);
      }
    }
  }
}

/**
 * Takes as much from the front of what waits as goes into one call: of one source, and of one session where somebody wants a span of it.
 * @returns undefined: nothing waits
 */
export function next(words: Word[]): Word | undefined {
  const first = words[0];
  if (!first) return undefined;
  const { source, trace } = first;
  const opens: OpenRecord[] = [];
  let bytes = 0;
  for (let word = words[0]; word; word = words[0]) {
    if (word !== first && (trace || word.trace || word.source?.serverId !== source?.serverId)) break;
    let taken = 0;
    for (const open of word.opens) {
      bytes += sizeOf(open);
      if (opens.length > 0 && (opens.length >= TOLD_AT_ONCE || bytes > RECORD_BYTES)) break;
      opens.push(open);
      taken++;
    }
    if (taken < word.opens.length) {
      word.opens = word.opens.slice(taken);
      break;
    }
    words.shift();
  }
  return { source, opens, trace };
}

/** Bytes of a record in a message, at most: what has no bound of a few bytes, and as much as all the rest can be. */
function sizeOf({ path, share, user, attachment, fileId, locks }: OpenRecord): number {
  return 512 + 3 * (path.length + share.length + user.length) + attachment.length + fileId.length + 32 * locks.length;
}
