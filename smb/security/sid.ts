/** A SID in its string form, `S-1-5-21-...` (MS-DTYP 2.4.2.1); the form that this code keeps in memory. */
export type Sid = string;

/** Well-known SIDs (MS-DTYP 2.4.2.4). */
export const wellKnownSids = {
  nobody: 'S-1-0-0',
  everyone: 'S-1-1-0',
  creatorOwner: 'S-1-3-0',
  creatorGroup: 'S-1-3-1',
  ownerRights: 'S-1-3-4',
  network: 'S-1-5-2',
  anonymous: 'S-1-5-7',
  authenticatedUsers: 'S-1-5-11',
  localSystem: 'S-1-5-18',
  administrators: 'S-1-5-32-544',
  users: 'S-1-5-32-545',
  guests: 'S-1-5-32-546',
} as const satisfies Record<string, Sid>;

/** Binary form. Throws RangeError when `sid` is not a SID in string form. */
export function encodeSid(_sid: Sid): Buffer {
  throw new Error('being written');
}

/** Reads the SID at `at`; `size` is the bytes that it takes. Throws WireError. */
export function decodeSid(_buffer: Buffer, _at = 0): { sid: Sid; size: number } {
  throw new Error('being written');
}

/** True when the text is a SID in string form. */
export function isSid(_text: string): boolean {
  throw new Error('being written');
}

/** The SID of a user of a cluster: `S-1-5-21-x-y-z-rid`, the same in every pod, from the cluster's uid and the folded user name. */
export function userSid(_clusterSeed: string, _user: string): Sid {
  throw new Error('being written');
}
