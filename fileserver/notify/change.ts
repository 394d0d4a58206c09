// What happened to a file, as CHANGE_NOTIFY tells it (MS-FSCC 2.7.1, MS-FSA 2.1.4.1).
import { NotifyAction, NotifyFilter } from '../../smb/fscc/constants.ts';
import type { NotifyEntry } from '../../smb/fscc/notify.ts';
import type { Share } from '../shares.ts';
import { wireName } from '../volume/names.ts';

/** A path within a volume: names as on disk, separated by "/"; empty: the volume's root. */
export type VolumePath = string;

/** Kinds of Change beyond the actions of MS-FSCC 2.7.1. */
export const ChangeKind = {
  ...NotifyAction,
  /** `path` became `to`. */
  renamed: 100,
  /** The directory `path` is to be deleted: who watches it watches no more. */
  deleting: 101,
} as const;

export interface Change {
  /** Name of the volume: the same folder may be offered by several shares. */
  volume: string;
  path: VolumePath;
  /** Of a rename; else empty. */
  to: VolumePath;
  /** Of an alternate data stream; else empty. */
  stream: string;
  /** ChangeKind. */
  kind: number;
  /** NotifyFilter: who asked for any of these hears of it. */
  filter: number;
}

/** Where a path of a share lies on its volume. `path` as opens have it: "." is the share's root. */
export function volumePathOf(share: Share, path: string): VolumePath {
  const folder = (share.config?.path ?? '').replace(/^\/+|\/+$/g, '');
  if (path === '.' || path === '') return folder;
  return folder === '' ? path : `${folder}/${path}`;
}

/** The directory that holds a path; undefined: the path is the volume's root. */
export function directoryOf(path: VolumePath): VolumePath | undefined {
  if (path === '') return undefined;
  const cut = path.lastIndexOf('/');
  return cut < 0 ? '' : path.slice(0, cut);
}

/** What decides whether a change is within what somebody watches. */
export interface Scope {
  directory: VolumePath;
  /** Also everything beneath its subdirectories. */
  recursive: boolean;
}

/** Whether a path is an entry of the directory, or of one beneath it. */
export function isWithin({ directory, recursive }: Scope, path: VolumePath): boolean {
  if (directoryOf(path) === directory) return true;
  return recursive && path !== '' && (directory === '' || path.startsWith(`${directory}/`));
}

/** A change as one who watches that scope is told of it; empty: it is none of theirs. */
export function entriesFor(scope: Scope, change: Change): NotifyEntry[] {
  if (change.kind !== ChangeKind.renamed) {
    if (!isWithin(scope, change.path)) return [];
    const name = relative(scope.directory, change.path);
    return [{ action: change.kind, fileName: change.stream === '' ? name : `${name}:${change.stream}` }];
  }
  // A file that goes to another directory goes from one and comes to the other.
  const stays = directoryOf(change.path) === directoryOf(change.to);
  const entries: NotifyEntry[] = [];
  if (isWithin(scope, change.path)) {
    const action = stays ? NotifyAction.renamedOldName : NotifyAction.removed;
    entries.push({ action, fileName: relative(scope.directory, change.path) });
  }
  if (isWithin(scope, change.to)) {
    const action = stays ? NotifyAction.renamedNewName : NotifyAction.added;
    entries.push({ action, fileName: relative(scope.directory, change.to) });
  }
  return entries;
}

/** On the wire, from the watched directory. */
function relative(directory: VolumePath, path: VolumePath): string {
  const rest = directory === '' ? path : path.slice(directory.length + 1);
  return rest.split('/').map(wireName).join('\\');
}

/** The filters of a name that comes, goes or changes. */
export const nameFilter = (isDirectory: boolean): number =>
  isDirectory ? NotifyFilter.dirName : NotifyFilter.fileName;
