// ECHO (MS-SMB2 2.2.28, 2.2.29): nothing but the header says anything.
import { decodeEmptyBody, encodeEmptyBody } from './body.ts';

export function decodeEchoRequest(message: Buffer): void {
  decodeEmptyBody(message, 'ECHO request');
}

export function encodeEchoRequest(): Buffer {
  return encodeEmptyBody();
}

export function decodeEchoResponse(message: Buffer): void {
  decodeEmptyBody(message, 'ECHO response');
}

export function encodeEchoResponse(): Buffer {
  return encodeEmptyBody();
}
