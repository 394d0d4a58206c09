// What NEGOTIATE and SESSION_SETUP, which make a connection and its sessions what they are, see of connection and server.
import type { Logger } from '../../common/logging.ts';
import type { NtlmServer } from '../../smb/auth/server.ts';
import type { Users } from '../users.ts';
import type { LogonThrottle } from './logon-throttle.ts';
import type { Services } from './request.ts';
import type { Channel, Connection, Session, User } from './session.ts';
import type { Accounts, Usage } from './usage.ts';

/** What NEGOTIATE agreed on for a connection (MS-SMB2 3.3.1.7). */
export interface Negotiated {
  dialect: number;
  clientGuid: Buffer;
  clientCapabilities: number;
  serverCapabilities: number;
  clientSecurityMode: number | undefined;
  serverSecurityMode: number;
  /**
   * Digest of the dialects as the client listed them (Connection.ClientDialects), which may be thousands: FSCTL_VALIDATE_NEGOTIATE_INFO
   * compares. Undefined where nothing does: in 3.1.1, and where the NEGOTIATE was of SMB1.
   */
  clientDialects: Buffer | undefined;
  /** CipherId.*, undefined: nothing can be encrypted. */
  cipherId: number | undefined;
  signingAlgorithm: number;
  maxIoSize: number;
}

/** An authentication exchange that has begun. */
export interface SessionSetup {
  readonly ntlm: NtlmServer;
  /** Session.PreauthIntegrityHashValue, in 3.1.1. */
  preauthHash: Buffer;
  /** Another message of this exchange is being worked on. */
  isBusy: boolean;
  /** It adds a channel to a session that is established elsewhere. */
  readonly isBinding: boolean;
}

/** A connection, from within. */
export interface ConnectionHost extends Connection {
  readonly services: Services;
  readonly server: ServerHost;
  readonly log: Logger;
  /** Address of the client, without port. */
  readonly remoteAddress: string;
  /** Connection.SessionTable, by session id: the sessions that may be used here, also those that are being set up. */
  readonly channels: Map<bigint, Channel>;
  /** Authentication exchanges that have begun, by session. */
  readonly setups: Map<bigint, SessionSetup>;
  readonly negotiated: Negotiated | undefined;
  /** Whether sessions of this connection can be encrypted. */
  readonly canEncrypt: boolean;
  /** Connection.PreauthIntegrityHashValue (3.3.1.7). */
  readonly preauthHash: Buffer;
  /** The session has ended, or its client has not become one. */
  dropChannel(sessionId: bigint): void;
  /** The NEGOTIATE exchange is over. */
  negotiationDone(negotiated: Negotiated): void;
  hashForPreauth(message: Buffer): void;
  /** Somebody has logged on: larger messages and more credits from now on, on his account. */
  loggedOn(usage: Usage): void;
}

/** The server, as its connections see it. */
export interface ServerHost {
  readonly services: Services;
  readonly users: Users;
  readonly accounts: Accounts;
  readonly throttle: LogonThrottle;
  /** GlobalSessionTable (MS-SMB2 3.3.1.5): valid sessions, and those that are ending until their opens are settled. */
  readonly sessions: Map<bigint, Session>;
  /** On its way out: connections are reset, sessions not set up any more. */
  readonly isStopping: boolean;
  nextSessionId(): bigint | undefined;
  endSession(session: Session, reason: string, own?: number, by?: ConnectionHost): Promise<void>;
  endPreviousSession(sessionId: bigint, user: User): Promise<boolean>;
}
