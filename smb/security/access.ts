import { Access, FileAccess, mapGenericAccess } from './access-mask.ts';
import { AceFlag, AceType, type SecurityDescriptor } from './descriptor.ts';
import { type Sid, wellKnownSids } from './sid.ts';

export { Access, FileAccess, mapGenericAccess };

/** Who asks: the SIDs of the user and the user's groups, everyone and authenticated users among them. */
export interface AccessToken {
  user: Sid;
  sids: ReadonlySet<Sid>;
}

/** The token of a user who has logged on with a password: the user's SID, the groups, and those that everyone gets. */
export function userToken(user: Sid, groups: readonly Sid[] = []): AccessToken {
  const { everyone, authenticatedUsers, network } = wellKnownSids;
  return { user, sids: new Set([user, ...groups, everyone, authenticatedUsers, network]) };
}

export interface AccessDecision {
  allowed: boolean;
  /** What the Open gets; with MAXIMUM_ALLOWED all that is allowed. 0 when not allowed. */
  granted: number;
}

/**
 * Decides on `desired` (generic bits and MAXIMUM_ALLOWED may be set) as MS-DTYP 2.5.3.2 does, with no privileges:
 * ACCESS_SYSTEM_SECURITY is never granted.
 */
export function accessCheck(descriptor: SecurityDescriptor, token: AccessToken, desired: number): AccessDecision {
  const mapped = mapGenericAccess(desired);
  const wanted = (mapped & ~Access.maximumAllowed) >>> 0;
  const available = maximalAccess(descriptor, token);
  if ((wanted & ~available) !== 0) return { allowed: false, granted: 0 };
  if ((mapped & Access.maximumAllowed) === 0) return { allowed: true, granted: wanted };
  // MAXIMUM_ALLOWED of which nothing is left is a refusal.
  return { allowed: available !== 0, granted: available };
}

/** All that `token` may do (the MxAc create context, MaximalAccess of TREE_CONNECT). */
export function maximalAccess(descriptor: SecurityDescriptor, token: AccessToken): number {
  const { dacl, owner } = descriptor;
  if (dacl === null || dacl === undefined) return FileAccess.all;
  const isOwner = owner !== undefined && token.sids.has(owner);
  // An ACE for OWNER RIGHTS takes the place of what owners have without asking (MS-DTYP 2.5.3.2).
  const ownerRightsStated = dacl.aces.some((ace) => ace.sid === wellKnownSids.ownerRights && applies(ace.flags));
  let granted = isOwner && !ownerRightsStated ? Access.readControl | Access.writeDac : 0;
  let denied = 0;
  for (const { type, flags, mask, sid, opaque } of dacl.aces) {
    if (opaque !== undefined || !applies(flags)) continue;
    if (!token.sids.has(sid) && !(isOwner && sid === wellKnownSids.ownerRights)) continue;
    const bits = mapGenericAccess(mask);
    // The first ACE that speaks of a bit decides on it.
    if (type === AceType.allow) granted |= bits & ~denied;
    else if (type === AceType.deny) denied |= bits & ~granted;
  }
  return (granted & FileAccess.all) >>> 0;
}

const applies = (flags: number): boolean => (flags & AceFlag.inheritOnly) === 0;
