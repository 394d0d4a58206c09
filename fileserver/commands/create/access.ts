import { CreateDisposition, FileAttributes } from '../../../smb/constants.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import type { SecurityDescriptor } from '../../../smb/security/descriptor.ts';
import { Status } from '../../../smb/status.ts';
import { askerOf } from '../../security/asker.ts';
import { rightsTo } from '../../security/rights.ts';
import { StatusError } from '../../session/request.ts';
import type { DiskPath } from '../../volume/folder.ts';
import type { Eventually } from '../../volume/posix.ts';
import type { CreateAsk } from './create-ask.ts';
import { grantedAccess, overwrites } from './parameters.ts';

/** What an open gets, and what this user could have been granted at most (the MxAc context). */
export interface DecidedAccess {
  access: number;
  maximal: number;
}

/** Rights that a file with FILE_ATTRIBUTE_READONLY takes from those who ask for all there is (MS-FSA 2.1.5.1.2.1). */
const NOT_OF_READ_ONLY = Access.writeData | Access.appendData | Access.deleteChild;

/**
 * Decides on the access to a file that is there (MS-FSA 2.1.5.1.2.1). `attributes`: FileAttributes.*. Nothing is awaited for a
 * file without a descriptor of its own. Throws StatusError and PosixError.
 */
export function decideAccess(
  ask: CreateAsk,
  file: { path: DiskPath; attributes: number; descriptor: SecurityDescriptor | undefined },
): Eventually<DecidedAccess> {
  const rights = rightsTo(ask.folder, file, askerOf(ask.request));
  if (rights instanceof Promise) return rights.then((maximal) => decide(ask, file.attributes, maximal));
  return decide(ask, file.attributes, rights);
}

function decide({ wire }: CreateAsk, attributes: number, maximal: number): DecidedAccess {
  const { createDisposition: disposition } = wire;
  const isReadOnly = (attributes & (FileAttributes.READONLY | FileAttributes.DIRECTORY)) === FileAttributes.READONLY;
  const access = grantedAccess(wire.desiredAccess, isReadOnly ? maximal & ~NOT_OF_READ_ONLY : maximal);
  if (access === undefined) throw new StatusError(Status.ACCESS_DENIED);
  if (overwrites(disposition) && (maximal & neededToOverwrite(disposition)) !== neededToOverwrite(disposition)) {
    throw new StatusError(Status.ACCESS_DENIED);
  }
  return { access, maximal };
}

/** Throwing away what a file holds takes more than was asked for (MS-FSA 2.1.5.1.2); it is not part of what the open gets. */
function neededToOverwrite(disposition: number): number {
  const changes = Access.writeData | Access.writeEa | Access.writeAttributes;
  return disposition === CreateDisposition.SUPERSEDE ? Access.delete | changes : changes;
}
