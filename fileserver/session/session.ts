import type { Cipher } from '../../smb/crypto/cipher.ts';
import type { Signer } from '../../smb/crypto/signer.ts';
import type { AccessToken } from '../../smb/security/access.ts';
import type { Sid } from '../../smb/security/sid.ts';
import type { Share } from '../shares.ts';
import type { Usage } from './usage.ts';

/** SessionIds: epoch (28 bits), shard (6), counter (30). */
export const EPOCH_SHIFT = 36n;

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
  /** Security mode that the client named; undefined: its NEGOTIATE was of SMB1, which has none. */
  readonly clientSecurityMode: number | undefined;
  /** Digest of the dialects that the client listed; undefined: nothing compares them. */
  readonly clientDialects: Buffer | undefined;
  readonly maxTransactSize: number;
  readonly maxReadSize: number;
  readonly maxWriteSize: number;
  /** False as soon as nothing can be sent any more. */
  readonly isOpen: boolean;
  /**
   * Sends an OPLOCK_BREAK notification (oplock or lease break, `body` from its StructureSize on): unsolicited, MessageId all
   * ones, never signed, encrypted where the session is (MS-SMB2 3.3.4.6, 3.3.4.7).
   * @param lost called where it was sent but the connection ended before it arrived
   */
  sendBreak(session: Session, body: Buffer, lost: () => void): void;
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

/**
 * MS-SMB2 3.3.1.8 Session.State. Expired: its user has to prove again who he is before anything but an end is done for it. Ended: logged
 * off or cut off, waiting for its last operations to return.
 */
export type SessionState = 'InProgress' | 'Valid' | 'Expired' | 'Ended';

/** MS-SMB2 3.3.1.14: a connection that a session is used on. */
export interface Channel {
  readonly session: Session;
  readonly connection: Connection;
  /** Channel.SigningKey. Undefined while the session is in progress, and when the keys are freed. */
  signer: Signer | undefined;
}

/** What the connection that made a session had agreed on: a channel that is added must fit it (3.3.5.5). */
export interface SessionSecurity {
  readonly dialect: number;
  readonly signingAlgorithm: number;
  readonly cipherId: number | undefined;
}

/** MS-SMB2 3.3.1.8. Its requests, opens and locks are the session's, whichever channel they came by. */
export class Session {
  /** Carries the epoch of this server, unique in the cluster; never 0 or all ones. */
  readonly id: bigint;
  /** Of the identity of this server that it was made under. */
  readonly epoch: bigint;
  /** Session.ChannelList: the first is the one that made it, until that connection is lost. */
  readonly channels: Channel[];
  readonly #made: Connection;
  state: SessionState = 'InProgress';
  /** Set when authentication has succeeded; a Valid session has one. */
  user: User | undefined;
  /** What its user has in use; set with `user`. */
  usage: Usage | undefined;
  /** Session.IsAnonymous: nothing but IPC$ is open to it, and it has no key worth the name. */
  isAnonymous = false;
  signingRequired = true;
  /** Session.EncryptData: every request must come encrypted. */
  encryptData = false;
  /** Session.SigningKey, with the algorithm of the connection that made it. Set when authentication has succeeded. */
  signer: Signer | undefined;
  security: SessionSecurity | undefined;
  /** What encrypts for the client and decrypts what it sends; undefined where dialect or client cannot. */
  sealer: Cipher | undefined;
  opener: Cipher | undefined;
  readonly trees = new Map<number, TreeConnect>();
  /** Requests that go on though their channel is lost: their client repeats them by another one (3.3.5.9.10). */
  readonly adrift = new Set<{ cancel(): void }>();
  #nextTreeId = 1;
  /** Requests whose handler has not returned yet; of them, those that wait for somebody (their client has STATUS_PENDING). */
  #inFlight = 0;
  #waitingRequests = 0;
  #watchers: { isReached: () => boolean; resolve: () => void }[] = [];
  /** It is another server's now: its requests get no answer here any more, because their client repeats them there. */
  isReleased = false;
  /** Set once the session ends; resolves when its opens are settled. */
  ending: Promise<void> | undefined;

  constructor(id: bigint, connection: Connection) {
    this.id = id;
    this.epoch = id >> EPOCH_SHIFT;
    this.#made = connection;
    this.channels = [{ session: this, connection, signer: undefined }];
  }

  /** One that the session can be reached by, if there is any left. */
  get connection(): Connection {
    for (const { connection } of this.channels) if (connection.isOpen) return connection;
    return this.#made;
  }

  /**
   * Sends an OPLOCK_BREAK notification by the first channel that is there (MS-SMB2 3.3.4.6, 3.3.4.7).
   * @param lost called where the channel ended before it arrived: another may be left
   * @param preferred the connection to take if it is there
   * @returns false: there is none
   */
  sendBreak(body: Buffer, lost: () => void, preferred?: Connection): boolean {
    const open = this.channels.filter(({ connection }) => connection.isOpen);
    const channel = open.find(({ connection }) => connection === preferred) ?? open[0];
    channel?.connection.sendBreak(this, body, lost);
    return channel !== undefined;
  }

  /** The connection is lost. @returns how many channels are left */
  removeChannel(connection: Connection): number {
    const at = this.channels.findIndex((channel) => channel.connection === connection);
    const [channel] = at < 0 ? [] : this.channels.splice(at, 1);
    if (channel?.signer !== this.signer) channel?.signer?.close();
    if (channel) channel.signer = undefined;
    return this.channels.length;
  }

  nextTreeId(): number {
    return this.#nextTreeId++;
  }

  /** Frees the keys; nothing may be signed or opened any more. */
  closeKeys(): void {
    for (const channel of this.channels) {
      if (channel.signer !== this.signer) channel.signer?.close();
      channel.signer = undefined;
    }
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
