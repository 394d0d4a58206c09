import { FileAccess } from '../../smb/security/access-mask.ts';
import {
  AceFlag,
  DescriptorControl,
  encodeSecurityDescriptor,
  maximumDescriptorSize,
  plainDescriptor,
  type SecurityDescriptor,
} from '../../smb/security/descriptor.ts';
import { createDescriptor } from '../../smb/security/inheritance.ts';
import { decodeSid, type Sid, wellKnownSids } from '../../smb/security/sid.ts';
import { Status } from '../../smb/status.ts';
import { WireError } from '../../smb/wire/errors.ts';
import { StatusError } from '../session/request.ts';
import type { StoredAttributes } from '../volume/attributes.ts';

const { administrators, users, authenticatedUsers } = wellKnownSids;

/** Files that came to the volume by another way than the server belong to nobody in particular. */
const DEFAULT_OWNER = administrators;
const DEFAULT_GROUP = users;

/**
 * What a file is taken to have that nobody set a descriptor on, and that inherited none: the share's permissions decide, and
 * within them everybody may do everything.
 */
function defaultDescriptor(owner: Sid, directory: boolean): SecurityDescriptor {
  const flags = directory ? AceFlag.objectInherit | AceFlag.containerInherit : 0;
  return plainDescriptor(owner, DEFAULT_GROUP, [{ sid: authenticatedUsers, mask: FileAccess.all, flags }]);
}

function ownerOf({ owner }: StoredAttributes): Sid {
  try {
    return owner === undefined ? DEFAULT_OWNER : decodeSid(owner).sid;
  } catch (error) {
    if (error instanceof WireError) return DEFAULT_OWNER;
    throw error;
  }
}

/** The descriptor as clients see it: what is stored, or what holds without. */
export function effectiveDescriptor(
  stored: StoredAttributes,
  descriptor: SecurityDescriptor | undefined,
  directory: boolean,
): SecurityDescriptor {
  return descriptor ?? defaultDescriptor(ownerOf(stored), directory);
}

/**
 * What is to be stored of the descriptor of a new file (MS-FSA 2.1.5.1.1); undefined: nothing, the default holds for it. `parent`
 * and `creator`: undefined where the parent has none of its own, and where CREATE brings none (SecD).
 */
export function newDescriptor(
  parent: SecurityDescriptor | undefined,
  creator: SecurityDescriptor | undefined,
  child: { directory: boolean; owner: Sid },
): SecurityDescriptor | undefined {
  if (parent === undefined && creator === undefined) return undefined;
  const from = parent ?? defaultDescriptor(DEFAULT_OWNER, true);
  const created = createDescriptor(from, creator, { ...child, group: DEFAULT_GROUP });
  return { ...created, control: created.control | DescriptorControl.selfRelative };
}

/** A descriptor as it is stored. Throws StatusError when it is larger than one may be: nobody could read it back. */
export function storedForm(descriptor: SecurityDescriptor): Buffer {
  try {
    const bytes = encodeSecurityDescriptor(descriptor);
    if (bytes.length <= maximumDescriptorSize) return bytes;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  throw new StatusError(Status.INVALID_ACL);
}
