import { FileAccess, mapGenericAccess } from './access-mask.ts';
import {
  type Ace,
  AceFlag,
  AceType,
  type Acl,
  DescriptorControl,
  type SecurityDescriptor,
  SecurityInfo,
} from './descriptor.ts';
import { type Sid, wellKnownSids } from './sid.ts';

/** What a descriptor is for, and who creates it. */
export interface Child {
  directory: boolean;
  owner: Sid;
  group: Sid;
}

const INHERITANCE = AceFlag.objectInherit | AceFlag.containerInherit | AceFlag.noPropagateInherit;

/** The control bits of the two ACLs that say the same of each. */
const daclControl = {
  autoInherited: DescriptorControl.daclAutoInherited,
  protected: DescriptorControl.daclProtected,
  request: DescriptorControl.daclAutoInheritReq,
};
const saclControl = {
  autoInherited: DescriptorControl.saclAutoInherited,
  protected: DescriptorControl.saclProtected,
  request: DescriptorControl.saclAutoInheritReq,
};
type AclControl = typeof daclControl | typeof saclControl;

/**
 * The descriptor of a new file or directory (MS-DTYP 2.5.3.4.1 CreateSecurityDescriptor, without object types): what `creator`
 * brings, and what is inherited from `parent`. Inheritance is automatic where the parent's ACL is auto-inherited (MS-FSA
 * 2.1.5.1.1). With nothing to go by, the owner and the system have everything, as the default DACL of a token has it.
 */
export function createDescriptor(
  parent: SecurityDescriptor,
  creator: SecurityDescriptor | undefined,
  child: Child,
): SecurityDescriptor {
  const who = { ...child, owner: creator?.owner ?? child.owner, group: creator?.group ?? child.group };
  const dacl = computeAcl(daclControl, parent.control, parent.dacl, creator?.control ?? 0, creator?.dacl, who);
  const sacl = computeAcl(saclControl, parent.control, parent.sacl, creator?.control ?? 0, creator?.sacl, who);
  const descriptor: SecurityDescriptor = {
    control: DescriptorControl.selfRelative | dacl.control | sacl.control,
    owner: who.owner,
    group: who.group,
    dacl: dacl.acl === undefined ? defaultDacl(who.owner) : dacl.acl,
  };
  if (sacl.acl !== undefined) descriptor.sacl = sacl.acl;
  return descriptor;
}

function defaultDacl(owner: Sid): Acl {
  const { localSystem } = wellKnownSids;
  const aces = [owner, localSystem].map((sid) => ({ type: AceType.allow, flags: 0, mask: FileAccess.all, sid }));
  return { revision: 2, aces };
}

/** MS-DTYP 2.5.3.4.2 ComputeACL. acl undefined: there is none. */
function computeAcl(
  bits: AclControl,
  parentControl: number,
  parent: Acl | null | undefined,
  creatorControl: number,
  creator: Acl | null | undefined,
  child: Child,
): { acl: Acl | null | undefined; control: number } {
  const auto = (parentControl & bits.autoInherited) !== 0;
  const kept = creatorControl & bits.protected;
  if (creator === null) return { acl: null, control: kept };
  const isProtected = (creatorControl & bits.protected) !== 0;
  const inherited = isProtected && creator !== undefined ? [] : inheritedAces(parent, child, auto);
  if (creator === undefined) {
    if (inherited.length === 0) return { acl: undefined, control: 0 };
    return {
      acl: { revision: parent?.revision ?? 2, aces: inherited },
      control: auto ? bits.autoInherited : 0,
    };
  }
  const own = creator.aces.flatMap((ace) => ownAces(ace, child));
  if (isProtected || !auto) return { acl: { revision: creator.revision, aces: own }, control: kept };
  // What the creator copied from the parent comes from there anew.
  const explicit = own.filter(({ flags }) => (flags & AceFlag.inherited) === 0);
  return { acl: { revision: creator.revision, aces: [...explicit, ...inherited] }, control: kept | bits.autoInherited };
}

/** ContentsForInherit of MS-DTYP 2.5.3.4.3. */
function inheritedAces(parent: Acl | null | undefined, child: Child, auto: boolean): Ace[] {
  return (parent?.aces ?? []).flatMap((ace) => inheritedFrom(ace, child, auto ? AceFlag.inherited : 0));
}

