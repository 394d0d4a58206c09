import { randomBytes } from 'node:crypto';
import { expect } from '@jest/globals';
import { fromClient, verifyBlocks } from '../../client/cli/verify-blocks.ts';
import { Writer } from '../../client/cli/write-through.ts';
import { Client, type File } from '../../client/index.ts';
import { eventually } from '../cluster/shell.ts';
import { PASSWORD, SHARE, USER } from './namespace.ts';

const GOES_ON_WITHIN_MS = 120_000;
const IDLE_TEXT = Buffer.from('still here');

/** What became of files that were held open and written all the time. */
export interface Outcome {
  errors: unknown[];
  lost: number;
  torn: number;
  verified: number;
  /** The longest time without an acknowledgement. */
  longestPauseMs: number;
}

/** Files that a client of this machine holds open and writes, while something happens to their servers. Embedded clusters only. */
export class HeldFiles {
  /** Of a test that failed: nobody has ended them. */
  static readonly #left = new Set<HeldFiles>();
  readonly #client: Client;
  readonly #writer: Writer;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;
  readonly #idle: File[];

  private constructor(client: Client, writer: Writer, idle: File[]) {
    this.#client = client;
    this.#writer = writer;
    this.#idle = idle;
    this.#running = writer.run(this.#stop.signal);
  }

  /**
   * @param addresses of all servers
   * @param idle so many more files are open and left alone until the end
   */
  static async open(addresses: string[], idle = 0): Promise<HeldFiles> {
    const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: SHARE });
    const name = `held-${randomBytes(4).toString('hex')}`;
    const plan = { writer: name, folder: name, share: SHARE, handles: 4, blockBytes: 4096, slots: 256 };
    const writer = await Writer.open(client, plan);
    const how = { access: 'readwrite', disposition: 'overwriteIf' } as const;
    const names = Array.from({ length: idle }, (_, i) => `${name}/idle-${i}`);
    const held = new HeldFiles(client, writer, await Promise.all(names.map((one) => client.open(one, how))));
    HeldFiles.#left.add(held);
    await held.goesOn();
    return held;
  }

  /** Lets go of what a test that failed has left, which would keep its process from ending. */
  static async abandon(): Promise<void> {
    for (const held of HeldFiles.#left) {
      held.#stop.abort();
      held.#running.catch(() => {});
      await held.#client.close().catch(() => {});
    }
    HeldFiles.#left.clear();
  }

  /** The server that has them open, as an address. */
  get server(): string {
    return this.#client.address ?? '';
  }

  /** Resolves when a good number of writes have been acknowledged after this call. */
  async goesOn(): Promise<void> {
    const goal = this.#writer.progress.ackedBlocks + 100;
    await eventually(
      'writes are acknowledged',
      GOES_ON_WITHIN_MS,
      () => (this.#writer.progress.ackedBlocks >= goal ? true : undefined),
      20,
    );
  }

  /**
   * Ends, and expects that no call has failed, and that everything that was acknowledged is there.
   * @returns the longest time without an acknowledgement, ms
   */
  async expectWhole(): Promise<number> {
    const { longestPauseMs, verified, ...outcome } = await this.finish();
    expect(outcome).toEqual({ errors: [], lost: 0, torn: 0 });
    expect(verified).toBeGreaterThan(0);
    return longestPauseMs;
  }

  /** Ends, reads every acknowledged block back, and writes and reads through what was left alone. */
  async finish(): Promise<Outcome> {
    HeldFiles.#left.delete(this);
    this.#stop.abort();
    await this.#running;
    const idle: unknown[] = [];
    for (const file of this.#idle) {
      try {
        await file.write(0, IDLE_TEXT);
        const found = await file.read(0, IDLE_TEXT.length);
        if (!found.equals(IDLE_TEXT)) idle.push(`${file.path} has ${JSON.stringify(found.toString())}`);
        await file.close();
      } catch (error) {
        idle.push(error);
      }
    }
    const report = this.#writer.report();
    await this.#writer.close();
    const { lost, torn, verified } = await verifyBlocks(report, fromClient(this.#client));
    await this.#client.close();
    const errors = report.handles.flatMap((handle) => handle.errors);
    return { errors: [...errors, ...idle], lost, torn, verified, longestPauseMs: report.maxPauseMs };
  }
}
