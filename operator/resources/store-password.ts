import { PROPAGATION_MS } from './propagation.ts';

/** The password of an embedded store, and how far a change of it is. Kept in the Secret that the pods mount. */
export interface StorePassword {
  /** What clients show. */
  password: string;
  /** What Redis lets in: the password, and while it changes the one before or after it. */
  accepted: string[];
  /** The next one, which Redis is being taught. */
  next?: string | undefined;
  /** When the step that runs began; ms since 1970. */
  sinceMs?: number | undefined;
  /** The wish (a text of the user's choice) that this password was made for. */
  madeFor?: string | undefined;
}

/**
 * The next step of a change: Redis learns the new password beside the old, then clients show the new one, then Redis forgets the old.
 * @param wish changes the password when it differs from what the present one was made for; undefined: leave it
 * @returns the same object when there is nothing to do now
 */
export function nextPassword(
  now: StorePassword,
  wish: string | undefined,
  nowMs: number,
  make: () => string,
): StorePassword {
  const { password, accepted, next, sinceMs, madeFor } = now;
  // A clock that was set back must not stop it for ever.
  const waits = sinceMs !== undefined && nowMs - sinceMs < PROPAGATION_MS && nowMs >= sinceMs;
  if (next !== undefined) {
    if (waits) return now;
    return { password: next, accepted: [next, password], sinceMs: nowMs, madeFor };
  }
  if (accepted.length > 1) return waits ? now : { password, accepted: [password], madeFor };
  if (wish === undefined || wish === madeFor) return now;
  const made = make();
  return { password, accepted: [password, made], next: made, sinceMs: nowMs, madeFor: wish };
}
