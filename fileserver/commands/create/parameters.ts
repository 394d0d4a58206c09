import { CreateDisposition, CreateOptions, FileAttributes, ImpersonationLevel } from '../../../smb/constants.ts';
import { Access, mapGenericAccess } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { CreateRequest } from '../../../smb/wire/create.ts';

/** Options that no server of files takes (MS-SMB2 2.2.13, MS-FSA 2.1.5.1). */
const UNSUPPORTED_OPTIONS = CreateOptions.OPEN_BY_FILE_ID | CreateOptions.RESERVE_OPFILTER | 0x80;
const UNKNOWN_OPTIONS = 0xff00_0000;
const UNKNOWN_ACCESS = 0x0ce0_fe00;
const KNOWN_ATTRIBUTES =
  FileAttributes.READONLY |
  FileAttributes.HIDDEN |
  FileAttributes.SYSTEM |
  FileAttributes.DIRECTORY |
  FileAttributes.ARCHIVE |
  FileAttributes.NORMAL |
  FileAttributes.TEMPORARY |
  FileAttributes.SPARSE_FILE |
  FileAttributes.REPARSE_POINT |
  FileAttributes.COMPRESSED |
  FileAttributes.OFFLINE |
  FileAttributes.NOT_CONTENT_INDEXED |
  FileAttributes.ENCRYPTED;

const has = (value: number, bits: number): boolean => (value & bits) !== 0;

/** Whether the request makes sense at all (MS-SMB2 3.3.5.9, MS-FSA 2.1.5.1); SUCCESS or the status to refuse it with. */
export function checkParameters(create: CreateRequest): number {
  const { createOptions: options, createDisposition: disposition, desiredAccess } = create;
  if (create.impersonationLevel > ImpersonationLevel.DELEGATE) return Status.BAD_IMPERSONATION_LEVEL;
  if (disposition > CreateDisposition.OVERWRITE_IF) return Status.INVALID_PARAMETER;
  if (has(options, UNKNOWN_OPTIONS)) return Status.INVALID_PARAMETER;
  if (has(options, UNSUPPORTED_OPTIONS)) return Status.NOT_SUPPORTED;
  if (has(create.shareAccess, ~7)) return Status.INVALID_PARAMETER;
  if (desiredAccess === 0 || has(desiredAccess, UNKNOWN_ACCESS)) return Status.ACCESS_DENIED;
  if (has(create.fileAttributes, ~KNOWN_ATTRIBUTES)) return Status.INVALID_PARAMETER;
  if (has(desiredAccess, Access.accessSystemSecurity)) return Status.PRIVILEGE_NOT_HELD;
  if (has(options, CreateOptions.DIRECTORY_FILE)) {
    if (has(options, CreateOptions.NON_DIRECTORY_FILE)) return Status.INVALID_PARAMETER;
    if (!isOpenOrCreate(disposition)) return Status.INVALID_PARAMETER;
  }
  if (has(options, CreateOptions.DELETE_ON_CLOSE) && !asksToDelete(desiredAccess)) return Status.ACCESS_DENIED;
  return Status.SUCCESS;
}

function isOpenOrCreate(disposition: number): boolean {
  return (
    disposition === CreateDisposition.OPEN ||
    disposition === CreateDisposition.CREATE ||
    disposition === CreateDisposition.OPEN_IF
  );
}

function asksToDelete(desiredAccess: number): boolean {
  return has(mapGenericAccess(desiredAccess), Access.delete | Access.maximumAllowed);
}

/** True for the dispositions that throw away what the file holds. */
export function overwrites(disposition: number): boolean {
  return (
    disposition === CreateDisposition.SUPERSEDE ||
    disposition === CreateDisposition.OVERWRITE ||
    disposition === CreateDisposition.OVERWRITE_IF
  );
}

/** True for those that create a file that is not there. */
export function createsMissing(disposition: number): boolean {
  return disposition !== CreateDisposition.OPEN && disposition !== CreateDisposition.OVERWRITE;
}

/** What an existing file is, as far as CREATE decides on it. */
export interface Existing {
  isDirectory: boolean;
  isRegular: boolean;
  /** FileAttributes.* */
  attributes: number;
}

/** Whether this file may be opened like that (MS-FSA 2.1.5.1.2); SUCCESS or the status to refuse with. */
export function checkExisting(create: CreateRequest, existing: Existing): number {
  const { createOptions: options, createDisposition: disposition } = create;
  if (disposition === CreateDisposition.CREATE) return Status.OBJECT_NAME_COLLISION;
  if (existing.isDirectory) {
    if (has(options, CreateOptions.NON_DIRECTORY_FILE)) return Status.FILE_IS_A_DIRECTORY;
    return overwrites(disposition) ? Status.OBJECT_NAME_COLLISION : Status.SUCCESS;
  }
  if (has(options, CreateOptions.DIRECTORY_FILE)) return Status.NOT_A_DIRECTORY;
  if (!existing.isRegular) return Status.ACCESS_DENIED;
  if (has(existing.attributes, FileAttributes.READONLY)) {
    if (overwrites(disposition)) return Status.ACCESS_DENIED;
    if (has(mapGenericAccess(create.desiredAccess), Access.writeData | Access.appendData)) return Status.ACCESS_DENIED;
    if (has(options, CreateOptions.DELETE_ON_CLOSE)) return Status.CANNOT_DELETE;
  }
  const kept = FileAttributes.HIDDEN | FileAttributes.SYSTEM;
  if (overwrites(disposition) && has(existing.attributes & kept, ~create.fileAttributes)) return Status.ACCESS_DENIED;
  return Status.SUCCESS;
}

/** What may be granted out of `desired`; undefined: STATUS_ACCESS_DENIED. `maximal`: what this user may do with this file. */
export function grantedAccess(desired: number, maximal: number): number | undefined {
  const mapped = mapGenericAccess(desired);
  const wanted = (mapped & ~(Access.maximumAllowed | Access.synchronize)) >>> 0;
  if ((wanted & ~maximal) !== 0) return undefined;
  const granted = has(mapped, Access.maximumAllowed) ? wanted | maximal : wanted;
  return (granted | (mapped & Access.synchronize)) >>> 0;
}
