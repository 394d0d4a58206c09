// Adding a channel to a session (MS-SMB2 3.3.5.5): which connections fit it.
import { Dialect, SigningAlgorithmId } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import type { SessionSecurity } from './session.ts';

/** Channels that one session may have, as Windows allows. */
export const MAX_CHANNELS = 32;

export interface Binding {
  /** Of the session; undefined as long as it is being set up. */
  session: SessionSecurity | undefined;
  /** Its Session.State and Session.IsAnonymous. */
  isExpired: boolean;
  isAnonymous: boolean;
  channels: number;
  /** What the connection that is to become a channel has agreed on. */
  connection: SessionSecurity;
  /** The request bears a signature. */
  isSigned: boolean;
}

const usesGmac = ({ signingAlgorithm }: SessionSecurity): boolean => signingAlgorithm === SigningAlgorithmId.AES_GMAC;

/**
 * The status that a request to bind gets before its user is looked at; undefined: go on. A nonce of AES-GMAC must never be used twice under
 * one key, so that a session has GMAC on all of its channels or on none; Windows answers so before it compares dialects. Unlike the text,
 * and like Windows, ClientGuid is not compared: client and user prove themselves by key and password.
 */
export function refusalToBind({
  session,
  isExpired,
  isAnonymous,
  channels,
  connection,
  isSigned,
}: Binding): number | undefined {
  if (!session) return Status.REQUEST_NOT_ACCEPTED;
  if (usesGmac(session) && !usesGmac(connection)) return Status.REQUEST_OUT_OF_SEQUENCE;
  if (!usesGmac(session) && usesGmac(connection)) return Status.NOT_SUPPORTED;
  if (connection.dialect < Dialect.SMB_3_0) return Status.REQUEST_NOT_ACCEPTED;
  if (connection.dialect !== session.dialect || !isSigned) return Status.INVALID_PARAMETER;
  if (connection.cipherId !== session.cipherId) return Status.INVALID_PARAMETER;
  if (isExpired) return Status.NETWORK_SESSION_EXPIRED;
  if (isAnonymous) return Status.NOT_SUPPORTED;
  return channels >= MAX_CHANNELS ? Status.INSUFFICIENT_RESOURCES : undefined;
}
