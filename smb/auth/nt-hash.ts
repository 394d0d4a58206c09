import { md4 } from './md4.ts';

/** NT hash of a password: MD4 over its UTF-16LE form (MS-NLMP 3.3.1, NTOWFv1). 16 bytes. */
export function ntHash(password: string): Buffer {
  return md4(Buffer.from(password, 'utf16le'));
}
