import type { Share } from '../shares.ts';
import type { Session } from './session.ts';

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
