import type { Session } from './session.ts';

/** MS-SMB2 3.3.1.7: what command handlers see of a client's connection. */
export interface Connection {
  /** Number of this connection in logs. */
  readonly id: number;
  /** Address of the client, host:port, for logs. */
  readonly remote: string;
  /** The address of this server that the client came to, without port. */
  readonly localAddress: string;
  /** Dialect.*; 0 before NEGOTIATE. */
  readonly dialect: number;
  /** 16 bytes, zeros in dialect 2.0.2. */
  readonly clientGuid: Buffer;
  /** Capabilities that the client named, and those that the server answered with. */
  readonly clientCapabilities: number;
  readonly serverCapabilities: number;
  /** Security mode that the client named. */
  readonly clientSecurityMode: number;
  readonly maxTransactSize: number;
  readonly maxReadSize: number;
  readonly maxWriteSize: number;
  /** False as soon as nothing can be sent any more. */
  readonly isOpen: boolean;
  /**
   * Sends an OPLOCK_BREAK notification (oplock or lease break, `body` from its StructureSize on): unsolicited, MessageId all
   * ones, never signed, encrypted where the session is (MS-SMB2 3.3.4.6, 3.3.4.7).
   */
  sendBreak(session: Session, body: Buffer): void;
  /**
   * Ends a session of this connection (LOGOFF). Resolves when its opens are disconnected or closed and the sidecar knows.
   * @param own 1 when the request that asks for it belongs to the session itself
   */
  endSession(session: Session, reason: string, own: number): Promise<void>;
  /** Ends the connection, by RST if `reset`. */
  close(reason: string, reset?: boolean): void;
}
