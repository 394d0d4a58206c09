import { reasonOf } from '../../common/errors.ts';
import { type AppInstanceVersion, type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { identityText } from '../table/keys.ts';
import type { ApplicationOpen } from '../table/table.ts';
import type { Components } from './components.ts';
import type { Endings } from './endings.ts';
import type { Member } from './member.ts';
import { DROP_TIMEOUT_MS, type Ownership } from './ownership.ts';

/** Applications that move from client to client: the instance that comes last has the file (MS-SMB2 3.3.5.9.13). */
export class AppInstances {
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #ownership: Ownership;

  constructor(components: Components, endings: Endings, ownership: Ownership) {
    this.#is = components;
    this.#endings = endings;
    this.#ownership = ownership;
  }

  /** Ends what other clients have open as the same instance. @returns GRANTED: the open may be asked for; or why not */
  async takeOver(member: Member, asked: OpenRecord): Promise<number> {
    if (asked.appInstanceId.length !== 16) return Outcome.INVALID;
    const { outcome, opens } = await this.#is.table.instances(member.identity, asked.fileId, asked.appInstanceId);
    if (outcome !== Outcome.GRANTED) return outcome;
    const earlier = opens.filter(({ record }) => isSameInstance(record, asked));
    if (earlier.some(({ record }) => isNotOlder(record.appInstanceVersion, asked.appInstanceVersion))) {
      return Outcome.FORCED_CLOSED;
    }
    for (const open of earlier) await this.#end(member, open);
    return Outcome.GRANTED;
  }

  /** What cannot be ended stays in the way, and the share modes decide. */
  async #end(member: Member, { record, isConnected }: ApplicationOpen): Promise<void> {
    const { fileId, openId, owner } = record;
    const { cluster, peers, log } = this.#is;
    if (!isConnected || !owner) {
      await this.#endings.expire(member, fileId, openId, 'instance');
      return;
    }
    const identity = identityText({ serverId: owner.serverId, epoch: Number(owner.epoch) });
    const own = cluster.member(identity);
    if (own) {
      await this.#ownership.closeForGood(own, fileId, openId);
      return;
    }
    const server = cluster.server(owner.serverId);
    if (!server) return;
    try {
      const request = { serverId: owner.serverId, fileId: Buffer.from(fileId), openId, close: true };
      await peers.call(server, (client) => client.letGo, request, DROP_TIMEOUT_MS + 1000);
    } catch (error) {
      log.info({ owner: identity, reason: reasonOf(error) }, 'the owner of an earlier instance cannot be asked');
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
