import { reasonOf } from '../common/errors.ts';
import type { Logger } from '../common/logging.ts';
import type { Share, Shares } from './shares.ts';

/** How often shares are looked at: who made the folder waits so long at most until it is said that all is well. */
const LOOK_EVERY_MS = 5000;
/** They are for people: the first few say enough, and each is one line. */
const MOST = 20;
const LONGEST = 300;

/** Which shares cannot be served, and why: found out before a client does. */
export class ShareTroubles {
  readonly #shares: Shares;
  readonly #open: (share: Share) => Promise<unknown>;
  readonly #log: Logger;
  #found: string[] = [];
  #isLooking = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param open opens the folder of a share, or rejects with what is the matter */
  constructor(shares: Shares, open: (share: Share) => Promise<unknown>, log: Logger) {
    this.#shares = shares;
    this.#open = open;
    this.#log = log;
  }

  get found(): string[] {
    return this.#found;
  }

  /** Not at once: what fails to open is not tried again for a moment, and the first client must not meet that. */
  start(): void {
    this.#timer = setInterval(() => void this.look(), LOOK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** One at a time: a volume that hangs is not asked again until it answers. */
  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const asked = this.#shares.all().filter(({ isPipe }) => !isPipe);
    const troubles = await Promise.all(
      asked.map((share) =>
        this.#open(share).then(
          () => [],
          (error: unknown) => [`share "${share.name}": ${reasonOf(error)}`.slice(0, LONGEST)],
        ),
      ),
    );
    const found = troubles.flat().slice(0, MOST);
    if (found.join() !== this.#found.join()) {
      if (found.length > 0) this.#log.warn({ troubles: found }, 'shares cannot be served');
      else this.#log.info('all shares can be served');
    }
    this.#found = found;
    this.#isLooking = false;
  }
}