function inheritedFrom(ace: Ace, child: Child, mark: number): Ace[] {
  const other = (ace.flags & ~(INHERITANCE | AceFlag.inheritOnly | AceFlag.inherited)) | mark;
  const toObjects = (ace.flags & AceFlag.objectInherit) !== 0;
  const toContainers = (ace.flags & AceFlag.containerInherit) !== 0;
  if (!child.directory) return toObjects ? [effectiveAce(ace, other, child)] : [];
  const goesOn = (ace.flags & AceFlag.noPropagateInherit) === 0;
  const handedOn = (ace.flags & INHERITANCE) | other;
  if (!toContainers) return toObjects && goesOn ? [{ ...ace, flags: handedOn | AceFlag.inheritOnly }] : [];
  if (!goesOn) return [effectiveAce(ace, other, child)];
  return splitAce(ace, { here: other, below: handedOn }, child);
}

/** An ACE of the creator's: what it means here, and what it hands on (MS-DTYP 2.5.3.4.7 PostProcessACL). */
function ownAces(ace: Ace, child: Child): Ace[] {
  if ((ace.flags & AceFlag.inheritOnly) !== 0) return [ace];
  const here = ace.flags & ~INHERITANCE;
  if ((ace.flags & (AceFlag.objectInherit | AceFlag.containerInherit)) === 0) return [effectiveAce(ace, here, child)];
  return splitAce(ace, { here, below: ace.flags }, child);
}

/** CREATOR OWNER and generic rights stand for something else here than below: then both forms are kept. */
function splitAce(ace: Ace, flags: { here: number; below: number }, child: Child): Ace[] {
  const effective = effectiveAce(ace, flags.here, child);
  if (effective.sid === ace.sid && effective.mask === ace.mask) return [{ ...ace, flags: flags.below }];
  return [effective, { ...ace, flags: flags.below | AceFlag.inheritOnly }];
}

/** The ACE as it applies to the child itself. */
function effectiveAce(ace: Ace, flags: number, child: Child): Ace {
  if (ace.opaque !== undefined) return { ...ace, flags };
  let sid = ace.sid;
  if (sid === wellKnownSids.creatorOwner) sid = child.owner;
  else if (sid === wellKnownSids.creatorGroup) sid = child.group;
  return { ...ace, flags, mask: mapGenericAccess(ace.mask), sid };
}

/**
 * What a descriptor is after `change` was set on it (MS-FSA 2.1.5.17): the parts that `parts` (SecurityInfo) names are
 * `change`'s, the rest stays. A DACL that is to be set and is not there is NULL, as Windows has it: everybody may do everything.
 */
export function changedDescriptor(
  current: SecurityDescriptor,
  change: SecurityDescriptor,
  parts: number,
): SecurityDescriptor {
  const next: SecurityDescriptor = { ...current };
  if ((parts & SecurityInfo.owner) !== 0 && change.owner !== undefined) next.owner = change.owner;
  if ((parts & SecurityInfo.group) !== 0 && change.group !== undefined) next.group = change.group;
  if ((parts & SecurityInfo.dacl) !== 0) {
    next.dacl = mapped(change.dacl ?? null);
    next.control = (next.control & ~everyBit(daclControl)) | autoInheritance(change.control, daclControl);
  }
  if ((parts & SecurityInfo.sacl) !== 0) {
    if (change.sacl === undefined) delete next.sacl;
    else next.sacl = mapped(change.sacl);
    next.control = (next.control & ~everyBit(saclControl)) | autoInheritance(change.control, saclControl);
  }
  return next;
}

const everyBit = (bits: AclControl): number => bits.autoInherited | bits.protected;

/** AUTO_INHERITED is kept where the client also says AUTO_INHERIT_REQ, which itself is never kept (MS-DTYP 2.4.6). */
function autoInheritance(control: number, bits: AclControl): number {
  const both = bits.autoInherited | bits.request;
  return (control & bits.protected) | ((control & both) === both ? bits.autoInherited : 0);
}

/** Generic rights become those of files, where they apply to the file itself. The order of ACEs stays. */
function mapped(acl: Acl | null): Acl | null {
  if (acl === null) return null;
  const aces = acl.aces.map((ace) => {
    const isUnderstood = ace.type === AceType.allow || ace.type === AceType.deny || ace.type === AceType.audit;
    const isEffective = (ace.flags & AceFlag.inheritOnly) === 0;
    return isUnderstood && isEffective ? { ...ace, mask: mapGenericAccess(ace.mask) } : ace;
  });
  return { revision: acl.revision, aces };
}
