// LOGOFF (MS-SMB2 2.2.7, 2.2.8): nothing but the header says anything.
import { decodeEmptyBody, encodeEmptyBody } from './body.ts';

export function decodeLogoffRequest(message: Buffer): void {
  decodeEmptyBody(message, 'LOGOFF request');
}

export function encodeLogoffRequest(): Buffer {
  return encodeEmptyBody();
}

export function decodeLogoffResponse(message: Buffer): void {
  decodeEmptyBody(message, 'LOGOFF response');
}

export function encodeLogoffResponse(): Buffer {
  return encodeEmptyBody();
}
