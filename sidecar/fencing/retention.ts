import { identityText } from '../table/keys.ts';
import { isOver, type ServerRecord } from './registry.ts';

/** So long a server that is over stays in the registry: whoever wants to know how it ended asks within minutes. */
const KEPT_MS = 60 * 60_000;
/** How many are forgotten at a look, so that none takes long. */
const AT_ONCE = 16;

/**
 * Which servers the registry need not keep any more. Each pod that is replaced leaves one behind, and every renewal brings all of them:
 * without an end a cluster that is upgraded often would be slower each year. Nothing is lost with a record: what raises the lowest valid
 * epoch stands in the shards (or that it was forgotten there), epochs are counted elsewhere, and a server that wakes up after all that time
 * and is not found is refused like one that is found fenced.
 */
export class Retention {
  /** Since when each is seen to be over, by identity, monotonic ms. */
  readonly #over = new Map<string, number>();
  readonly #keptMs: number;

  constructor(keptMs = KEPT_MS) {
    this.#keptMs = keptMs;
  }

  /**
   * @param servers all that the store has
   * @param longerMs how much longer than others one is kept
   * @returns those to be forgotten now
   */
  due(
    servers: readonly ServerRecord[],
    nowMs: number,
    longerMs: (server: ServerRecord) => number = () => 0,
  ): ServerRecord[] {
    const over = servers.filter(isOver);
    const seen = new Set(over.map(identityText));
    for (const identity of this.#over.keys()) if (!seen.has(identity)) this.#over.delete(identity);
    const due: ServerRecord[] = [];
    for (const server of over) {
      const identity = identityText(server);
      const sinceMs = this.#over.get(identity) ?? nowMs;
      this.#over.set(identity, sinceMs);
      if (due.length < AT_ONCE && nowMs - sinceMs >= this.#keptMs + longerMs(server)) due.push(server);
    }
    return due;
  }
}
