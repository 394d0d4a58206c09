import { randomBytes } from 'node:crypto';
import { Client } from '../../client/index.ts';
import { delay } from '../../common/time.ts';
import { PASSWORD, SHARE, USER } from './namespace.ts';

/** Between a close and the next open: often enough that no pause of a tenth of a second is missed. */
const EVERY_MS = 20;

/** A client that opens and closes files one after the other, each a decision of the store. Embedded clusters only. */
export class OpenedFiles {
  /** Of a test that failed: nobody has ended them. */
  static readonly #left = new Set<OpenedFiles>();
  readonly #client: Client;
  readonly #running: Promise<void>;
  #ended = false;
  #count = 0;
  #longestMs = 0;
  #lastMs = performance.now();

  private constructor(client: Client) {
    this.#client = client;
    this.#running = this.#run();
    this.#running.catch(() => {}); // told by end()
  }

  /** @param addresses of all servers */
  static async begin(addresses: string[]): Promise<OpenedFiles> {
    const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: SHARE });
    const opened = new OpenedFiles(client);
    OpenedFiles.#left.add(opened);
    return opened;
  }

  /** Lets go of what a test that failed has left, which would keep its process from ending. */
  static async abandon(): Promise<void> {
    for (const opened of OpenedFiles.#left) {
      opened.#ended = true;
      await opened.#client.close().catch(() => {});
    }
    OpenedFiles.#left.clear();
  }

  /** How long ago the last one was opened and closed. */
  get sinceLastMs(): number {
    return performance.now() - this.#lastMs;
  }

  /** Throws what the client was told, if an open or a close failed. @returns how many were opened, and how long the slowest took to open and close */
  async end(): Promise<{ count: number; longestMs: number }> {
    OpenedFiles.#left.delete(this);
    this.#ended = true;
    await this.#running;
    await this.#client.close();
    return { count: this.#count, longestMs: this.#longestMs };
  }

  async #run(): Promise<void> {
    const name = `opened-${randomBytes(4).toString('hex')}`;
    while (!this.#ended) {
      const begun = performance.now();
      const file = await this.#client.open(name, { access: 'readwrite', disposition: 'openIf' });
      await file.close();
      this.#count++;
      this.#lastMs = performance.now();
      this.#longestMs = Math.max(this.#longestMs, this.#lastMs - begun);
      await delay(EVERY_MS);
    }
  }
}
