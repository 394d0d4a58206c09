import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { diskName, parseWirePath, splitStreamPath, splitWirePath, streamPath, wireName, wirePath } from './names.ts';

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
    ['a:stream', 'name-invalid'],
    ['a:stream:$DATA', 'name-invalid'],
    ['x'.repeat(256), 'name-invalid'],
    ['\ud800', 'name-invalid'],
  ])('%j is split into %j', (path, expected) => {
    expect(splitWirePath(path)).toEqual(expected);
  });

  test.each([
    ['a:s', { names: ['a'], stream: 's', type: 'data' }],
    ['d\\a:?s*.\x05:$DaTa', { names: ['d', 'a'], stream: '?s*.\x05', type: 'data' }],
    [':s', { names: [], stream: 's', type: 'data' }],
    ['a::$DATA', { names: ['a'], stream: undefined, type: 'data' }],
    ['a::$INDEX_ALLOCATION', { names: ['a'], stream: undefined, type: 'index' }],
    ['a:$I30:$INDEX_ALLOCATION', { names: ['a'], stream: undefined, type: 'index' }],
    ['$Extend\\$Quota:$Q:$INDEX_ALLOCATION', { names: [], stream: undefined, type: 'quotas' }],
    ['a:', 'name-invalid'],
    ['a::', 'name-invalid'],
    ['a:s:', 'name-invalid'],
    ['a:s:$FOO', 'name-invalid'],
    ['a:s:$DATA:x', 'name-invalid'],
    ['a:s/x', 'name-invalid'],
    ['a:s\\x', 'name-invalid'],
    ['d\\:s', 'name-invalid'],
    ['a*:s', 'name-invalid'],
    [`a:${'s'.repeat(256)}`, 'name-invalid'],
  ])('the stream of %j is %j', (path, expected) => {
    expect(parseWirePath(path)).toEqual(expected);
  });

  test('the path of a stream is taken apart again', () => {
    expect(splitStreamPath(streamPath('a/b:c', 's//t'))).toEqual({ file: 'a/b:c', stream: 's//t' });
    expect(splitStreamPath('a/b:c')).toEqual({ file: 'a/b:c', stream: undefined });
    expect(wirePath(streamPath('a/b', 's'))).toBe('a\\b:s');
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
