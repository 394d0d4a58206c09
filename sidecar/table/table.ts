import {
  type CloseReply,
  Durability,
  type FileState,
  type LockElement,
  type OpenRecord,
  OpenState,
  Outcome,
  type Reclaim,
} from '../../proto/generated/handles.ts';
import type { RunOptions } from './asked.ts';
import {
  bytesId,
  hex,
  type Identity,
  idBytes,
  identityText,
  type Keys,
  NOBODY,
  parseIdentity,
  shardOf,
  shardOfId,
} from './keys.ts';
import { type Answer, type Argument, type Arguments, Packer } from './packed.ts';
import {
  type Awaited,
  bodyOf,
  bytesAt,
  listAt,
  lockArguments,
  type Notice,
  numberAt,
  operationOf,
  rangeArguments,
  readAwaited,
  readFileState,
  readLease,
  readNotices,
  readRecord,
  textAt,
} from './records.ts';
import type { ScriptName } from './scripts.ts';
import { cachesReads, grantedAlone, holderVersion, packSoleOpen, stateOfSole } from './sole-open.ts';
import type { Store } from './store.ts';
import { StoreUnavailableError } from './store-errors.ts';

/** Answers of scripts that are the sidecar's to act on and never reach a file server. */
export const Internal = { WAITING: 101, PURGE: 102, ELSEWHERE: 103, SETTLING: 104, STALE: 105, BREAKING: 107 } as const;
/** So many opens that leave take Redis about as long as one decision of another kind. */
const LEAVING_AS_ONE = 4;
/** The same for those that end, alone on their files. */
const ENDING_AS_ONE = 2;
/** Who speaks for opens that nobody owns. */
const RELEASED_BY: Identity = { serverId: NOBODY, epoch: 0 };

/** Breaks that a decision brought: whom to tell, and for which acknowledgements the operation waits (outcome BREAKING). */
export interface Contention {
  notices: Notice[];
  awaited: Awaited[];
}

export interface OpenDecision extends Contention {
  outcome: number;
  record?: OpenRecord;
  operation: number;
  state?: FileState;
  /** Identities of servers that must take the file state before the grant is answered. */
  push: string[];
}

export interface CloseDecision {
  outcome: number;
  close: CloseReply;
  push: string[];
  /** Identities of servers whose waiting lock requests may be granted now. */
  wake: string[];
  state?: FileState;
  /** Of `expire`: ticks that the orphan may still wait, 0 when it is none. Of `disconnect`: 1 when it waits for its client. */
  mayWaitTicks: number;
  /** Of `expire`: what was ended. */
  createGuid: Buffer;
  clientGuid: Buffer;
  owner: string;
}

/** Why an open may be ended that its client has not closed: see expire.lua. */
export type ExpiryReason = 'due' | 'fenced' | 'purge' | 'instance';

/** An open that may be one of an instance of an application. */
export interface ApplicationOpen {
  record: OpenRecord;
  isConnected: boolean;
}

export interface LockDecision {
  outcome: number;
  state?: FileState;
  notices: Notice[];
  push: string[];
  wake: string[];
  sequences: Buffer;
}

export interface BreakDecision extends Contention {
  outcome: number;
  state?: FileState;
}

export interface AckDecision {
  outcome: number;
  /** What is cached now, as the state of a lease. */
  cached: number;
  epoch: number;
  notices: Notice[];
  wake: string[];
  state?: FileState;
}

export interface SessionDecision {
  outcome: number;
  owner: string;
  standing: string;
}

/** The open table: one script call a decision, arguments in, decision out. What follows from a decision is the caller's. */
export class Table {
  readonly keys: Keys;
  readonly #store: Store;
  readonly #waitMs: number;

  /** @param waitMs how long a decision may wait for the store */
  constructor(store: Store, keys: Keys, waitMs: number) {
    this.#store = store;
    this.keys = keys;
    this.#waitMs = waitMs;
  }

  get store(): Store {
    return this.#store;
  }

