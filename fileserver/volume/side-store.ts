import { createHash, randomBytes } from 'node:crypto';
import { monotonicMs } from '../../common/time.ts';
import { checked, Errno, isDirectory, O, type Posix, PosixError, RENAME_NOREPLACE, Stat } from './posix.ts';

/** In the volume's root, readable by the server alone; names that begin so are shown to nobody (names.ts, isReserved). */
const STORE = '.holdfast-side';
/** Where directories wait that are being removed. */
const CONDEMNED = 'gone';
/** What a server that died left there is older than this. */
const LEFT_BEHIND_AFTER_MS = 3_600_000;
const COLLECT_INTERVAL_MS = 3_600_000;
/** Somebody may take a directory away between its creation and that of an entry. */
const ATTEMPTS = 8;
/** A key must fit into a name. */
const LONGEST_KEY = 100;
const CHUNK_SIZE = 32 * 1024;
/** Bytes of a volume's id at the beginning of a file id. */
const VOLUME_ID_SIZE = 8;

const PRIVATE_DIRECTORY = 0o700;
const PRIVATE_FILE = 0o600;

/**
 * What belongs to files of a volume and has no place in them, e.g. their alternate data streams: ordinary files in a hidden
 * directory of the volume, one directory a file, named by its file id. A file id is never used for another file and stays the
 * same when the file is renamed, so neither a rename nor a crash can separate the two or join what does not belong together.
 *
 *     .holdfast-side/<bucket>/<file id>/<entry>
 *     .holdfast-side/gone/<file id>.<random>      on its way out
 *
 * Results below 0 are -errno. `sync`: stable on the volume when the call returns.
 */
export class SideStore {
  readonly #posix: Posix;
  readonly #rootFd: number;
  #collectedAtMs: number | undefined;

  /** `rootFd`: of the volume's root. */
  constructor(posix: Posix, rootFd: number) {
    this.#posix = posix;
    this.#rootFd = rootFd;
  }

  /** Opens an entry of a file. */
  async open(fileId: Buffer, entry: string, flags: number): Promise<number> {
    return this.#posix.openBeneath(this.#rootFd, `${pathOf(fileId)}/${entry}`, flags | O.NOFOLLOW);
  }

