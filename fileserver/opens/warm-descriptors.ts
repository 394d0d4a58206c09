import type { ComingOpen, OpenRecord } from '../../proto/generated/handles.ts';
import type { Folder } from '../volume/folder.ts';
import { splitStreamPath } from '../volume/names.ts';
import { findRecorded } from './adoption.ts';

/** Descriptors kept at once. */
const MOST = 8192;
/** Who has not come by then is looked up anew. */
const KEEP_MS = 120_000;

interface Warm {
  fd: number;
  folder: Folder;
  path: string;
  timer: NodeJS.Timeout;
}

/**
 * Descriptors (O_PATH) of opens that will come to this server, looked up and verified ahead. The file is opened for I/O only
 * when the open is here: by then another server's changes are visible on every kind of volume.
 */
export class WarmDescriptors {
  readonly #warm = new Map<bigint, Warm>();

  get size(): number {
    return this.#warm.size;
  }

  has(openId: bigint): boolean {
    return this.#warm.has(openId);
  }

  /** Throws PosixError. */
  async open(record: ComingOpen, folder: Folder): Promise<void> {
    if (this.#warm.size >= MOST || this.#warm.has(record.openId)) return;
    // A stream comes with its file, which the table is asked for too when the open is here.
    if (splitStreamPath(record.path).stream !== undefined) return;
    const { fd } = await findRecorded(folder, record);
    const timer = setTimeout(() => void this.#forget(record.openId), KEEP_MS).unref();
    this.#warm.set(record.openId, { fd, folder, path: record.path, timer });
  }

  /** The descriptor, the caller's from now on; undefined: look it up. */
  take(record: OpenRecord, folder: Folder): number | undefined {
    const warm = this.#warm.get(record.openId);
    if (!warm) return undefined;
    if (warm.folder !== folder || warm.path !== record.path) {
      void this.#forget(record.openId);
      return undefined;
    }
    clearTimeout(warm.timer);
    this.#warm.delete(record.openId);
    return warm.fd;
  }

  async #forget(openId: bigint): Promise<void> {
    const warm = this.#warm.get(openId);
    if (!warm) return;
    clearTimeout(warm.timer);
    this.#warm.delete(openId);
    await warm.folder.posix.close(warm.fd);
  }
}
