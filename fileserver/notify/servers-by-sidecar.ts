import type * as proto from '../../proto/generated/handles.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import type { Handles } from '../handles.ts';
import type { Change } from './change.ts';
import type { OtherServers, Receiver, WatchedScope } from './other-servers.ts';

/** Changes that wait for the sidecar; more are told as lost. */
const MAX_WAITING = 2000;
/** In one request. */
const MAX_BATCH = 500;
/** What is watched no more is taken back so much later, ms: most clients watch again at once. */
const SHRINK_AFTER_MS = 2000;

/** The other servers, by way of the sidecar. */
export class ServersBySidecar implements OtherServers {
  readonly #handles: Pick<Handles, 'watch' | 'changes'>;
  #receiver: Receiver | undefined;
  /** The others were told last of something that is watched. */
  #hasAnnounced = false;
  /** What is watched by now. */
  #scopes: readonly WatchedScope[] = [];
  #shrinkTimer: NodeJS.Timeout | undefined;
  #waiting: Change[] = [];
  #lost = false;
  #isSending = false;

  constructor(handles: Pick<Handles, 'watch' | 'changes'>) {
    this.#handles = handles;
  }

  receive(receiver: Receiver): void {
    this.#receiver = receiver;
  }

  watch(scopes: readonly WatchedScope[]): Promise<void> {
    this.#scopes = scopes;
    // Also where the others know of it: what they changed before comes before their answer.
    return this.#announce();
  }

  unwatch(scopes: readonly WatchedScope[]): void {
    this.#scopes = scopes;
    this.#shrinkTimer ??= setTimeout(() => {
      this.#shrinkTimer = undefined;
      void this.#announce();
    }, SHRINK_AFTER_MS).unref();
  }

  #announce(): Promise<void> {
    clearTimeout(this.#shrinkTimer);
    this.#shrinkTimer = undefined;
    const scopes = [...this.#scopes];
    this.#hasAnnounced = scopes.length > 0;
    return this.#handles.watch({ scopes }).then(({ outcome }) => {
      // Nobody was told: clients must not rely on what they hear.
      if (outcome !== Outcome.GRANTED) this.#receiver?.lost();
    });
  }

  tell(change: Change): void {
    // Who has to look for themselves needs no list.
    if (this.#lost) return;
    if (this.#waiting.length >= MAX_WAITING) {
      this.#waiting = [];
      this.#lost = true;
    } else {
      this.#waiting.push(change);
    }
    if (this.#isSending) return;
    this.#isSending = true;
    // What one turn of the event loop brings goes together.
    setImmediate(() => void this.#send());
  }

  /** One request at a time; it waits while the sidecar is away, and is repeated then. */
  async #send(): Promise<void> {
    while (this.#waiting.length > 0 || this.#lost) {
      const changes = this.#waiting.splice(0, MAX_BATCH);
      const lost = this.#lost;
      this.#lost = false;
      const { outcome } = await this.#handles.changes({ changes, lost });
      if (outcome === Outcome.STORE_UNAVAILABLE) this.#lost = true;
      else if (outcome !== Outcome.GRANTED) break;
    }
    this.#isSending = false;
  }

  // ---- what the sidecar says ---------------------------------------------------------------------------------------

  /** The stream to the sidecar is there (again): it knows nothing, and may have had something to say. */
  attached(): void {
    if (!this.#hasAnnounced) return;
    void this.#announce();
    this.#receiver?.lost();
  }

  watched(scopes: readonly WatchedScope[]): boolean {
    this.#receiver?.watched(scopes);
    return true;
  }

  changed({ changes, lost }: proto.Changes): boolean {
    if (changes.length > 0) this.#receiver?.changes(changes);
    if (lost) this.#receiver?.lost();
    return true;
  }
}
