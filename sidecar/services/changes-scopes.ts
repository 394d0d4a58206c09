import type { Change, WatchScope } from '../../proto/generated/handles.ts';

/** Directories that one file server may name: it names whole volumes where it watches more. */
export const MAX_SCOPES = 256;

/** Whether a change may be of what is watched: within one of the scopes, or of a watched directory itself. */
export function concerns(scopes: readonly WatchScope[], { volume, path, to }: Change): boolean {
  return scopes.some((scope) => scope.volume === volume && (touches(scope, path) || (to !== '' && touches(scope, to))));
}

function touches({ directory, recursive }: WatchScope, path: string): boolean {
  if (path === directory) return true;
  if (directory !== '' && !path.startsWith(`${directory}/`)) return false;
  const first = directory === '' ? 0 : directory.length + 1;
  return recursive || path.indexOf('/', first) < 0;
}

/** All of them, each directory once. */
export function unionOf(lists: Iterable<readonly WatchScope[]>): WatchScope[] {
  const union = new Map<string, WatchScope>();
  for (const scopes of lists) {
    for (const { volume, directory, recursive } of scopes) {
      const key = `${volume}\0${directory}`;
      union.set(key, { volume, directory, recursive: recursive || union.get(key)?.recursive === true });
    }
  }
  return [...union.values()];
}
