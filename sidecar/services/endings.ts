import { reasonOf } from '../../common/errors.ts';
import { delay } from '../../common/time.ts';
import {
  type Close,
  type ClosedOpen,
  type CloseReply,
  Durability,
  type OpenRecord,
  OpenState,
  Outcome,
} from '../../proto/generated/handles.ts';
import { Understanding } from '../constants.ts';
import { StoreUnavailableError } from '../table/store-errors.ts';
import { type CloseDecision, type ExpiryReason, Internal, mayBeFleeting } from '../table/table.ts';
import type { Components } from './components.ts';
import type { Member } from './member.ts';

/** Between two tries to close an open while the store is away. */
const CLOSE_RETRY_MS = 200;

/** How opens end, whoever ends them: what the table decided is carried out and told to those it concerns. */
export class Endings {
  readonly #is: Components;
  /** Opens that are closed when the store is back. */
  readonly #later = new Set<bigint>();

  constructor(components: Components) {
    this.#is = components;
    components.breaks.purge = (member, fileId) => this.purge(member, fileId);
  }

  /** The client closed it. Where the store is away for too long its file server has forgotten it all the same, and it ends when the store is back. */
  async close(member: Member, fileId: Uint8Array, openId: bigint): Promise<{ outcome: number; close: CloseReply }> {
    try {
      return await this.#close(member, fileId, openId);
    } catch (error) {
      if (error instanceof StoreUnavailableError) void this.#closeLater(member, fileId, openId);
      throw error;
    }
  }

  /**
   * Many at once, that nobody waits for: one that fails keeps no other from being closed.
   * @param tell hears of each how it was decided
   * @returns FENCED where one of them was refused so; and those with something to say: not granted, or with a file to remove
   */
  async closeAll(
    member: Member,
    closes: readonly Close[],
    tell: (outcome: number) => void,
  ): Promise<{ outcome: number; closed: ClosedOpen[] }> {
    const closed: ClosedOpen[] = [];
    let all: number = Outcome.GRANTED;
    const one = async ({ fileId, openId }: Close): Promise<void> => {
      const { outcome, close } = await this.close(member, fileId, openId).catch((error: unknown) => {
        if (!(error instanceof StoreUnavailableError)) this.#is.log.error({ err: error }, 'closing an open failed');
        return { outcome: Outcome.STORE_UNAVAILABLE, close: undefined };
      });
      tell(outcome);
      if (outcome === Outcome.FENCED) all = Outcome.FENCED;
      if (outcome !== Outcome.GRANTED || close?.remove) closed.push({ openId, outcome: outcome as Outcome, close });
    };
    const together = this.#fleeting(member, closes);
    const alone = new Set(closes.map(({ openId }) => openId));
    for (const { openId } of together) alone.delete(openId);
    // At once: in the order in which they were asked for, ahead of what is asked for next.
    const ends = closes.filter(({ openId }) => alone.has(openId)).map(one);
    if (together.length > 0) {
      const left = await this.#closeFleeting(member, together, tell);
      ends.push(...left.map(one));
    }
    await Promise.all(ends);
    return { outcome: all, closed };
  }

