import { expect, test } from '@jest/globals';
import { isError, Status, severity, statusName } from './status.ts';

test('a status has a name, an unknown one a number', () => {
  expect(statusName(Status.STOPPED_ON_SYMLINK)).toBe('STATUS_STOPPED_ON_SYMLINK');
  expect(statusName(0xc0de_0001)).toBe('0xC0DE0001');
});

test('only the top two bits make an error', () => {
  expect(isError(Status.ACCESS_DENIED)).toBe(true);
  expect(isError(Status.BUFFER_OVERFLOW)).toBe(false);
  expect(isError(Status.PENDING)).toBe(false);
  expect([0, 0x4000_0000, 0x8000_0005, 0xc000_0001].map(severity)).toEqual([
    'success',
    'informational',
    'warning',
    'error',
  ]);
});

test('no two names share a code', () => {
  const codes = Object.values(Status);
  expect(new Set(codes).size).toBe(codes.length);
});
