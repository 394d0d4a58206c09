// What the input and output of IOCTLs hold that MS-SMB2 defines itself (2.2.31.x, 2.2.32.x).
import { isIPv4, isIPv6 } from 'node:net';
import { WireReader, WireWriter } from './cursor.ts';
import { WireError } from './errors.ts';

/** Input of FSCTL_VALIDATE_NEGOTIATE_INFO (2.2.31.4): what the client sent in NEGOTIATE. */
export interface ValidateNegotiateInfoRequest {
  capabilities: number;
  clientGuid: Buffer;
  securityMode: number;
  dialects: number[];
}

/** Its output (2.2.32.6): what the server answered. */
export interface ValidateNegotiateInfoResponse {
  capabilities: number;
  serverGuid: Buffer;
  securityMode: number;
  dialect: number;
}

export function decodeValidateNegotiateInfoRequest(input: Buffer): ValidateNegotiateInfoRequest {
  const reader = new WireReader(input, 'VALIDATE_NEGOTIATE_INFO request');
  const capabilities = reader.u32();
  const clientGuid = reader.guid();
  const securityMode = reader.u16();
  const dialectCount = reader.u16();
  const dialects: number[] = [];
  for (let i = 0; i < dialectCount; i++) dialects.push(reader.u16());
  return { capabilities, clientGuid, securityMode, dialects };
}

export function encodeValidateNegotiateInfoRequest(request: ValidateNegotiateInfoRequest): Buffer {
  const writer = new WireWriter(24 + request.dialects.length * 2);
  writer.u32(request.capabilities).guid(request.clientGuid).u16(request.securityMode).u16(request.dialects.length);
  for (const dialect of request.dialects) writer.u16(dialect);
  return writer.finish();
}

export function decodeValidateNegotiateInfoResponse(output: Buffer): ValidateNegotiateInfoResponse {
  const reader = new WireReader(output, 'VALIDATE_NEGOTIATE_INFO response');
  return { capabilities: reader.u32(), serverGuid: reader.guid(), securityMode: reader.u16(), dialect: reader.u16() };
}

/** Bytes. */
export const VALIDATE_NEGOTIATE_INFO_RESPONSE_SIZE = 24;

export function encodeValidateNegotiateInfoResponse(response: ValidateNegotiateInfoResponse): Buffer {
  const writer = new WireWriter(VALIDATE_NEGOTIATE_INFO_RESPONSE_SIZE)
    .u32(response.capabilities)
    .guid(response.serverGuid);
  return writer.u16(response.securityMode).u16(response.dialect).finish();
}

/** One of NETWORK_INTERFACE_INFO (2.2.32.5). */
export interface NetworkInterfaceInfo {
  ifIndex: number;
  /** NetworkInterfaceCapability.* */
  capability: number;
  /** Bits a second. */
  linkSpeed: bigint;
  /** IPv4 in dots, or IPv6 as the decoder writes it: eight groups of hexadecimal digits. */
  address: string;
}

const INTERFACE_INFO_SIZE = 152;
const SOCKADDR_OFFSET = 24;
const FAMILY_IPV4 = 0x0002;
const FAMILY_IPV6 = 0x0017;
const MAX_INTERFACES = 4096;

/** Output of FSCTL_QUERY_NETWORK_INTERFACE_INFO. Interfaces of other address families are left out. */
export function decodeNetworkInterfaceInfo(output: Buffer): NetworkInterfaceInfo[] {
  const interfaces: NetworkInterfaceInfo[] = [];
  let at = 0;
  for (let i = 0; i < MAX_INTERFACES && at < output.length; i++) {
    const reader = new WireReader(output, 'NETWORK_INTERFACE_INFO', at);
    const next = reader.u32();
    const ifIndex = reader.u32();
    const capability = reader.u32();
    reader.skip(4);
    const linkSpeed = reader.u64();
    const address = decodeAddress(reader.view(INTERFACE_INFO_SIZE - SOCKADDR_OFFSET));
    if (address) interfaces.push({ ifIndex, capability, linkSpeed, address });
    if (next === 0) return interfaces;
    if (next < INTERFACE_INFO_SIZE) throw reader.error(`Next is ${next}`);
    at += next;
  }
  if (at === 0) return interfaces;
  throw new WireError('NETWORK_INTERFACE_INFO: the list has no end');
}

function decodeAddress(sockaddr: Buffer): string | undefined {
  const family = sockaddr.readUInt16LE(0);
  if (family === FAMILY_IPV4) return sockaddr.subarray(4, 8).join('.');
  if (family !== FAMILY_IPV6) return undefined;
  return Array.from({ length: 8 }, (_, i) => sockaddr.readUInt16BE(8 + i * 2).toString(16)).join(':');
}

/** Throws WireError for an address that is neither IPv4 nor IPv6 (without a zone). */
export function encodeNetworkInterfaceInfo(interfaces: readonly NetworkInterfaceInfo[]): Buffer {
  const output = Buffer.alloc(interfaces.length * INTERFACE_INFO_SIZE);
  interfaces.forEach((one, i) => {
    const at = i * INTERFACE_INFO_SIZE;
    output.writeUInt32LE(i === interfaces.length - 1 ? 0 : INTERFACE_INFO_SIZE, at);
    output.writeUInt32LE(one.ifIndex, at + 4);
    output.writeUInt32LE(one.capability, at + 8);
    output.writeBigUInt64LE(one.linkSpeed, at + 16);
    encodeAddress(one.address, output.subarray(at + SOCKADDR_OFFSET, at + INTERFACE_INFO_SIZE));
  });
  return output;
}

