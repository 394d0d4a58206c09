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
  | 'leaves-share'
  /** STATUS_OBJECT_NAME_INVALID: an alternate data stream; the volume keeps none. */
  | 'stream';

/** Longest path taken, in UTF-16 units: Windows' own limit. */
const MAXIMUM_PATH = 32_767;

/**
 * Splits a path of CREATE or of a rename, relative to the share, into names as they are on disk. The root is the empty list. The
 * default stream may be named (`name::$DATA`).
 */
export function splitWirePath(path: string): string[] | PathProblem {
  if (path.length === 0) return [];
  if (path.length > MAXIMUM_PATH) return 'name-invalid';
  if (path.startsWith('\\')) return 'absolute';
  const withoutStream = path.replace(/::\$DATA$/i, '');
  if (withoutStream.length === 0) return 'name-invalid';
  const names = withoutStream.split('\\');
  if (names.at(-1) === '') names.pop();
  for (let i = 0; i < names.length; i++) {
    const name = names[i] ?? '';
    if (name === '..') return 'leaves-share';
    if (name === '' || name === '.' || name.length > maximumComponentLength || !name.isWellFormed())
      return 'name-invalid';
    if (forbiddenOnWire.test(name)) return i === names.length - 1 && isStreamName(name) ? 'stream' : 'name-invalid';
    const onDisk = diskName(name);
    if (onDisk.includes('/') || onDisk === '.' || onDisk === '..') return 'name-invalid';
    names[i] = onDisk;
  }
  return names;
}

function isStreamName(name: string): boolean {
  return /^[^:]*:[^:]+(:\$[A-Z_]+)?$/i.test(name);
}

/** The path on the wire of a path on disk (components separated by "/", "." for the root). */
export function wirePath(diskPath: string): string {
  return diskPath === '.' ? '' : diskPath.split('/').map(wireName).join('\\');
}

/** Names that belong to the server in a volume's root: never shown and never opened. */
export function isReserved(diskName: string): boolean {
  return diskName.toLowerCase().startsWith('.holdfast-');
}
