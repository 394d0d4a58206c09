import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../../cluster/shell.ts';
import { lateOnes } from '../../history/late.ts';
import { Worker, type WorkerParts } from './worker.ts';

/** A custodian looks after a removal whose server died over it ten ticks later (sidecar/table/scripts), and ticks run late on a busy machine. */
const GONE_WITHIN_MS = 30_000;

interface Creation {
  name: string;
  calledMs: number;
  returnedMs?: number;
}

/** Makes files that are deleted when they are closed: there as long as they are open, and never afterwards. */
export class Passing extends Worker {
  readonly #volume: string;
  #made = 0;
  readonly #creations: Creation[] = [];

  constructor(parts: WorkerParts, volume: string) {
    super(parts);
    this.#volume = volume;
  }

  protected async round(): Promise<void> {
    const name = `${this.name}-${++this.#made}`;
    const path = this.path(name);
    const onVolume = join(this.#volume, this.folder, name);
    this.at(`making ${path}`);
    const creation: Creation = { name, calledMs: performance.now() };
    this.#creations.push(creation);
    const file = await this.client.open(path, { access: 'readwrite', disposition: 'create', deleteOnClose: true });
    creation.returnedMs = performance.now();
    this.at(`writing ${path}`);
    await file.write(0, Buffer.from('here'));
    await this.pause(0, 60);
    if ((await file.read(0, 4)).toString() !== 'here') throw new Error('it does not hold what was written');
    if (!existsSync(onVolume)) throw new Error('it is gone before it was closed');
    this.at(`closing ${path}`);
    await file.close();
    const isGone = () => !existsSync(onVolume) || this.madeLate.includes(name);
    // At once, but where the CLOSE's answer was lost: then its client may know that it is closed before the server has removed it.
    await eventually('it is gone after it was closed', GONE_WITHIN_MS, () => isGone() || undefined, 5);
    await this.pause(0, 60);
  }

  /**
   * Files that may be there though they were deleted: a stopped server that was making one when it was stopped may make it once more when it
   * goes on (docs/failure-modes.md).
   */
  get madeLate(): string[] {
    return lateOnes(this.#creations, this.history.of('stopped')).map(({ change }) => change.name);
  }
}
