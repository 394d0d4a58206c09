import { reasonOf } from '../../common/errors.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { type OpenRecord, OpenReply, OpenState, Outcome, type Reclaim } from '../../proto/generated/handles.ts';
import { RETRY_MS } from '../constants.ts';
import { parseIdentity } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import { Internal } from '../table/table.ts';
import type { Components } from './components.ts';
import type { Endings } from './endings.ts';
import type { Member } from './member.ts';
import type { Pending } from './pending.ts';

const SETTLE_RETRY_MS = 10;
/** How long the file server may take to end the I/O of an open that it lets go. */
export const DROP_TIMEOUT_MS = 10_000;
/** A client that goes to another server may be there before its old one has heard that the connection is gone. */
const NOTICE_MS = 500;
const NOT_DROPPED = { ok: false, reason: 'the file server did not let go in time' };
const RECLAIMED_HERE = { ok: false, reason: 'its client is getting it back here' };

/** Opens that change their owner one by one: a client came to another server than the one that has its open. */
export class Ownership {
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #patienceMs: number;
  readonly #confirmAlive: (member: Member) => Promise<boolean>;

  /** @param confirmAlive whether a file server of this pod lives; one that does not is fenced when this returns false */
  constructor(components: Components, endings: Endings, confirmAlive: (member: Member) => Promise<boolean>) {
    this.#confirmAlive = confirmAlive;
    this.#is = components;
    this.#endings = endings;
    const { leaseDurationMs, writeSettleMs } = components.config.failover;
    this.#patienceMs = 2 * leaseDurationMs + writeSettleMs + 2000;
  }

  /** A client wants its open back (MS-SMB2 3.3.5.9.7, 3.3.5.9.12), wherever it was. */
  async reclaim(member: Member, request: Reclaim, pending: Pending): Promise<{ outcome: number; reply?: OpenReply }> {
    member.asking.add(request.openId);
    const result = await this.#reclaim(member, request, pending).finally(() => member.asking.delete(request.openId));
    this.#is.metrics.reclaims.labels(resultLabel(result.outcome)).inc();
    return result;
  }

