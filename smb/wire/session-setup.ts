// SESSION_SETUP (MS-SMB2 2.2.5, 2.2.6).
import { openBody, variablePartAt } from './body.ts';
import { WireWriter } from './cursor.ts';

export interface SessionSetupRequest {
  /** SessionSetupFlags.* */
  flags: number;
  /** SecurityMode.* */
  securityMode: number;
  /** Capabilities.*; only DFS has a meaning here. */
  capabilities: number;
  previousSessionId: bigint;
  /** The GSS token. */
  securityBuffer: Buffer;
}

export interface SessionSetupResponse {
  /** SessionFlags.* */
  sessionFlags: number;
  securityBuffer: Buffer;
}

const REQUEST_SIZE = 25;
const RESPONSE_SIZE = 9;

export function decodeSessionSetupRequest(message: Buffer): SessionSetupRequest {
  const reader = openBody(message, REQUEST_SIZE, 'SESSION_SETUP request');
  const flags = reader.u8();
  const securityMode = reader.u8();
  const capabilities = reader.u32();
  reader.skip(4);
  const offset = reader.u16();
  const length = reader.u16();
  const previousSessionId = reader.u64();
  const securityBuffer = reader.range(offset, length, variablePartAt(REQUEST_SIZE));
  return { flags, securityMode, capabilities, previousSessionId, securityBuffer };
}

export function encodeSessionSetupRequest(request: SessionSetupRequest): Buffer {
  const writer = new WireWriter(24 + request.securityBuffer.length);
  writer.u16(REQUEST_SIZE).u8(request.flags).u8(request.securityMode).u32(request.capabilities).u32(0);
  writer.u16(variablePartAt(REQUEST_SIZE)).u16(request.securityBuffer.length).u64(request.previousSessionId);
  return writer.raw(request.securityBuffer).finish();
}

export function decodeSessionSetupResponse(message: Buffer): SessionSetupResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'SESSION_SETUP response');
  const sessionFlags = reader.u16();
  const offset = reader.u16();
  const length = reader.u16();
  return { sessionFlags, securityBuffer: reader.range(offset, length, variablePartAt(RESPONSE_SIZE)) };
}

export function encodeSessionSetupResponse(response: SessionSetupResponse): Buffer {
  const writer = new WireWriter(8 + response.securityBuffer.length);
  writer.u16(RESPONSE_SIZE).u16(response.sessionFlags).u16(variablePartAt(RESPONSE_SIZE));
  return writer.u16(response.securityBuffer.length).raw(response.securityBuffer).finish();
}
