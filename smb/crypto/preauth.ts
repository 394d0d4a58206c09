// Preauthentication integrity of dialect 3.1.1 (MS-SMB2 3.3.5.4, 3.3.5.5): a running SHA-512 over the NEGOTIATE messages of a
// connection, and from there over the SESSION_SETUP messages of each session.
import { createHash } from 'node:crypto';

/** Size of the hash, in bytes. */
export const PREAUTH_HASH_SIZE = 64;

/** The value before the first message: zeros. */
export function preauthHashStart(): Buffer {
  return Buffer.alloc(PREAUTH_HASH_SIZE);
}

/**
 * The value after one more message (from its SMB2 header to its end, without the frame's prefix), as a new buffer: the
 * value of the connection is where each of its sessions starts. The final SESSION_SETUP response is not part of it.
 */
export function preauthHashUpdate(hash: Buffer, message: Buffer): Buffer {
  return createHash('sha512').update(hash).update(message).digest();
}
