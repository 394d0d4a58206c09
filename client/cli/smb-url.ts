import { parseAddresses, type ServerAddress } from '../connect/address.ts';
import { UsageError } from './errors.ts';

/** Where a `smb://` address points. */
export interface SmbUrl {
  user: string;
  domain: string;
  addresses: ServerAddress[];
  share: string;
  /** Within the share, with slashes; empty: its root. */
  path: string;
}

export const URL_FORM = 'smb://[DOMAIN;]USER@HOST[:PORT][,HOST[:PORT]...]/SHARE[/PATH]';

/** Reads an address of the form URL_FORM; %-escapes count in user, share and path. Throws UsageError. */
export function parseSmbUrl(text: string): SmbUrl {
  const [, authority, rest = ''] = /^smb:\/\/([^/]*)(?:\/(.*))?$/s.exec(text) ?? [];
  if (authority === undefined) throw new UsageError(`"${text}" is no SMB address; write ${URL_FORM}`);
  const at = authority.lastIndexOf('@');
  if (at <= 0) throw new UsageError(`"${text}" names no user; write ${URL_FORM}`);
  const account = authority.slice(0, at);
  if (account.includes(':')) {
    throw new UsageError('a password does not belong into an address, where others can see it; use --password-file');
  }
  const [share = '', ...parts] = rest.split('/');
  if (share === '') throw new UsageError(`"${text}" names no share; write ${URL_FORM}`);
  const separator = account.indexOf(';');
  return {
    domain: unescaped(account.slice(0, Math.max(separator, 0))),
    user: unescaped(account.slice(separator + 1)),
    addresses: addressesOf(authority.slice(at + 1)),
    share: unescaped(share),
    path: parts
      .map(unescaped)
      .filter((part) => part !== '')
      .join('/'),
  };
}

function addressesOf(text: string): ServerAddress[] {
  try {
    return parseAddresses(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new UsageError(`"${text}" has a % that begins no escape; write %25 for the sign itself`);
  }
}
