import { expect, test } from '@jest/globals';
import { worstLast } from './link.ts';
import { wirePath } from './paths.ts';

const A = { host: 'a', port: 445 };
const B = { host: 'b', port: 445 };
const C = { host: 'c', port: 445 };

test('servers that failed come last, the one that failed last at the very end', () => {
  expect(worstLast([A, B, C], new Map())).toEqual([A, B, C]);
  expect(worstLast([A, B, C], new Map([['a:445', 10]]))).toEqual([B, C, A]);
  expect(
    worstLast(
      [A, B, C],
      new Map([
        ['a:445', 20],
        ['b:445', 10],
      ]),
    ),
  ).toEqual([C, B, A]);
});

test('paths go out with backslashes, and none leads out of the share', () => {
  expect(wirePath('/a//b\\c/')).toBe('a\\b\\c');
  expect(wirePath('')).toBe('');
  for (const path of ['../x', 'a/../b', 'a/./b', 'a\0b']) {
    expect(() => wirePath(path)).toThrow(/is no path within a share/);
  }
});
