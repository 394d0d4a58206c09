import { describe, expect, test } from '@jest/globals';
import { CreateDisposition, CreateOptions, FileAttributes } from '../../../smb/constants.ts';
import { Access, FileAccess } from '../../../smb/security/access-mask.ts';
import { statusName } from '../../../smb/status.ts';
import type { CreateRequest } from '../../../smb/wire/create.ts';
import { checkExisting, checkParameters, grantedAccess } from './parameters.ts';

const request = (change: Partial<CreateRequest> = {}): CreateRequest => ({
  requestedOplockLevel: 0,
  impersonationLevel: 2,
  desiredAccess: FileAccess.read,
  fileAttributes: 0,
  shareAccess: 7,
  createDisposition: CreateDisposition.OPEN,
  createOptions: 0,
  name: 'f',
  createContexts: [],
  ...change,
});

const { OPEN, CREATE, OVERWRITE, OVERWRITE_IF } = CreateDisposition;
const { DIRECTORY_FILE, NON_DIRECTORY_FILE, DELETE_ON_CLOSE, OPEN_BY_FILE_ID } = CreateOptions;

describe('the parameters of CREATE', () => {
  test.each([
    ['an ordinary open', {}, 'SUCCESS'],
    ['an unknown impersonation level', { impersonationLevel: 4 }, 'BAD_IMPERSONATION_LEVEL'],
    ['an unknown disposition', { createDisposition: 6 }, 'INVALID_PARAMETER'],
    ['unknown options', { createOptions: 0x8000_0000 }, 'INVALID_PARAMETER'],
    ['opening by file id', { createOptions: OPEN_BY_FILE_ID }, 'NOT_SUPPORTED'],
    ['no access', { desiredAccess: 0 }, 'ACCESS_DENIED'],
    ['access to the SACL', { desiredAccess: Access.accessSystemSecurity }, 'PRIVILEGE_NOT_HELD'],
    ['a directory that is none', { createOptions: DIRECTORY_FILE | NON_DIRECTORY_FILE }, 'INVALID_PARAMETER'],
    ['overwriting a directory', { createOptions: DIRECTORY_FILE, createDisposition: OVERWRITE }, 'INVALID_PARAMETER'],
    ['deleting without the right', { createOptions: DELETE_ON_CLOSE }, 'ACCESS_DENIED'],
    ['deleting with all rights', { createOptions: DELETE_ON_CLOSE, desiredAccess: Access.genericAll }, 'SUCCESS'],
  ] as const)('%s', (_what, change, status) => {
    expect(statusName(checkParameters(request(change)))).toBe(`STATUS_${status}`);
  });

  const file = { isDirectory: false, isRegular: true, attributes: FileAttributes.ARCHIVE };
  const directory = { isDirectory: true, isRegular: false, attributes: FileAttributes.DIRECTORY };
  const readOnly = { ...file, attributes: FileAttributes.READONLY };
  test.each([
    ['an existing file must not exist', { createDisposition: CREATE }, file, 'OBJECT_NAME_COLLISION'],
    ['a file is no directory', { createOptions: DIRECTORY_FILE }, file, 'NOT_A_DIRECTORY'],
    ['a directory is no file', { createOptions: NON_DIRECTORY_FILE }, directory, 'FILE_IS_A_DIRECTORY'],
    ['a device is not for clients', {}, { ...file, isRegular: false }, 'ACCESS_DENIED'],
    ['a read-only file is not written', { desiredAccess: Access.genericWrite }, readOnly, 'ACCESS_DENIED'],
    ['a read-only file is read', { createDisposition: OPEN }, readOnly, 'SUCCESS'],
    ['a read-only file is not deleted', { createOptions: DELETE_ON_CLOSE }, readOnly, 'CANNOT_DELETE'],
    [
      'a hidden file is overwritten only as a hidden one',
      { createDisposition: OVERWRITE_IF },
      { ...file, attributes: FileAttributes.HIDDEN },
      'ACCESS_DENIED',
    ],
  ] as const)('%s', (_what, change, existing, status) => {
    expect(statusName(checkExisting(request(change), existing))).toBe(`STATUS_${status}`);
  });

  test('access is bounded by what the share permits', () => {
    expect(grantedAccess(Access.genericWrite, FileAccess.read)).toBeUndefined();
    expect(grantedAccess(Access.genericRead, FileAccess.read)).toBe(FileAccess.read);
    expect(grantedAccess(Access.maximumAllowed, FileAccess.read)).toBe(FileAccess.read);
    expect(grantedAccess(Access.maximumAllowed | Access.delete, FileAccess.read)).toBeUndefined();
  });
});
