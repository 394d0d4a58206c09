import { reasonOf } from '../../common/errors.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { type ClaimSession, Outcome, type StoreSession } from '../../proto/generated/handles.ts';
import { RETRY_MS } from '../constants.ts';
import { parseIdentity } from '../table/keys.ts';
import { Internal } from '../table/table.ts';
import type { Components } from './components.ts';
import type { Member } from './member.ts';
import type { Pending } from './pending.ts';

/** How long pending operations of a session that ends may take. */
const DROP_SESSION_TIMEOUT_MS = 10_000;

/** Sessions in the table, and PreviousSessionId (MS-SMB2 3.3.5.5.3) across the cluster. */
export class Sessions {
  readonly #is: Components;
  readonly #patienceMs: number;

  constructor(components: Components) {
    this.#is = components;
    const { leaseDurationMs, writeSettleMs } = components.config.failover;
    this.#patienceMs = 2 * leaseDurationMs + writeSettleMs + 2000;
  }

  async store(member: Member, request: StoreSession): Promise<number> {
    if (member.draining) return Outcome.DRAINING;
    if (request.sessionId === 0n) return Outcome.INVALID;
    const { outcome } = await this.#is.table.session(
      member.identity,
      'store',
      request.sessionId,
      request.user,
      request.clientGuid,
    );
    if (outcome === Outcome.GRANTED) {
      member.sessions.set(request.sessionId, { user: request.user, clientGuid: request.clientGuid });
    }
    return outcome;
  }

  async end(member: Member, sessionId: bigint): Promise<number> {
    member.sessions.delete(sessionId);
    const { outcome } = await this.#is.table.session(member.identity, 'end', sessionId);
    return outcome === Outcome.NOT_FOUND
      ? Outcome.GRANTED
      : outcome === Internal.ELSEWHERE
        ? Outcome.NOT_FOUND
        : outcome;
  }

  /**
   * Ends the session that a client had before, wherever it lives. GRANTED: it has ended; NOT_FOUND: there is none; ACCESS_DENIED: it
   * is another user's and stays.
   */
  async claim(member: Member, request: ClaimSession, pending: Pending): Promise<number> {
    const { table, cluster, peers, log } = this.#is;
    const sessionId = request.previousSessionId;
    const untilMs = monotonicMs() + this.#patienceMs;
    for (let wasThere = false; monotonicMs() < untilMs && !pending.cancelled; wasThere = true) {
      const held = await table.session(member.identity, 'look', sessionId, request.user);
      if (held.outcome === Outcome.NOT_FOUND && wasThere) return Outcome.GRANTED; // ended meanwhile, or forgotten with its server
      if (held.outcome !== Outcome.GRANTED) return held.outcome;
      if (held.standing !== 'valid') {
        await table.session(member.identity, 'end', sessionId);
        return Outcome.GRANTED;
      }
      const own = cluster.member(held.owner);
      const identity = parseIdentity(held.owner);
      const server = identity && cluster.server(identity.serverId);
      if (own) {
        if ((await this.giveUp(own, sessionId, request.user)).ok) return Outcome.GRANTED;
      } else if (server && cluster.mayLive(held.owner)) {
        try {
          const reply = await peers.call(
            server,
            (client) => client.requestSessionOwnership,
            { serverId: server.serverId, sessionId, user: request.user },
            DROP_SESSION_TIMEOUT_MS + 1000,
          );
          if (reply.ok) return Outcome.GRANTED;
          log.info({ owner: held.owner, reason: reply.reason }, 'the previous session is not given up yet');
        } catch (error) {
          log.info({ owner: held.owner, reason: reasonOf(error) }, 'the owner of the previous session cannot be asked');
        }
      }
      pending.interim();
      await delay(RETRY_MS);
    }
    return pending.cancelled ? Outcome.CANCELLED : Outcome.FILE_NOT_AVAILABLE;
  }

  /** A session of this pod's ends because its client came elsewhere: pending operations finish, its opens are disconnected. */
  async giveUp(member: Member, sessionId: bigint, user: string): Promise<{ ok: boolean; reason: string }> {
    const session = member.sessions.get(sessionId);
    if (session && session.user !== user) return { ok: false, reason: "it is another user's" };
    try {
      // One that is not known here may be there all the same: it had nothing open when this sidecar was started anew, or has not said so yet.
      const answer = await member.stream?.ask({ $case: 'dropSession', value: { sessionId } }, DROP_SESSION_TIMEOUT_MS);
      if (!answer?.ok) return { ok: false, reason: 'the file server did not end it' };
      member.sessions.delete(sessionId);
      await this.#is.table.session(member.identity, 'end', sessionId);
      return { ok: true, reason: '' };
    } catch (error) {
      return { ok: false, reason: reasonOf(error) }; // fenced meanwhile: whoever asks finds that in the table
    }
  }
}
