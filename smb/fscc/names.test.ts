import { hash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { foldCase, isValidComponent, isValidStreamName } from './names.ts';
import { compileWildcard } from './wildcard.ts';

describe('foldCase', () => {
  test.each([
    ['ReadMe.TXT', 'README.TXT'],
    ['straße', 'STRAßE'],
    ['äöü éàç', 'ÄÖÜ ÉÀÇ'],
    ['ПРИвет', 'ПРИВЕТ'],
    ['ÿ', 'Ÿ'],
    // Windows leaves these alone: their upper case does not lead back to them.
    ['ı ſ µ ς', 'ı ſ µ ς'],
    ['σ', 'Σ'],
    // Outside the basic plane nothing is folded: Windows goes by code unit.
    ['𐐨', '𐐨'],
  ])('%j becomes %j', (name, folded) => {
    expect(foldCase(name)).toBe(folded);
  });

  test('is idempotent, and keeps the length', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const folded = foldCase(name);
        expect(foldCase(folded)).toBe(folded);
        expect(folded).toHaveLength(name.length);
      }),
    );
  });

  test('gives the ASCII path and the table the same result', () => {
    fc.assert(fc.property(fc.string(), (name) => expect(foldCase(`é${name}`).slice(1)).toBe(foldCase(name))));
  });

  test('has the table that clusters in use have: another one would make names differ between versions', () => {
    const table = Buffer.alloc(2 * 0x10000);
    for (let unit = 0; unit < 0x10000; unit++) {
      table.writeUInt16LE(foldCase(String.fromCharCode(unit)).charCodeAt(0), 2 * unit);
    }
    expect(hash('sha256', table)).toBe('c67de0c809b0bdeb0663e6414ac22e8565c3750a29fb2d18df75ff2e94517bf0');
  });
});

describe('names', () => {
  test.each(['a', 'a.b', '.hidden', 'x'.repeat(255), 'ä ö', 'trailing.'])('%j is valid', (name) => {
    expect(isValidComponent(name)).toBe(true);
  });

  test.each(['', '.', '..', 'x'.repeat(256), 'a/b', 'a\\b', 'a:b', 'a*', 'a?', '"', '<', '>', '|', 'a\0', '\x1f'])(
    '%j is not',
    (name) => {
      expect(isValidComponent(name)).toBe(false);
    },
  );

  test('streams may have characters that files may not', () => {
    expect(isValidStreamName('a*b"\x01')).toBe(true);
    expect(['', 'a:b', 'a/b', 'a\\b', 'a\0'].map(isValidStreamName)).toEqual([false, false, false, false, false]);
  });
});

describe('compileWildcard', () => {
  test.each<[pattern: string, matching: string[], others: string[]]>([
    ['*', ['', 'a', 'a.b'], []],
    ['readme', ['README', 'ReadMe'], ['readme.txt', 'read']],
    ['*.txt', ['a.TXT', '.txt', 'a.b.txt'], ['a.txt.bak', 'txt']],
    ['a*', ['a', 'Abc', 'a.b'], ['ba', '']],
    ['a*c', ['ac', 'abc', 'a.c'], ['acb', 'a']],
    ['a?c', ['abc', 'a.c'], ['ac', 'abbc']],
    ['???', ['abc'], ['ab', 'abcd']],
    // DOS_STAR: up to the last dot, which `*.` on a command line becomes.
    ['<.txt', ['a.txt', 'a.b.txt'], ['a.txt.bak']],
    ['<.', ['a.'], ['a.b']],
    ['<"', ['a', 'abc', 'a.'], ['a.b']],
    ['<', ['a', 'abc'], []],
    // DOS_QM: one character, or none before a dot and at the end.
    ['>>>.txt', ['a.txt', 'abc.txt', '.txt'], ['abcd.txt']],
    ['a>>', ['a', 'ab', 'abc'], ['abcd', 'a.b']],
    // DOS_DOT: a dot, or nothing at the end.
    ['a"', ['a', 'a.'], ['ab', 'a..']],
    ['a"b', ['a.b'], ['ab']],
    ['*"*', ['a.b', 'a'], []],
    ['>>>>>>>>">>>', ['a', 'a.b', 'readme.txt'], ['readme.html']],
    ['ÄRGER*', ['ärger', 'Ärger.doc'], ['arger']],
  ])('%j', (pattern, matching, others) => {
    const matches = compileWildcard(pattern);
    expect(matching.filter((name) => !matches(name))).toEqual([]);
    expect(others.filter((name) => matches(name))).toEqual([]);
  });

  test('agrees with a regular expression on * and ?', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 8 });
    const patterns = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '?'), maxLength: 8 });
    fc.assert(
      fc.property(patterns, letters, (pattern, name) => {
        const source = pattern.replace(/\./g, '\\.').replace(/\*+/g, '.*').replace(/\?/g, '.');
        expect(compileWildcard(pattern)(name)).toBe(new RegExp(`^${source}$`, 'i').test(name));
      }),
      { numRuns: 2000 },
    );
  });

  test.each(['*a', '<a', 'a*?', '>*a', '*>"'])('takes bounded time on %j repeated', (unit) => {
    const matches = compileWildcard(`${unit.repeat(511 / unit.length)}b`);
    const start = performance.now();
    for (let i = 0; i < 20; i++) matches('a'.repeat(255));
    // 20 times 130,000 steps; backtracking would not end.
    expect(performance.now() - start).toBeLessThan(2000);
  });

  test('a pattern longer than any name matches nothing', () => {
    expect(compileWildcard('?*'.repeat(30_000))('a')).toBe(false);
  });
});
