import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { inSlices } from '../../common/slices.ts';
import { delay } from '../../common/time.ts';
import { Durability, type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../constants.ts';
import type { Member, OwnOpen } from '../services/member.ts';
import { hex, shardOf } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import type { OpenDecision, Table } from '../table/table.ts';

const LOOKING_UP_AT_ONCE = 256;
const RELEASE_TIMEOUT_MS = 10_000;
const RETRY_MS = 200;
/** Opens of a file server that are looked at in one turn, and how many of these that wait for their client are looked up. */
const PASSED_AT_ONCE = 20_000;
const WAITING_AT_ONCE = 2000;

/** What a file server holds and what the table has for it: made the same again after a restart of the sidecar or of the store. */
export class Settling {
  readonly #table: Table;
  readonly #log: Logger;
  /** Where the turn through the opens of a file server has got to. */
  readonly #turns = new WeakMap<Member, Iterator<OwnOpen>>();

  constructor(table: Table, log: Logger) {
    this.#table = table;
    this.#log = log;
  }

  /**
   * All that a file server holds was reported to a sidecar that was started anew: compared with what the table has, until that is done, or
   * the file server is over, or its stream breaks: then it reports again.
   */
  async settle(member: Member): Promise<void> {
    const { reporting } = member;
    const isDue = () => !member.over && member.stream !== undefined && member.reporting === reporting;
    for (let tries = 0; isDue(); tries++) {
      try {
        await this.compare(member, true);
        if (!isDue()) return;
        await this.#resume(member);
        if (isDue()) member.hasSettled();
        return;
      } catch (error) {
        const fields = { server: member.owner, reason: reasonOf(error) };
        if (tries === 0) this.#log.warn(fields, 'what a file server holds does not fit the table yet');
        await delay(RETRY_MS);
      }
    }
  }

  /** Opens that a file server reports, and that nobody here knows: what the table does not have as its own is released. */
  async compareSome(member: Member, opens: readonly OwnOpen[]): Promise<void> {
    await this.#releaseForeign(member, opens);
  }

  /**
   * Compares what a file server holds with what the table has for it, after answers may have been lost: what only the table has is
   * closed, what has another owner by now is released (its sidecar died between the transfer and the release).
   * @param isInDoubt each open is looked up, also where it stands among the owner's: the file server told them to a sidecar that was started
   * anew, and one may have left and come back since, and waits for its client then; or they were not put back, and their records are void
   */
  async compare(member: Member, isInDoubt = false): Promise<void> {
    const owned = new Set<bigint>();
    for (let shard = 0; shard < SHARDS; shard++) {
      for await (const page of this.#table.owned(shard, member.owner)) {
        for (const { openId, fileId } of page) {
          owned.add(openId);
          if (!member.opens.has(openId)) await this.#endUnknown(member, fileId, openId);
        }
      }
    }
    const opens = [...member.opens.values()];
    await this.#releaseForeign(member, isInDoubt ? opens : opens.filter(({ record }) => !owned.has(record.openId)));
  }

  /**
   * An open that waits for its client may end, or go, and nobody tells its owner: a call did not get through, or the word that it came here
   * was late, when its client had been here already and closed it. Some of them are looked up, the next ones the next time; what the
   * table does not have any more is forgotten, or it would be put back into a store that lost its data.
   */
  async forgetEnded(member: Member): Promise<void> {
    const byShard = new Map<number, OwnOpen[]>();
    for (const open of this.#nextWaiting(member)) {
      const shard = shardOf(open.record.fileId);
      byShard.set(shard, [...(byShard.get(shard) ?? []), open]);
    }
    const doubtful: OwnOpen[] = [];
    for (const [shard, opens] of byShard) {
      const records = opens.map(({ record }) => record);
      const owned = await this.#table.owns(shard, member.owner, records);
      doubtful.push(...opens.filter((_, i) => !owned[i]));
    }
    await this.#releaseForeign(member, doubtful);
  }

  #nextWaiting(member: Member): OwnOpen[] {
    const turn = this.#turns.get(member) ?? member.opens.values();
    this.#turns.set(member, turn);
    const waiting: OwnOpen[] = [];
    for (let passed = 0; passed < PASSED_AT_ONCE && waiting.length < WAITING_AT_ONCE; passed++) {
      const next = turn.next();
      if (next.done) {
        this.#turns.delete(member);
        break;
      }
      if (next.value.record.state !== OpenState.ACTIVE) waiting.push(next.value);
    }
    return waiting;
  }

  async #endUnknown(member: Member, fileId: Buffer, openId: bigint): Promise<void> {
    const isKnown = () => member.opens.has(openId) || member.asking.has(openId);
    if (isKnown()) return;
    const { record } = await this.#table.find(member.identity, fileId, Buffer.alloc(0), openId);
    if (isKnown()) return;
    if (!record) {
      // A copy of the store may name one that was closed: its close was told to none.
      await this.#table.close(member.identity, fileId, openId);
      return;
    }
    if (member.askingGuids.has(hex(record.createGuid))) return; // it is what is being asked for again
    const isDurable = record.durability !== Durability.NOT_DURABLE;
    if (isDurable && record.state !== OpenState.ACTIVE) return; // came by a transfer, waits for its client
    this.#log.info(
      { openId: openId.toString(16), server: member.owner },
      'an open that its server does not know is closed',
    );
    const { outcome } = await this.#table.close(member.identity, fileId, openId);
    if (outcome === Outcome.GRANTED) void this.#table.forget(member.identity, record);
  }

  /** @param doubtful opens that may not be the server's any more: each is looked up once more */
  async #releaseForeign(member: Member, doubtful: readonly OwnOpen[]): Promise<void> {
    const foreign: OpenRecord[] = [];
    const back: OpenDecision[] = [];
    await inSlices(doubtful, LOOKING_UP_AT_ONCE, async ({ record }) => {
      const found = await this.#leftOf(member, record);
      if (!found) return;
      foreign.push(record);
      if (found.record && ownerOf(found.record) === member.owner) back.push(found);
    });
    // From here to the command nothing waits: a client that gets its open back here meanwhile has another record, or is answered later.
    const gone = foreign.filter(({ openId }) => !member.asking.has(openId));
    const openIds = gone
      .filter((record) => member.opens.get(record.openId)?.record === record)
      .map(({ openId }) => openId);
    if (openIds.length === 0) return;
    // A session that has given an open back, which waits for its client, lives on.
    const held = gone.filter(({ state }) => state === OpenState.ACTIVE).map(({ sessionId }) => sessionId);
    const sessionIds = [...new Set(held)].filter((id) => member.sessions.has(id));
    for (const openId of openIds) member.remove(openId);
    // It came by a transfer, and waits for its client.
    for (const { record, operation } of back) {
      if (record && openIds.includes(record.openId)) member.add(record, operation);
    }
    for (const sessionId of sessionIds) member.sessions.delete(sessionId);
    this.#log.info(
      { server: member.owner, opens: openIds.length, sessions: sessionIds.length },
      'opens that ended or went to other servers are released',
    );
    await member.stream?.ask({ $case: 'release', value: { openIds, sessionIds } }, RELEASE_TIMEOUT_MS);
  }

  /** What the table has of an open that is not the one that the file server holds any more; undefined: it is, as far as is known. */
  async #leftOf(member: Member, record: OpenRecord): Promise<OpenDecision | undefined> {
    const { openId, fileId, ownershipVersion } = record;
    if (member.asking.has(openId)) return undefined;
    const found = await this.#table.find(member.identity, fileId, Buffer.alloc(0), openId);
    // FENCED and the like say nothing about the open.
    if (found.outcome !== Outcome.GRANTED && found.outcome !== Outcome.NOT_FOUND) return undefined;
    const isHeld =
      found.record && ownerOf(found.record) === member.owner && found.record.ownershipVersion <= ownershipVersion;
    if (!isHeld) return found;
    const open = member.opens.get(openId);
    if (open?.record === record && found.record) member.learn(open, found.record, found.operation);
    return undefined;
  }

  /** A handoff that died with its sidecar left sessions quiesced. Whoever wants the handles away asks again. */
  async #resume(member: Member): Promise<void> {
    if (!member.draining) await member.stream?.ask({ $case: 'resume', value: { sessionIds: [] } }, RELEASE_TIMEOUT_MS);
  }
}
