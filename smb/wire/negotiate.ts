// NEGOTIATE (MS-SMB2 2.2.3, 2.2.4).
import { Dialect } from '../constants.ts';
import { openBody, variablePartAt } from './body.ts';
import { WireWriter } from './cursor.ts';
import { HEADER_SIZE } from './header.ts';
import { decodeNegotiateContexts, encodeNegotiateContexts, type NegotiateContext } from './negotiate-contexts.ts';

export interface NegotiateRequest {
  /** SecurityMode.* */
  securityMode: number;
  /** Capabilities.* */
  capabilities: number;
  clientGuid: Buffer;
  /** Dialect.*; may be empty or hold unknown ones: the server answers that, not the decoder. */
  dialects: number[];
  /** On the wire only if `dialects` has 3.1.1. */
  negotiateContexts: NegotiateContext[];
}

export interface NegotiateResponse {
  securityMode: number;
  dialectRevision: number;
  serverGuid: Buffer;
  capabilities: number;
  /** Bytes. */
  maxTransactSize: number;
  maxReadSize: number;
  maxWriteSize: number;
  /** FILETIME. */
  systemTime: bigint;
  /** FILETIME; 0 as Windows does. */
  serverStartTime: bigint;
  securityBuffer: Buffer;
  /** On the wire only if `dialectRevision` is 3.1.1. */
  negotiateContexts: NegotiateContext[];
}

const REQUEST_SIZE = 36;
const RESPONSE_SIZE = 65;

export function decodeNegotiateRequest(message: Buffer): NegotiateRequest {
  const reader = openBody(message, REQUEST_SIZE, 'NEGOTIATE request');
  const dialectCount = reader.u16();
  const securityMode = reader.u16();
  reader.skip(2);
  const capabilities = reader.u32();
  const clientGuid = reader.guid();
  const contextOffset = reader.u32();
  const contextCount = reader.u16();
  reader.skip(2);
  const dialects: number[] = [];
  for (let i = 0; i < dialectCount; i++) dialects.push(reader.u16());
  const negotiateContexts = dialects.includes(Dialect.SMB_3_1_1)
    ? decodeNegotiateContexts(message, contextOffset, contextCount, variablePartAt(REQUEST_SIZE))
    : [];
  return { securityMode, capabilities, clientGuid, dialects, negotiateContexts };
}

export function encodeNegotiateRequest(request: NegotiateRequest): Buffer {
  const writer = new WireWriter(256);
  writer.u16(REQUEST_SIZE).u16(request.dialects.length).u16(request.securityMode).u16(0).u32(request.capabilities);
  writer.guid(request.clientGuid).zeros(8);
  for (const dialect of request.dialects) writer.u16(dialect);
  if (request.dialects.includes(Dialect.SMB_3_1_1)) {
    writer.align(8);
    writer.patchU32(28, HEADER_SIZE + writer.length).patchU16(32, request.negotiateContexts.length);
    encodeNegotiateContexts(writer, request.negotiateContexts);
  }
  return writer.finish();
}

export function decodeNegotiateResponse(message: Buffer): NegotiateResponse {
  const reader = openBody(message, RESPONSE_SIZE, 'NEGOTIATE response');
  const securityMode = reader.u16();
  const dialectRevision = reader.u16();
  const contextCount = reader.u16();
  const serverGuid = reader.guid();
  const capabilities = reader.u32();
  const maxTransactSize = reader.u32();
  const maxReadSize = reader.u32();
  const maxWriteSize = reader.u32();
  const systemTime = reader.u64();
  const serverStartTime = reader.u64();
  const bufferOffset = reader.u16();
  const bufferLength = reader.u16();
  const contextOffset = reader.u32();
  const least = variablePartAt(RESPONSE_SIZE);
  return {
    securityMode,
    dialectRevision,
    serverGuid,
    capabilities,
    maxTransactSize,
    maxReadSize,
    maxWriteSize,
    systemTime,
    serverStartTime,
    securityBuffer: reader.range(bufferOffset, bufferLength, least),
    negotiateContexts:
      dialectRevision === Dialect.SMB_3_1_1 ? decodeNegotiateContexts(message, contextOffset, contextCount, least) : [],
  };
}

export function encodeNegotiateResponse(response: NegotiateResponse): Buffer {
  const writer = new WireWriter(256 + response.securityBuffer.length);
  writer.u16(RESPONSE_SIZE).u16(response.securityMode).u16(response.dialectRevision).u16(0);
  writer.guid(response.serverGuid).u32(response.capabilities);
  writer.u32(response.maxTransactSize).u32(response.maxReadSize).u32(response.maxWriteSize);
  writer.u64(response.systemTime).u64(response.serverStartTime);
  writer.u16(variablePartAt(RESPONSE_SIZE)).u16(response.securityBuffer.length).u32(0).raw(response.securityBuffer);
  if (response.dialectRevision === Dialect.SMB_3_1_1) {
    writer.align(8);
    writer.patchU16(6, response.negotiateContexts.length).patchU32(60, HEADER_SIZE + writer.length);
    encodeNegotiateContexts(writer, response.negotiateContexts);
  }
  return writer.finish();
}
