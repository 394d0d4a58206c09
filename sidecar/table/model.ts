import { Durability, type LockRange, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { LeaseState } from '../constants.ts';
import { ModelCaching, type ModelContention, type Presence } from './model-caching.ts';
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
  /** Whom its caching belongs to. */
  holder: string | undefined;
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
  /** 0 to 3: an oplock; 4: a lease. */
  oplock: number;
  lease: { key: string; state: number; epoch: number } | undefined;
  deleteOnClose: boolean;
  truncates: boolean;
  /** It has waited already. */
  again: boolean;
}

/** What an open may cache: the level (4: a lease), and of the lease state, epoch and whether it is being broken. */
export interface ModelCached {
  oplock: number;
  lease: { state: number; epoch: number; breaking: boolean } | undefined;
}

interface ModelFile {
  deletePending: boolean;
  unlinking: boolean;
  locks: LockRange[];
  caching: ModelCaching;
}

const NOTHING: ModelCached = { oplock: 0, lease: undefined };
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

  open(me: string, request: OpenRequest): { outcome: number } & ModelCached {
    const refused = (outcome: number) => ({ outcome, ...NOTHING });
    if (this.isFenced(me)) return refused(Outcome.FENCED);
    const file = this.#file(request.file);
    const { caching } = file;
    const others = this.#of(request.file);
    if (request.createGuid !== '' && others.some((other) => other.createGuid === request.createGuid)) {
      return refused(Outcome.DUPLICATE_OBJECTID);
    }
    if (file.unlinking || file.deletePending) return refused(Outcome.DELETE_PENDING);
    const clashes = others.filter((other) => conflict(other, request));
    // A resilient open is in the way of who cannot share it, whether its client is there or not.
    const isViolation = clashes.some((other) => this.#isActive(other) || other.durability === Durability.RESILIENT);
    const mine = request.lease && leaseId(request.lease.key);
    const contention = this.#contend(caching, mine, request, isViolation);
    if (contention?.waits) {
      for (const holder of contention.waitsFor) holder.wanted = true;
      return refused(Internal.BREAKING);
    }
    if (isPlain(request.access)) caching.unwanted(mine);
    if (isViolation) return refused(Outcome.SHARING_VIOLATION);
    // MS-SMB2 3.3.5.9: a persistent open whose client is away is in the way of everybody who wants the data or the name.
    const away = others.filter((other) => !this.#isActive(other));
    const isPersistentAway =
      arbitrates(request.access) && away.some((other) => other.durability === Durability.PERSISTENT);
    if (isPersistentAway || contention?.away) return refused(Internal.WAITING);
    const isDurableAway = clashes.some((other) => !this.#isActive(other) && other.durability === Durability.DURABLE);
    if (isDurableAway || contention?.purge) return refused(Internal.PURGE);
    const holder = this.#grant(file, others, request);
    const state = holder === undefined ? 0 : (caching.holders.get(holder)?.state ?? 0);
    const keepsDurability = request.durability !== Durability.DURABLE || (state & LeaseState.HANDLE) !== 0;
    const durability = keepsDurability ? request.durability : Durability.NOT_DURABLE;
    const { truncates: _, again: __, oplock: ___, lease: ____, ...fields } = request;
    const open = { ...fields, durability, owner: me, state: OpenState.ACTIVE, holder, version: 1 };
    this.opens.set(request.openId, open);
    return { outcome: Outcome.GRANTED, ...this.cachedBy(open) };
  }

  /** What an open may cache now. */
  cachedBy(open: ModelOpen): ModelCached {
    const holder = open.holder === undefined ? undefined : this.#file(open.file).caching.holders.get(open.holder);
    if (!holder) return NOTHING;
    const { state, epoch, to } = holder;
    if (holder.isLease) return { oplock: 4, lease: { state, epoch, breaking: to !== undefined } };
    return { oplock: levelOf(state), lease: undefined };
  }

  isReadCached(file: string): boolean {
    return this.#file(file).caching.readCached;
  }

  /** What an open takes from others; undefined: nothing (an open for attributes alone). */
  #contend(caching: ModelCaching, mine: string | undefined, request: OpenRequest, isViolation: boolean) {
    const { READ, HANDLE, WRITE } = LeaseState;
    if (isViolation) return caching.contend(mine, READ | WRITE, HANDLE, request.again);
    if (request.truncates) return caching.contend(mine, 0, WRITE, request.again);
    if (!isPlain(request.access)) return undefined;
    if (request.deleteOnClose) return caching.contend(mine, READ, HANDLE | WRITE, request.again);
    return caching.contend(mine, READ | HANDLE, WRITE, request.again);
  }

  /** @returns the holder that the open's caching belongs to */
  #grant(file: ModelFile, others: ModelOpen[], { openId, oplock, lease }: OpenRequest): string | undefined {
    const { caching } = file;
    const id = lease ? leaseId(lease.key) : `oplock ${openId}`;
    const rivals = others.filter(
      (other) =>
        other.holder !== id && isPlain(other.access) && (caching.holders.has(id) || !this.#endedWithOwner(other)),
    ).length;
    const grantable = (want: number) => caching.grantable(id, want, lease !== undefined, rivals, file.locks.length > 0);
    const fresh = { isLease: lease !== undefined, to: undefined, required: 0 };
    if (!lease) {
      if (oplock < 1 || oplock > 3) return undefined;
      const state = grantable(oplock === 1 ? 1 : oplock === 2 ? 5 : 7);
      if (state === 0) return undefined;
      caching.holders.set(id, { ...fresh, state, epoch: 0 });
      return id;
    }
    const want = (lease.state & LeaseState.READ) === 0 ? 0 : lease.state;
    const known = caching.holders.get(id);
    if (!known) caching.holders.set(id, { ...fresh, state: grantable(want), epoch: (lease.epoch + 1) % 65_536 });
    else if (known.to === undefined && !known.wanted && want !== known.state && (want & known.state) === known.state) {
      // All of what is asked for, or what there is.
      if (grantable(want) === want) {
        known.state = want;
        known.epoch = (known.epoch + 1) % 65_536;
      }
    }
    return id;
  }

  #endedWithOwner({ owner, durability }: ModelOpen): boolean {
    return durability === Durability.NOT_DURABLE && this.isFenced(owner);
  }

  /** A change of the file's data through an open (WRITE and its like). */
  breakReadCaching(me: string, file: string, openId: bigint): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const contention = this.#file(file).caching.contend(this.opens.get(openId)?.holder, 0, LeaseState.WRITE, false);
    return { outcome: outcomeOf(contention) };
  }

  /** @param cached undefined: not acknowledged in time */
  acknowledge(me: string, open: ModelOpen, cached: number | undefined): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const done = open.holder && this.#file(open.file).caching.acknowledge(open.holder, cached);
    if (!done) return { outcome: Outcome.NOT_FOUND };
    if (done === 'not breaking') return { outcome: Outcome.NOT_BREAKING };
    return { outcome: done === 'done' ? Outcome.GRANTED : Outcome.NOT_ACCEPTED };
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
    // MS-SMB2 3.3.7.1: a durable one waits while its handle is cached, and is not being asked for.
    const holder = open.holder === undefined ? undefined : this.#file(open.file).caching.holders.get(open.holder);
    const left = holder ? (holder.to ?? holder.state) : 0;
    if (open.durability === Durability.DURABLE && open.state === OpenState.ACTIVE && (left & LeaseState.HANDLE) === 0)
      return this.close(me, openId);
    open.state = OpenState.DISCONNECTED;
    this.#abandon(open);
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
      version: open.version + 1,
    });
    return { outcome: Outcome.GRANTED };
  }

  /** MS-SMB2 3.3.5.15.9 */
  makeResilient(me: string, openId: bigint): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const open = this.opens.get(openId);
    if (open?.owner !== me) return { outcome: Outcome.NOT_FOUND };
    if (open.durability !== Durability.PERSISTENT) open.durability = Durability.RESILIENT;
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
    Object.assign(open, { owner: to, state, version: version + 1 });
    this.#abandon(open);
    return { outcome: Outcome.GRANTED };
  }

  setDeletePending(me: string, openId: bigint, pending: boolean): { outcome: number } {
    if (this.isFenced(me)) return { outcome: Outcome.FENCED };
    const open = this.opens.get(openId);
    if (open?.owner !== me) return { outcome: Outcome.NOT_FOUND };
    const { READ, HANDLE, WRITE } = LeaseState;
    const { caching } = this.#file(open.file);
    const contention = pending && caching.contend(open.holder, READ | WRITE, HANDLE, false, ({ isLease }) => isLease);
    if (contention && outcomeOf(contention) !== Outcome.GRANTED) return { outcome: outcomeOf(contention) };
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
    const file = this.#file(open.file);
    const caching = file.caching.clone();
    const outcome = outcomeOf(caching.contend(open.holder, 0, 0, false));
    if (outcome !== Outcome.GRANTED) return { outcome };
    file.caching = caching;
    locks.push({ offset: range.offset, length: range.length, exclusive: range.exclusive, openId });
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
      const caching = new ModelCaching((holder) => this.#presence(name, holder));
      file = { deletePending: false, unlinking: false, locks: [], caching };
      this.#files.set(name, file);
    }
    return file;
  }

  /** Its client is there, through a server that lives. */
  #isActive(open: ModelOpen): boolean {
    return open.state === OpenState.ACTIVE && !this.isFenced(open.owner);
  }

  #presence(file: string, holder: string): Presence {
    const opens = this.#of(file).filter((open) => open.holder === holder);
    if (opens.some((open) => this.#isActive(open))) return 'here';
    if (opens.some(({ durability }) => durability >= Durability.PERSISTENT)) return 'persistent'; // or resilient
    return opens.some(({ durability }) => durability === Durability.DURABLE) ? 'durable' : 'gone';
  }

  /** A break whose client is not there any more is none: whoever waits for it finds that out. */
  #abandon(open: ModelOpen): void {
    const holder = open.holder === undefined ? undefined : this.#file(open.file).caching.holders.get(open.holder);
    const isThere = this.#of(open.file).some(
      (other) => other.holder === open.holder && other.state === OpenState.ACTIVE,
    );
    if (holder && !isThere) holder.to = undefined;
  }

  #end(open: ModelOpen): boolean {
    const file = this.#file(open.file);
    this.opens.delete(open.openId);
    const { holder } = open;
    if (holder !== undefined && !this.#of(open.file).some((other) => other.holder === holder)) {
      file.caching.holders.delete(holder);
    }
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

export const leaseId = (key: string): string => `lease ${key}`;

function levelOf(state: number): number {
  if (state === 0) return 0;
  if ((state & LeaseState.WRITE) === 0) return 1;
  return (state & LeaseState.HANDLE) === 0 ? 2 : 3;
}

function outcomeOf({ waits, away, purge }: ModelContention): number {
  if (waits) return Internal.BREAKING;
  return away ? Internal.WAITING : purge ? Internal.PURGE : Outcome.GRANTED;
}

/** For more than attributes (and more than KEEPS_FILE of scripts/common.lua). */
function isPlain(access: number): boolean {
  return (access & ~0x900180) !== 0;
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
