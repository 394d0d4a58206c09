import type { SmbError } from '../../../client/errors.ts';
import type { File } from '../../../client/index.ts';
import { ShareAccess } from '../../../smb/constants.ts';
import { RecordedFile } from '../recorded.ts';
import { Worker } from './worker.ts';

export const ALONE = 'alone';

/** Opens a file that it shares with nobody, or only with readers, writes, and closes it: two never have it at once. */
export class Loner extends Worker {
  #opens = 0;

  protected async round(): Promise<void> {
    const shareAccess = this.random.pick([0, ShareAccess.READ]);
    this.at('opening it alone');
    const file = await this.#tryOpen(shareAccess);
    if (!file) return this.pause(10, 60);
    const hold = {
      kind: 'hold' as const,
      client: this.name,
      resource: this.path(ALONE),
      exclusive: true,
      fromMs: performance.now(),
      untilMs: undefined as number | undefined,
    };
    this.history.add(hold);
    this.at('writing alone');
    const recorded = new RecordedFile(file, `${this.name}-${++this.#opens}`, this.history);
    const fine = (await recorded.read(0)) && (await recorded.write(0)) && (await recorded.read(0));
    if (!fine) throw new Error('no further rounds');
    await this.pause(0, 40);
    this.at('closing it');
    hold.untilMs = performance.now();
    await file.close();
    await this.pause(0, 40);
  }

  async #tryOpen(shareAccess: number): Promise<File | undefined> {
    try {
      return await this.client.open(this.path(ALONE), { access: 'readwrite', disposition: 'openIf', shareAccess });
    } catch (error) {
      if ((error as SmbError).code === 'STATUS_SHARING_VIOLATION') return undefined;
      throw error;
    }
  }
}