  /**
   * Grants or refuses record (open.lua). The hint where a durable open is found goes ahead of it in the same turn.
   * @param how.mayBeFleeting every sidecar that may decide knows fleeting records: where no other needs it, and nothing of it has to outlast the
   * store's process, the open's record is one
   */
  open(
    me: Identity,
    record: OpenRecord,
    how: { truncates: boolean; again: boolean; guidAgain: boolean; mayBeFleeting?: boolean },
    onLate?: (decision: OpenDecision) => void,
  ): Promise<OpenDecision> {
    const { lease, durability, createGuid } = record;
    const alone = grantedAlone(record, me);
    const parts = packer.list(21).text(me.serverId).argument(me.epoch).id(record.openId);
    packSoleOpen(parts, alone, identityText(me));
    parts
      .bytes(createGuid.length > 0 ? Buffer.concat([createGuid, record.clientGuid]) : NO_BYTES)
      .argument(cachesReads(alone) ? 1 : 0)
      .argument(durability)
      .argument(record.oplock)
      .argument(lease?.state ?? 0)
      .argument(lease?.epoch ?? 0)
      .argument(lease?.version ?? 0)
      .bytes(lease?.parentKey ?? NO_BYTES)
      .text(flag(how.truncates))
      .text(flag(record.isDirectory))
      .text(flag(how.again))
      .text(flag(how.guidAgain))
      .text(flag(record.kept === true))
      .text(flag(how.mayBeFleeting === true && mayBeFleeting(record)));
    const args = parts.take();
    const read = (answer: Answer) => readGrant(answer, me, record, alone);
    const options: RunOptions = { waitMs: this.#waitMs };
    if (durability !== 0) options.hint = this.#hint(record);
    if (onLate) options.onLate = (answer) => onLate(read(answer));
    const decided = this.#onFile('open', me, record.fileId, args, options, shardOfId(record.openId)).then(read);
    return options.hint ? decided.then((decision) => this.#unhinted(me, record, decision)) : decided;
  }

  /** A decision on an open that may have a hint which leads nowhere now. */
  async #unhinted(me: Identity, asked: OpenRecord, decision: OpenDecision): Promise<OpenDecision> {
    if (decision.record?.durability !== asked.durability) await this.#unhint(me, asked, decision);
    return decision;
  }

  /** @returns with the owner, where it is elsewhere, and the path that a server that is lost was giving the file ('': none) */
  async reclaim(
    me: Identity,
    fileId: Uint8Array,
    request: Reclaim,
  ): Promise<OpenDecision & { owner: string; renamingTo: string }> {
    const answer = await this.#file('reclaim', me, fileId, [
      idBytes(request.openId),
      asBuffer(request.createGuid),
      asBuffer(request.clientGuid),
      request.user,
      flag(request.persistent),
      asBuffer(request.leaseKey),
      idBytes(request.sessionId),
      request.share,
    ]);
    if (answer[0] === Internal.ELSEWHERE) {
      const owner = textAt(answer, 1);
      return { outcome: Internal.ELSEWHERE, owner, renamingTo: '', ...NO_BREAKS, push: [], operation: 0 };
    }
    const notices = readNotices(listAt(answer, 3));
    return { ...this.#readOpen(answer, fileId), notices, owner: '', renamingTo: textAt(answer, 4) };
  }

  async find(me: Identity, fileId: Uint8Array, guids: Uint8Array, openId: bigint): Promise<OpenDecision> {
    return this.#readOpen(await this.#file('find', me, fileId, [asBuffer(guids), idBytes(openId)]), fileId);
  }

  /** Which file the persistent open with this CreateGuid, or the durable one with this id, may be an open of. */
  async hinted(open: { createGuid: Uint8Array } | { openId: bigint }): Promise<Buffer | undefined> {
    const key = 'createGuid' in open ? this.keys.create(open.createGuid) : this.keys.durable(open.openId);
    const answer = await this.#store.run('hint', [storeOf(key), key], ['', ''], { waitMs: this.#waitMs });
    const fileId = bytesAt(answer, 1);
    return fileId.length > 0 ? fileId : undefined;
  }

  /**
   * Reads from a shard past the scripts. That something is not there counts only where nothing was being put back meanwhile: a store that
   * has just come back empty answers too, before anybody has heard that it is another.
   * @throws StoreUnavailableError when the shards were not open all the time
   */
  async asLeft<T>(shard: number, look: () => Promise<T>): Promise<T> {
    const { opening } = this.#store;
    const found = await look();
    const key = this.keys.store(shard);
    if (opening !== undefined) await this.#store.run('hint', [key, key], ['', ''], { waitMs: this.#waitMs });
    if (opening === undefined || this.#store.opening !== opening) {
      throw new StoreUnavailableError('look', 'its state was being put back');
    }
    return found;
  }

