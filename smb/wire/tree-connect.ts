// TREE_CONNECT (MS-SMB2 2.2.9, 2.2.10).
import { openBody, variablePartAt } from './body.ts';
import { WireWriter } from './cursor.ts';

export interface TreeConnectRequest {
  /** TreeConnectFlags.*; meaningful in 3.1.1. The contexts of EXTENSION_PRESENT are not read (identity remoting). */
  flags: number;
  /** \\server\share */
  path: string;
}

export interface TreeConnectResponse {
  /** ShareType.* */
  shareType: number;
  /** ShareFlags.* */
  shareFlags: number;
  /** ShareCapabilities.* */
  capabilities: number;
  /** FileAccess.* */
  maximalAccess: number;
}

const REQUEST_SIZE = 9;
const RESPONSE_SIZE = 16;

export function decodeTreeConnectRequest(message: Buffer): TreeConnectRequest {
  const reader = openBody(message, REQUEST_SIZE, 'TREE_CONNECT request');
  const flags = reader.u16();
  const offset = reader.u16();
  const length = reader.u16();
  return { flags, path: reader.textRange(offset, length, variablePartAt(REQUEST_SIZE)) };
}

export function encodeTreeConnectRequest(request: TreeConnectRequest): Buffer {
  const writer = new WireWriter(8 + request.path.length * 2);
  writer
    .u16(REQUEST_SIZE)
    .u16(request.flags)
    .u16(variablePartAt(REQUEST_SIZE))
    .u16(request.path.length * 2);
  return writer.text(request.path).finish();
}

export function decodeTreeConnectResponse(message: Buffer): TreeConnectResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'TREE_CONNECT response');
  const shareType = reader.u8();
  reader.skip(1);
  return { shareType, shareFlags: reader.u32(), capabilities: reader.u32(), maximalAccess: reader.u32() };
}

export function encodeTreeConnectResponse(response: TreeConnectResponse): Buffer {
  const writer = new WireWriter(RESPONSE_SIZE);
  writer.u16(RESPONSE_SIZE).u8(response.shareType).u8(0).u32(response.shareFlags);
  return writer.u32(response.capabilities).u32(response.maximalAccess).finish();
}
