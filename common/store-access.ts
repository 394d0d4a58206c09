import { createHash } from 'node:crypto';

/** The rule of Redis' ACL that lets in whoever has one of these passwords. Hashes: what is in a listing is of no use. */
export function passwordRules(passwords: readonly string[]): string[] {
  return passwords.map((password) => `#${createHash('sha256').update(password).digest('hex')}`);
}

/** The line of redis.conf or sentinel.conf that lets them do everything, and nobody else in. */
export function defaultUser(passwords: readonly string[]): string {
  return `user default on ${passwordRules(passwords).join(' ')} ~* &* +@all`;
}
