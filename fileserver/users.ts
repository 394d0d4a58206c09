import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, reasonOf } from '../common/errors.ts';
import type { Logger } from '../common/logging.ts';
import { ntHash } from '../smb/auth/nt-hash.ts';
import { foldCase } from '../smb/fscc/names.ts';
import { userToken } from '../smb/security/access.ts';
import { type Sid, userSid } from '../smb/security/sid.ts';
import type { User } from './session/session.ts';

const POLL_MS = 2000;
/** A file that is larger is no password. Bytes. */
const MAX_FILE_SIZE = 4096;
const NT_HASH = /^nt:([0-9a-f]{32})$/i;

interface Account {
  readonly user: User;
  readonly ntHash: Buffer;
}

/**
 * Who may log on: a mounted Secret with one file a user, whose name is the user's and whose content is the password or
 * `nt:` and the NT hash. Read again when it changes. Names are matched without regard to case.
 */
export class Users {
  readonly #folder: string;
  readonly #clusterId: string;
  readonly #log: Logger;
  #accounts = new Map<string, Account>();
  #bySid = new Map<Sid, User>();
  #seen = '';
  #timer: NodeJS.Timeout | undefined;

  /** Throws HoldfastError USERS if the folder cannot be read. */
  constructor(folder: string, clusterId: string, log: Logger) {
    this.#folder = folder;
    this.#clusterId = clusterId;
    this.#log = log;
    this.#read();
    if (this.#accounts.size === 0) log.warn({ folder }, 'there are no users: nobody can log on');
  }

  find(name: string): User | undefined {
    return this.#accounts.get(foldCase(name))?.user;
  }

  findBySid(sid: Sid): User | undefined {
    return this.#bySid.get(sid);
  }

  ntHashOf(name: string): Buffer | undefined {
    return this.#accounts.get(foldCase(name))?.ntHash;
  }

  /**
   * Looks for changes every 2 s: a mounted Secret is swapped as a whole, which inotify does not always tell.
   * @param changed told the names of those who have another password
   * @param removed told those of who is not there any more
   */
  watch(changed: (names: readonly string[]) => void, removed: (names: readonly string[]) => void): void {
    this.#timer = setInterval(() => {
      try {
        const before = this.#accounts;
        this.#read();
        if (before === this.#accounts) return;
        const { others, gone } = differing(before, this.#accounts);
        if (others.length > 0) changed(others);
        if (gone.length > 0) removed(gone);
      } catch (error) {
        this.#log.error({ err: error }, 'cannot read the users again: those known stay');
      }
    }, POLL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #read(): void {
    let names: string[];
    try {
      names = readdirSync(this.#folder)
        .filter((name) => !name.startsWith('.'))
        .sort();
    } catch (error) {
      throw new HoldfastError('USERS', `cannot read the users folder ${this.#folder}: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    const files = names.flatMap((name) => {
      const stat = statSync(join(this.#folder, name), { throwIfNoEntry: false });
      return stat?.isFile() ? [{ name, stat }] : [];
    });
    const seen = files.map(({ name, stat }) => `${name}:${stat.ino}:${stat.mtimeMs}:${stat.size}`).join('\n');
    if (seen === this.#seen) return;
    const accounts = new Map<string, Account>();
    for (const { name, stat } of files) {
      if (stat.size > MAX_FILE_SIZE) {
        this.#log.warn({ user: name }, `ignoring a user whose file has more than ${MAX_FILE_SIZE} bytes`);
        continue;
      }
      accounts.set(foldCase(name), this.#account(name, readFileSync(join(this.#folder, name), 'utf8')));
    }
    if (this.#seen !== '') this.#log.info({ users: accounts.size }, 'users were read again');
    this.#accounts = accounts;
    this.#bySid = new Map([...accounts.values()].map(({ user }) => [user.sid, user]));
    this.#seen = seen;
  }

  #account(name: string, content: string): Account {
    // Editors and `echo` end a file with a line feed that is no part of a password.
    const secret = content.replace(/\r?\n$/, '');
    const hash = NT_HASH.exec(secret)?.[1];
    const sid = userSid(this.#clusterId, name);
    return { user: { name, sid, token: userToken(sid) }, ntHash: hash ? Buffer.from(hash, 'hex') : ntHash(secret) };
  }
}

/** Names of those whom `after` knows with another password, and of those whom it does not know. */
function differing(
  before: ReadonlyMap<string, Account>,
  after: ReadonlyMap<string, Account>,
): { others: string[]; gone: string[] } {
  const namesOf = (is: (now: Account | undefined, then: Account) => boolean) =>
    [...before].flatMap(([key, account]) => (is(after.get(key), account) ? [account.user.name] : []));
  return {
    others: namesOf((now, then) => now !== undefined && !now.ntHash.equals(then.ntHash)),
    gone: namesOf((now) => now === undefined),
  };
}