  /**
   * @param known the open, where its owner knows it; the hint that leads to it goes with it
   * @param lasts its record lasts, also where it could be fleeting: what it holds is compared
   */
  async close(
    me: Identity,
    fileId: Uint8Array,
    openId: bigint,
    known?: OpenRecord,
    lasts = false,
  ): Promise<CloseDecision> {
    const options: RunOptions = { waitMs: this.#waitMs, repeatedAt: 3 };
    const isCompared = known !== undefined && (lasts || !mayBeFleeting(known));
    packer
      .list(isCompared ? 8 : 5)
      .text(me.serverId)
      .argument(me.epoch)
      .id(openId)
      .text('0');
    if (isCompared) {
      // Whatever is said of deleting the file: such an open does not end by going away.
      packSoleOpen(packer, known.deleteOnClose ? { ...known, deleteOnClose: false } : known, identityText(me));
      if (hasHint(known)) options.forget = this.#hintKey(known);
    } else {
      packer.text('');
    }
    const answer = await this.#onFile('close', me, fileId, packer.take(), options, shardOfId(openId));
    const decision = readClose(answer, fileId);
    if (decision.outcome === Outcome.NOT_FOUND && known) void this.forget(me, known);
    return decision;
  }

  /**
   * Ends those of the opens that are alone on their files with records that are fleeting (close-all.lua): for a store that is one process.
   * @param opens of `me`, at least one
   * @returns GRANTED and which of them have ended, in their order; or why none may
   */
  async closeFleeting(me: Identity, opens: readonly OpenRecord[]): Promise<{ outcome: number; ended: boolean[] }> {
    packer
      .list(2 + 3 * opens.length)
      .text(me.serverId)
      .argument(me.epoch);
    for (const { fileId, openId } of opens) {
      packer
        .text(this.keys.prefix(shardOfId(openId)))
        .text(hex(fileId))
        .id(openId);
    }
    const options = { waitMs: this.#waitMs, weight: Math.ceil(opens.length / ENDING_AS_ONE) };
    const { fileId, openId } = opens[0] as OpenRecord;
    const answer = await this.#onFile('close-all', me, fileId, packer.take(), options, shardOfId(openId));
    const ended = opens.map(() => answer[0] === Outcome.GRANTED);
    for (const place of listAt(answer, 1)) ended[Number(place) - 1] = false;
    return { outcome: numberAt(answer, 0), ended };
  }

  /** @param attachment undefined: as it was */
  async disconnect(me: Identity, fileId: Uint8Array, openId: bigint, attachment?: Uint8Array): Promise<CloseDecision> {
    const args = [idBytes(openId), '0', asBuffer(attachment ?? NO_BYTES)];
    return readClose(await this.#file('disconnect', me, fileId, args, { repeatedAt: 3 }, shardOfId(openId)), fileId);
  }

  /** @param foundWith the identity whose opens it was found among; undefined: it was not looked for there */
  async expire(
    me: Identity,
    fileId: Uint8Array,
    openId: bigint,
    why: ExpiryReason,
    foundWith?: string,
  ): Promise<CloseDecision> {
    return readClose(await this.#file('expire', me, fileId, [idBytes(openId), why, foundWith ?? '']), fileId);
  }

  /**
   * Forgets where a durable open was, unless `me` was fenced (unhint.lua). A hint that stays does no harm.
   * @returns GRANTED, FENCED, or STORE_UNAVAILABLE: it may have been forgotten
   */
  async forget(me: Identity, record: Pick<OpenRecord, 'durability' | 'createGuid' | 'openId'>): Promise<number> {
    if (!hasHint(record)) return Outcome.GRANTED;
    const key = this.#hintKey(record);
    const fence = storeOf(key).replace(/:store$/, ':fence');
    const args = [me.serverId, me.epoch];
    const asked = this.#store.run('unhint', [storeOf(key), fence, key], args, { waitMs: this.#waitMs });
    return asked.then(
      (answer) => numberAt(answer, 0),
      () => Outcome.STORE_UNAVAILABLE,
    );
  }

  /** @returns undefined when a range leaves the 64-bit space */
  async lock(
    me: Identity,
    fileId: Uint8Array,
    openId: bigint,
    operation: number,
    sequence: { index: number; number: number },
    elements: LockElement[],
    wait: boolean,
    onLate?: (decision: LockDecision) => void,
  ): Promise<LockDecision> {
    const ranges = lockArguments(elements);
    if (!ranges) return { outcome: Outcome.INVALID, notices: [], push: [], wake: [], sequences: NO_BYTES };
    const args = [idBytes(openId), operation, sequence.index, sequence.number, flag(wait), elements.length, ...ranges];
    const read = (answer: Answer): LockDecision => ({
      outcome: numberAt(answer, 0),
      ...(answer.length > 1 ? { state: readFileState(listAt(answer, 1), fileId) } : {}),
      notices: readNotices(listAt(answer, 2)),
      push: readTexts(listAt(answer, 3)),
      wake: readTexts(listAt(answer, 4)),
      sequences: bytesAt(answer, 5),
    });
    return read(await this.#file('lock', me, fileId, args, onLate && { onLate: (answer) => onLate(read(answer)) }));
  }

  /** What servers must know of a file (state.lua). 'drop': the open gives up what it caches. */
  async state(me: Identity, fileId: Uint8Array, what: 'look' | 'drop', openId: bigint): Promise<BreakDecision> {
    return readBreak(await this.#file('state', me, fileId, [what, idBytes(openId)]), fileId);
  }

  /**
   * Others may keep only the bits in `keep` of what they cache; whoever has one of those in `waitFor` gives it up first.
   * @param change.openId that the change comes through, 0n: none; or, of a directory, the lease that it comes with
   */
  async breakCaching(
    me: Identity,
    fileId: Uint8Array,
    change: { openId: bigint; lease?: Uint8Array },
    how: { keep: number; waitFor: number; again: boolean },
  ): Promise<BreakDecision> {
    const by = change.lease ? asBuffer(change.lease) : NO_BYTES;
    const args = ['break', idBytes(change.openId), how.keep, how.waitFor, flag(how.again), by];
    return readBreak(await this.#file('state', me, fileId, args), fileId);
  }

  /**
   * A break comes to its end (ack.lua).
   * @param cached the state acknowledged; undefined: it was not, in time
   * @param number the break that this is about; 0: the one under way
   */
  async acknowledge(
    me: Identity,
    fileId: Uint8Array,
    holder: Buffer,
    cached: number | undefined,
    number: number,
  ): Promise<AckDecision> {
    const answer = await this.#file('ack', me, fileId, [holder, cached ?? -1, number]);
    return {
      outcome: numberAt(answer, 0),
      cached: numberAt(answer, 1),
      epoch: numberAt(answer, 5),
      notices: readNotices(listAt(answer, 2)),
      wake: readTexts(listAt(answer, 3)),
      ...(answer.length > 1 ? { state: readFileState(listAt(answer, 4), fileId) } : {}),
    };
  }

  async change(
    me: Identity,
    fileId: Uint8Array,
    openId: bigint,
    what: 'deletePending' | 'deleteOnClose' | 'attachment' | 'resilient' | 'beginRename' | 'endRename',
    value: Argument,
    again = false,
  ): Promise<{ outcome: number; deletePending: boolean } & Contention> {
    const answer = await this.#file('change', me, fileId, [idBytes(openId), what, value, flag(again)]);
    return {
      outcome: numberAt(answer, 0),
      deletePending: numberAt(answer, 1) === 1,
      notices: readNotices(listAt(answer, 2)),
      awaited: readAwaited(listAt(answer, 3)),
    };
  }

  async gone(me: Identity, fileId: Uint8Array, what: 'gone' | 'replace' | 'keep'): Promise<number> {
    return numberAt(await this.#file('gone', me, fileId, [what]), 0);
  }

  /** Is the file being removed, and by which name? */
  async unlinking(me: Identity, fileId: Uint8Array): Promise<{ share: string; path: string } | undefined> {
    const answer = await this.#file('gone', me, fileId, ['look']);
    return answer[0] === Outcome.GRANTED ? { share: textAt(answer, 1), path: textAt(answer, 2) } : undefined;
  }

  /** Opens of a file that may belong to an instance of an application, without their locks. */
  async instances(
    me: Identity,
    fileId: Uint8Array,
    appInstanceId: Uint8Array,
  ): Promise<{ outcome: number; opens: ApplicationOpen[] }> {
    const answer = await this.#file('instances', me, fileId, [asBuffer(appInstanceId)]);
    const opens = answer.slice(1).map((pair) => ({
      record: readRecord(listAt(pair as Answer, 0), fileId, []),
      isConnected: numberAt(pair as Answer, 1) === 1,
    }));
    return { outcome: numberAt(answer, 0), opens };
  }

  /** An open becomes resilient: from now on its client may come back for it. */
  async resilient(me: Identity, fileId: Uint8Array, openId: bigint, timeoutMs: number): Promise<number> {
    await this.#store.read((connection) => connection.set(this.keys.durable(openId), asBuffer(fileId)), this.#waitMs);
    return (await this.change(me, fileId, openId, 'resilient', timeoutMs)).outcome;
  }

  /** Durable opens of a file that are without their client. */
  async purgeable(me: Identity, fileId: Uint8Array): Promise<{ outcome: number; openIds: bigint[] }> {
    const answer = await this.#file('purge', me, fileId, []);
    return { outcome: numberAt(answer, 0), openIds: listAt(answer, 1).map((id) => bytesId(id as Buffer)) };
  }

  /**
   * Hands opens of one shard over (let-go.lua). @param to an identity, or undefined: released
   * @returns the outcome per open, in the order given; one outcome alone when the call as a whole was refused
   */
  async letGo(me: Identity, shard: number, opens: OpenRecord[], to: string | undefined): Promise<number[] | number> {
    const keys = [
      this.keys.store(shard),
      this.keys.fence(shard),
      this.keys.file(shard, ''),
      this.keys.own(shard, identityText(me)),
      this.keys.due(shard),
    ];
    packer.list(opens.length * 3);
    for (const { openId, ownershipVersion, fileId } of opens) {
      packer.bytes(idBytes(openId)).number(Number(ownershipVersion)).text(hex(fileId));
    }
    const args: Argument[] = [me.serverId, me.epoch, to ?? NOBODY, packer.take()];
    const options = { waitMs: this.#waitMs, weight: Math.ceil(opens.length / LEAVING_AS_ONE) };
    const answer = await this.#store.run('let-go', keys, args, options);
    if (answer[0] !== Outcome.GRANTED) return numberAt(answer, 0);
    const outcomes = listAt(answer, 1);
    return opens.map((_, i) => numberAt(outcomes, i));
  }

  /**
   * Puts an open back while its shard is closed (restore.lua). @param me its owner; undefined: it was released @param how.isStale the store may be older than what is remembered @param how.isReported its file server said it, after
   * its sidecar was started anew: the table may know more of its locks
   */
  async restore(
    me: Identity | undefined,
    record: OpenRecord,
    operation: number,
    fileVersion: bigint,
    how: { isStale: boolean; isReported?: boolean },
  ): Promise<number> {
    const locks: Argument[] = [];
    for (const lock of record.locks) locks.push(flag(lock.exclusive), ...(rangeArguments(lock) ?? [0, 0, 0, 0]));
    const args: Argument[] = [
      idBytes(record.openId),
      record.access,
      record.shareAccess,
      record.durability,
      record.timeoutMs,
      asBuffer(record.createGuid),
      asBuffer(record.clientGuid),
      record.user,
      idBytes(record.sessionId),
      record.state,
      asBuffer(record.lease?.key ?? NO_BYTES),
      flag(record.deleteOnClose),
      record.share,
      record.path,
      asBuffer(record.attachment),
      bodyOf(record),
      Number(record.ownershipVersion),
      operation,
      asBuffer(record.lockSequences),
      flag(record.deletePending),
      Number(fileVersion),
      record.oplock,
      record.lease?.state ?? 0,
      record.lease?.epoch ?? 0,
      holderVersion(record),
      asBuffer(record.lease?.parentKey ?? NO_BYTES),
      record.locks.length,
      ...locks,
      flag(how.isStale),
      flag(how.isReported === true),
    ];
    return numberAt(
      await this.#file('restore', me ?? RELEASED_BY, record.fileId, args, {
        whileClosed: true,
        hint: this.#hint(record),
      }),
      0,
    );
  }

  /** Nobody may put this open back any more, and where somebody has, it ends (ended.lua); while its shard is closed. */
  async ended(fileId: Uint8Array, openId: bigint): Promise<number> {
    return numberAt(await this.#file('ended', RELEASED_BY, fileId, [idBytes(openId)], { whileClosed: true }), 0);
  }

  /** Ends an open of ours that only a store which went back in time knows, while its shard is closed (forget.lua). */
  async forgetClosed(me: Identity, fileId: Uint8Array, openId: bigint): Promise<number> {
    return numberAt(await this.#file('forget', me, fileId, [idBytes(openId)], { whileClosed: true }), 0);
  }

  async name(
    me: Identity,
    what: 'reserve' | 'resume' | 'drop' | 'leave',
    directoryId: Uint8Array,
    name: string,
    token: string,
    onLate?: (outcome: number) => void,
  ): Promise<{ outcome: number; elsewhere: boolean }> {
    const { shard, key } = this.keys.directory(directoryId);
    const late = onLate && { onLate: (answer: Answer) => onLate(numberAt(answer, 0)) };
    const answer = await this.#plain('name', me, shard, [key], [what, name, token], late);
    return { outcome: numberAt(answer, 0), elsewhere: numberAt(answer, 1) === 1 };
  }

  /** Puts a name back that is reserved, while its shard is closed. @returns NAME_BUSY where another server was given it */
  async restoreName(me: Identity, directoryId: Uint8Array, name: string, token: string): Promise<number> {
    const { shard, key } = this.keys.directory(directoryId);
    return numberAt(await this.#plain('name', me, shard, [key], ['restore', name, token], { whileClosed: true }), 0);
  }

  async session(
    me: Identity,
    what: 'store' | 'look' | 'end',
    sessionId: bigint,
    user = '',
    clientGuid: Uint8Array = NO_BYTES,
  ): Promise<SessionDecision> {
    const { shard, key } = this.keys.session(sessionId);
    const answer = await this.#plain('session', me, shard, [key], [what, user, asBuffer(clientGuid)]);
    return { outcome: numberAt(answer, 0), owner: textAt(answer, 1), standing: textAt(answer, 2) };
  }

  /** Puts a session of a live server back, while its shard is closed. */
  async restoreSession(me: Identity, sessionId: bigint, user: string, clientGuid: Uint8Array): Promise<number> {
    const { shard, key } = this.keys.session(sessionId);
    const args = [user, asBuffer(clientGuid)];
    return numberAt(await this.#plain('restore-session', me, shard, [key], args, { whileClosed: true }), 0);
  }

  /** Advances a shard's clock; the entries due come to whoever advanced it. */
  async tick(
    me: Identity,
    shard: number,
    seen: number,
    limit: number,
  ): Promise<{ outcome: number; tick: number; due: Buffer[] }> {
    const answer = await this.#plain('tick', me, shard, [this.keys.due(shard)], [String(seen), limit]);
    return { outcome: numberAt(answer, 0), tick: numberAt(answer, 1), due: listAt(answer, 2) as Buffer[] };
  }

  /** An entry of "due" is seen again after so many ticks, or done with (undefined). */
  async again(me: Identity, shard: number, entry: Buffer, afterTicks: number | undefined): Promise<void> {
    await this.#plain('tick', me, shard, [this.keys.due(shard)], ['0', 0, entry, afterTicks ?? -1]);
  }

  async fence(
    shard: number,
    server: Identity,
    what: 'enter' | 'reenter' | 'settle' | 'fence',
    node: 'lost' | 'alive',
    replaced = 0,
  ): Promise<void> {
    await this.#store.run(
      'fence',
      [this.keys.fence(shard), this.keys.due(shard)],
      [server.serverId, server.epoch, what, node === 'lost' ? 'n' : 'a', replaced],
      { waitMs: this.#waitMs, whileClosed: true },
    );
  }

  /** Forgets a fenced server of which nothing waits in this shard any more (forget-fence.lua). @returns GRANTED, WAITING, STALE or FENCED */
  async forgetFence(me: Identity, shard: number, server: Identity): Promise<number> {
    const own = this.keys.own(shard, identityText(server));
    return numberAt(
      await this.#plain('forget-fence', me, shard, [this.keys.due(shard), own], [server.serverId, server.epoch]),
      0,
    );
  }

  /** Identities of the servers whose orphans in this shard are not all seen to (fence.lua). */
  async orphaned(shard: number): Promise<string[]> {
    const fields = await this.#store.data.hkeys(this.keys.fence(shard));
    return fields.filter((field) => parseIdentity(field) !== undefined);
  }

  /** Members of what an identity owns in a shard, a page at a time: open id and file id. */
  async *owned(shard: number, identity: string): AsyncGenerator<{ openId: bigint; fileId: Buffer }[]> {
    const key = this.keys.own(shard, identity);
    let cursor = '0';
    do {
      const [next, members] = await this.#store.data.sscanBuffer(key, cursor, 'COUNT', 500);
      cursor = next.toString();
      if (members.length > 0) yield members.map(readMember);
    } while (cursor !== '0');
  }

  /** Which of some opens of a shard an identity owns, in their order. @throws StoreUnavailableError */
  async owns(shard: number, identity: string, opens: readonly OpenRecord[]): Promise<boolean[]> {
    const members = opens.map(({ openId, fileId }) => Buffer.concat([idBytes(openId), Buffer.from(hex(fileId))]));
    const found = await this.asLeft(shard, () =>
      this.#store.read((connection) => connection.smismember(this.keys.own(shard, identity), members), this.#waitMs),
    );
    return found.map((one) => one === 1);
  }

  /** Where the open is going to be; the truth is in the file's record. */
  #hint(record: OpenRecord): { key: string; value: Buffer } {
    return { key: this.#hintKey(record), value: asBuffer(record.fileId) };
  }

  /**
   * What was not granted cannot be asked for: unless the CreateGuid is that of another open, which the hint leads to as well. Nor is it
   * known of one who was fenced: it may have been granted at first, when the answer was lost.
   */
  async #unhint(me: Identity, asked: OpenRecord, { outcome }: OpenDecision): Promise<void> {
    if (outcome === Outcome.FENCED) return;
    if (outcome === Outcome.DUPLICATE_OBJECTID && asked.durability === Durability.PERSISTENT) return;
    const forgotten = this.forget(me, asked);
    // Nothing of it may be under way when the CREATE is answered: its client may ask for the same elsewhere, and be granted it.
    if (outcome !== Outcome.GRANTED) await forgotten;
  }

  #hintKey({ durability, createGuid, openId }: Pick<OpenRecord, 'durability' | 'createGuid' | 'openId'>): string {
    return durability === Durability.PERSISTENT && createGuid.length > 0
      ? this.keys.create(createGuid)
      : this.keys.durable(openId);
  }

  #file(
    script: ScriptName,
    me: Identity,
    fileId: Uint8Array,
    args: Argument[],
    options?: Partial<RunOptions>,
    shard = shardOf(fileId),
  ): Promise<Answer> {
    const all: Argument[] = [me.serverId, me.epoch, ...args];
    return this.#onFile(script, me, fileId, all, { waitMs: this.#waitMs, ...options }, shard);
  }

  #onFile(
    script: ScriptName,
    me: Identity,
    fileId: Uint8Array,
    args: Arguments,
    options: RunOptions,
    shard: number,
  ): Promise<Answer> {
    const keys = this.keys.ofFile(shard, fileId, me === RELEASED_BY ? NOBODY : identityText(me));
    return this.#store.run(script, keys, args, options);
  }

  #plain(
    script: ScriptName,
    me: Identity,
    shard: number,
    keys: string[],
    args: Argument[],
    options?: Pick<RunOptions, 'onLate' | 'whileClosed'>,
  ): Promise<Answer> {
    return this.#store.run(
      script,
      [this.keys.store(shard), this.keys.fence(shard), ...keys],
      [me.serverId, me.epoch, ...args],
      { waitMs: this.#waitMs, ...options },
    );
  }

  #readOpen(answer: Answer, fileId: Uint8Array): OpenDecision {
    const outcome = numberAt(answer, 0);
    if (outcome !== Outcome.GRANTED || answer.length < 3) return { outcome, ...NO_BREAKS, push: [], operation: 0 };
    const state = readFileState(listAt(answer, 2), fileId);
    const flat = listAt(answer, 1);
    return {
      outcome,
      record: readRecord(flat, fileId, state.locks),
      operation: operationOf(flat),
      state,
      ...NO_BREAKS,
      push: [],
    };
  }
}

/** Whether an open ends with its server, and whoever needs it can put it back: its record need not outlast the store's process. */
export function mayBeFleeting({ durability, createGuid, deleteOnClose }: OpenRecord): boolean {
  return durability === Durability.NOT_DURABLE && createGuid.length === 0 && !deleteOnClose;
}

/** Something may lead to an open that was durable once, or has a CreateGuid. */
function hasHint({ durability, createGuid }: Pick<OpenRecord, 'durability' | 'createGuid'>): boolean {
  return durability !== Durability.NOT_DURABLE || createGuid.length > 0;
}

/** What open.lua answers: the record is as it was asked for, save for what the table decides. */
function readGrant(answer: Answer, me: Identity, asked: OpenRecord, alone: OpenRecord): OpenDecision {
  const outcome = numberAt(answer, 0);
  if (outcome === Outcome.GRANTED && answer.length === 2) {
    const state = stateOfSole(alone, BigInt(numberAt(answer, 1)));
    return { outcome, record: alone, state, ...NO_BREAKS, push: [], operation: 0 };
  }
  const notices = readNotices(listAt(answer, 4));
  if (outcome !== Outcome.GRANTED) {
    return { outcome, notices, awaited: readAwaited(listAt(answer, 5)), push: [], operation: 0 };
  }
  const record: OpenRecord = {
    ...asked,
    owner: { serverId: me.serverId, epoch: BigInt(me.epoch) },
    ownershipVersion: 1n,
    state: OpenState.ACTIVE,
    oplock: numberAt(answer, 1) as OpenRecord['oplock'],
    lease: asked.lease && readLease(asked.lease.key, listAt(answer, 6)),
    durability: numberAt(answer, 7) as OpenRecord['durability'],
    deletePending: numberAt(answer, 2) === 1,
    locks: [],
    lockSequences: NO_BYTES,
  };
  const state = readFileState(listAt(answer, 3), asked.fileId);
  return {
    outcome,
    record,
    state,
    notices,
    awaited: [],
    push: readTexts(listAt(answer, 5)),
    operation: 0,
  };
}

const NO_BYTES = Buffer.alloc(0);

const packer = new Packer();

/** The key that says under which store a shard's state was written, for any key of that shard. */
function storeOf(key: string): string {
  return `${key.slice(0, key.indexOf('}') + 1)}:store`;
}
const NO_BREAKS: Contention = { notices: [], awaited: [] };

function readBreak(answer: Answer, fileId: Uint8Array): BreakDecision {
  return {
    outcome: numberAt(answer, 0),
    ...(answer.length > 1 ? { state: readFileState(listAt(answer, 1), fileId) } : {}),
    notices: readNotices(listAt(answer, 2)),
    awaited: readAwaited(listAt(answer, 3)),
  };
}

/** Members of "own" and "due" that name an open: 8 bytes of open id, then the file id in hexadecimal. */
export function readMember(member: Buffer): { openId: bigint; fileId: Buffer } {
  return { openId: bytesId(member), fileId: Buffer.from(member.subarray(8).toString('latin1'), 'hex') };
}

/** The shard of an open, from its id. */
export function shardOfOpen(record: OpenRecord): number {
  return shardOfId(record.openId);
}

function readClose(answer: Answer, fileId: Uint8Array): CloseDecision {
  const outcome = numberAt(answer, 0);
  // Nobody else had the file open: there is nothing more to say.
  if (answer.length === 1) return { outcome, ...NOTHING_FOLLOWS, close: { remove: false, share: '', path: '' } };
  return {
    outcome,
    close: { remove: numberAt(answer, 1) === 1, share: textAt(answer, 2), path: textAt(answer, 3) },
    push: readTexts(listAt(answer, 4)),
    wake: readTexts(listAt(answer, 5)),
    ...(answer.length > 6 ? { state: readFileState(listAt(answer, 6), fileId) } : {}),
    mayWaitTicks: numberAt(answer, 7),
    createGuid: bytesAt(answer, 8),
    clientGuid: bytesAt(answer, 9),
    owner: textAt(answer, 10),
  };
}

const NOTHING_FOLLOWS = { push: [], wake: [], mayWaitTicks: 0, createGuid: NO_BYTES, clientGuid: NO_BYTES, owner: '' };

function readTexts(list: Answer): string[] {
  return list.map((_, i) => textAt(list, i));
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function flag(value: boolean): string {
  return value ? '1' : '0';
}
