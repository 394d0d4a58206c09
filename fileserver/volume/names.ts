import { foldCase, maximumComponentLength } from '../../smb/fscc/names.ts';

/**
 * Characters that POSIX names may have and Windows names may not, and the private-use characters that stand for them on the
 * wire: the mapping of Services for Macintosh, which Windows, macOS, Samba and the Linux client share.
 */
const forbidden = '"*:<>?\\|';
const toPrivate = new Map<string, string>();
const fromPrivate = new Map<string, string>();
for (let unit = 1; unit < 0x20; unit++) pair(String.fromCharCode(unit), 0xf000 + unit);
[...forbidden].forEach((character, i) => {
  pair(character, 0xf020 + i);
});

function pair(character: string, privateUnit: number): void {
  toPrivate.set(character, String.fromCharCode(privateUnit));
  fromPrivate.set(String.fromCharCode(privateUnit), character);
}

const PRIVATE_SPACE = '\uf028';
const PRIVATE_PERIOD = '\uf029';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const needsPrivate = /[\x01-\x1f"*:<>?\\|]|[ .]$/;
const hasPrivate = /[\uf001-\uf029]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: MS-FSCC 2.1.5.2 forbids them
const forbiddenOnWire = /[\x00-\x1f"*/:<>?|]/;

/** The name on the wire of a name on disk. */
export function wireName(diskName: string): string {
  if (!needsPrivate.test(diskName)) return diskName;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  const mapped = diskName.replace(/[\x01-\x1f"*:<>?\\|]/g, (character) => toPrivate.get(character) ?? character);
  if (mapped.endsWith(' ')) return mapped.slice(0, -1) + PRIVATE_SPACE;
  if (mapped.endsWith('.')) return mapped.slice(0, -1) + PRIVATE_PERIOD;
  return mapped;
}

/** The name on disk of a name on the wire. */
export function diskName(wireName: string): string {
  if (!hasPrivate.test(wireName)) return wireName;
  const mapped = wireName.replace(/[\uf001-\uf027]/g, (character) => fromPrivate.get(character) ?? character);
  if (mapped.endsWith(PRIVATE_SPACE)) return `${mapped.slice(0, -1)} `;
  if (mapped.endsWith(PRIVATE_PERIOD)) return `${mapped.slice(0, -1)}.`;
  return mapped;
}

/** Names are compared and reserved in this form. */
export function foldedName(diskName: string): string {
  return foldCase(diskName);
}

export type PathProblem =
  /** STATUS_OBJECT_NAME_INVALID */
  | 'name-invalid'
  /** STATUS_INVALID_PARAMETER: begins with a separator (MS-SMB2 3.3.5.9). */
  | 'absolute'
  /** STATUS_OBJECT_PATH_SYNTAX_BAD: `..` (the share would be left). */
  | 'leaves-share';

/** Longest path taken, in UTF-16 units: Windows' own limit. */
const MAXIMUM_PATH = 32_767;

/** What a path on the wire names. */
export interface WirePath {
  /** On disk, from the share's root, which is the empty list. */
  names: string[];
  /** An alternate data stream of it; undefined: the file or directory itself. */
  stream: string | undefined;
  /**
   * What the path says that it must be: `::$DATA` is a file's data, `::$INDEX_ALLOCATION` a directory's entries. 'quotas': the
   * index of the volume's quotas; it is opened as the root that it is about.
   */
  type: 'any' | 'data' | 'index' | 'quotas';
}

/** The index by which quotas are asked for (MS-FSCC 2.1.5.4). */
const QUOTA_INDEX = /^\$Extend\\\$Quota:\$Q:\$INDEX_ALLOCATION$/i;

/** Splits a path of CREATE or of a rename, relative to the share. */
export function parseWirePath(path: string): WirePath | PathProblem {
  if (QUOTA_INDEX.test(path)) return { names: [], stream: undefined, type: 'quotas' };
  if (path.length > MAXIMUM_PATH) return 'name-invalid';
  if (path.startsWith('\\')) return 'absolute';
  const colon = path.indexOf(':');
  const names = splitNames(colon < 0 ? path : path.slice(0, colon));
  if (typeof names === 'string') return names;
  if (colon < 0) return { names, stream: undefined, type: 'any' };
  // A separator before the colon: the stream would have no file.
  if (path[colon - 1] === '\\') return 'name-invalid';
  const stream = parseStreamName(path.slice(colon));
  return stream === undefined ? 'name-invalid' : { names, ...stream };
}

/** Splits a path that may name no stream. */
export function splitWirePath(path: string): string[] | PathProblem {
  const parsed = parseWirePath(path);
  if (typeof parsed === 'string') return parsed;
  return parsed.type === 'any' || (parsed.type === 'data' && parsed.stream === undefined)
    ? parsed.names
    : 'name-invalid';
}

/**
 * `:name`, `:name:$DATA`, `::$DATA`, `::$INDEX_ALLOCATION` or `:$I30:$INDEX_ALLOCATION` (MS-FSCC 2.1.5); undefined: none of them.
 */
export function parseStreamName(text: string): Omit<WirePath, 'names'> | undefined {
  const [before, name = '', type, ...more] = text.split(':');
  if (before !== '' || more.length > 0) return undefined;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: MS-FSCC 2.1.5.3 forbids it
  if (name.length > maximumComponentLength || /[\x00/\\]/.test(name) || !name.isWellFormed()) return undefined;
  const kind = type?.toUpperCase();
  if (kind === '$INDEX_ALLOCATION') {
    return name === '' || name.toUpperCase() === '$I30' ? { stream: undefined, type: 'index' } : undefined;
  }
  if (kind !== undefined && kind !== '$DATA') return undefined;
  if (name !== '') return { stream: name, type: 'data' };
  return kind === undefined ? undefined : { stream: undefined, type: 'data' };
}

function splitNames(path: string): string[] | PathProblem {
  if (path.length === 0) return [];
  const names = path.split('\\');
  if (names.at(-1) === '') names.pop();
  for (let i = 0; i < names.length; i++) {
    const name = names[i] ?? '';
    if (name === '..') return 'leaves-share';
    if (name === '' || name === '.' || name.length > maximumComponentLength || !name.isWellFormed())
      return 'name-invalid';
    if (forbiddenOnWire.test(name)) return 'name-invalid';
    const onDisk = diskName(name);
    if (onDisk.includes('/') || onDisk === '.' || onDisk === '..') return 'name-invalid';
    names[i] = onDisk;
  }
  return names;
}

/** The path on the wire of a path on disk (components separated by "/", "." for the root; a stream behind "//"). */
export function wirePath(diskPath: string): string {
  const { file, stream } = splitStreamPath(diskPath);
  const path = file === '.' ? '' : file.split('/').map(wireName).join('\\');
  return stream === undefined ? path : `${path}:${stream}`;
}

/** Between a file's path on disk and a stream's name: no path has two separators in a row. */
const STREAM_SEPARATOR = '//';

/** The path on disk of a file's stream, as records and opens have it. */
export const streamPath = (filePath: string, stream: string): string => `${filePath}${STREAM_SEPARATOR}${stream}`;

/** Splits a path on disk; `stream` is undefined where it names a file or directory. */
export function splitStreamPath(path: string): { file: string; stream: string | undefined } {
  const cut = path.indexOf(STREAM_SEPARATOR);
  if (cut < 0) return { file: path, stream: undefined };
  return { file: path.slice(0, cut), stream: path.slice(cut + STREAM_SEPARATOR.length) };
}

/** Names that belong to the server in a volume's root: never shown and never opened. */
export function isReserved(diskName: string): boolean {
  return diskName.toLowerCase().startsWith('.holdfast-');
}
