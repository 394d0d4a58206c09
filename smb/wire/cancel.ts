// CANCEL (MS-SMB2 2.2.30; it has no response): nothing but the header says anything.
import { decodeEmptyBody, encodeEmptyBody } from './body.ts';

export function decodeCancelRequest(message: Buffer): void {
  decodeEmptyBody(message, 'CANCEL request');
}

export function encodeCancelRequest(): Buffer {
  return encodeEmptyBody();
}
