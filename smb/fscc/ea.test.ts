import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Status } from '../status.ts';
import { changedEaList, checkEaList, eaSizeOf, type FullEa, fileFullEaInformation, selectedEas } from './ea.ts';

const ea = (name: string, value: string, flags = 0): FullEa => ({ name, flags, value: Buffer.from(value) });

describe('a list of extended attributes', () => {
  test('is changed without regard to case: an empty value removes', () => {
    const list = [ea('ONE', '1'), ea('two', '2')];
    expect(changedEaList(list, [ea('one', 'I'), ea('Three', '3')])).toEqual([
      ea('one', 'I'),
      ea('two', '2'),
      ea('Three', '3'),
    ]);
    expect(changedEaList(list, [ea('TWO', ''), ea('four', '')])).toEqual([ea('ONE', '1')]);
  });

  test('gives what is asked for, with an empty value where there is none', () => {
    expect(selectedEas([ea('one', '1')], ['ONE', 'none'])).toEqual([ea('one', '1'), ea('none', '')]);
  });

  test('holds each name once, whatever is set', () => {
    const name = fc.constantFrom('a', 'A', 'b', 'B', 'c');
    const lists = fc.array(
      fc.record({ name, flags: fc.constant(0), value: fc.constantFrom(Buffer.alloc(0), Buffer.from('x')) }),
    );
    fc.assert(
      fc.property(lists, (changes) => {
        const list = changedEaList([], changes);
        expect(new Set(list.map((one) => one.name.toUpperCase())).size).toBe(list.length);
        expect(list.every(({ value }) => value.length > 0)).toBe(true);
        expect(fileFullEaInformation.decode(fileFullEaInformation.encode(list))).toEqual(list);
        expect(eaSizeOf(list) === 0).toBe(list.length === 0);
      }),
    );
  });

  test.each(['a:b', 'a\\b', 'a*', 'a\u0001', 'a,b', 'a"'])('may not hold the name %j', (name) => {
    expect(checkEaList([ea('fine', '1'), ea(name, '1')])).toBe(Status.INVALID_EA_NAME);
  });

  test('may say that an attribute is needed, and nothing else of it', () => {
    expect(checkEaList([ea('user.mime_type', '1', 0x80)])).toBe(Status.SUCCESS);
    expect(checkEaList([ea('one', '1', 0x01)])).not.toBe(Status.SUCCESS);
  });
});
