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
