import { type AccessToken, maximalAccess } from '../../smb/security/access.ts';
import { Access, FileAccess } from '../../smb/security/access-mask.ts';
import type { SecurityDescriptor } from '../../smb/security/descriptor.ts';
import type { Sid } from '../../smb/security/sid.ts';
import type { DiskPath, Folder } from '../volume/folder.ts';
import type { Eventually } from '../volume/posix.ts';

/** Who asks, and what the share lets them do at most (TreeConnect.MaximalAccess). */
export interface Asker {
  token: AccessToken;
  shareAccess: number;
}

/** What may be had through the parent, too (MS-FSA 2.1.5.1.2.1). */
const THROUGH_PARENT = Access.delete | Access.readAttributes;

/**
 * All that a user may do with a file (MS-FSA 2.1.5.1.2.1, MS-DTYP 2.5.3.2). Nothing of its parent is read unless the file's own
 * descriptor leaves something open that the parent's could give. Throws PosixError.
 */
export function rightsTo(
  folder: Folder,
  file: { path: DiskPath; descriptor: SecurityDescriptor | undefined },
  asker: Asker,
): Eventually<number> {
  if (file.descriptor === undefined) return asker.shareAccess;
  const own = maximalAccess(file.descriptor, asker.token);
  const lacks = THROUGH_PARENT & ~own & asker.shareAccess;
  if (lacks === 0 || file.path === '.') return (own & asker.shareAccess) >>> 0;
  return withParent(folder, file.path, own, asker);
}

async function withParent(folder: Folder, path: DiskPath, own: number, asker: Asker): Promise<number> {
  const parentFd = await folder.openParent(path);
  try {
    const { rights } = await directoryRights(folder, parentFd, asker);
    return ((own | throughParent(rights)) & asker.shareAccess) >>> 0;
  } finally {
    await folder.posix.close(parentFd);
  }
}

/** Who may delete from a directory may delete what is in it, who may list it may see its entries' attributes. */
function throughParent(parentRights: number): number {
  const deletes = (parentRights & Access.deleteChild) !== 0 ? Access.delete : 0;
  const lists = (parentRights & Access.listDirectory) !== 0 ? Access.readAttributes : 0;
  return deletes | lists;
}

/** All that a user may do with a file in a directory that gives `parentRights`. */
export function rightsUnder(descriptor: SecurityDescriptor, parentRights: number, asker: Asker): number {
  return ((maximalAccess(descriptor, asker.token) | throughParent(parentRights)) & asker.shareAccess) >>> 0;
}

/** An open directory's own descriptor, and all that a user may do with it as far as that says. Throws PosixError. */
export async function directoryRights(
  folder: Folder,
  fd: number,
  asker: Asker,
): Promise<{ rights: number; descriptor: SecurityDescriptor | undefined }> {
  const { hasDescriptor } = await folder.attributes(fd);
  if (!hasDescriptor) return { rights: asker.shareAccess, descriptor: undefined };
  const descriptor = await folder.descriptor(fd);
  return { rights: (maximalAccess(descriptor, asker.token) & asker.shareAccess) >>> 0, descriptor };
}

/** What it takes to see a file in a listing that hides what cannot be read: all of FILE_GENERIC_READ that is about its contents. */
const TO_BE_SHOWN = FileAccess.read & ~Access.synchronize;

/**
 * Whether a listing of a share with access-based enumeration shows a file to this user (MS-SMB2 3.3.5.18). Its own descriptor decides
 * alone: that the directory can be listed gives the right to see attributes of all that is in it.
 */
export function isShownTo(token: AccessToken, descriptor: SecurityDescriptor): boolean {
  return (maximalAccess(descriptor, token) & TO_BE_SHOWN) === TO_BE_SHOWN;
}

/**
 * Whether a user who may change the owner may make it `owner`: themselves, and those who have full access to the share anybody,
 * as who restores a backup or moves files here from another server must (SeRestorePrivilege of Windows).
 */
export function mayAssignOwner(token: AccessToken, shareAccess: number, owner: Sid): boolean {
  return token.user === owner || (shareAccess & FileAccess.all) === FileAccess.all;
}
