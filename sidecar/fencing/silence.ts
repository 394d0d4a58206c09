import type { ServerRecord } from './registry.ts';

/**
 * Judges by this machine's monotonic clock which servers have gone silent: their counter was seen unchanged for a whole lease, while
 * this watcher itself kept reading the store. Whoever could not read (store away, this process stopped) starts all its timers anew,
 * because the others could not renew either, or their renewals were not seen.
 */
export class SilenceWatch {
  readonly #leaseMs: number;
  readonly #seen = new Map<string, { epoch: number; counter: number; sinceMs: number }>();
  #lastReadMs = Number.NEGATIVE_INFINITY;

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
  }

  /**
   * Takes one successful look at the servers.
   * @param sentMs when the look was asked for, @param receivedMs when it came; monotonic ms
   * @returns servers that may be fenced, if the store still has the counter given in the record
   */
  observe(servers: ServerRecord[], sentMs: number, receivedMs: number): ServerRecord[] {
    // Looks come every third of a lease; a gap of more than two thirds is an outage.
    if (sentMs - this.#lastReadMs > (this.#leaseMs * 2) / 3 || receivedMs - sentMs > this.#leaseMs / 3)
      this.#seen.clear();
    this.#lastReadMs = receivedMs;
    const silent: ServerRecord[] = [];
    const present = new Set<string>();
    for (const server of servers) {
      if (server.state !== 'active' && server.state !== 'draining') continue;
      present.add(server.serverId);
      const seen = this.#seen.get(server.serverId);
      if (seen?.epoch === server.epoch && seen.counter === server.counter) {
        // The counter was there when it was first received, so its server's deadline lies before that + lease.
        if (sentMs - seen.sinceMs >= this.#leaseMs) silent.push(server);
      } else {
        this.#seen.set(server.serverId, { epoch: server.epoch, counter: server.counter, sinceMs: receivedMs });
      }
    }
    for (const serverId of this.#seen.keys()) if (!present.has(serverId)) this.#seen.delete(serverId);
    return silent;
  }
}
