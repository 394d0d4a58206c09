import { expect, test } from '@jest/globals';
import { FsInfoClass } from '../../../smb/fscc/constants.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { statusName } from '../../../smb/status.ts';
import { statusToSetFileSystem } from './file-system.ts';

const { label, control, objectId, driverPath, volumeFlags, volume, size, device, attribute, fullSize, sectorSize } =
  FsInfoClass;

// MS-SMB2 3.3.5.21.2, MS-FSCC 2.5.
test.each([
  ['of local use', [label, driverPath, volumeFlags], 'STATUS_NOT_SUPPORTED'],
  ['that can only be asked for', [volume, size, device, attribute, fullSize, sectorSize], 'STATUS_INVALID_INFO_CLASS'],
  ['that there is not', [0, 12, 0xff], 'STATUS_INVALID_INFO_CLASS'],
])('a class %s is not set, whatever the open may do', (_kind, classes, status) => {
  for (const infoClass of classes) {
    for (const access of [0, Access.writeData]) {
      expect([infoClass, statusName(statusToSetFileSystem(infoClass, access, 64))]).toEqual([infoClass, status]);
    }
  }
});

// MS-FSA 2.1.5.16.6, 2.1.5.16.8.
test.each([
  ['quotas', control, 48, 'STATUS_INFO_LENGTH_MISMATCH'],
  ['an object id', objectId, 64, 'STATUS_INVALID_INFO_CLASS'],
])(
  '%s are refused to who may not write, and to who may, as this file system has none to set',
  (_what, infoClass, whole, cut) => {
    const { readData, appendData, writeAttributes, writeData } = Access;
    const told = (access: number, length: number) => statusName(statusToSetFileSystem(infoClass, access, length));
    expect(told(readData | appendData | writeAttributes, whole)).toBe('STATUS_ACCESS_DENIED');
    expect(told(readData, 1)).toBe('STATUS_ACCESS_DENIED');
    expect(told(writeData, whole - 1)).toBe(cut);
    expect(told(writeData, whole)).toBe('STATUS_INVALID_PARAMETER');
  },
);
