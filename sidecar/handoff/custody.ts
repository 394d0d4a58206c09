import type { TraceRequest } from '../../common/tracing.ts';
import { OpenRecord, OpenState } from '../../proto/generated/handles.ts';
import type { PrepareRequest, TransferredRequest } from '../../proto/generated/peer.ts';
import type { Components } from '../services/components.ts';

/** A file server may take so long to look names up ahead of time; the handoff goes on without it. */
const WARM_UP_TIMEOUT_MS = 5000;
/** Records of a handoff that never came are forgotten after so long. */
const CUSTODY_MS = 600_000;

/** The target's side of a handoff: it keeps the records in memory too, and has its file server look the names up. */
export class Custody {
  readonly #is: Components;
  readonly #held = new Map<string, { opens: Map<bigint, OpenRecord>; sinceMs: number; complete: boolean }>();

  constructor(components: Components) {
    this.#is = components;
  }

  /** Step 2 of handoff.md. A repeated call replaces what an earlier one brought. */
  async prepare(request: PrepareRequest): Promise<{ ok: boolean; reason: string }> {
    const span = this.#is.traces.start('keep records', request.trace);
    const reply = await this.#prepare(request, span.request);
    span.end({ opens: request.opens.length }, reply.ok ? undefined : reply.reason);
    return reply;
  }

  async #prepare(request: PrepareRequest, trace: TraceRequest | undefined): Promise<{ ok: boolean; reason: string }> {
    const member = this.#is.cluster.memberOf(request.targetServerId);
    if (!member?.stream || member.draining) return { ok: false, reason: 'that server takes nothing' };
    const key = `${request.migrationId} ${request.targetServerId}`;
    let held = this.#held.get(key);
    if (!held || held.complete) {
      held = { opens: new Map(), sinceMs: performance.now(), complete: false };
      this.#held.set(key, held);
    }
    for (const open of request.opens) held.opens.set(open.openId, open);
    held.complete = !request.more;
    this.#prune();
    try {
      const value = { opens: request.opens, trace };
      const { ok } = await member.stream.ask({ $case: 'warmUp', value }, WARM_UP_TIMEOUT_MS);
      if (!ok) {
        this.#held.delete(key);
        return { ok: false, reason: 'that server has no room for so many opens' };
      }
    } catch (error) {
      this.#is.log.info({ err: error, migration: request.migrationId }, 'names are not looked up ahead of time');
    }
    return { ok: true, reason: '' };
  }

  /** Step 5 is done for these: they are a file server's of this pod now, and wait for their client. */
  transferred(request: TransferredRequest): { ok: boolean; reason: string } {
    const span = this.#is.traces.start('take over', request.trace);
    const reply = this.#transferred(request);
    span.end({ opens: request.opens.length }, reply.ok ? undefined : reply.reason);
    return reply;
  }

  #transferred(request: TransferredRequest): { ok: boolean; reason: string } {
    const member = this.#is.cluster.memberOf(request.targetServerId);
    if (!member) return { ok: false, reason: 'that server is not here' };
    const held = this.#held.get(`${request.migrationId} ${request.targetServerId}`);
    for (const open of request.opens) {
      held?.opens.delete(open.openId);
      const known = member.opens.get(open.openId);
      // The client may have been quicker than this message.
      if (known && known.record.ownershipVersion >= open.ownershipVersion) continue;
      member.add(OpenRecord.create({ ...open, state: OpenState.DISCONNECTED }), 0);
    }
    return { ok: true, reason: '' };
  }

  #prune(): void {
    for (const [key, held] of this.#held) {
      if (performance.now() - held.sinceMs > CUSTODY_MS) this.#held.delete(key);
    }
  }
}
