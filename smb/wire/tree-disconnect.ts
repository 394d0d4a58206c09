// TREE_DISCONNECT (MS-SMB2 2.2.11, 2.2.12): nothing but the header says anything.
import { decodeEmptyBody, encodeEmptyBody } from './body.ts';

export function decodeTreeDisconnectRequest(message: Buffer): void {
  decodeEmptyBody(message, 'TREE_DISCONNECT request');
}

export function encodeTreeDisconnectRequest(): Buffer {
  return encodeEmptyBody();
}

export function decodeTreeDisconnectResponse(message: Buffer): void {
  decodeEmptyBody(message, 'TREE_DISCONNECT response');
}

export function encodeTreeDisconnectResponse(): Buffer {
  return encodeEmptyBody();
}
