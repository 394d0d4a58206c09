/**
 * Upper-case mapping of one UTF-16 code unit as Windows does it: only pairs that map back, so that e.g. the dotless i, the
 * long s, the final sigma and the micro sign stay themselves, and no unit becomes two.
 */
function upcaseUnit(unit: number): number {
  const lower = String.fromCharCode(unit);
  const upper = lower.toUpperCase();
  if (upper.length !== 1 || upper === lower || upper.toLowerCase() !== lower) return unit;
  return upper.charCodeAt(0);
}

const upcaseTable = Uint16Array.from({ length: 0x10000 }, (_, unit) => upcaseUnit(unit));

// biome-ignore lint/suspicious/noControlCharactersInRegex: the whole of ASCII is meant
const ascii = /^[\x00-\x7f]*$/;

/**
 * The form of a name under which names are compared: upper case, code unit by code unit (MS-FSA 2.1.1 with the case table of
 * NTFS). The whole cluster must use this one function; `names.test.ts` pins its table.
 */
export function foldCase(name: string): string {
  if (ascii.test(name)) return name.toUpperCase();
  const units = new Uint16Array(name.length);
  for (let i = 0; i < name.length; i++) units[i] = upcaseTable[name.charCodeAt(i)] ?? 0;
  let folded = '';
  for (let i = 0; i < units.length; i += 4096) folded += String.fromCharCode(...units.subarray(i, i + 4096));
  return folded;
}

/** Longest name of a file, directory or stream in UTF-16 code units (MS-FSCC 2.1.5.2). */
export const maximumComponentLength = 255;

// biome-ignore lint/suspicious/noControlCharactersInRegex: MS-FSCC 2.1.5.2 forbids them
const forbiddenInComponent = /[\x00-\x1f"\\/:|<>*?]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: MS-FSCC 2.1.5.3 forbids them
const forbiddenInStream = /[\x00\\/:]/;

/** True when `name` may name a file or directory (MS-FSCC 2.1.5.2). `.` and `..` are not names of files. */
export function isValidComponent(name: string): boolean {
  if (name.length === 0 || name.length > maximumComponentLength) return false;
  return name !== '.' && name !== '..' && !forbiddenInComponent.test(name);
}

/** True when `name` may name an alternate data stream (MS-FSCC 2.1.5.3). */
export function isValidStreamName(name: string): boolean {
  return name.length > 0 && name.length <= maximumComponentLength && !forbiddenInStream.test(name);
}

/** True when a search pattern needs matching at all (MS-FSA 2.1.4.3). */
export function hasWildcard(pattern: string): boolean {
  return /[*?<>"]/.test(pattern);
}
