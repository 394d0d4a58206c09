import { asksUs } from './promises.ts';
import { isLive, type ServerRecord } from './registry.ts';

interface Seen {
  epoch: number;
  counter: number;
  /** When the first look that showed this counter was received. */
  sinceMs: number;
}

/** Looks come so many times a lease. What was seen unchanged is then known to have changed at most this much earlier. */
const LOOKS_PER_LEASE = 10;
/** Timers fire up to a millisecond early against another clock. */
const ROUNDING_MS = 2;

/**
 * Judges by this machine's monotonic clock which servers have gone silent: their counter was seen unchanged for a whole lease, while
 * this watcher itself kept reading the store. Whoever could not read (store away, this process stopped) starts all its timers anew,
 * because the others could not renew either, or their renewals were not seen.
 *
 * Why nobody is named before its own deadline: a server may serve until it sent its renewal + leaseDuration - margin. The renewal was
 * sent before the store carried it out, that came before the store answered the first look that shows it, and that before the answer was
 * received: silence is counted from there. The time at which that look (or an earlier one, with the old counter) was asked for would
 * be too early: the renewal may have been sent after it. Promises of its peers may let a server go on; who would not be asked for one
 * adds all that they can extend.
 */
export class SilenceWatch {
  readonly #leaseMs: number;
  readonly #seen = new Map<string, Seen>();
  #lastReadMs = Number.NEGATIVE_INFINITY;

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
  }

  /**
   * Takes one successful look at the servers, in the order in which the store answered them.
   * @param sentMs when the look was asked for, @param receivedMs when it came; monotonic ms @param own ids of this pod's servers
   * @returns servers that may be fenced, if the store still has the counter given in the record
   */
  observe(
    servers: ServerRecord[],
    sentMs: number,
    receivedMs: number,
    own: ReadonlySet<string> = new Set(),
  ): ServerRecord[] {
    // A third of a lease without news is an outage, or a stall of this process. Who lives renews every third of a lease: with what a
    // shorter one took from it, it still has a third to be seen.
    const outageMs = this.#leaseMs / 3;
    if (sentMs - this.#lastReadMs > outageMs || receivedMs - sentMs > outageMs) this.#seen.clear();
    this.#lastReadMs = receivedMs;
    const silent: ServerRecord[] = [];
    const present = new Set<string>();
    for (const server of servers) {
      if (!isLive(server)) continue;
      present.add(server.serverId);
      const seen = this.#seen.get(server.serverId);
      if (seen?.epoch === server.epoch && seen.counter === server.counter) {
        // Asked for after the lease was over, so the store had it unchanged then; an answer that lay here for a while says less.
        const extensionMs = asksUs(server, servers, own) ? 0 : server.extensionMs;
        if (sentMs - seen.sinceMs >= this.#leaseMs + extensionMs) silent.push(server);
      } else {
        this.#seen.set(server.serverId, { epoch: server.epoch, counter: server.counter, sinceMs: receivedMs });
      }
    }
    for (const serverId of this.#seen.keys()) if (!present.has(serverId)) this.#seen.delete(serverId);
    return silent;
  }

  /** How long to wait for the next look, ms: a tenth of a lease, or just until the next server's lease would be over. */
  nextLookMs(nowMs: number): number {
    let next = nowMs + this.#leaseMs / LOOKS_PER_LEASE;
    for (const { sinceMs } of this.#seen.values()) {
      const overMs = sinceMs + this.#leaseMs + ROUNDING_MS;
      if (overMs > nowMs) next = Math.min(next, overMs);
    }
    return Math.max(next - nowMs, 1);
  }
}
