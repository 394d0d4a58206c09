import { foldCase } from '../../smb/fscc/names.ts';

/** Failures of a user or an address that cost nothing but the delay of their answer. */
const FREE_FAILURES = 5;
/** Beyond them one guess is looked at in so long, whoever makes it and over however many connections. */
const STEP_MS = 1000;
/** How far ahead guesses may be queued; more are refused without a look. */
const MAX_QUEUE_MS = 20_000;
/** A wrong password is answered this much later. */
export const FAILED_ANSWER_DELAY_MS = 500;
/** After so long without a failure they are forgotten. */
const FORGET_MS = 15 * 60_000;
/** So long a user is known at the address from which he last logged on. */
const KNOWN_MS = 12 * 60 * 60_000;
/** Users and addresses that are remembered; the ones that did nothing for longest go first. */
const MAX_REMEMBERED = 10_000;

interface Known {
  lastMs: number;
  /** Failures of this user at this address that are still free. */
  left: number;
}

interface Failures {
  count: number;
  lastMs: number;
  /** When the next guess is looked at. */
  nextMs: number;
}

/**
 * Slows guessing of passwords down, by user and by address. A user who has logged on from an address before is not held up by what other
 * users do there, nor by what is done elsewhere with the same name: behind a load balancer everybody may have one address.
 */
export class LogonThrottle {
  readonly #failures = new Map<string, Failures>();
  readonly #known = new Map<string, Known>();
  readonly #now: () => number;

  /** @param now monotonic milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Nobody has failed: there is nothing to look up. */
  get isQuiet(): boolean {
    return this.#failures.size === 0;
  }

  /** Names and addresses that failures are known of. */
  get remembered(): number {
    return this.#failures.size;
  }

  /**
   * How long to wait before a response to the challenge is looked at, in ms; undefined: refuse it without a look.
   * @param address of the client, without port
   */
  delayBefore(user: string, address: string): number | undefined {
    if (this.isQuiet) return 0;
    const nowMs = this.#now();
    const known = this.#known.get(pairOf(user, address));
    if (known && known.left > 0 && nowMs - known.lastMs < KNOWN_MS) return 0;
    const slowed = keysOf(user, address).flatMap((key) => {
      const failures = this.#failures.get(key);
      return failures && failures.count >= FREE_FAILURES && nowMs - failures.lastMs < FORGET_MS ? [failures] : [];
    });
    const atMs = Math.max(nowMs, ...slowed.map(({ nextMs }) => nextMs));
    if (atMs - nowMs > MAX_QUEUE_MS) return undefined;
    for (const failures of slowed) failures.nextMs = atMs + STEP_MS;
    return atMs - nowMs;
  }

  /** @returns how long the answer is to be held back, in ms */
  failed(user: string, address: string): number {
    const nowMs = this.#now();
    for (const key of keysOf(user, address)) {
      trim(this.#failures);
      const before = this.#failures.get(key);
      const isFresh = before !== undefined && nowMs - before.lastMs < FORGET_MS;
      this.#failures.delete(key);
      this.#failures.set(key, {
        count: isFresh ? before.count + 1 : 1,
        lastMs: nowMs,
        nextMs: isFresh ? before.nextMs : nowMs,
      });
    }
    const known = this.#known.get(pairOf(user, address));
    if (known) known.left--;
    return FAILED_ANSWER_DELAY_MS;
  }

  succeeded(user: string, address: string): void {
    const pair = pairOf(user, address);
    this.#known.delete(pair);
    trim(this.#known);
    this.#known.set(pair, { lastMs: this.#now(), left: FREE_FAILURES });
  }
}

const pairOf = (user: string, address: string): string => `${address} ${foldCase(user)}`;
const keysOf = (user: string, address: string): string[] => [`user ${foldCase(user)}`, `address ${address}`];

/** Maps keep the order of insertion: the oldest is the first. */
function trim(map: Map<string, unknown>): void {
  if (map.size < MAX_REMEMBERED) return;
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
}
