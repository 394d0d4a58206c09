import { Capabilities, ShareCapabilities } from '../../smb/constants.ts';
import { addressText, resolveAddresses, type ServerAddress } from '../connect/address.ts';
import { raceRounds } from '../connect/race.ts';
import { SmbError } from '../errors.ts';
import { Connection } from '../session/connection.ts';
import { ESTABLISH_TIMEOUT_MAX_MS, ESTABLISH_TIMEOUT_MS } from '../session/constants.ts';
import type { LivenessOptions } from '../session/liveness.ts';
import type { NegotiateOffer } from '../session/negotiate.ts';
import { Session, type TreeConnect } from '../session/session.ts';
import { Backoff } from './backoff.ts';
import { isRefusal } from './statuses.ts';

/** Where a client's requests go: a connection with its session and its share. A failover replaces it as a whole. */
export interface Link {
  connection: Connection;
  session: Session;
  tree: TreeConnect;
}

export interface LinkOptions {
  addresses: readonly ServerAddress[];
  clientGuid: Buffer;
  user: string;
  domain?: string;
  /** Asked at every logon, so that a changed password is seen. */
  password: () => string | Promise<string>;
  share: string;
  encryption?: boolean;
  offer?: NegotiateOffer;
  liveness?: LivenessOptions;
  /** Told of every attempt that failed. */
  onAttemptFailed?: (address: string | undefined, error: unknown) => void;
}

export function isContinuouslyAvailable(link: Link): boolean {
  const servers = (link.connection.negotiated.capabilities & Capabilities.PERSISTENT_HANDLES) !== 0;
  return servers && (link.tree.capabilities & ShareCapabilities.CONTINUOUS_AVAILABILITY) !== 0;
}

/** Puts the addresses that failed to the end, the one that failed last at the very end; the others keep their order. */
export function worstLast(
  addresses: readonly ServerAddress[],
  failedAtMs: ReadonlyMap<string, number>,
): ServerAddress[] {
  const badness = (address: ServerAddress) => failedAtMs.get(addressText(address)) ?? 0;
  return [...addresses].sort((a, b) => badness(a) - badness(b));
}

/**
 * Finds a server, logs on and connects the share: goes on until that works or the signal ends it. A server that negotiates
 * but then fails is tried last in the next round.
 *
 * @param failedAtMs when each address failed; kept up to date
 * @param mayGiveUp whether a refusal (wrong password, no such share) ends it
 * @throws SmbError TIMED_OUT, ABORTED, or the refusal
 */
export async function establishLink(
  options: LinkOptions,
  previousSessionId: bigint,
  failedAtMs: Map<string, number>,
  mayGiveUp: (refusal: unknown) => boolean,
  signal: AbortSignal,
): Promise<Link> {
  const backoff = new Backoff();
  let timeoutMs = ESTABLISH_TIMEOUT_MS;
  for (;;) {
    const connection = await raceRounds(
      async () => worstLast(await resolveAddresses(options.addresses, signal), failedAtMs),
      (address, attemptSignal) => Connection.open(address, connectionOptions(options), attemptSignal),
      (late) => late.close(),
      { signal, onFailure: (address, error) => options.onAttemptFailed?.(textOf(address), error) },
    );
    try {
      return await establishOn(connection, options, previousSessionId, timeoutMs, signal);
    } catch (error) {
      connection.close();
      timeoutMs = Math.min(timeoutMs * 2, ESTABLISH_TIMEOUT_MAX_MS);
      failedAtMs.set(addressText(connection.address), performance.now());
      options.onAttemptFailed?.(addressText(connection.address), error);
      if (signal.aborted) throw endedBy(signal, error);
      if (isRefusal(error) && mayGiveUp(error)) throw error;
      try {
        await backoff.wait(signal);
      } catch {
        throw endedBy(signal, error);
      }
    }
  }
}

async function establishOn(
  connection: Connection,
  options: LinkOptions,
  previousSessionId: bigint,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Link> {
  const { user, domain, share, encryption } = options;
  const password = await options.password();
  const session = await Session.establish(
    connection,
    { user, domain, password },
    { previousSessionId, encryption, timeoutMs, signal },
  );
  return { connection, session, tree: await session.treeConnect(share, signal, timeoutMs) };
}

function connectionOptions(options: LinkOptions) {
  const { clientGuid, offer, liveness } = options;
  return { clientGuid, serverName: options.addresses[0]?.host ?? 'server', offer, liveness };
}

function textOf(address: unknown): string | undefined {
  return address === undefined ? undefined : addressText(address as ServerAddress);
}

function endedBy(signal: AbortSignal, cause: unknown): SmbError {
  const reason: unknown = signal.reason;
  const why = cause instanceof Error ? cause.message : String(cause);
  if (reason instanceof SmbError)
    return new SmbError(reason.code, `${reason.message}; the last failure was: ${why}`, { cause });
  const timedOut = (reason as { name?: unknown } | undefined)?.name === 'TimeoutError';
  return new SmbError(
    timedOut ? 'TIMED_OUT' : 'ABORTED',
    `connecting ${timedOut ? 'took too long' : 'was aborted'}; the last failure was: ${why}`,
    { cause },
  );
}
