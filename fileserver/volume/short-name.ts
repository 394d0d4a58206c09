import { foldCase } from '../../smb/fscc/names.ts';

const legal = /^[A-Z0-9!#$%&'()@^_`{}~-]{1,8}(\.[A-Z0-9!#$%&'()@^_`{}~-]{1,3})?$/;
const generated = /^[A-Z0-9_]{0,5}~[0-9A-Z]{2}(\.[A-Z0-9_]{1,3})?$/;

/** FNV-1a, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

const plain = (text: string): string => text.replace(/[^A-Z0-9_]/g, '');

/**
 * The 8.3 name of a name on the wire: itself where it is one, else made from it, the same at every time and on every server. Two
 * names of a directory may get the same; the first that is found then answers to it.
 */
export function shortName(wireName: string): string {
  const folded = foldCase(wireName);
  if (legal.test(folded)) return folded;
  const dot = folded.lastIndexOf('.');
  const base = plain(dot > 0 ? folded.slice(0, dot) : folded).slice(0, 5);
  const extension = plain(dot > 0 ? folded.slice(dot + 1) : '').slice(0, 3);
  const mark = (hashOf(folded) % 1296).toString(36).toUpperCase().padStart(2, '0');
  return `${base}~${mark}${extension === '' ? '' : `.${extension}`}`;
}

/** The 8.3 name that a name on the wire has besides; empty: it is one itself. */
export function otherShortName(wireName: string): string {
  if (wireName.length <= 12 && legal.test(foldCase(wireName))) return '';
  return shortName(wireName);
}

/** Whether a folded name may be one that shortName made. */
export function mayBeShortName(folded: string): boolean {
  return generated.test(folded);
}
