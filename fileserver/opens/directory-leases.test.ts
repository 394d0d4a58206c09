import { beforeEach, describe, expect, test } from '@jest/globals';
import type { BreakDirectory, Lease } from '../../proto/generated/handles.ts';
import { NotifyFilter } from '../../smb/fscc/constants.ts';
import type { Handles } from '../handles.ts';
import { Changes } from '../notify/changes.ts';
import type { Share } from '../shares.ts';
import { DirectoryLeases } from './directory-leases.ts';
import { Leases } from './leases.ts';
import type { OpenFile } from './open-file.ts';

const CLIENT = Buffer.alloc(16, 1);
const KEY = Buffer.alloc(16, 2);
const NOTHING = Buffer.alloc(0);
const share = { name: 'share', volume: { name: 'data' }, config: { path: '/' } } as unknown as Share;

const openOf = (path: string, lease: Partial<Lease>, fields: object = {}): OpenFile =>
  ({
    path,
    isDirectory: true,
    hasWritten: false,
    tree: { share },
    record: {
      fileId: Buffer.from(path),
      clientGuid: CLIENT,
      lease: { key: KEY, state: 3, epoch: 1, version: 2, parentKey: NOTHING, breaking: false, ...lease },
    },
    ...fields,
  }) as unknown as OpenFile;

describe('a lease on a directory', () => {
  let changes: Changes;
  let leases: Leases;
  let broken: BreakDirectory[];
  let directory: OpenFile;

  beforeEach(async () => {
    changes = new Changes();
    leases = new Leases();
    broken = [];
    const handles = {
      breakDirectory: (request: BreakDirectory) => {
        broken.push(request);
        return Promise.resolve({ outcome: 1, value: undefined });
      },
    } as unknown as Handles;
    directory = openOf('dir', {});
    leases.join(directory);
    await new DirectoryLeases(handles, changes, leases).hold(directory, share);
  });

  test('ends when an entry comes, goes, is renamed or changed', () => {
    changes.added(share, 'dir/a', false);
    changes.removed(share, 'dir/a', false);
    changes.renamed(share, openOf('dir/a', {}, { isDirectory: false }), 'elsewhere/a', 'dir/a');
    changes.modified(share, 'dir/a', NotifyFilter.attributes);
    expect(broken.map(({ directoryId }) => directoryId.toString())).toEqual(['dir', 'dir', 'dir', 'dir']);
  });

  test('stays when something else changes', () => {
    changes.added(share, 'other/a', false);
    changes.added(share, 'dir/sub/a', false);
    changes.modified(share, 'dir', NotifyFilter.attributes);
    expect(broken).toEqual([]);
  });

  test('stays when the change comes with it, and only then', () => {
    const ofTheClient = openOf('dir/a', { key: Buffer.alloc(16, 9), parentKey: KEY });
    changes.added(share, 'dir/a', false, ofTheClient);
    expect(broken).toEqual([]);
    const ofAnother = openOf('dir/b', { key: Buffer.alloc(16, 8), parentKey: Buffer.alloc(16, 7) });
    changes.added(share, 'dir/b', false, ofAnother);
    expect(broken).toMatchObject([{ clientGuid: CLIENT, parentKey: Buffer.alloc(16, 7) }]);
  });

  test('hears of a write when the file is closed', () => {
    const file = openOf('dir/a', {}, { isDirectory: false });
    changes.wrote(file);
    expect(broken).toEqual([]);
    changes.closed(file);
    expect(broken).toHaveLength(1);
  });

  test('is not asked for again while its break is under way, nor when it is gone', () => {
    if (directory.record.lease) directory.record.lease.breaking = true;
    changes.added(share, 'dir/a', false);
    if (directory.record.lease) Object.assign(directory.record.lease, { breaking: false, state: 0 });
    changes.added(share, 'dir/b', false);
    expect(broken).toEqual([]);
  });

  test('watches nothing when its last open went', async () => {
    leases.leave(directory);
    await new Promise(setImmediate);
    expect(changes.active).toBe(false);
  });
});
