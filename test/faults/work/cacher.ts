import { randomBytes } from 'node:crypto';
import type { LivenessOptions } from '../../../client/session/liveness.ts';
import { delay } from '../../../common/time.ts';
import { LeaseState, OplockLevel } from '../../../smb/constants.ts';
import { CreateContextName, decodeRqLs, encodeRqLs, findCreateContext } from '../../../smb/wire/create-contexts.ts';
import type { Hold } from '../../history/history.ts';
import { PASSWORD, USER } from '../../serving.ts';
import { RawClient, type RawOpen } from '../raw-client.ts';
import { SHARE } from '../stage.ts';
import { Worker, type WorkerParts } from './worker.ts';

export const CACHED = 'cached';
const ALL = LeaseState.READ_CACHING | LeaseState.HANDLE_CACHING | LeaseState.WRITE_CACHING;
const NO_FILE_ID = { persistent: 0xffff_ffff_ffff_ffffn, volatile: 0xffff_ffff_ffff_ffffn };
const RETRY_MS = 20;
/** Longer than any fault. */
const PATIENCE_MS = 60_000;
const TRY_AGAIN = new Set(['STATUS_FILE_NOT_AVAILABLE', 'STATUS_SERVER_UNAVAILABLE']);
const RECONNECT = new Set([
  'STATUS_USER_SESSION_DELETED',
  'STATUS_NETWORK_NAME_DELETED',
  'STATUS_NETWORK_SESSION_EXPIRED',
]);
/** What is said to a replayed CREATE when the first one was carried out. */
const IS_THERE = new Set(['STATUS_DUPLICATE_OBJECTID', 'STATUS_SHARING_VIOLATION', 'STATUS_ACCESS_DENIED']);

/**
 * Takes a lease with write caching on a file that others want to cache too. Nobody else may have it until this one was asked and gave
 * it up; the loss of a connection or a server changes nothing about that.
 */
export class Cacher extends Worker {
  readonly #clientGuid = randomBytes(16);
  readonly #leaseKey = randomBytes(16);
  readonly #addresses: () => string[];
  readonly #liveness: LivenessOptions;
  #raw: RawClient | undefined;
  #previousSessionId = 0n;
  granted = 0;

  constructor(parts: WorkerParts, addresses: () => string[], liveness: LivenessOptions) {
    super(parts);
    this.#addresses = addresses;
    this.#liveness = liveness;
  }

  protected async round(): Promise<void> {
    this.at('asking for the lease');
    const createGuid = randomBytes(16);
    let open = await this.#open(createGuid);
    const caches = (one: RawOpen) => (leaseOf(one) & LeaseState.WRITE_CACHING) !== 0;
    const hold: Hold = {
      kind: 'hold',
      client: this.name,
      resource: this.path(CACHED),
      exclusive: true,
      fromMs: performance.now(),
    };
    if (caches(open)) {
      this.granted++;
      this.history.add(hold);
      const untilMs = performance.now() + this.random.between(0, 200);
      this.at('caching');
      while (performance.now() < untilMs && !this.#isAsked()) {
        await delay(5);
        if (this.#raw && !this.#raw.lost) continue;
        this.at('getting the lease back');
        open = await this.#open(createGuid, open);
        if (!caches(open)) throw new Error(`its lease was taken while it was away: ${leaseOf(open)}`);
      }
    }
    hold.untilMs = performance.now();
    this.at('closing');
    await this.#close(createGuid, open);
    await this.pause(0, 60);
  }

  protected override async finish(): Promise<void> {
    this.#leave();
  }

  #isAsked(): boolean {
    return (this.#raw?.breaks.length ?? 0) > 0;
  }

  /** Opens, or gets `held` back; whatever happens to servers and connections. */
  async #open(createGuid: Buffer, held?: RawOpen): Promise<RawOpen> {
    const endsAtMs = performance.now() + PATIENCE_MS;
    let isReplay = false;
    let last = 'no server was there';
    let reclaim = held ? { fileId: held.fileId, createGuid } : undefined;
    for (;;) {
      if (performance.now() > endsAtMs) throw new Error(`no answer in time, the last: ${last}`);
      this.assertWanted();
      try {
        const raw = await this.#connected();
        raw.breaks.length = 0;
        const lease = {
          version: 2 as const,
          leaseKey: this.#leaseKey,
          leaseState: ALL,
          flags: 0,
          parentLeaseKey: Buffer.alloc(16),
          epoch: 0,
        };
        const answer = await raw.tryOpen(this.path(CACHED), {
          oplock: OplockLevel.LEASE,
          contexts: [{ name: CreateContextName.REQUEST_LEASE, data: encodeRqLs(lease) }],
          ...(reclaim ? { reclaim } : { createGuid, replay: isReplay }),
        });
        if (typeof answer !== 'string') return answer;
        last = answer;
        if (RECONNECT.has(answer)) this.#leave();
        else if (isReplay && !reclaim && IS_THERE.has(answer)) reclaim = { fileId: NO_FILE_ID, createGuid };
        else if (!TRY_AGAIN.has(answer)) throw new Error(answer);
        await delay(RETRY_MS);
      } catch (error) {
        if (this.#raw && !this.#raw.lost) throw error;
        this.assertWanted();
        isReplay = true;
        if (!held) reclaim = undefined;
      }
    }
  }

  async #close(createGuid: Buffer, open: RawOpen): Promise<void> {
    let now = open;
    for (let isRepeated = false; ; isRepeated = true) {
      this.assertWanted();
      try {
        if (!this.#raw || this.#raw.lost) now = await this.#open(createGuid, now);
        const status = (await this.#raw?.closeFile(now)) ?? '';
        if (status === 'STATUS_SUCCESS' || (isRepeated && status === 'STATUS_FILE_CLOSED')) return;
        if (RECONNECT.has(status)) this.#leave();
        else if (!TRY_AGAIN.has(status)) throw new Error(status);
        await delay(RETRY_MS);
      } catch (error) {
        // The first CLOSE was carried out and its answer lost.
        if (isRepeated && (error as Error).message === 'STATUS_OBJECT_NAME_NOT_FOUND') return;
        if (this.#raw && !this.#raw.lost) throw error;
      }
    }
  }

  #leave(): void {
    this.#raw?.close();
    this.#raw = undefined;
  }

  async #connected(): Promise<RawClient> {
    if (this.#raw && !this.#raw.lost) return this.#raw;
    for (let attempt = 0; ; attempt++) {
      this.assertWanted();
      const addresses = this.#addresses();
      try {
        const raw = await RawClient.connect(this.random.pick(addresses), {
          user: USER,
          password: PASSWORD,
          share: SHARE,
          clientGuid: this.#clientGuid,
          previousSessionId: this.#previousSessionId,
          isWatched: true,
          liveness: this.#liveness,
        });
        this.#raw = raw;
        this.#previousSessionId = raw.session.sessionId;
        return raw;
      } catch (error) {
        if (attempt > PATIENCE_MS / RETRY_MS) throw error;
        await delay(RETRY_MS);
      }
    }
  }
}

function leaseOf(open: RawOpen): number {
  const data = findCreateContext(open.createContexts, CreateContextName.REQUEST_LEASE);
  return data ? decodeRqLs(data).leaseState : LeaseState.NONE;
}
