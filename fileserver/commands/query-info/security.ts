import { FileAccess } from '../../../smb/security/access.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { encodeSecurityDescriptor, plainDescriptor, SecurityInfo } from '../../../smb/security/descriptor.ts';
import { wellKnownSids } from '../../../smb/security/sid.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import type { Answer } from './answer.ts';

const { administrators, users, authenticatedUsers } = wellKnownSids;

/** Volumes keep no descriptors: the share's permissions decide, and within them everybody may do everything. */
const descriptor = plainDescriptor(administrators, users, [{ sid: authenticatedUsers, mask: FileAccess.all }]);

/** QUERY_INFO for security (MS-SMB2 3.3.5.20.3). `parts`: SecurityInfo. */
export function querySecurity(open: OpenFile, parts: number): Answer {
  if ((parts & SecurityInfo.sacl) !== 0 && !open.may(Access.accessSystemSecurity)) {
    return { status: Status.ACCESS_DENIED };
  }
  if (!open.may(Access.readControl)) return { status: Status.ACCESS_DENIED };
  return { output: encodeSecurityDescriptor(descriptor, parts), minimumSize: 0 };
}
