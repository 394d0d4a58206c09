import { HoldfastError } from '../../common/errors.ts';
import type { Share } from '../shares.ts';
import { Folder } from './folder.ts';
import type { ChangeGate } from './posix.ts';
import { ThreadSlots } from './slots.ts';
import { Volume } from './volume.ts';

/** A folder or volume that failed to open is tried again after this time, at the earliest. */
const RETRY_AFTER_MS = 1000;

/** The folders of the shares, opened at first use and kept. */
export class Folders {
  readonly #gate: ChangeGate;
  readonly #slots = new ThreadSlots();
  readonly #volumes = new Map<string, Promise<Volume>>();
  readonly #folders = new Map<string, Promise<Folder>>();

  constructor(gate: ChangeGate) {
    this.#gate = gate;
  }

  /** Rejects with HoldfastError (VOLUME or SHARE) where the share cannot be served. */
  of(share: Share): Promise<Folder> {
    const { volume, config } = share;
    if (!volume || !config) return Promise.reject(new HoldfastError('SHARE', `${share.name} has no folder`));
    const key = `${volume.path}\0${config.path}`;
    return once(this.#folders, key, async () => {
      const opened = await once(this.#volumes, volume.path, () =>
        Volume.open(volume, { gate: this.#gate, slots: this.#slots }),
      );
      return Folder.open(opened, config.path);
    });
  }
}

function once<T>(kept: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const known = kept.get(key);
  if (known) return known;
  const made = make();
  kept.set(key, made);
  made.catch(() => setTimeout(() => kept.delete(key), RETRY_AFTER_MS).unref());
  return made;
}
