import { type ServerUnaryCall, type sendUnaryData, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import { SIDECAR_IDENTITY } from '../../common/tls.ts';
import { BeneathReply, PeerReply, type PeerServer, PingReply } from '../../proto/generated/peer.ts';
import type { Promises } from '../fencing/promises.ts';
import type { Handoff } from '../handoff/handoff.ts';
import { idBytes } from '../table/keys.ts';
import { NotAllowedError, requireIdentity } from './authorize.ts';
import type { ChangeFeed } from './changes.ts';
import type { Components } from './components.ts';
import type { Locks } from './locks.ts';
import type { Member } from './member.ts';
import type { Ownership } from './ownership.ts';
import type { Renames } from './renames.ts';
import type { Sessions } from './sessions.ts';

export interface PeerParts {
  components: Components;
  ownership: Ownership;
  sessions: Sessions;
  locks: Locks;
  renames: Renames;
  changes: ChangeFeed;
  handoff: Handoff;
  promises: Promises;
}

class NotHereError extends HoldfastError {
  readonly grpcCode = status.UNAVAILABLE;
  constructor(serverId: string) {
    super('NOT_HERE', `${serverId} is not attached to this sidecar`);
  }
}

type Unary<A, B> = (call: ServerUnaryCall<A, B>, callback: sendUnaryData<B>) => void;

/** Sessions are ended as soon as their user is checked; a peer vouches for who authenticated. */
export class PeerFace {
  readonly #is: PeerParts;

  constructor(parts: PeerParts) {
    this.#is = parts;
  }

  implementation(): PeerServer {
    const { components, ownership, sessions, renames, changes, handoff, promises } = this.#is;
    const { cluster, delivery } = components;
    const server: Omit<PeerServer, keyof UntypedServiceImplementation> & UntypedServiceImplementation = {
      break: this.#unary(async ({ serverId, epoch, break: message }) => {
        const member = cluster.memberOf(serverId);
        if (!member || !message || BigInt(member.identity.epoch) !== epoch) return no('that server is not here');
        if (!message.ackRequired) {
          const { lease, openId, clientGuid } = message;
          if (lease) member.cached(Buffer.concat([clientGuid, lease.key]), lease.state, lease.epoch);
          else member.cached(idBytes(openId), message.toLevel, 0);
        }
        return (await delivery.breakAtMember(member, message)) ? yes() : no('not delivered');
      }),
      pushFileState: this.#unary(async ({ serverId, epoch, state }) => {
        const member = cluster.memberOf(serverId);
        if (!member || !state || BigInt(member.identity.epoch) !== epoch) return no('that server is not here');
        return (await delivery.pushToMember(member, state)) ? yes() : no('not taken');
      }),
      wakeLocks: this.#unary(async ({ serverId, fileId }) => {
        const member = cluster.memberOf(serverId);
        if (!member) return no('that server is not here');
        delivery.onWake(member, fileId);
        return yes();
      }),
      requestSessionOwnership: this.#member(async (member, { sessionId, user }) =>
        PeerReply.create(await sessions.giveUp(member, sessionId, user)),
      ),
      letGo: this.#member(async (member, { fileId, openId, close }) =>
        PeerReply.create(
          await (close ? ownership.closeForGood : ownership.letGo).call(ownership, member, fileId, openId),
        ),
      ),
      prepare: this.#unary(async (request) => PeerReply.create(await handoff.custody.prepare(request))),
      transferred: this.#unary(async (request) => PeerReply.create(handoff.custody.transferred(request))),
      keep: this.#unary(async (request) => PeerReply.create(components.custodians.kept(request))),
      opensBeneath: this.#unary(async (request) =>
        BeneathReply.create({ any: await renames.openHere(request, request.hold) }),
      ),
      unhold: this.#unary(async (request) => {
        renames.unhold(request);
        return yes();
      }),
      watch: this.#unary(async (request) => changes.peerWatches(request)),
      changed: this.#unary(async (request) => changes.peerChanged(request)),
      promise: this.#unary(async (request) => PeerReply.create(promises.give(request))),
      ping: this.#unary(async () =>
        PingReply.create({
          servers: [...cluster.members.values()].map(({ identity }) => ({
            serverId: identity.serverId,
            epoch: BigInt(identity.epoch),
          })),
        }),
      ),
    };
    return server as PeerServer;
  }

  #member<A extends { serverId: string }>(
    handle: (member: Member, request: A) => Promise<PeerReply>,
  ): Unary<A, PeerReply> {
    return this.#unary(async (request) => {
      const member = this.#is.components.cluster.memberOf(request.serverId);
      // Not an answer of that server: whoever asks tries again until it is here, or fenced.
      if (!member) throw new NotHereError(request.serverId);
      return handle(member, request);
    });
  }

  #unary<A, B>(handle: (request: A) => Promise<B>): Unary<A, B> {
    return (call, callback) => {
      (async () => {
        requireIdentity(call, [SIDECAR_IDENTITY]);
        return await handle(call.request);
      })().then(
        (reply) => callback(null, reply),
        (error: unknown) => {
          const known = error instanceof NotAllowedError || error instanceof NotHereError;
          const code = known ? error.grpcCode : status.INTERNAL;
          callback({ code, message: reasonOf(error) });
        },
      );
    };
  }
}

function yes(): PeerReply {
  return PeerReply.create({ ok: true });
}
function no(reason: string): PeerReply {
  return PeerReply.create({ ok: false, reason });
}
