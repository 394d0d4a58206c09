import { type Break, type OpenRecord, OplockLevel } from '../../proto/generated/handles.ts';
import { leaseNameOf } from './lease-name.ts';

const MOST = 10_000;

/**
 * Breaks of what a client is just being granted: the table has decided, and its answer, the file or the CREATE's answer is still on the
 * way. They are told when the client can know what they are about.
 */
export class EarlyBreaks {
  readonly #keepMs: number;
  /** By holder: of one holder only the newest counts. In the order in which they came. */
  readonly #kept = new Map<string, { wanted: Break; untilMs: number }>();

  /** @param keepMs how long anybody waits for a break */
  constructor(keepMs: number) {
    this.#keepMs = keepMs;
  }

  get size(): number {
    return this.#kept.size;
  }

  keep(wanted: Break): void {
    const nowMs = performance.now();
    for (const [holder, { untilMs }] of this.#kept) {
      if (untilMs > nowMs && this.#kept.size < MOST) break;
      this.#kept.delete(holder);
    }
    const holder = holderOf(wanted);
    this.#kept.delete(holder);
    this.#kept.set(holder, { wanted, untilMs: nowMs + this.#keepMs });
  }

  /** The break that this open's client is to be told now. @param record what the client was granted */
  take(record: OpenRecord): Break | undefined {
    if (this.#kept.size === 0) return undefined;
    const { lease, clientGuid, openId } = record;
    const holder = lease ? leaseNameOf(clientGuid, lease.key) : String(openId);
    const kept = this.#kept.get(holder);
    if (!kept) return undefined;
    this.#kept.delete(holder);
    return kept.untilMs > performance.now() && isAhead(kept.wanted, record) ? kept.wanted : undefined;
  }
}

const holderOf = ({ lease, clientGuid, openId }: Break): string =>
  lease ? leaseNameOf(clientGuid, lease.key) : String(openId);

/** Whether the break is not over in what the client was granted. */
function isAhead(wanted: Break, { lease, oplock }: OpenRecord): boolean {
  if (!wanted.lease || !lease) {
    const isCaching = oplock === OplockLevel.OPLOCK_EXCLUSIVE || oplock === OplockLevel.OPLOCK_BATCH;
    return wanted.ackRequired ? isCaching : oplock === OplockLevel.OPLOCK_LEVEL_II;
  }
  const ahead = (wanted.lease.epoch - lease.epoch) & 0xffff;
  return ahead === 0 ? lease.breaking : ahead < 0x8000;
}
