import type { File } from '../../../client/index.ts';
import { RecordedFile } from '../recorded.ts';
import { Worker } from './worker.ts';

export const COUNTER = 'counter';
const LOCK_AT = 1 << 20;

/** Counts up a number under a lock: lost if two ever hold the lock at once, or if a write of before the lock comes after it. */
export class Counter extends Worker {
  counted = 0;
  #file: File | undefined;

  protected override async prepare(): Promise<void> {
    this.#file = await this.client.open(this.path(COUNTER), { access: 'readwrite', disposition: 'openIf' });
  }

  protected async round(): Promise<void> {
    const file = this.#file as File;
    this.at('counting');
    const fine = await new RecordedFile(file, this.name, this.history).locked(LOCK_AT, 1, async () => {
      const bytes = await file.read(0, 8);
      const next = Buffer.alloc(8);
      next.writeDoubleLE((bytes.length === 8 ? bytes.readDoubleLE() : 0) + 1);
      await file.write(0, next);
      this.counted++;
    });
    if (!fine) throw new Error('no further rounds');
    await this.pause(5, 30);
  }

  protected override async finish(): Promise<void> {
    await this.#file?.close();
  }
}
