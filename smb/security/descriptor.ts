import { WireError } from '../wire/errors.ts';
import { decodeSid, encodeSid, type Sid, wellKnownSids } from './sid.ts';

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
  /** 2, or 4 with object ACEs; 3 is as good. */
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
export const SecurityInfo = {
  owner: 0x1,
  group: 0x2,
  dacl: 0x4,
  sacl: 0x8,
  label: 0x10,
  attribute: 0x20,
  scope: 0x40,
  backup: 0x10000,
} as const;

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

/** Self-relative form (MS-DTYP 2.4.6). `parts` (SecurityInfo) chooses what goes in; the default is all. */
export function encodeSecurityDescriptor(descriptor: SecurityDescriptor, parts: number = everyPart): Buffer {
  const { owner, group, dacl, sacl } = descriptor;
  const wantsDacl = (parts & SecurityInfo.dacl) !== 0 && dacl !== undefined;
  const wantsSacl = (parts & SecurityInfo.sacl) !== 0 && sacl !== undefined;
  // The order in which Windows lays them out: clients compare bytes.
  const blocks: (readonly [offsetAt: number, block: Buffer])[] = [];
  if (wantsSacl && sacl !== null) blocks.push([12, encodeAcl(sacl)]);
  if (wantsDacl && dacl !== null) blocks.push([16, encodeAcl(dacl)]);
  if (parts & SecurityInfo.owner && owner !== undefined) blocks.push([4, encodeSid(owner)]);
  if (parts & SecurityInfo.group && group !== undefined) blocks.push([8, encodeSid(group)]);

  const header = Buffer.alloc(20);
  let control = descriptor.control & ~(daclBits(wantsDacl) | saclBits(wantsSacl));
  if (wantsDacl) control |= DescriptorControl.daclPresent;
  if (wantsSacl) control |= DescriptorControl.saclPresent;
  header.writeUInt8(1, 0);
  header.writeUInt16LE((control | DescriptorControl.selfRelative) & 0xffff, 2);
  let offset = header.length;
  for (const [offsetAt, block] of blocks) {
    header.writeUInt32LE(offset, offsetAt);
    offset += block.length;
  }
  return Buffer.concat([header, ...blocks.map(([, block]) => block)]);
}

const everyPart = SecurityInfo.owner | SecurityInfo.group | SecurityInfo.dacl | SecurityInfo.sacl;

/** Bits that say something about an ACL that is left out. */
const daclBits = (present: boolean): number =>
  present
    ? 0
    : DescriptorControl.daclPresent |
      DescriptorControl.daclAutoInheritReq |
      DescriptorControl.daclAutoInherited |
      DescriptorControl.daclProtected;
const saclBits = (present: boolean): number =>
  present
    ? 0
    : DescriptorControl.saclPresent |
      DescriptorControl.saclAutoInheritReq |
      DescriptorControl.saclAutoInherited |
      DescriptorControl.saclProtected;

function encodeAce(ace: Ace): Buffer {
  const body = ace.opaque ?? encodeAceBody(ace);
  const head = Buffer.alloc(4);
  head.writeUInt8(ace.type, 0);
  head.writeUInt8(ace.flags, 1);
  head.writeUInt16LE(4 + body.length, 2);
  return Buffer.concat([head, body]);
}

function encodeAceBody(ace: Ace): Buffer {
  const mask = Buffer.alloc(4);
  mask.writeUInt32LE(ace.mask >>> 0, 0);
  return Buffer.concat([mask, encodeSid(ace.sid)]);
}

function encodeAcl(acl: Acl): Buffer {
  const aces = acl.aces.map(encodeAce);
  const head = Buffer.alloc(8);
  const size = aces.reduce((sum, ace) => sum + ace.length, head.length);
  if (size > maximumDescriptorSize - 1)
    throw new RangeError(`an ACL of ${size} bytes is larger than the format allows`);
  head.writeUInt8(acl.revision, 0);
  head.writeUInt16LE(size, 2);
  head.writeUInt16LE(aces.length, 4);
  return Buffer.concat([head, ...aces]);
}

/** Decodes the self-relative form. Throws WireError. */
export function decodeSecurityDescriptor(buffer: Buffer): SecurityDescriptor {
  if (buffer.length < 20 || buffer.length > maximumDescriptorSize) {
    throw new WireError(`security descriptor of ${buffer.length} bytes`);
  }
  const control = buffer.readUInt16LE(2);
  if (buffer.readUInt8(0) !== 1 || (control & DescriptorControl.selfRelative) === 0) {
    throw new WireError('security descriptor is not of revision 1 and self-relative');
  }
  const descriptor: SecurityDescriptor = { control };
  const [ownerAt, groupAt] = [buffer.readUInt32LE(4), buffer.readUInt32LE(8)];
  if (ownerAt !== 0) descriptor.owner = decodeSid(buffer, ownerAt).sid;
  if (groupAt !== 0) descriptor.group = decodeSid(buffer, groupAt).sid;
  if (control & DescriptorControl.saclPresent) descriptor.sacl = decodeAclAt(buffer, buffer.readUInt32LE(12));
  if (control & DescriptorControl.daclPresent) descriptor.dacl = decodeAclAt(buffer, buffer.readUInt32LE(16));
  return descriptor;
}

function decodeAclAt(buffer: Buffer, at: number): Acl | null {
  if (at === 0) return null;
  if (at + 8 > buffer.length) throw new WireError('ACL is cut off');
  const revision = buffer.readUInt8(at);
  const end = at + buffer.readUInt16LE(at + 2);
  const count = buffer.readUInt16LE(at + 4);
  // 3 is not in MS-DTYP 2.4.5; Windows takes it, and there are clients that send it.
  if (revision < 2 || revision > 4 || end > buffer.length) throw new WireError('ACL of unknown form or cut off');
  const aces: Ace[] = [];
  let aceAt = at + 8;
  for (let i = 0; i < count; i++) {
    if (aceAt + 4 > end) throw new WireError('ACE is cut off');
    const size = buffer.readUInt16LE(aceAt + 2);
    if (size < 4 || aceAt + size > end) throw new WireError('ACE is cut off');
    aces.push(decodeAce(buffer.subarray(aceAt, aceAt + size)));
    aceAt += size;
  }
  return { revision, aces };
}

function decodeAce(ace: Buffer): Ace {
  const type = ace.readUInt8(0);
  const flags = ace.readUInt8(1);
  if (type !== AceType.allow && type !== AceType.deny && type !== AceType.audit) {
    return { type, flags, mask: 0, sid: wellKnownSids.nobody, opaque: ace.subarray(4) };
  }
  if (ace.length < 16) throw new WireError('ACE is cut off');
  return { type, flags, mask: ace.readUInt32LE(4), sid: decodeSid(ace, 8).sid };
}

export interface Grant {
  sid: Sid;
  mask: number;
  /** AceFlag; the default inherits to everything below. */
  flags?: number;
}

/** A descriptor whose DACL allows the grants and nothing else. */
export function plainDescriptor(owner: Sid, group: Sid, grants: readonly Grant[]): SecurityDescriptor {
  const aces = grants.map(({ sid, mask, flags = AceFlag.objectInherit | AceFlag.containerInherit }) => ({
    type: AceType.allow,
    flags,
    mask,
    sid,
  }));
  return { control: DescriptorControl.selfRelative, owner, group, dacl: { revision: 2, aces } };
}
