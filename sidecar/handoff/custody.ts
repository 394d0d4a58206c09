import type { TraceRequest } from '../../common/tracing.ts';
import { OpenState } from '../../proto/generated/handles.ts';
import type { PrepareRequest, TransferredRequest } from '../../proto/generated/peer.ts';
import type { Components } from '../services/components.ts';

/** A file server may take so long to look names up ahead of time; the handoff goes on without it. */
const WARM_UP_TIMEOUT_MS = 5000;
/** The target's side of a handoff: its file server looks the names up ahead, and what has become its own it remembers. */
export class Custody {
  readonly #is: Components;

  constructor(components: Components) {
    this.#is = components;
  }

  /** Step 2 of handoff.md. The opens are passed on as they came. */
  async prepare(request: PrepareRequest): Promise<{ ok: boolean; reason: string }> {
    const span = this.#is.traces.start('keep records', request.trace);
    const reply = await this.#prepare(request, span.request);
    span.end({ opens: request.opens.length }, reply.ok ? undefined : reply.reason);
    return reply;
  }

  async #prepare(request: PrepareRequest, trace: TraceRequest | undefined): Promise<{ ok: boolean; reason: string }> {
    const member = this.#is.cluster.memberOf(request.targetServerId);
    if (!member?.stream || member.draining) return { ok: false, reason: 'that server takes nothing' };
    try {
      const value = { opens: request.opens, trace };
      const { ok } = await member.stream.ask({ $case: 'warmUp', value }, WARM_UP_TIMEOUT_MS);
      if (!ok) return { ok: false, reason: 'that server has no room for so many opens' };
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
    // What is put back into it may be put back already, without these: who gave them still remembers them, and puts them back.
    if (!this.#is.table.store.open) return { ok: false, reason: 'the store is not open' };
    for (const open of request.opens) {
      const known = member.opens.get(open.openId);
      // The client may have been quicker than this message.
      if (known && known.record.ownershipVersion >= open.ownershipVersion) continue;
      open.state = OpenState.DISCONNECTED;
      member.add(open, 0);
    }
    return { ok: true, reason: '' };
  }
}