  /** Those that may go with one decision; none, where one by one is no more work. */
  #fleeting(member: Member, closes: readonly Close[]): OpenRecord[] {
    const { table, cluster } = this.#is;
    if (cluster.understanding < Understanding.FLEETING || table.store.isCluster) return [];
    const records = closes.map(({ openId }) => member.opens.get(openId)?.record);
    const fleeting = records.filter((record) => record !== undefined && mayBeFleeting(record)) as OpenRecord[];
    return fleeting.length > 1 ? fleeting : [];
  }

  /** @returns those that are left to be closed one by one */
  async #closeFleeting(member: Member, records: readonly OpenRecord[], tell: (outcome: number) => void) {
    try {
      const { ended } = await this.#is.table.closeFleeting(member.identity, records);
      return records.filter((record, i) => {
        if (!ended[i]) return true;
        member.remove(record.openId);
        tell(Outcome.GRANTED);
        return false;
      });
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) this.#is.log.error({ err: error }, 'closing many opens failed');
      return records;
    }
  }

  async #closeLater(member: Member, fileId: Uint8Array, openId: bigint): Promise<void> {
    const { table, log } = this.#is;
    if (this.#later.has(openId)) return; // its file server asked again
    this.#later.add(openId);
    while (!member.over && !table.store.hasEnded) {
      await delay(CLOSE_RETRY_MS);
      try {
        const { close } = await this.#close(member, fileId, openId);
        this.#later.delete(openId);
        if (close.remove) await this.removeFile(member, fileId, close.share, close.path);
        return;
      } catch (error) {
        log.debug({ openId: openId.toString(16), reason: reasonOf(error) }, 'an open is not closed yet: trying again');
      }
    }
    this.#later.delete(openId);
  }

  async #close(member: Member, fileId: Uint8Array, openId: bigint): Promise<{ outcome: number; close: CloseReply }> {
    const record = member.opens.get(openId)?.record;
    const { table, cluster } = this.#is;
    const lasts = cluster.understanding < Understanding.FLEETING;
    const decision = await table.close(member.identity, fileId, openId, record, lasts);
    // Of one that was always here nobody else has heard.
    const isKept = record?.durability !== Durability.NOT_DURABLE && record?.ownershipVersion !== 1n;
    if (decision.outcome === Outcome.GRANTED && isKept) this.#is.ended.note(openId, fileId);
    return this.#ended(member, fileId, openId, decision);
  }

  /** The client's session is gone. */
  async disconnect(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    attachment: Buffer | undefined,
  ): Promise<{ outcome: number; close: CloseReply }> {
    const open = member.opens.get(openId);
    const decision = await this.#is.table.disconnect(member.identity, fileId, openId, attachment);
    if (open && decision.mayWaitTicks > 0) {
      open.record.state = OpenState.DISCONNECTED;
      if (attachment) open.record.attachment = attachment;
      if (decision.state) member.takeState(decision.state);
      this.#follow(fileId, decision);
      return { outcome: decision.outcome, close: decision.close };
    }
    const isGone = decision.outcome === Outcome.GRANTED || decision.outcome === Outcome.NOT_FOUND;
    if (open && isGone) void this.#is.table.forget(member.identity, open.record);
    const { outcome, close } = this.#ended(member, fileId, openId, decision);
    // It did not wait: the file server forgets it.
    return { outcome: outcome === Outcome.GRANTED ? Outcome.NOT_FOUND : outcome, close };
  }

  /**
   * An open that nobody waits for any more (expired, purged, ended with its server).
   * @param foundWith the identity whose opens it was found among; undefined: it was not looked for there
   * @returns ticks that it may still wait, 0 when there is nothing left to wait for
   */
  async expire(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    why: ExpiryReason,
    foundWith?: string,
  ): Promise<number> {
    const { table, cluster, metrics, log } = this.#is;
    const decision = await table.expire(member.identity, fileId, openId, why, foundWith);
    if (decision.outcome !== Outcome.GRANTED) return decision.mayWaitTicks;
    this.#is.ended.note(openId, fileId);
    if (why !== 'fenced' || decision.createGuid.length > 0) metrics.expired.inc();
    // Which of the two it was is not said.
    const { createGuid } = decision;
    void table.forget(member.identity, { durability: Durability.DURABLE, createGuid, openId });
    if (createGuid.length > 0) {
      void table.forget(member.identity, { durability: Durability.PERSISTENT, createGuid, openId });
    }
    this.#follow(fileId, decision);
    const owner = cluster.member(decision.owner);
    if (owner) {
      const open = owner.remove(openId);
      if (open) {
        await owner.stream
          ?.ask({ $case: 'dropOpen', value: { fileId: Buffer.from(fileId), openId } }, 10_000)
          .catch((error: unknown) =>
            log.info({ err: error, openId: openId.toString(16) }, 'expired open not dropped yet'),
          );
      }
    } else if (cluster.mayLive(decision.owner)) {
      const server = [...cluster.servers].find((s) => `${s.serverId}@${s.epoch}` === decision.owner);
      if (server) {
        await this.#is.peers
          .call(server, (c) => c.letGo, { serverId: server.serverId, fileId: Buffer.from(fileId), openId }, 1000)
          .catch(() => {});
      }
    }
    if (decision.close.remove) await this.removeFile(member, fileId, decision.close.share, decision.close.path);
    return 0;
  }

  /** Ends the disconnected durable opens of a file: somebody else needs what they hold (MS-SMB2 3.3.4.6, 3.3.4.7). */
  async purge(member: Member, fileId: Uint8Array): Promise<void> {
    const { openIds } = await this.#is.table.purgeable(member.identity, fileId);
    for (const openId of openIds) {
      await this.expire(member, fileId, openId, 'purge');
    }
  }

  /** Unlinks a delete-pending file whose last open ended without its client: a custodian's duty. Tried again by the clock. */
  async removeFile(member: Member, fileId: Uint8Array, share: string, path: string): Promise<void> {
    const { table, log } = this.#is;
    try {
      const answer = await member.stream?.ask(
        { $case: 'removeFile', value: { fileId: Buffer.from(fileId), share, path } },
        30_000,
      );
      if (answer?.ok) await table.gone(member.identity, fileId, 'gone');
    } catch (error) {
      log.warn({ err: error, share }, 'a file that was to be deleted is still there; it is tried again');
    }
  }

  #ended(member: Member, fileId: Uint8Array, openId: bigint, decision: CloseDecision) {
    // It went to another server, and with it the hint that leads there: only this server forgets it.
    if (decision.outcome === Internal.ELSEWHERE) {
      member.remove(openId);
      return { outcome: Outcome.NOT_FOUND, close: decision.close };
    }
    if (decision.outcome === Outcome.GRANTED || decision.outcome === Outcome.NOT_FOUND) {
      member.remove(openId);
      if (decision.state && member.hasFile(fileId)) member.takeState(decision.state);
    }
    this.#follow(fileId, decision);
    return { outcome: decision.outcome, close: decision.close };
  }

  /** Nobody waits for these: fewer locks and less caching harm nobody who hears of it late. */
  #follow(fileId: Uint8Array, decision: CloseDecision): void {
    const { delivery } = this.#is;
    if (decision.state && decision.push.length > 0) void delivery.pushState(decision.state, decision.push);
    if (decision.wake.length > 0) delivery.wake(fileId, decision.wake);
  }
}