  async #reclaim(member: Member, request: Reclaim, pending: Pending): Promise<{ outcome: number; reply?: OpenReply }> {
    const { table } = this.#is;
    const fileId = await table.hinted(request.persistent ? request : { openId: request.openId });
    if (!fileId) return { outcome: Outcome.NOT_FOUND };
    const beganMs = monotonicMs();
    const untilMs = beganMs + this.#patienceMs;
    let letGoBy: string | undefined;
    for (;;) {
      const decision = await table.reclaim(member.identity, fileId, request);
      if (decision.outcome === Outcome.GRANTED && decision.record && decision.state) {
        member.add(decision.record, decision.operation);
        const fileState = member.takeState(decision.state);
        if (decision.notices.length > 0) void this.#is.breaks.begin(fileId, decision.notices);
        const { record, renamingTo } = decision;
        if (letGoBy !== undefined) await this.#is.custodians.hadBack(record, letGoBy);
        return { outcome: Outcome.GRANTED, reply: OpenReply.create({ record, fileState, renamingTo }) };
      }
      if (pending.cancelled) return { outcome: Outcome.CANCELLED };
      if (decision.outcome === Internal.ELSEWHERE) {
        const refusal = await this.#askOwner(decision.owner, fileId, request.openId);
        if (refusal === undefined) letGoBy = decision.owner;
        if (refusal !== undefined && monotonicMs() > beganMs + NOTICE_MS) return { outcome: refusal };
      } else if (decision.outcome !== Internal.SETTLING) {
        return { outcome: decision.outcome };
      }
      if (monotonicMs() > untilMs) return { outcome: Outcome.FILE_NOT_AVAILABLE };
      pending.interim();
      await delay(decision.outcome === Internal.SETTLING ? SETTLE_RETRY_MS : RETRY_MS / 5);
    }
  }

  /** @returns what to answer the client, or undefined: try the reclaim again */
  async #askOwner(owner: string, fileId: Uint8Array, openId: bigint): Promise<number | undefined> {
    const { cluster, peers, log } = this.#is;
    const own = cluster.member(owner);
    if (own) {
      const { ok } = await this.letGo(own, fileId, openId, true);
      return ok ? undefined : Outcome.FILE_NOT_AVAILABLE;
    }
    const identity = parseIdentity(owner);
    const server = identity && cluster.server(identity.serverId);
    if (!server || !cluster.mayLive(owner)) {
      await delay(RETRY_MS); // being fenced, or this pod's view is older than the table
      return undefined;
    }
    try {
      const request = { serverId: server.serverId, fileId: Buffer.from(fileId), openId };
      const reply = await peers.call(server, (client) => client.letGo, request, DROP_TIMEOUT_MS + 1000);
      if (reply.ok) return undefined;
      log.info({ owner, openId: openId.toString(16), reason: reply.reason }, 'the owner keeps the open');
      return Outcome.FILE_NOT_AVAILABLE;
    } catch (error) {
      // Out of reach: until it is fenced, it owns the open.
      log.info({ owner, reason: reasonOf(error) }, 'the owner of an open cannot be asked');
      await delay(RETRY_MS);
      return undefined;
    }
  }

  /**
   * Lets go of an open for which there is no session here any more: its file server forgets it, then the table says released.
   * Refused while a live session holds it.
   * @param isForOwn its client asks for it at this same server
   */
  async letGo(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    isForOwn = false,
  ): Promise<{ ok: boolean; reason: string }> {
    const open = member.opens.get(openId);
    if (!open) return this.#letGoUnknown(member, fileId, openId, isForOwn);
    const { record } = open;
    if (record.state === OpenState.ACTIVE && member.sessions.has(record.sessionId)) {
      if (!(await this.#confirmAlive(member))) return { ok: true, reason: '' };
      return { ok: false, reason: 'its session is alive here' };
    }
    if (member.unfinished.has(openId)) return { ok: false, reason: 'a change through it has not returned' };
    return member.inTurn(open, async () => {
      // Its client may be getting it back here at this moment, or have got it.
      const now = member.opens.get(openId);
      if (member.asking.has(openId, isForOwn) || (now && now.record !== record)) return RECLAIMED_HERE;
      const dropped = await this.#drop(member, record);
      if (!dropped) return NOT_DROPPED;
      const outcomes = await this.#is.custodians.release(member, [record]);
      const outcome = typeof outcomes === 'number' ? outcomes : (outcomes[0] ?? 0);
      if (outcome === Outcome.GRANTED || outcome === Outcome.NOT_FOUND || outcome === Internal.STALE) {
        // While the file server dropped it, its client may have got it back here: then the table found another version.
        const held = member.opens.get(openId);
        if (held && held.record !== record) return RECLAIMED_HERE;
        member.remove(openId);
        return { ok: true, reason: '' };
      }
      return { ok: false, reason: `the table answered ${outcome}` };
    });
  }

  /** Ends an open though its client is there: its file server forgets it, then the table, and the file goes if it is to be deleted. */
  async closeForGood(member: Member, fileId: Uint8Array, openId: bigint): Promise<{ ok: boolean; reason: string }> {
    const open = member.opens.get(openId);
    if (!open) {
      return this.#dropUnknown(member, fileId, openId, () => this.#close(member, fileId, openId));
    }
    return member.inTurn(open, async () => {
      if (!(await this.#drop(member, open.record))) return NOT_DROPPED;
      await this.#close(member, fileId, openId);
      return { ok: true, reason: '' };
    });
  }

  async #close(member: Member, fileId: Uint8Array, openId: bigint): Promise<void> {
    const { close } = await this.#endings.close(member, fileId, openId);
    if (close.remove) await this.#endings.removeFile(member, fileId, close.share, close.path);
  }

  /** The table says it is ours and we know nothing of it: what the file server does not hold may be released. */
  #letGoUnknown(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    isForOwn: boolean,
  ): Promise<{ ok: boolean; reason: string }> {
    const release = async (record: OpenRecord) => {
      if (record.durability === 0) await this.#endings.close(member, fileId, openId);
      else await this.#is.custodians.release(member, [record]);
    };
    return this.#dropUnknown(member, fileId, openId, release, isForOwn);
  }

  /** @param then what becomes of it when the file server does not hold it (any more) */
  async #dropUnknown(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    then: (record: OpenRecord) => Promise<unknown>,
    isForOwn = false,
  ): Promise<{ ok: boolean; reason: string }> {
    if (member.reportsExpected > 0) return { ok: false, reason: 'its opens are still being reported' };
    const found = await this.#is.table.find(member.identity, fileId, Buffer.alloc(0), openId);
    if (!found.record || ownerOf(found.record) !== member.owner) return { ok: true, reason: '' };
    // The table gave it to a client here a moment ago; the answer is on its way.
    if (member.asking.has(openId, isForOwn) || member.opens.has(openId)) return RECLAIMED_HERE;
    if (!(await this.#drop(member, found.record))) return NOT_DROPPED;
    await then(found.record);
    return { ok: true, reason: '' };
  }

  async #drop(member: Member, record: OpenRecord): Promise<boolean> {
    if (member.over) return true;
    try {
      const value = { fileId: record.fileId, openId: record.openId };
      const answer = await member.stream?.ask({ $case: 'dropOpen', value }, DROP_TIMEOUT_MS);
      return member.over || answer?.ok === true;
    } catch (error) {
      this.#is.log.info({ err: error, openId: record.openId.toString(16) }, 'an open was not let go');
      return member.over;
    }
  }
}

function resultLabel(outcome: number): string {
  if (outcome === Outcome.GRANTED) return 'granted';
  if (outcome === Outcome.NOT_FOUND) return 'not_found';
  if (outcome === Outcome.ACCESS_DENIED) return 'access_denied';
  if (outcome === Outcome.FILE_NOT_AVAILABLE) return 'not_available';
  return 'other';
}
