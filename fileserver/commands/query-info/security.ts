import { Access } from '../../../smb/security/access-mask.ts';
import { encodeSecurityDescriptor, SecurityInfo } from '../../../smb/security/descriptor.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { effectiveDescriptor } from '../../security/descriptors.ts';
import type { Answer } from './answer.ts';

const { owner, group, dacl, sacl, label, attribute, scope, backup } = SecurityInfo;

/** Rights that a part of the descriptor takes to be read (MS-FSA 2.1.5.14). */
const READ_CONTROL_PARTS = owner | group | dacl | label | attribute | scope | backup;

/** QUERY_INFO for security (MS-SMB2 3.3.5.20.3). `parts`: SecurityInfo. Throws PosixError. */
export async function querySecurity(open: OpenFile, parts: number): Promise<Answer> {
  if ((parts & (sacl | backup)) !== 0 && !open.may(Access.accessSystemSecurity))
    return { status: Status.ACCESS_DENIED };
  if ((parts & READ_CONTROL_PARTS) !== 0 && !open.may(Access.readControl)) return { status: Status.ACCESS_DENIED };
  const { folder, metadataFd: fd } = open;
  const stored = await folder.attributes(fd);
  const own = stored.hasDescriptor ? await folder.descriptor(fd) : undefined;
  const descriptor = effectiveDescriptor(stored, own, open.base?.pin.isDirectory ?? open.isDirectory);
  return { output: encodeSecurityDescriptor(descriptor, parts), minimumSize: 0 };
}
