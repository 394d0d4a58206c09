import { SmbError } from '../errors.ts';

/**
 * A path within the share as SMB wants it: backslashes, none in front or behind; empty is the share's root.
 * Takes slashes or backslashes. Throws SmbError STATUS_OBJECT_NAME_INVALID for a component `.` or `..` and for NUL.
 */
export function wirePath(path: string): string {
  const parts = path.split(/[\\/]/).filter((part) => part !== '');
  for (const part of parts) {
    if (part === '.' || part === '..' || part.includes('\0')) {
      throw new SmbError(
        'STATUS_OBJECT_NAME_INVALID',
        `"${path}" is no path within a share: "${part}" is not allowed in it`,
      );
    }
  }
  return parts.join('\\');
}
