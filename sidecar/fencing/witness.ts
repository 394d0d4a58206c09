/** What the store says of a server. */
export interface Sighting {
  serverId: string;
  epoch: number;
  /** Raised by each renewal. */
  counter: number;
  state: string;
  understands: number;
}

interface Seen {
  epoch: number;
  counter: number;
  /** Being fenced, or fenced: that is never taken back. */
  isOver: boolean;
  understands: number;
}

/** More servers than a cluster ever has at a time; the longest known are forgotten first. */
const MOST = 4096;

/**
 * What this sidecar has seen of all servers in one life of the store's data. Epochs and renewal counters only grow, and nobody comes back
 * from being fenced: a store that says less than what was seen has gone back in time (an old backup, a replica without the last writes).
 */
export class Witness {
  readonly #seen = new Map<string, Seen>();

  observe(servers: readonly Sighting[]): void {
    for (const { serverId, epoch, counter, state, understands } of servers) {
      const isOver = state === 'fencing' || state === 'fenced' || state === 'gone';
      const seen = this.#seen.get(serverId);
      if (seen && (seen.epoch > epoch || (seen.epoch === epoch && seen.isOver))) continue;
      if (seen?.epoch === epoch) {
        seen.counter = Math.max(seen.counter, counter);
        seen.isOver = isOver;
        seen.understands = Math.max(seen.understands, understands);
      } else this.#seen.set(serverId, { epoch, counter, isOver, understands });
    }
    for (const serverId of this.#seen.keys()) {
      if (this.#seen.size <= MOST) break;
      this.#seen.delete(serverId);
    }
  }

  /**
   * What the store has lost, for people; undefined: nothing that was seen here.
   * @param forgotten the highest epoch of all servers that were fenced and forgotten
   * @param isOtherLife of the data than the one in which most was seen: others may have begun it, and who did not come back in it is missing
   */
  contradicts(servers: readonly Sighting[], forgotten: number, isOtherLife: boolean): string | undefined {
    const stored = new Map(servers.map((server) => [server.serverId, server]));
    for (const [serverId, seen] of this.#seen) {
      const now = stored.get(serverId);
      if (!now) {
        if (seen.isOver || isOtherLife || seen.epoch <= forgotten) continue;
        return `it does not know the server ${serverId}, epoch ${seen.epoch}`;
      }
      if (now.epoch < seen.epoch && !isOtherLife)
        return `it has epoch ${now.epoch} of ${serverId}, after ${seen.epoch}`;
      if (now.epoch === seen.epoch) {
        const lives = now.state === 'active' || now.state === 'draining';
        if (seen.isOver && lives) return `it has ${serverId} alive in epoch ${seen.epoch}, in which it was fenced`;
        if (now.counter < seen.counter) return `it has renewal ${now.counter} of ${serverId}, after ${seen.counter}`;
      }
    }
    return undefined;
  }

  /** Servers that were seen fenced. */
  over(): { serverId: string; epoch: number; understands: number }[] {
    return [...this.#seen].flatMap(([serverId, { epoch, isOver, understands }]) =>
      isOver ? [{ serverId, epoch, understands }] : [],
    );
  }

  /** A server that was seen alive and that the store does not know, or undefined. */
  missing(servers: readonly Sighting[]): string | undefined {
    const known = new Map(servers.map(({ serverId, epoch }) => [serverId, epoch]));
    for (const [serverId, { epoch, isOver }] of this.#seen) {
      if (!isOver && (known.get(serverId) ?? -1) < epoch) return serverId;
    }
    return undefined;
  }

  /** Another life of the data began: what was seen in the one before says nothing of it. */
  forget(): void {
    this.#seen.clear();
  }
}
