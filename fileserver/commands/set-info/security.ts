import { Access } from '../../../smb/security/access-mask.ts';
import { decodeSecurityDescriptor, type SecurityDescriptor, SecurityInfo } from '../../../smb/security/descriptor.ts';
import { changedDescriptor } from '../../../smb/security/inheritance.ts';
import { Status } from '../../../smb/status.ts';
import { WireError } from '../../../smb/wire/errors.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { effectiveDescriptor, storedForm } from '../../security/descriptors.ts';
import { mayAssignOwner } from '../../security/rights.ts';
import type { Request } from '../../session/request.ts';
import { changeMetadata } from './metadata.ts';

const { owner, group, dacl, sacl, label, attribute, scope, backup } = SecurityInfo;

/** SET_INFO for security (MS-SMB2 3.3.5.21.3, MS-FSA 2.1.5.17). `parts`: SecurityInfo. Gives the status; throws PosixError and StatusError. */
export async function setSecurity(request: Request, open: OpenFile, parts: number, input: Buffer): Promise<number> {
  if (!open.may(rightsToSet(parts))) return Status.ACCESS_DENIED;
  let change: SecurityDescriptor;
  try {
    change = decodeSecurityDescriptor(input);
  } catch (error) {
    if (error instanceof WireError) return Status.INVALID_SECURITY_DESCR;
    throw error;
  }
  const { user } = request.session;
  if ((parts & owner) !== 0 && change.owner !== undefined) {
    if (!user || !mayAssignOwner(user.token, request.tree.maximalAccess, change.owner)) return Status.INVALID_OWNER;
  }
  const { folder, metadataFd: fd } = open;
  await changeMetadata(open, async (stored) => {
    const own = stored.hasDescriptor ? await folder.descriptor(fd) : undefined;
    const current = effectiveDescriptor(stored, own, open.base?.pin.isDirectory ?? open.isDirectory);
    await folder.setDescriptor(fd, storedForm(changedDescriptor(current, change, parts)), open.writesThrough);
    return {
      ...stored,
      hasDescriptor: true,
      changeTime: open.attachment.keepsChangeTime ? stored.changeTime : undefined,
    };
  });
  return Status.SUCCESS;
}

/** MS-FSA 2.1.5.17. */
function rightsToSet(parts: number): number {
  let rights = 0;
  if ((parts & (owner | group | label | backup)) !== 0) rights |= Access.writeOwner;
  if ((parts & (dacl | attribute | backup)) !== 0) rights |= Access.writeDac;
  if ((parts & (sacl | scope | backup)) !== 0) rights |= Access.accessSystemSecurity;
  return rights;
}
