import type { Cipher } from '../../smb/crypto/cipher.ts';
import type { Signer } from '../../smb/crypto/signer.ts';
import type { AccessToken } from '../../smb/security/access.ts';
import type { Sid } from '../../smb/security/sid.ts';
import type { Connection } from './connection.ts';
import type { TreeConnect } from './tree-connect.ts';

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
