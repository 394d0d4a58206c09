import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';

/**
 * Ports of this machine that nobody listens at, each handed out once: what is given to one process, which begins to listen there a while
 * later, is not given to another meanwhile.
 */
export class FreePorts {
  readonly #taken: Set<number>;
  readonly #ask: () => Promise<number>;

  /** @param taken ports that are not free, though nobody may listen there yet */
  constructor(taken: Iterable<number>, ask: () => Promise<number>) {
    this.#taken = new Set(taken);
    this.#ask = ask;
  }

  /** Rejects with the reason of the operating system. */
  async next(): Promise<number> {
    for (;;) {
      const port = await this.#ask();
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      return port;
    }
  }
}

/** A port that the kernel finds free at the moment; it may name the same one again as long as nobody listens there. */
export async function freePortAt(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
