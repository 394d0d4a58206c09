import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { diskName, splitWirePath, wireName, wirePath } from './names.ts';

describe('names', () => {
  test('that Windows forbids appear as private-use characters and come back', () => {
    expect(wireName('a:b?')).toBe('a\uf022b\uf025');
    expect(wireName('dot.')).toBe('dot\uf029');
    expect(diskName('a\uf022b\uf025')).toBe('a:b?');
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab"*:<>?\\| .\x01\x1f') }), (name) => {
        expect(diskName(wireName(name))).toBe(name);
      }),
    );
  });

  test.each([
    ['', []],
    ['a\\b', ['a', 'b']],
    ['a\\', ['a']],
    ['file::$DATA', ['file']],
    ['\\a', 'absolute'],
    ['a\\..\\b', 'leaves-share'],
    ['a\\.\\b', 'name-invalid'],
    ['a\\\\b', 'name-invalid'],
    ['a/b', 'name-invalid'],
    ['a*', 'name-invalid'],
    ['a\0', 'name-invalid'],
    ['a:stream', 'stream'],
    ['a:stream:$DATA', 'stream'],
    ['x'.repeat(256), 'name-invalid'],
    ['\ud800', 'name-invalid'],
  ])('%j is split into %j', (path, expected) => {
    expect(splitWirePath(path)).toEqual(expected);
  });

  test('never lead out, whatever a client sends', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'a.\\/\uf026\uf029\uf02e\0:') }), (path) => {
        const names = splitWirePath(path);
        if (typeof names === 'string') return;
        for (const name of names) {
          expect(name).not.toMatch(/[/\0]/);
          expect(['', '.', '..']).not.toContain(name);
        }
      }),
    );
  });

  test('a path goes back to the wire', () => {
    expect(wirePath('a/b:c')).toBe('a\\b\uf022c');
    expect(wirePath('.')).toBe('');
  });
});
