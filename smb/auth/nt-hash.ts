/** NT hash of a password: MD4 over its UTF-16LE form (MS-NLMP 3.3.1, NTOWFv1). 16 bytes. */
export function ntHash(_password: string): Buffer {
  throw new Error('being written');
}
