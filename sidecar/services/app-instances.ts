import { reasonOf } from '../../common/errors.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { type AppInstanceVersion, type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { RETRY_MS } from '../constants.ts';
import { NOBODY } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import type { ApplicationOpen } from '../table/table.ts';
import type { Components } from './components.ts';
import type { Endings } from './endings.ts';
import type { Member } from './member.ts';
import { DROP_TIMEOUT_MS, type Ownership } from './ownership.ts';
import { peerOf } from './peer-of.ts';
import type { Pending } from './pending.ts';

/** Applications that move from client to client: the instance that comes last has the file (MS-SMB2 3.3.5.9.13). */
export class AppInstances {
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #ownership: Ownership;
  /** How long an owner may take that is neither reachable nor fenced yet. */
  readonly #patienceMs: number;

  constructor(components: Components, endings: Endings, ownership: Ownership) {
    this.#is = components;
    this.#endings = endings;
    this.#ownership = ownership;
    const { leaseDurationMs, writeSettleMs } = components.config.failover;
    this.#patienceMs = 2 * leaseDurationMs + writeSettleMs + 2000;
  }

  /**
   * Ends what other clients have open as the same instance, and asks the table until it has none of it: an owner may be fenced, move its
   * opens away or come back under another epoch meanwhile, and what this pod knows of it may be older than the table.
   * @returns GRANTED: the open may be asked for; or why not. What could not be ended in time stays in the way, and the share modes decide
   */
  async takeOver(member: Member, asked: OpenRecord, pending: Pending): Promise<number> {
    if (asked.appInstanceId.length !== 16) return Outcome.INVALID;
    const untilMs = monotonicMs() + this.#patienceMs;
    for (let isRepeated = false; ; isRepeated = true) {
      const { outcome, opens } = await this.#is.table.instances(member.identity, asked.fileId, asked.appInstanceId);
      if (outcome !== Outcome.GRANTED) return outcome;
      const earlier = opens.filter(({ record }) => isSameInstance(record, asked));
      if (earlier.some(({ record }) => isNotOlder(record.appInstanceVersion, asked.appInstanceVersion))) {
        return Outcome.FORCED_CLOSED;
      }
      if (earlier.length === 0) return Outcome.GRANTED;
      let ended = true;
      for (const open of earlier) ended = (await this.#end(member, open)) && ended;
      if (pending.cancelled) return Outcome.CANCELLED;
      if (monotonicMs() > untilMs) return Outcome.GRANTED;
      if (ended && !isRepeated) continue;
      pending.interim();
      await delay(RETRY_MS);
    }
  }

  /** @returns whether it is said to have ended: the table knows whether it has */
  async #end(member: Member, { record, isConnected }: ApplicationOpen): Promise<boolean> {
    const { fileId, openId } = record;
    const { cluster, peers, log } = this.#is;
    const owner = ownerOf(record);
    if (!isConnected || owner === NOBODY) {
      // Not yet where the last writes of its fenced server settle.
      return (await this.#endings.expire(member, fileId, openId, 'instance')) === 0;
    }
    const own = cluster.member(owner);
    if (own) {
      const { ok, reason } = await this.#ownership.closeForGood(own, fileId, openId);
      if (!ok) log.info({ owner, reason }, 'an earlier instance is not closed yet');
      return ok;
    }
    try {
      const server = await peerOf(this.#is, owner);
      if (!server) return false; // it is being fenced: the table will say so
      const request = { serverId: server.serverId, fileId: Buffer.from(fileId), openId, close: true };
      const { ok, reason } = await peers.call(server, (client) => client.letGo, request, DROP_TIMEOUT_MS + 1000);
      if (!ok) log.info({ owner, reason }, 'the owner keeps an earlier instance');
      return ok;
    } catch (error) {
      log.info({ owner, reason: reasonOf(error) }, 'the owner of an earlier instance cannot be asked');
      return false;
    }
  }
}

function isSameInstance(record: OpenRecord, asked: OpenRecord): boolean {
  return (
    record.appInstanceId.equals(asked.appInstanceId) &&
    !record.clientGuid.equals(asked.clientGuid) &&
    record.share.toLowerCase() === asked.share.toLowerCase()
  );
}

/** Only versions that both have are compared. */
function isNotOlder(one: AppInstanceVersion | undefined, other: AppInstanceVersion | undefined): boolean {
  if (!one || !other) return false;
  return one.high > other.high || (one.high === other.high && one.low >= other.low);
}
