import { describe, expect, test } from '@jest/globals';
import { NotifyAction, NotifyFilter } from '../../smb/fscc/constants.ts';
import type { Share } from '../shares.ts';
import { type Change, ChangeKind, entriesFor, volumePathOf } from './change.ts';

const change = (path: string, more: Partial<Change> = {}): Change => ({
  volume: 'v',
  path,
  to: '',
  stream: '',
  kind: NotifyAction.added,
  filter: NotifyFilter.fileName,
  ...more,
});
const names = (directory: string, recursive: boolean, one: Change) =>
  entriesFor({ directory, recursive }, one).map(({ action, fileName }) => `${action} ${fileName}`);

describe('a change, as those who watch are told of it', () => {
  test('is named from the watched directory, with the separators and characters of the wire', () => {
    expect(names('a/b', false, change('a/b/c'))).toEqual(['1 c']);
    expect(names('a', true, change('a/b/c'))).toEqual(['1 b\\c']);
    expect(names('', true, change('a/b: c'))).toEqual(['1 a\\b\uf022 c']);
    expect(names('a', false, change('a/f', { stream: 's', kind: NotifyAction.addedStream }))).toEqual(['6 f:s']);
  });

  test('reaches beneath subdirectories only where all of the tree is watched', () => {
    expect(names('a', false, change('a/b/c'))).toEqual([]);
    expect(names('a', true, change('ab/c'))).toEqual([]);
    expect(names('', false, change('a'))).toEqual(['1 a']);
    expect(names('', false, change('a/b'))).toEqual([]);
  });

  test('is none of the watched directory itself', () => {
    expect(names('a', true, change('a'))).toEqual([]);
    expect(names('', true, change(''))).toEqual([]);
  });

  test('of a name within one directory has both names; to another directory it goes here and comes there', () => {
    const within = change('a/x', { to: 'a/y', kind: ChangeKind.renamed });
    expect(names('a', false, within)).toEqual(['4 x', '5 y']);
    const away = change('a/x', { to: 'a/b/y', kind: ChangeKind.renamed });
    expect(names('a', false, away)).toEqual(['2 x']);
    expect(names('a/b', false, away)).toEqual(['1 y']);
    expect(names('a', true, away)).toEqual(['2 x', '1 b\\y']);
  });
});

describe('where a path of a share lies on its volume', () => {
  const share = (path: string) => ({ config: { path } }) as Share;
  test('is beneath the folder that the share offers', () => {
    expect(volumePathOf(share('/'), '.')).toBe('');
    expect(volumePathOf(share('/'), 'a/b')).toBe('a/b');
    expect(volumePathOf(share('/team/x'), '.')).toBe('team/x');
    expect(volumePathOf(share('/team/x/'), 'a')).toBe('team/x/a');
  });
});