function encodeAddress(address: string, sockaddr: Buffer): void {
  if (isIPv4(address)) {
    sockaddr.writeUInt16LE(FAMILY_IPV4, 0);
    sockaddr.set(address.split('.').map(Number), 4);
  } else if (isIPv6(address) && !address.includes('%')) {
    sockaddr.writeUInt16LE(FAMILY_IPV6, 0);
    ipv6Groups(address).forEach((group, i) => {
      sockaddr.writeUInt16BE(group, 8 + i * 2);
    });
  } else {
    throw new WireError(`not an IP address: ${JSON.stringify(address)}`);
  }
}

/** The eight groups of a valid IPv6 address, which may have `::` and end in dotted IPv4. */
function ipv6Groups(address: string): number[] {
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  let text = address;
  if (dotted) {
    const [a = 0, b = 0, c = 0, d = 0] = dotted.slice(1).map(Number);
    text = `${address.slice(0, dotted.index)}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  }
  const groups = (part: string | undefined) => (part ? part.split(':').map((group) => Number.parseInt(group, 16)) : []);
  const [before, after] = text.split('::');
  const head = groups(before);
  const tail = groups(after);
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

export const RESUME_KEY_SIZE = 24;

/** Output of FSCTL_SRV_REQUEST_RESUME_KEY (2.2.32.3): 24 opaque bytes for SRV_COPYCHUNK. */
export function decodeResumeKeyResponse(output: Buffer): Buffer {
  return new WireReader(output, 'SRV_REQUEST_RESUME_KEY response').view(RESUME_KEY_SIZE);
}

export function encodeResumeKeyResponse(resumeKey: Buffer): Buffer {
  if (resumeKey.length !== RESUME_KEY_SIZE) throw new WireError(`a resume key has ${RESUME_KEY_SIZE} bytes`);
  // ContextLength 0 and four bytes of Context, as Windows sends.
  return new WireWriter(32).raw(resumeKey).zeros(8).finish();
}

export interface CopychunkRange {
  /** Bytes. */
  sourceOffset: number;
  targetOffset: number;
  length: number;
}

/** Input of FSCTL_SRV_COPYCHUNK and FSCTL_SRV_COPYCHUNK_WRITE (2.2.31.1). */
export interface CopychunkRequest {
  sourceKey: Buffer;
  chunks: CopychunkRange[];
}

/** Their output (2.2.32.1). With STATUS_INVALID_PARAMETER the fields carry the server's limits instead. */
export interface CopychunkResponse {
  /** Or: the most chunks a request may have. */
  chunksWritten: number;
  /** Bytes of the chunk that was cut short; or: the most bytes of a chunk. */
  chunkBytesWritten: number;
  /** Or: the most bytes of a request. */
  totalBytesWritten: number;
}

const CHUNK_SIZE = 24;

export function decodeCopychunkRequest(input: Buffer): CopychunkRequest {
  const reader = new WireReader(input, 'SRV_COPYCHUNK request');
  const sourceKey = reader.view(RESUME_KEY_SIZE);
  const chunkCount = reader.u32();
  reader.skip(4);
  if (chunkCount * CHUNK_SIZE > reader.remaining) throw reader.error(`has no room for ${chunkCount} chunks`);
  const chunks: CopychunkRange[] = [];
  for (let i = 0; i < chunkCount; i++) {
    chunks.push({ sourceOffset: reader.size64(), targetOffset: reader.size64(), length: reader.u32() });
    reader.skip(4);
  }
  return { sourceKey, chunks };
}

export function encodeCopychunkRequest(request: CopychunkRequest): Buffer {
  if (request.sourceKey.length !== RESUME_KEY_SIZE) throw new WireError(`a resume key has ${RESUME_KEY_SIZE} bytes`);
  const writer = new WireWriter(32 + request.chunks.length * CHUNK_SIZE);
  writer.raw(request.sourceKey).u32(request.chunks.length).u32(0);
  for (const chunk of request.chunks) {
    writer.size64(chunk.sourceOffset).size64(chunk.targetOffset).u32(chunk.length).u32(0);
  }
  return writer.finish();
}

export function decodeCopychunkResponse(output: Buffer): CopychunkResponse {
  const reader = new WireReader(output, 'SRV_COPYCHUNK response');
  return { chunksWritten: reader.u32(), chunkBytesWritten: reader.u32(), totalBytesWritten: reader.u32() };
}

export function encodeCopychunkResponse(response: CopychunkResponse): Buffer {
  const writer = new WireWriter(12).u32(response.chunksWritten).u32(response.chunkBytesWritten);
  return writer.u32(response.totalBytesWritten).finish();
}

/** Input of FSCTL_LMR_REQUEST_RESILIENCY (2.2.31.3): how long the handle is to outlive its connection, in ms. */
export function decodeResiliencyRequest(input: Buffer): number {
  const reader = new WireReader(input, 'LMR_REQUEST_RESILIENCY request');
  const timeoutMs = reader.u32();
  reader.skip(4);
  return timeoutMs;
}

export function encodeResiliencyRequest(timeoutMs: number): Buffer {
  return new WireWriter(8).u32(timeoutMs).u32(0).finish();
}
