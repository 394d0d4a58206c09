import type { SecurityDescriptor } from '../../smb/security/descriptor.ts';
import type { StoredAttributes } from './attributes.ts';
import { isRegular, type Stat } from './posix.ts';

/** Files that one folder knows; some 500 bytes each. */
const MAXIMUM_FILES = 16_384;
/**
 * A time stamp tells two states of a file apart only when more than the granularity of the file system's clock lies between
 * them (10 ms at most): what changed as lately as this is not kept.
 */
const SETTLED_AFTER_MS = 2000;

/** Identity of a file, and what is stored of it. */
export interface FileDescription {
  readonly fileId: Buffer;
  readonly stored: StoredAttributes;
  /** Undefined: nobody set one on the file, and it inherited none. */
  readonly descriptor: SecurityDescriptor | undefined;
}

/** What was read of a regular file. */
export interface KnownFile extends FileDescription {
  /** Taken before the rest was read. */
  readonly stat: Stat;
}

/**
 * Regular files that were opened before, by their path: their identity as long as inode and time of birth are the same, their
 * stored attributes and descriptor as long as the change time is the same too. Only for file systems whose change time every node sees at
 * once and that set it with every change of an attribute. Nothing here is believed without a fresh Stat, but that a path
 * names a regular file: who opens it for that reason looks at the Stat of what was opened.
 */
export class KnownFiles {
  readonly #byPath = new Map<string, KnownFile>();

  at(path: string): KnownFile | undefined {
    return this.#byPath.get(path);
  }

  /** `stat` must have been taken before the identity and the attributes were read. */
  learn(path: string, stat: Stat, description: FileDescription): void {
    if (!isRegular(stat) || !stat.hasBirthTime) return;
    const age = Date.now() - stat.changedAtMs;
    if (age < SETTLED_AFTER_MS) return;
    if (this.#byPath.size >= MAXIMUM_FILES && !this.#byPath.has(path)) this.#forgetOldest();
    this.#byPath.set(path, { ...description, stored: keepable(description.stored), stat });
  }

  #forgetOldest(): void {
    for (const path of this.#byPath.keys()) {
      this.#byPath.delete(path);
      return;
    }
  }
}

/** With copies of what are views on a larger buffer: kept for long, they would keep all of it. */
function keepable(stored: StoredAttributes): StoredAttributes {
  const { owner, rest } = stored;
  if (owner === undefined && rest.length === 0) return stored;
  return { ...stored, owner: owner && unpooled(owner), rest: unpooled(rest) };
}

function unpooled(bytes: Buffer): Buffer {
  const copy = Buffer.alloc(bytes.length);
  bytes.copy(copy);
  return copy;
}
