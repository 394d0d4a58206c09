import type { Logger } from '../../common/logging.ts';
import { inSlices } from '../../common/slices.ts';
import { Durability, type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../constants.ts';
import type { Member } from '../services/member.ts';
import { hex } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import type { OpenDecision, Table } from '../table/table.ts';

const LOOKING_UP_AT_ONCE = 256;
const RELEASE_TIMEOUT_MS = 10_000;

/** What a file server holds and what the table has for it: made the same again after a restart of the sidecar or of the store. */
export class Settling {
  readonly #table: Table;
  readonly #log: Logger;

  constructor(table: Table, log: Logger) {
    this.#table = table;
    this.#log = log;
  }

  /**
   * Compares what a file server holds with what the table has for it, after answers may have been lost: what only the table has is
   * closed, what has another owner by now is released (its sidecar died between the transfer and the release).
   * @param reported the file server told it to a sidecar that was started anew: an open may have left and come back since, and waits for
   * its client then; so ownership versions are compared too
   */
  async compare(member: Member, reported = false): Promise<void> {
    const owned = new Set<bigint>();
    for (let shard = 0; shard < SHARDS; shard++) {
      for await (const page of this.#table.owned(shard, member.owner)) {
        for (const { openId, fileId } of page) {
          owned.add(openId);
          if (!member.opens.has(openId)) await this.#endUnknown(member, fileId, openId);
        }
      }
    }
    await this.#releaseForeign(member, reported ? new Set() : owned);
  }

  async #endUnknown(member: Member, fileId: Buffer, openId: bigint): Promise<void> {
    const isKnown = () => member.opens.has(openId) || member.asking.has(openId);
    if (isKnown()) return;
    const { record } = await this.#table.find(member.identity, fileId, Buffer.alloc(0), openId);
    if (!record || isKnown()) return;
    if (member.askingGuids.has(hex(record.createGuid))) return; // it is what is being asked for again
    const isDurable = record.durability !== Durability.NOT_DURABLE;
    if (isDurable && record.state !== OpenState.ACTIVE) return; // came by a transfer, waits for its client
    this.#log.info(
      { openId: openId.toString(16), server: member.owner },
      'an open that its server does not know is closed',
    );
    const { outcome } = await this.#table.close(member.identity, fileId, openId);
    if (outcome === Outcome.GRANTED) this.#table.forget(record);
  }

  /** @param held opens that are known to be the server's still */
  async #releaseForeign(member: Member, held: ReadonlySet<bigint>): Promise<void> {
    const foreign: OpenRecord[] = [];
    const back: OpenDecision[] = [];
    const open = [...member.opens.values()].filter(({ record }) => !held.has(record.openId));
    await inSlices(open, LOOKING_UP_AT_ONCE, async ({ record }) => {
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
    const sessionIds = [...new Set(gone.map(({ sessionId }) => sessionId))].filter((id) => member.sessions.has(id));
    for (const openId of openIds) member.remove(openId);
    // It came by a transfer, and waits for its client.
    for (const { record, operation } of back) {
      if (record && openIds.includes(record.openId)) member.add(record, operation);
    }
    for (const sessionId of sessionIds) member.sessions.delete(sessionId);
    this.#log.info(
      { server: member.owner, opens: openIds.length, sessions: sessionIds.length },
      'opens that went to other servers are released',
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
    return isHeld ? undefined : found;
  }

  /** A handoff that died with its sidecar left sessions quiesced. Whoever wants the handles away asks again. */
  async resume(member: Member): Promise<void> {
    if (!member.draining) await member.stream?.ask({ $case: 'resume', value: { sessionIds: [] } }, RELEASE_TIMEOUT_MS);
  }
}
