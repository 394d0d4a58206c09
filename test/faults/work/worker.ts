import type { Client } from '../../../client/index.ts';
import { delay } from '../../../common/time.ts';
import type { History } from '../../history/history.ts';
import type { Random } from '../random.ts';

export interface WorkerParts {
  name: string;
  client: Client;
  /** Folder of the share that this run works in. */
  folder: string;
  history: History;
  random: Random;
}

/** Pauses are so much longer than workers say: what they do all the time costs more than all faults, and faults are what counts. */
const PACE = 4;

/** One thing that a client does over and over, with everything recorded. */
export abstract class Worker {
  readonly name: string;
  protected readonly client: Client;
  protected readonly folder: string;
  protected readonly history: History;
  protected readonly random: Random;
  #rounds = 0;
  #doing = '';
  #running = true;
  #abandoned = false;
  #loop: Promise<void> | undefined;

  constructor({ name, client, folder, history, random }: WorkerParts) {
    this.name = name;
    this.client = client;
    this.folder = folder;
    this.history = history;
    this.random = random;
  }

  /** How often it was through. */
  get rounds(): number {
    return this.#rounds;
  }

  /** What it is at, for whoever wonders why it does not go on. */
  get doing(): string {
    return this.#doing;
  }

  async start(): Promise<void> {
    await this.prepare();
    this.#loop = this.#run();
  }

  /** Ends after the round that it is in. */
  async end(): Promise<void> {
    this.#running = false;
    await this.#loop;
    await this.finish();
  }

  /** Ends it where it is: the run has failed. */
  abandon(): void {
    this.#running = false;
    this.#abandoned = true;
  }

  /** Throws when nobody waits for its work any more: to be called in loops that try again. */
  protected assertWanted(): void {
    if (this.#abandoned) throw new Error('the run has failed');
  }

  /** Once, before the faults begin. */
  protected async prepare(): Promise<void> {}
  /** One round. What it throws is an error that a caller saw. */
  protected abstract round(): Promise<void>;
  /** Once, after the faults are over: gives back what is held. */
  protected async finish(): Promise<void> {}

  protected path(name: string): string {
    return `${this.folder}\\${name}`;
  }

  /** Names what it is about to do. */
  protected at(doing: string): void {
    this.#doing = `${doing} since ${Math.round(performance.now())}`;
  }

  protected pause(least: number, most: number): Promise<void> {
    return delay(PACE * this.random.between(least, most));
  }

  async #run(): Promise<void> {
    while (this.#running) {
      try {
        await this.round();
        this.#rounds++;
      } catch (error) {
        const { message } = error as Error;
        this.history.add({
          kind: 'error',
          client: this.name,
          doing: this.#doing,
          reason: message,
          atMs: performance.now(),
        });
        return;
      }
    }
  }
}
