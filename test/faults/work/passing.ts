import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker, type WorkerParts } from './worker.ts';

/** Makes files that are deleted when they are closed: there as long as they are open, and never afterwards. */
export class Passing extends Worker {
  readonly #volume: string;
  #made = 0;

  constructor(parts: WorkerParts, volume: string) {
    super(parts);
    this.#volume = volume;
  }

  protected async round(): Promise<void> {
    const name = `${this.name}-${++this.#made}`;
    const path = this.path(name);
    const onVolume = join(this.#volume, this.folder, name);
    this.at(`making ${path}`);
    const file = await this.client.open(path, { access: 'readwrite', disposition: 'create', deleteOnClose: true });
    this.at(`writing ${path}`);
    await file.write(0, Buffer.from('here'));
    await this.pause(0, 60);
    if ((await file.read(0, 4)).toString() !== 'here') throw new Error('it does not hold what was written');
    if (!existsSync(onVolume)) throw new Error('it is gone before it was closed');
    this.at(`closing ${path}`);
    await file.close();
    if (existsSync(onVolume)) throw new Error('it is there after it was closed');
    await this.pause(0, 60);
  }
}
