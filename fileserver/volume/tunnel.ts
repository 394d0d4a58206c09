import { monotonicMs } from '../../common/time.ts';
import { foldedName, wireName } from './names.ts';
import { mayBeShortName, shortName } from './short-name.ts';

/** How long a name is remembered: what Windows does unless it is told otherwise. */
const KEEP_MS = 15_000;
const MOST = 1024;

interface Removed {
  /** Inode of its directory. */
  directory: bigint;
  name: string;
  atMs: number;
}

/**
 * Names that went lately (the TunnelCache of MS-FSA 2.1.1.1): a program that knows a file by its 8.3 name, removes it and
 * creates it anew gets the long name back.
 */
export class Tunnel {
  #removed: Removed[] = [];

  /** A name on disk went from a directory. */
  add(directory: bigint, name: string): void {
    if (this.#removed.length >= MOST) this.#removed = this.#removed.slice(MOST / 2);
    this.#removed.push({ directory, name, atMs: monotonicMs() });
  }

  /** The long name on disk that a new file of this name is to get; undefined: the name it has. */
  find(directory: bigint, name: string): string | undefined {
    const folded = foldedName(name);
    if (!mayBeShortName(folded)) return undefined;
    const since = monotonicMs() - KEEP_MS;
    for (let i = this.#removed.length - 1; i >= 0; i--) {
      const removed = this.#removed[i];
      if (removed === undefined || removed.atMs < since) return undefined;
      if (removed.directory !== directory || foldedName(removed.name) === folded) continue;
      if (shortName(wireName(removed.name)) === folded) return removed.name;
    }
    return undefined;
  }
}