  /** Creates an entry that must not exist yet (-EEXIST), and opens it. */
  async create(fileId: Buffer, entry: string, flags: number, sync: boolean): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const fd = await this.#posix.createFile(this.#rootFd, `${pathOf(fileId)}/${entry}`, flags, PRIVATE_FILE);
      if (fd !== -Errno.ENOENT || attempt === ATTEMPTS) {
        if (fd >= 0 && sync) await this.#syncDirectory(pathOf(fileId));
        return fd;
      }
      const made = await this.#makeDirectories(fileId, sync);
      if (made < 0) return made;
      await this.#collect();
    }
  }

  async #makeDirectories(fileId: Buffer, sync: boolean): Promise<number> {
    const [bucket, key] = placeOf(fileId);
    let path = '';
    for (const name of [STORE, bucket, key]) {
      const parent = path === '' ? '.' : path;
      path = path === '' ? name : `${path}/${name}`;
      const made = await this.#posix.makeDirectory(this.#rootFd, path, PRIVATE_DIRECTORY);
      if (made < 0 && made !== -Errno.EEXIST) return made;
      if (made === 0 && sync) await this.#syncDirectory(parent);
    }
    return 0;
  }

  /** Removes an entry, and the file's directory with the last one. */
  async remove(fileId: Buffer, entry: string, sync: boolean): Promise<number> {
    const removed = await this.#posix.unlink(this.#rootFd, `${pathOf(fileId)}/${entry}`, false);
    if (removed < 0) return removed;
    if (sync) await this.#syncDirectory(pathOf(fileId));
    await this.#posix.unlink(this.#rootFd, pathOf(fileId), true);
    return 0;
  }

  /** Renames an entry; without `replace` -EEXIST when the new name is taken. */
  async rename(fileId: Buffer, from: string, to: string, how: { replace: boolean; sync: boolean }): Promise<number> {
    const directory = pathOf(fileId);
    const flags = how.replace ? 0 : RENAME_NOREPLACE;
    const result = await this.#posix.rename(
      this.#rootFd,
      `${directory}/${from}`,
      this.#rootFd,
      `${directory}/${to}`,
      flags,
    );
    if (result === 0 && how.sync) await this.#syncDirectory(directory);
    return result;
  }

  /** The entries that a file has. Throws PosixError. */
  async entries(fileId: Buffer): Promise<string[]> {
    return this.#namesIn(pathOf(fileId));
  }

  async #namesIn(path: string): Promise<string[]> {
    const fd = await this.#posix.openBeneath(this.#rootFd, path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    if (fd === -Errno.ENOENT) return [];
    checked(fd, 'openat2');
    try {
      const names: string[] = [];
      for (;;) {
        const chunk = await this.#posix.nextNames(fd, CHUNK_SIZE);
        if (typeof chunk === 'number') throw new PosixError(-chunk, 'getdents64');
        if (chunk.isEmpty) return names;
        for (const { name } of chunk) if (name !== undefined && name !== '.' && name !== '..') names.push(name);
      }
    } finally {
      await this.#posix.close(fd);
    }
  }

  /**
   * The file is about to be removed: takes away what it has, in one step, so that a crash leaves nothing that looks alive.
   * Undefined: it has nothing. Follows: spare or clear. Throws PosixError.
   */
  async condemn(fileId: Buffer): Promise<Condemned | undefined> {
    const from = pathOf(fileId);
    const to = `${STORE}/${CONDEMNED}/${placeOf(fileId)[1]}.${randomBytes(4).toString('hex')}`;
    const moved = await this.#move(from, to);
    if (moved === -Errno.ENOENT) {
      if (!(await this.#has(from))) return undefined;
      const made = await this.#posix.makeDirectory(this.#rootFd, `${STORE}/${CONDEMNED}`, PRIVATE_DIRECTORY);
      if (made !== -Errno.EEXIST) checked(made, 'mkdirat');
      const again = await this.#move(from, to);
      if (again === -Errno.ENOENT) return undefined;
      checked(again, 'renameat2');
    } else checked(moved, 'renameat2');
    return { from, to };
  }

  #move(from: string, to: string): number | Promise<number> {
    return this.#posix.rename(this.#rootFd, from, this.#rootFd, to, 0);
  }

  async #has(path: string): Promise<boolean> {
    return (await this.#posix.statAt(this.#rootFd, path)) instanceof Stat;
  }

  /** The file stays after all. */
  async spare({ from, to }: Condemned): Promise<void> {
    await this.#move(to, from);
  }

  /** The file is gone. What cannot be removed now is collected later. */
  async clear({ to }: Condemned): Promise<void> {
    await this.#removeAll(to);
    await this.#collect();
  }

  async #removeAll(path: string): Promise<void> {
    for (const name of await this.#namesIn(path)) await this.#posix.unlink(this.#rootFd, `${path}/${name}`, false);
    await this.#posix.unlink(this.#rootFd, path, true);
  }

  /** Removes what servers that died left condemned: now and then, when the store is written to anyway. */
  async #collect(): Promise<void> {
    const now = monotonicMs();
    if (this.#collectedAtMs !== undefined && now - this.#collectedAtMs < COLLECT_INTERVAL_MS) return;
    this.#collectedAtMs = now;
    const waiting = `${STORE}/${CONDEMNED}`;
    for (const name of await this.#namesIn(waiting)) {
      const stat = await this.#posix.statAt(this.#rootFd, `${waiting}/${name}`);
      if (!(stat instanceof Stat) || !isDirectory(stat)) continue;
      if (Date.now() - stat.changedAtMs > LEFT_BEHIND_AFTER_MS) await this.#removeAll(`${waiting}/${name}`);
    }
  }

  async #syncDirectory(path: string): Promise<void> {
    const fd = checked(await this.#posix.openBeneath(this.#rootFd, path, O.RDONLY | O.DIRECTORY), 'openat2');
    try {
      checked(await this.#posix.sync(fd), 'fsync directory');
    } finally {
      await this.#posix.close(fd);
    }
  }
}

/** What was a file's, on its way out; paths are within the volume. */
export interface Condemned {
  readonly from: string;
  readonly to: string;
}

function placeOf(fileId: Buffer): [bucket: string, key: string] {
  const own = fileId.subarray(VOLUME_ID_SIZE);
  const key = own.length > LONGEST_KEY ? createHash('sha256').update(own).digest('hex') : own.toString('hex');
  let bucket = 0;
  for (const byte of own) bucket = (bucket * 31 + byte) & 0xff;
  return [bucket.toString(16).padStart(2, '0'), key];
}

function pathOf(fileId: Buffer): string {
  const [bucket, key] = placeOf(fileId);
  return `${STORE}/${bucket}/${key}`;
}
