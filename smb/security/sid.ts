import { hash } from 'node:crypto';
import { foldCase } from '../fscc/names.ts';
import { WireError } from '../wire/errors.ts';

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

/** MS-DTYP 2.4.2.2. */
const maximumSubAuthorities = 15;

interface SidParts {
  authority: number;
  subAuthorities: number[];
}

/** An authority of 2^32 and above is written in hexadecimal (MS-DTYP 2.4.2.1). */
const sidForm = /^S-1-(\d{1,10}|0x[0-9a-f]{1,12})((?:-\d{1,10}){0,15})$/i;

function parseSid(text: string): SidParts | undefined {
  const match = sidForm.exec(text);
  if (match === null) return undefined;
  const subAuthorities = (match[2] ?? '').split('-').slice(1).map(Number);
  if (subAuthorities.some((value) => value > 0xffffffff)) return undefined;
  return { authority: Number(match[1]), subAuthorities };
}

/** True when the text is a SID in string form. */
export function isSid(text: string): boolean {
  return parseSid(text) !== undefined;
}

/** Binary form. Throws RangeError when `sid` is not a SID in string form. */
export function encodeSid(sid: Sid): Buffer {
  const parts = parseSid(sid);
  if (parts === undefined) throw new RangeError(`not a SID: ${JSON.stringify(sid)}`);
  const buffer = Buffer.alloc(8 + 4 * parts.subAuthorities.length);
  buffer.writeUInt8(1, 0);
  buffer.writeUInt8(parts.subAuthorities.length, 1);
  buffer.writeUIntBE(parts.authority, 2, 6);
  for (const [i, value] of parts.subAuthorities.entries()) buffer.writeUInt32LE(value, 8 + 4 * i);
  return buffer;
}

/** Reads the SID at `at`; `size` is the bytes that it takes. Throws WireError. */
export function decodeSid(buffer: Buffer, at = 0): { sid: Sid; size: number } {
  if (at < 0 || at + 8 > buffer.length) throw new WireError('SID is cut off');
  const count = buffer.readUInt8(at + 1);
  const size = 8 + 4 * count;
  if (buffer.readUInt8(at) !== 1 || count > maximumSubAuthorities) throw new WireError('SID of unknown form');
  if (at + size > buffer.length) throw new WireError('SID is cut off');
  const authority = buffer.readUIntBE(at + 2, 6);
  let sid = `S-1-${authority < 2 ** 32 ? authority : `0x${authority.toString(16).padStart(12, '0')}`}`;
  for (let i = 0; i < count; i++) sid += `-${buffer.readUInt32LE(at + 8 + 4 * i)}`;
  return { sid, size };
}

/** Relative ids below 1000 are for built-in accounts. */
const firstUserRid = 1000;

/**
 * The SID of a user of a cluster: `S-1-5-21-x-y-z-rid`, the same in every pod and on every day. x, y, z come from the
 * cluster's uid, the rid (31 bits) from the folded user name: two of 1000 users share one with a chance of 1 in 4000.
 */
export function userSid(clusterSeed: string, user: string): Sid {
  const account = hash('sha256', `holdfast user\0${clusterSeed}\0${foldCase(user)}`, 'buffer');
  const rid = firstUserRid + (account.readUInt32LE(0) % (2 ** 31 - firstUserRid));
  return `${domainSid(clusterSeed)}-${rid}`;
}

/** What the SIDs of a cluster's users have in common: `S-1-5-21-x-y-z`. */
export function domainSid(clusterSeed: string): Sid {
  const domain = hash('sha256', `holdfast domain\0${clusterSeed}`, 'buffer');
  const [x, y, z] = [domain.readUInt32LE(0), domain.readUInt32LE(4), domain.readUInt32LE(8)];
  return `S-1-5-21-${x}-${y}-${z}`;
}
