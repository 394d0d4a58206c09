import { RecordedFile } from '../recorded.ts';
import { Worker, type WorkerParts } from './worker.ts';

export const SLOTS = 6;

/**
 * Writes tagged blocks through one handle that it keeps all the time, and reads what others wrote. Every slot has one writer: a write
 * whose answer was lost is sent again, so two that write the same bytes without a lock may see each other's come back (as with every
 * SMB server).
 */
export class Blocks extends Worker {
  readonly #name: string;
  readonly #slots: readonly number[];
  #file: RecordedFile | undefined;

  /** @param slots those that it writes */
  constructor(parts: WorkerParts, name: string, slots: readonly number[]) {
    super(parts);
    this.#name = name;
    this.#slots = slots;
  }

  get #recorded(): RecordedFile {
    if (!this.#file) throw new Error('it was not prepared');
    return this.#file;
  }

  protected override async prepare(): Promise<void> {
    const file = await this.client.open(this.path(this.#name), { access: 'readwrite', disposition: 'openIf' });
    if (file.durability !== 'persistent') throw new Error(`${this.name} was granted no persistent handle`);
    this.#file = new RecordedFile(file, this.name, this.history);
  }

  protected async round(): Promise<void> {
    const slot = this.random.pick(this.#slots);
    this.at(`slot ${slot} of ${this.#name}`);
    const fine = (await this.#recorded.write(slot)) && (await this.#recorded.read(this.random.between(0, SLOTS - 1)));
    // What went wrong was recorded by the file.
    if (!fine) throw new Error('no further rounds');
    await this.pause(1, 15);
  }

  protected override async finish(): Promise<void> {
    await this.#recorded.file.close();
  }
}
