import type { Cipher } from '../../smb/crypto/cipher.ts';
import type { Signer } from '../../smb/crypto/signer.ts';
import type { AccessToken } from '../../smb/security/access.ts';
import type { Sid } from '../../smb/security/sid.ts';
import type { Share } from '../shares.ts';

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

/** Who is logged on. */
export interface User {
  /** As it stands in the users folder. */
  readonly name: string;
  readonly sid: Sid;
  readonly token: AccessToken;
}

/** MS-SMB2 3.3.1.8 Session.State; Ended: logged off or cut off, waiting for its last operations to return. */
export type SessionState = 'InProgress' | 'Valid' | 'Ended';

/** MS-SMB2 3.3.1.8. */
export class Session {
  /** Carries the epoch of this server, unique in the cluster; never 0 or all ones. */
  readonly id: bigint;
  readonly connection: Connection;
  state: SessionState = 'InProgress';
  /** Set when authentication has succeeded; a Valid session has one. */
  user: User | undefined;
  signingRequired = true;
  /** Session.EncryptData: every request must come encrypted. */
  encryptData = false;
  /** Set when authentication has succeeded. */
  signer: Signer | undefined;
  /** What encrypts for the client and decrypts what it sends; undefined where dialect or client cannot. */
  sealer: Cipher | undefined;
  opener: Cipher | undefined;
  readonly trees = new Map<number, TreeConnect>();
  #nextTreeId = 1;
  /** Requests whose handler has not returned yet; of them, those that wait for somebody (their client has STATUS_PENDING). */
  #inFlight = 0;
  #waitingRequests = 0;
  #watchers: { isReached: () => boolean; resolve: () => void }[] = [];
  /** Set once the session ends; resolves when its opens are settled. */
  ending: Promise<void> | undefined;

  constructor(id: bigint, connection: Connection) {
    this.id = id;
    this.connection = connection;
  }

  nextTreeId(): number {
    return this.#nextTreeId++;
  }

  /** Frees the keys; nothing may be signed or opened any more. */
  closeKeys(): void {
    this.signer?.close();
    this.sealer?.close();
    this.opener?.close();
    this.signer = undefined;
    this.sealer = undefined;
    this.opener = undefined;
  }

  begun(): void {
    this.#inFlight++;
  }

  finished(wasWaiting: boolean): void {
    this.#inFlight--;
    if (wasWaiting) this.#waitingRequests--;
    this.#tellWatchers();
  }

  /** A request that is in flight waits for somebody from now on. */
  waits(): void {
    this.#waitingRequests++;
    this.#tellWatchers();
  }

  /**
   * Resolves when no request of this session is being worked on.
   * @param own 1 when a request of the session itself asks (LOGOFF): it is counted as soon as its handler has given a promise
   */
  whenIdle(own = 0): Promise<void> {
    return this.#inFlight === 0 ? Promise.resolve() : this.#when(() => this.#inFlight <= own);
  }

  /** Resolves when every request that is left waits for somebody: nothing is done for the session. */
  whenQuiet(): Promise<void> {
    const isReached = () => this.#inFlight <= this.#waitingRequests;
    return isReached() ? Promise.resolve() : this.#when(isReached);
  }

  #when(isReached: () => boolean): Promise<void> {
    return new Promise((resolve) => this.#watchers.push({ isReached, resolve }));
  }

  #tellWatchers(): void {
    if (this.#watchers.length === 0) return;
    const due = this.#watchers.filter(({ isReached }) => isReached());
    this.#watchers = this.#watchers.filter((watcher) => !due.includes(watcher));
    for (const { resolve } of due) resolve();
  }
}

/** MS-SMB2 3.3.1.9. */
export class TreeConnect {
  readonly id: number;
  readonly session: Session;
  readonly share: Share;
  /** The most that any open of this tree connect may be granted (TreeConnect.MaximalAccess): mask every open with it. */
  readonly maximalAccess: number;
  /** The share demands encryption: requests that come in the clear are refused. */
  readonly encryptData: boolean;

  constructor(id: number, session: Session, share: Share, maximalAccess: number, encryptData: boolean) {
    this.id = id;
    this.session = session;
    this.share = share;
    this.maximalAccess = maximalAccess;
    this.encryptData = encryptData;
  }
}
