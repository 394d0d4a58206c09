import { Durability, type LockRange, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { Internal } from './table.ts';

/**
 * The table's decisions once more, as plainly as they can be said: lists of opens and locks, no counts, no keys, nothing packed. Used by
 * the property tests, which ask script and model the same and compare; nowhere else.
 */
export interface ModelOpen {
  openId: bigint;
  file: string;
  owner: string;
  state: OpenState;
  access: number;
  shareAccess: number;
  durability: Durability;
  createGuid: string;
  user: string;
  sessionId: bigint;
  oplock: number;
  deleteOnClose: boolean;
  version: number;
}

export interface OpenRequest {
  openId: bigint;
  file: string;
  access: number;
  shareAccess: number;
  durability: Durability;
  createGuid: string;
  user: string;
  sessionId: bigint;
  oplock: number;
  deleteOnClose: boolean;
  truncates: boolean;
}

interface ModelFile {
  deletePending: boolean;
  unlinking: boolean;
  locks: LockRange[];
}

const NOBODY = '-';

export class Model {
  readonly opens = new Map<bigint, ModelOpen>();
  readonly #files = new Map<string, ModelFile>();
  readonly #fenced = new Set<string>();

  fence(owner: string): void {
    this.#fenced.add(owner);
  }

  isFenced(owner: string): boolean {
    return this.#fenced.has(owner);
  }

  locksOf(file: string): LockRange[] {
    return this.#files.get(file)?.locks ?? [];
  }

  open(me: string, request: OpenRequest): { outcome: number; oplock: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED, oplock: 0 };
    const file = this.#file(request.file);
    const others = this.#of(request.file);
    if (request.createGuid !== '' && others.some((other) => other.createGuid === request.createGuid)) {
      return { outcome: Outcome.DUPLICATE_OBJECTID, oplock: 0 };
    }
    if (file.unlinking || file.deletePending) return { outcome: Outcome.DELETE_PENDING, oplock: 0 };
    const clashes = others.filter((other) => conflict(other, request));
    if (clashes.some((other) => this.#isActive(other))) return { outcome: Outcome.SHARING_VIOLATION, oplock: 0 };
    // MS-SMB2 3.3.5.9: a persistent open whose client is away is in the way of everybody who wants the data or the name.
    const away = others.filter((other) => !this.#isActive(other));
    if (arbitrates(request.access) && away.some((other) => other.durability === Durability.PERSISTENT)) {
      return { outcome: Internal.WAITING, oplock: 0 };
    }
    if (clashes.some((other) => !this.#isActive(other) && other.durability === Durability.DURABLE)) {
      return { outcome: Internal.PURGE, oplock: 0 };
    }
    let broken = false;
    if (request.truncates) broken = this.#breakCaching(request.file);
    const granted = request.oplock >= 1 && request.oplock <= 3 && file.locks.length === 0 && !broken ? 1 : 0;
    const { truncates: _, ...fields } = request;
    this.opens.set(request.openId, { ...fields, owner: me, state: OpenState.ACTIVE, oplock: granted, version: 1 });
    return { outcome: Outcome.GRANTED, oplock: granted };
  }

  close(me: string, openId: bigint): { outcome: number; remove: boolean } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED, remove: false };
    const open = this.opens.get(openId);
    if (!open) return { outcome: Outcome.NOT_FOUND, remove: false };
    if (open.owner !== me) return { outcome: Internal.ELSEWHERE, remove: false };
    return { outcome: Outcome.GRANTED, remove: this.#end(open) };
  }

  disconnect(me: string, openId: bigint): { outcome: number; remove: boolean } {
    const open = this.opens.get(openId);
    if (this.isFenced(me) || open?.owner !== me || open.durability === Durability.NOT_DURABLE)
      return this.close(me, openId);
    open.state = OpenState.DISCONNECTED;
    open.oplock = 0;
    return { outcome: Outcome.GRANTED, remove: false };
  }

  reclaim(
    me: string,
    request: { openId: bigint; createGuid: string; user: string; persistent: boolean; sessionId: bigint },
  ): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const open = this.opens.get(request.openId);
    if (!open || open.durability === Durability.NOT_DURABLE || open.createGuid !== request.createGuid) {
      return { outcome: Outcome.NOT_FOUND };
    }
    if ((open.durability === Durability.PERSISTENT) !== request.persistent) return { outcome: Outcome.NOT_FOUND };
    if (open.user !== request.user) return { outcome: Outcome.ACCESS_DENIED };
    if (open.owner === me && open.state === OpenState.ACTIVE) {
      return { outcome: open.sessionId === request.sessionId ? Outcome.GRANTED : Internal.ELSEWHERE };
    }
    if (open.owner !== me && open.owner !== NOBODY && !this.isFenced(open.owner))
      return { outcome: Internal.ELSEWHERE };
    Object.assign(open, {
      owner: me,
      state: OpenState.ACTIVE,
      sessionId: request.sessionId,
      oplock: 0,
      version: open.version + 1,
    });
    return { outcome: Outcome.GRANTED };
  }

  /** @param to another server, or "-": released */
  letGo(me: string, openId: bigint, version: number, to: string): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    if (to !== NOBODY && this.isFenced(to)) return { outcome: Outcome.INVALID };
    const open = this.opens.get(openId);
    if (!open) return { outcome: Outcome.NOT_FOUND };
    if (open.owner === to && open.version === version + 1) return { outcome: Outcome.GRANTED };
    if (open.owner !== me || open.version !== version || open.durability === Durability.NOT_DURABLE)
      return { outcome: Internal.STALE };
    const state = to === NOBODY ? OpenState.RELEASED : OpenState.DISCONNECTED;
    Object.assign(open, { owner: to, state, oplock: 0, version: version + 1 });
    return { outcome: Outcome.GRANTED };
  }

  setDeletePending(me: string, openId: bigint, pending: boolean): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const open = this.opens.get(openId);
    if (open?.owner !== me) return { outcome: Outcome.NOT_FOUND };
    this.#file(open.file).deletePending = pending;
    return { outcome: Outcome.GRANTED };
  }

  fileGone(me: string, file: string): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const open = this.#of(file).some(
      (other) => other.durability !== Durability.NOT_DURABLE || !this.isFenced(other.owner),
    );
    if (open && !this.#file(file).unlinking) return { outcome: Outcome.NOT_FOUND };
    this.#files.delete(file);
    for (const other of this.#of(file)) this.opens.delete(other.openId);
    return { outcome: Outcome.GRANTED };
  }

  /** MS-SMB2 3.3.5.14: one element, which is all that the property needs. */
  lock(
    me: string,
    openId: bigint,
    range: { offset: bigint; length: bigint; exclusive: boolean; unlock: boolean },
  ): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const open = this.opens.get(openId);
    if (open?.owner !== me || open.state !== OpenState.ACTIVE) return { outcome: Outcome.NOT_FOUND };
    const { locks } = this.#file(open.file);
    if (range.unlock) {
      const mine = locks.filter((l) => l.openId === openId && l.offset === range.offset && l.length === range.length);
      const held = mine.find((l) => l.exclusive) ?? mine[0];
      if (!held) return { outcome: Outcome.RANGE_NOT_LOCKED };
      locks.splice(locks.indexOf(held), 1);
      return { outcome: Outcome.GRANTED };
    }
    for (const held of locks) {
      const apart = held.offset >= range.offset + range.length || range.offset >= held.offset + held.length;
      const bothShared = !held.exclusive && !range.exclusive;
      const stacked = held.openId === openId && held.exclusive && !range.exclusive;
      if (!apart && !bothShared && !stacked) return { outcome: Outcome.LOCK_NOT_GRANTED };
    }
    locks.push({ offset: range.offset, length: range.length, exclusive: range.exclusive, openId });
    this.#breakCaching(open.file);
    return { outcome: Outcome.GRANTED };
  }

  /** A custodian ends what ended with its fenced owner. */
  endWithOwner(openId: bigint): boolean {
    const open = this.opens.get(openId);
    if (!open || !this.isFenced(open.owner) || open.durability !== Durability.NOT_DURABLE) return false;
    this.#end(open);
    return true;
  }

  #of(file: string): ModelOpen[] {
    return [...this.opens.values()].filter((open) => open.file === file);
  }

  #file(name: string): ModelFile {
    let file = this.#files.get(name);
    if (!file) {
      file = { deletePending: false, unlinking: false, locks: [] };
      this.#files.set(name, file);
    }
    return file;
  }

  /** Its client is there, through a server that lives. */
  #isActive(open: ModelOpen): boolean {
    return open.state === OpenState.ACTIVE && !this.isFenced(open.owner);
  }

  #breakCaching(file: string): boolean {
    let told = false;
    for (const open of this.#of(file)) {
      if (open.oplock === 0) continue;
      open.oplock = 0;
      if (!this.isFenced(open.owner)) told = true;
    }
    return told;
  }

  #end(open: ModelOpen): boolean {
    const file = this.#file(open.file);
    this.opens.delete(open.openId);
    file.locks = file.locks.filter((lock) => lock.openId !== open.openId);
    if (open.deleteOnClose) file.deletePending = true;
    if (this.#of(open.file).length > 0) return false;
    if (!file.deletePending) {
      this.#files.delete(open.file);
      return false;
    }
    file.unlinking = true;
    return true;
  }
}

function kinds(access: number): boolean[] {
  return [(access & 0x21) !== 0, (access & 0x6) !== 0, (access & 0x10000) !== 0];
}

function arbitrates(access: number): boolean {
  return kinds(access).some(Boolean);
}

/** MS-FSA 2.1.5.1.2.2: what one wants and the other does not share, either way round. */
function conflict(a: { access: number; shareAccess: number }, b: { access: number; shareAccess: number }): boolean {
  if (keepsFile(a.access) && deletes(b.access)) return true;
  if (keepsFile(b.access) && deletes(a.access)) return true;
  if (!arbitrates(a.access) || !arbitrates(b.access)) return false;
  const denies = (wants: number, shares: number) =>
    kinds(wants).some((wanted, i) => wanted && (shares & (1 << i)) === 0);
  return denies(a.access, b.shareAccess) || denies(b.access, a.shareAccess);
}

/** The open stands for one of a stream that does not share deleting (scripts/common.lua, KEEPS_FILE). */
const keepsFile = (access: number): boolean => (access & 0x80_0000) !== 0;
const deletes = (access: number): boolean => (access & 0x1_0000) !== 0;
