import type { AccessToken } from '../../smb/security/access.ts';
import type { Sid } from '../../smb/security/sid.ts';
import type { Connection } from './connection.ts';
import type { Protection } from './protection.ts';
import type { TreeConnect } from './tree-connect.ts';

/** Who is logged on. */
export interface User {
  /** As it stands in the users folder. */
  readonly name: string;
  readonly sid: Sid;
  readonly token: AccessToken;
}

/** MS-SMB2 3.3.1.8 Session.State */
export type SessionState = 'InProgress' | 'Valid' | 'Expired' | 'Ended';

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
  /** Keys; set when authentication has succeeded. */
  protection: Protection | undefined;
  /** Session.FullSessionKey's first 16 bytes: Session.SessionKey. */
  sessionKey: Buffer | undefined;
  /** PreauthIntegrityHashValue while it is being set up (3.1.1). */
  preauthHash: Buffer | undefined;
  readonly trees = new Map<number, TreeConnect>();
  #nextTreeId = 1;

  constructor(id: bigint, connection: Connection) {
    this.id = id;
    this.connection = connection;
  }

  nextTreeId(): number {
    return this.#nextTreeId++;
  }
}
