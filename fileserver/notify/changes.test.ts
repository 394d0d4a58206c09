import { beforeEach, describe, expect, test } from '@jest/globals';
import { NotifyFilter } from '../../smb/fscc/constants.ts';
import { decodeNotifyList } from '../../smb/fscc/notify.ts';
import { Status } from '../../smb/status.ts';
import type { OpenFile } from '../opens/open-file.ts';
import type { Share } from '../shares.ts';
import { streamPath } from '../volume/names.ts';
import type { Change } from './change.ts';
import { Changes } from './changes.ts';
import type { OtherServers, Receiver, WatchedScope } from './other-servers.ts';
import type { Watch } from './watch.ts';

const share = (name: string, path: string) => ({ name, config: { path }, volume: { name: 'v' } }) as unknown as Share;
const root = share('root', '/');
const team = share('team', '/team');

interface FakeOpen {
  path: string;
  isDirectory: boolean;
  tree: { share: Share };
  signal: AbortSignal;
  base: undefined;
  record: { ownershipVersion: bigint };
}

function openOf(path: string, more: Partial<FakeOpen> = {}): OpenFile {
  const fake: FakeOpen = {
    path,
    isDirectory: false,
    tree: { share: root },
    signal: new AbortController().signal,
    base: undefined,
    record: { ownershipVersion: 1n },
    ...more,
  };
  return fake as unknown as OpenFile;
}

class FakeServers implements OtherServers {
  receiver: Receiver | undefined;
  told: Change[] = [];
  watched: (readonly WatchedScope[])[] = [];

  receive(receiver: Receiver): void {
    this.receiver = receiver;
  }

  async watch(scopes: readonly WatchedScope[]): Promise<void> {
    this.watched.push(scopes);
  }

  unwatch(scopes: readonly WatchedScope[]): void {
    this.watched.push(scopes);
  }

  tell(change: Change): void {
    this.told.push(change);
  }
}

const ALL = 0xfff;

describe('changes of a server', () => {
  let servers: FakeServers;
  let changes: Changes;

  beforeEach(() => {
    servers = new FakeServers();
    changes = new Changes(servers);
  });

  const watch = (path: string, { recursive = false, filter = ALL, of = root } = {}): Promise<Watch> =>
    changes.watch(openOf(path, { isDirectory: true }), of, { recursive, filter, capacity: 4096 });
  const heard = (by: Watch): string[] => {
    const notified = by.collect(4096);
    if (notified && notified.status !== Status.SUCCESS) return [`status ${notified.status}`];
    return decodeNotifyList(notified?.output ?? Buffer.alloc(0)).map(({ action, fileName }) => `${action} ${fileName}`);
  };

  test('are told who asked for their kind', async () => {
    const files = await watch('d', { filter: NotifyFilter.fileName });
    const directories = await watch('d', { filter: NotifyFilter.dirName });
    changes.added(root, 'd/file', false);
    changes.added(root, 'd/sub', true);
    changes.modified(root, 'd/file', NotifyFilter.security);
    expect(heard(files)).toEqual(['1 file']);
    expect(heard(directories)).toEqual(['1 sub']);
  });

  test('of one folder are told through every share that offers it', async () => {
    const byTeam = await watch('d', { of: team });
    changes.added(root, 'team/d/file', false);
    expect(heard(byTeam)).toEqual(['1 file']);
  });

  test('of a file that gets another name are told when it is closed, too', async () => {
    const attributes = await watch('d', { filter: NotifyFilter.attributes });
    const open = openOf('d/new');
    changes.renamed(root, open, 'd/old', 'd/new');
    expect(heard(attributes)).toEqual([]);
    changes.closed(open);
    expect(heard(attributes)).toEqual(['3 new']);
  });

  test('of a watched directory are followed when it is renamed', async () => {
    const watched = await watch('d');
    changes.renamed(root, openOf('e', { isDirectory: true }), 'd', 'e');
    changes.added(root, 'd/file', false);
    changes.added(root, 'e/file', false);
    expect(heard(watched)).toEqual(['1 file']);
  });

  test('of streams have actions of their own', async () => {
    const watched = await watch('d');
    changes.added(root, streamPath('d/file', 's'), false);
    changes.modified(root, streamPath('d/file', 's'), NotifyFilter.size);
    changes.removed(root, streamPath('d/file', 's'), false);
    expect(heard(watched)).toEqual(['6 file:s', '8 file:s', '7 file:s']);
  });

  test('by many writes are told at once and when the file is closed', async () => {
    const watched = await watch('d');
    const open = openOf('d/file');
    for (let i = 0; i < 100; i++) changes.wrote(open);
    expect(heard(watched)).toEqual(['3 file']);
    changes.closed(open);
    expect(heard(watched)).toEqual(['3 file']);
    changes.closed(open);
    expect(heard(watched)).toEqual([]);
  });

  test('that take the watched directory away end the watch', async () => {
    const watched = await watch('d');
    changes.deleting(root, 'd');
    expect(watched.collect(4096)?.status).toBe(Status.DELETE_PENDING);
  });

  test('are told elsewhere only within what is watched there', () => {
    changes.added(root, 'd/unseen', false);
    servers.receiver?.watched([{ volume: 'v', directory: 'd', recursive: false }]);
    changes.added(root, 'd/file', false);
    changes.added(root, 'd/sub/file', false);
    changes.added(root, 'e/file', false);
    changes.renamed(root, openOf('d/x'), 'e/x', 'd/x');
    expect(servers.told.map(({ path, to }) => `${path} ${to}`)).toEqual(['d/file ', 'e/x d/x']);
    servers.receiver?.watched([]);
    changes.added(root, 'd/later', false);
    expect(servers.told).toHaveLength(2);
    expect(changes.active).toBe(false);
  });

  test('of other servers are told here, and not told on', async () => {
    const watched = await watch('d');
    servers.receiver?.watched([{ volume: 'v', directory: '', recursive: true }]);
    const change = { volume: 'v', path: 'd/file', to: '', stream: '', kind: 1, filter: NotifyFilter.fileName };
    servers.receiver?.changes([change]);
    expect(heard(watched)).toEqual(['1 file']);
    expect(servers.told).toEqual([]);
    servers.receiver?.lost();
    expect(heard(watched)).toEqual([`status ${Status.NOTIFY_ENUM_DIR}`]);
  });

  test('on the way of an open to this server are not known', async () => {
    const open = openOf('d', { isDirectory: true, record: { ownershipVersion: 2n } });
    const watched = await changes.watch(open, root, { recursive: false, filter: ALL, capacity: 4096 });
    expect(heard(watched)).toEqual([`status ${Status.NOTIFY_ENUM_DIR}`]);
  });

  test('are watched elsewhere as long as an open watches them here', async () => {
    const end = new AbortController();
    const open = openOf('d', { isDirectory: true, signal: end.signal });
    await changes.watch(open, root, { recursive: true, filter: ALL, capacity: 100 });
    expect(servers.watched.at(-1)).toEqual([{ volume: 'v', directory: 'd', recursive: true }]);
    end.abort();
    expect(servers.watched.at(-1)).toEqual([]);
    expect(changes.active).toBe(false);
  });
});
