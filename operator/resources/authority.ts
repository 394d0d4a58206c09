import type { Certificate } from '../../common/certificates.ts';
import { PROPAGATION_MS } from './propagation.ts';

/** A cluster's certificate authority, and how far its replacement is. Kept in a Secret that no pod mounts. */
export interface ClusterAuthority {
  /** Makes the certificates that are issued now. */
  signer: Certificate;
  /** What everybody checks certificates by (PEM), the newest first: the signer, and while it changes the one before or after it. */
  trusted: string[];
  /** The next one, which everybody is learning to trust. */
  next?: Certificate | undefined;
  /** When the step that runs began; ms since 1970. */
  sinceMs?: number | undefined;
  /** The wish (a text of the user's choice) that this authority was made for. */
  madeFor?: string | undefined;
}

/** What is to be done about an authority: nothing yet, take this step, or go on with another one that is to be made. */
export type AuthorityStep = { wanted: 'nothing' } | { wanted: 'another' } | { wanted: 'step'; next: ClusterAuthority };

/**
 * The next step of a replacement: everybody learns to trust the next authority beside the present one, then certificates are the next
 * one's, then the old one is forgotten. At each moment whoever is a step behind still is understood.
 * @param wish replaces the authority when it differs from what the present one was made for; undefined: leave it
 * @param isEnding whether the present one ends so soon that another has to take its place
 */
export function nextAuthority(
  now: ClusterAuthority,
  wish: string | undefined,
  isEnding: boolean,
  nowMs: number,
): AuthorityStep {
  const { signer, trusted, next, sinceMs, madeFor } = now;
  // A clock that was set back must not stop it for ever.
  const waits = sinceMs !== undefined && nowMs - sinceMs < PROPAGATION_MS && nowMs >= sinceMs;
  if (next !== undefined) {
    if (waits) return { wanted: 'nothing' };
    return {
      wanted: 'step',
      next: { signer: next, trusted: [next.certificate, signer.certificate], sinceMs: nowMs, madeFor },
    };
  }
  if (trusted.length > 1) {
    return waits ? { wanted: 'nothing' } : { wanted: 'step', next: { signer, trusted: [signer.certificate], madeFor } };
  }
  return { wanted: isEnding || (wish !== undefined && wish !== madeFor) ? 'another' : 'nothing' };
}

/** The beginning of a replacement. @param made the authority that is to take the present one's place */
export function beginReplacement(
  { signer }: ClusterAuthority,
  made: Certificate,
  wish: string | undefined,
  nowMs: number,
): ClusterAuthority {
  return {
    signer,
    trusted: [made.certificate, signer.certificate],
    next: made,
    sinceMs: nowMs,
    madeFor: wish,
  };
}
