import type { Sid } from './sid.ts';

/** ACE types that are understood (MS-DTYP 2.4.4.1); others are kept as they are and do not take part in decisions. */
export const AceType = { allow: 0, deny: 1, audit: 2 } as const;

/** ACE flags (MS-DTYP 2.4.4.1). */
export const AceFlag = {
  objectInherit: 0x1,
  containerInherit: 0x2,
  noPropagateInherit: 0x4,
  inheritOnly: 0x8,
  inherited: 0x10,
} as const;

export interface Ace {
  /** AceType or another. */
  type: number;
  /** AceFlag. */
  flags: number;
  mask: number;
  sid: Sid;
  /** Of types that are not understood: all behind the 4-byte header; then mask is 0 and sid S-1-0-0. */
  opaque?: Buffer;
}

export interface Acl {
  /** 2, or 4 with object ACEs. */
  revision: number;
  aces: Ace[];
}

/** Control bits (MS-DTYP 2.4.6); self-relative, present and null are worked out by encode. */
export const DescriptorControl = {
  ownerDefaulted: 0x1,
  groupDefaulted: 0x2,
  daclPresent: 0x4,
  saclPresent: 0x10,
  daclAutoInheritReq: 0x100,
  saclAutoInheritReq: 0x200,
  daclAutoInherited: 0x400,
  saclAutoInherited: 0x800,
  daclProtected: 0x1000,
  saclProtected: 0x2000,
  selfRelative: 0x8000,
} as const;

/** AdditionalInformation of QUERY_INFO and SET_INFO for security (MS-SMB2 2.2.37). */
export const SecurityInfo = { owner: 0x1, group: 0x2, dacl: 0x4, sacl: 0x8 } as const;

export interface SecurityDescriptor {
  /** DescriptorControl. */
  control: number;
  owner?: Sid;
  group?: Sid;
  /** null: present and NULL, everybody may do everything; undefined: not present. */
  dacl?: Acl | null;
  sacl?: Acl | null;
}

/** Largest descriptor that is accepted or produced, bytes. */
export const maximumDescriptorSize = 64 * 1024;

/** Self-relative form. `parts` (SecurityInfo) chooses what goes in; the default is all. */
export function encodeSecurityDescriptor(_descriptor: SecurityDescriptor, _parts?: number): Buffer {
  throw new Error('being written');
}

/** Decodes the self-relative form. Throws WireError. */
export function decodeSecurityDescriptor(_buffer: Buffer): SecurityDescriptor {
  throw new Error('being written');
}

export interface Grant {
  sid: Sid;
  mask: number;
  /** AceFlag; the default inherits to everything below. */
  flags?: number;
}

/** A descriptor whose DACL allows the grants and nothing else. */
export function plainDescriptor(_owner: Sid, _group: Sid, _grants: readonly Grant[]): SecurityDescriptor {
  throw new Error('being written');
}

/** What a new file or directory gets from its parent (MS-DTYP 2.5.3.4, without object types). */
export function inheritedDescriptor(
  _parent: SecurityDescriptor,
  _child: { directory: boolean; owner: Sid; group: Sid },
): SecurityDescriptor {
  throw new Error('being written');
}
