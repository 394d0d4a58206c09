// The contexts of CREATE requests and responses (MS-SMB2 2.2.13.2, 2.2.14.2): the list, and the data of each kind.
import { type FileId, WireReader, WireWriter } from './cursor.ts';

/** `name` is the tag as it is on the wire, one character a byte: 4 for most, 16 for those that are named by a GUID. */
export interface CreateContext {
  name: string;
  data: Buffer;
}

const guidName = (hex: string): string => Buffer.from(hex, 'hex').toString('latin1');

/** MS-SMB2 2.2.13.2 */
export const CreateContextName = {
  EA_BUFFER: 'ExtA',
  SD_BUFFER: 'SecD',
  DURABLE_HANDLE_REQUEST: 'DHnQ',
  DURABLE_HANDLE_RECONNECT: 'DHnC',
  ALLOCATION_SIZE: 'AlSi',
  QUERY_MAXIMAL_ACCESS_REQUEST: 'MxAc',
  TIMEWARP_TOKEN: 'TWrp',
  QUERY_ON_DISK_ID: 'QFid',
  REQUEST_LEASE: 'RqLs',
  DURABLE_HANDLE_REQUEST_V2: 'DH2Q',
  DURABLE_HANDLE_RECONNECT_V2: 'DH2C',
  APP_INSTANCE_ID: guidName('45bca66aefa7f74a9008fa462e144d74'),
  APP_INSTANCE_VERSION: guidName('b982d0b73b56074fa07b524a8116a010'),
  SVHDX_OPEN_DEVICE_CONTEXT: guidName('9ccbcf9e04c1e643980e158da1f6ec83'),
  /** Of the POSIX extensions that Samba and Linux speak. */
  POSIX: guidName('93ad25509cb411e7b42383de968bcd7c'),
} as const;
export type CreateContextName = (typeof CreateContextName)[keyof typeof CreateContextName];

/** No client sends more: the specification knows 14, and none may be repeated. */
const MAX_CONTEXTS = 64;
/** Next, NameOffset, NameLength, Reserved, DataOffset, DataLength. */
const FIXED_SIZE = 16;

/** Decodes the chain of contexts; `bytes` is exactly the part that the message's offset and length give. Throws WireError. */
export function decodeCreateContexts(bytes: Buffer): CreateContext[] {
  const contexts: CreateContext[] = [];
  let at = 0;
  while (at < bytes.length) {
    const head = new WireReader(bytes, 'create context', at);
    if (contexts.length === MAX_CONTEXTS) throw head.error(`more than ${MAX_CONTEXTS}`);
    const next = head.u32();
    if (next % 8 !== 0 || (next !== 0 && next < FIXED_SIZE) || next > bytes.length - at) {
      throw head.error(`Next is ${next} at ${at} of ${bytes.length} bytes`);
    }
    const end = next === 0 ? bytes.length : at + next;
    contexts.push(decodeContext(bytes.subarray(at, end)));
    if (next === 0) break;
    at = end;
  }
  return contexts;
}

function decodeContext(context: Buffer): CreateContext {
  const reader = new WireReader(context, 'create context', 4);
  const nameOffset = reader.u16();
  const nameLength = reader.u16();
  reader.skip(2);
  const dataOffset = reader.u16();
  const dataLength = reader.u32();
  if (nameLength < 4) throw reader.error(`name of ${nameLength} bytes`);
  return {
    name: reader.range(nameOffset, nameLength, FIXED_SIZE).toString('latin1'),
    data: reader.range(dataOffset, dataLength, FIXED_SIZE),
  };
}

/** Encodes the chain, beginning on a multiple of 8. */
export function encodeCreateContexts(contexts: readonly CreateContext[]): Buffer {
  const writer = new WireWriter(contexts.length * 80);
  contexts.forEach(({ name, data }, i) => {
    const start = writer.length;
    writer.u32(0).u16(FIXED_SIZE).u16(name.length).u16(0).u16(0).u32(data.length).raw(Buffer.from(name, 'latin1'));
    writer.align(8);
    if (data.length > 0) writer.patchU16(start + 10, writer.length - start).raw(data);
    if (i < contexts.length - 1) writer.align(8).patchU32(start, writer.length - start);
  });
  return writer.finish();
}

/** The data of the first context of that name. */
export function findCreateContext(contexts: readonly CreateContext[], name: string): Buffer | undefined {
  return contexts.find((context) => context.name === name)?.data;
}

/** MxAc request (2.2.13.2.5): the time the client knows, or undefined if it sent none. */
export function decodeMxAcRequest(data: Buffer): bigint | undefined {
  return data.length === 0 ? undefined : new WireReader(data, 'MxAc request').u64();
}

export function encodeMxAcRequest(timestamp?: bigint): Buffer {
  return timestamp === undefined ? Buffer.alloc(0) : new WireWriter(8).u64(timestamp).finish();
}

/** MxAc response (2.2.14.2.5). */
export interface MxAcResponse {
  /** NTSTATUS; `maximalAccess` counts only if it is STATUS_SUCCESS. */
  queryStatus: number;
  /** FileAccess.* */
  maximalAccess: number;
}

export function decodeMxAcResponse(data: Buffer): MxAcResponse {
  const reader = new WireReader(data, 'MxAc response');
  return { queryStatus: reader.u32(), maximalAccess: reader.u32() };
}

export function encodeMxAcResponse(response: MxAcResponse): Buffer {
  return new WireWriter(8).u32(response.queryStatus).u32(response.maximalAccess).finish();
}

/** QFid response (2.2.14.2.9); the request has no data. */
export interface QFidResponse {
  diskFileId: bigint;
  volumeId: bigint;
}

export function decodeQFidResponse(data: Buffer): QFidResponse {
  const reader = new WireReader(data, 'QFid response');
  const response = { diskFileId: reader.u64(), volumeId: reader.u64() };
  reader.skip(16);
  return response;
}

export function encodeQFidResponse(response: QFidResponse): Buffer {
  return new WireWriter(32).u64(response.diskFileId).u64(response.volumeId).zeros(16).finish();
}

/** TWrp (2.2.13.2.7): FILETIME of the snapshot that is asked for. */
export function decodeTWrp(data: Buffer): bigint {
  return new WireReader(data, 'TWrp').u64();
}

export function encodeTWrp(timestamp: bigint): Buffer {
  return new WireWriter(8).u64(timestamp).finish();
}

/** AlSi (2.2.13.2.6): the allocation size wanted for a new file, in bytes. */
export function decodeAlSi(data: Buffer): number {
  return new WireReader(data, 'AlSi').size64();
}

export function encodeAlSi(allocationSize: number): Buffer {
  return new WireWriter(8).size64(allocationSize).finish();
}

/** ExtA (2.2.13.2.1): a FILE_FULL_EA_INFORMATION list (MS-FSCC 2.4.15), as it is. */
export function decodeExtA(data: Buffer): Buffer {
  return data;
}

/** SecD (2.2.13.2.2): a self-relative security descriptor (MS-DTYP 2.4.6), as it is. */
export function decodeSecD(data: Buffer): Buffer {
  return data;
}

/** DHnQ request (2.2.13.2.3): 16 reserved bytes. */
export function decodeDHnQRequest(data: Buffer): void {
  new WireReader(data, 'DHnQ request').skip(16);
}

export function encodeDHnQRequest(): Buffer {
  return Buffer.alloc(16);
}

/** DHnQ response (2.2.14.2.3): 8 reserved bytes. */
export function encodeDHnQResponse(): Buffer {
  return Buffer.alloc(8);
}

export function decodeDHnQResponse(data: Buffer): void {
  new WireReader(data, 'DHnQ response').skip(8);
}

/** DHnC (2.2.13.2.4): the FileId of the open to come back to. */
export function decodeDHnC(data: Buffer): FileId {
  return new WireReader(data, 'DHnC').fileId();
}

export function encodeDHnC(fileId: FileId): Buffer {
  return new WireWriter(16).fileId(fileId).finish();
}

/** DH2Q request (2.2.13.2.11). */
export interface DH2QRequest {
  /** How long the handle is to outlive its connection, in ms; 0 leaves it to the server. */
  timeoutMs: number;
  /** DurableFlags.* */
  flags: number;
  createGuid: Buffer;
}

export function decodeDH2QRequest(data: Buffer): DH2QRequest {
  const reader = new WireReader(data, 'DH2Q request');
  const timeoutMs = reader.u32();
  const flags = reader.u32();
  reader.skip(8);
  return { timeoutMs, flags, createGuid: reader.guid() };
}

export function encodeDH2QRequest(request: DH2QRequest): Buffer {
  return new WireWriter(32).u32(request.timeoutMs).u32(request.flags).zeros(8).guid(request.createGuid).finish();
}

/** DH2Q response (2.2.14.2.12). */
export interface DH2QResponse {
  timeoutMs: number;
  /** DurableFlags.* */
  flags: number;
}

export function decodeDH2QResponse(data: Buffer): DH2QResponse {
  const reader = new WireReader(data, 'DH2Q response');
  return { timeoutMs: reader.u32(), flags: reader.u32() };
}

export function encodeDH2QResponse(response: DH2QResponse): Buffer {
  return new WireWriter(8).u32(response.timeoutMs).u32(response.flags).finish();
}

/** DH2C (2.2.13.2.12). */
export interface DH2C {
  fileId: FileId;
  createGuid: Buffer;
  /** DurableFlags.* */
  flags: number;
}

export function decodeDH2C(data: Buffer): DH2C {
  const reader = new WireReader(data, 'DH2C');
  return { fileId: reader.fileId(), createGuid: reader.guid(), flags: reader.u32() };
}

export function encodeDH2C(context: DH2C): Buffer {
  return new WireWriter(36).fileId(context.fileId).guid(context.createGuid).u32(context.flags).finish();
}

/** RqLs, request and response alike: version 1 (2.2.13.2.8, 2.2.14.2.10) and 2 (2.2.13.2.10, 2.2.14.2.11). */
export type LeaseContext = LeaseV1 | LeaseV2;

export interface LeaseV1 {
  version: 1;
  /** 16 bytes that the client chose. */
  leaseKey: Buffer;
  /** LeaseState.* */
  leaseState: number;
  /** LeaseFlags.* */
  flags: number;
}

export interface LeaseV2 {
  version: 2;
  leaseKey: Buffer;
  leaseState: number;
  flags: number;
  /** Counts only with LeaseFlags.PARENT_LEASE_KEY_SET. */
  parentLeaseKey: Buffer;
  epoch: number;
}

const LEASE_V1_SIZE = 32;
const LEASE_V2_SIZE = 52;

/** The size tells the versions apart, as 3.3.5.9 says; any other size is a WireError. */
export function decodeRqLs(data: Buffer): LeaseContext {
  const reader = new WireReader(data, 'RqLs');
  if (data.length !== LEASE_V1_SIZE && data.length !== LEASE_V2_SIZE) throw reader.error(`has ${data.length} bytes`);
  const leaseKey = reader.guid();
  const leaseState = reader.u32();
  const flags = reader.u32();
  reader.skip(8);
  if (data.length === LEASE_V1_SIZE) return { version: 1, leaseKey, leaseState, flags };
  return { version: 2, leaseKey, leaseState, flags, parentLeaseKey: reader.guid(), epoch: reader.u16() };
}

export function encodeRqLs(lease: LeaseContext): Buffer {
  const writer = new WireWriter(LEASE_V2_SIZE);
  writer.guid(lease.leaseKey).u32(lease.leaseState).u32(lease.flags).zeros(8);
  if (lease.version === 2) writer.guid(lease.parentLeaseKey).u16(lease.epoch).u16(0);
  return writer.finish();
}

const APP_INSTANCE_ID_SIZE = 20;
const APP_INSTANCE_VERSION_SIZE = 24;

/** AppInstanceId (2.2.13.2.13): 16 bytes that name an application across the machines it moves between. */
export function decodeAppInstanceId(data: Buffer): Buffer {
  const reader = new WireReader(data, 'AppInstanceId');
  const size = reader.u16();
  if (size !== APP_INSTANCE_ID_SIZE) throw reader.error(`StructureSize is ${size}`);
  reader.skip(2);
  return reader.guid();
}

export function encodeAppInstanceId(appInstanceId: Buffer): Buffer {
  return new WireWriter(APP_INSTANCE_ID_SIZE).u16(APP_INSTANCE_ID_SIZE).u16(0).guid(appInstanceId).finish();
}

/** AppInstanceVersion (2.2.13.2.15). */
export interface AppInstanceVersion {
  high: bigint;
  low: bigint;
}

export function decodeAppInstanceVersion(data: Buffer): AppInstanceVersion {
  const reader = new WireReader(data, 'AppInstanceVersion');
  const size = reader.u16();
  if (size !== APP_INSTANCE_VERSION_SIZE) throw reader.error(`StructureSize is ${size}`);
  reader.skip(6);
  return { high: reader.u64(), low: reader.u64() };
}

export function encodeAppInstanceVersion(version: AppInstanceVersion): Buffer {
  const writer = new WireWriter(APP_INSTANCE_VERSION_SIZE).u16(APP_INSTANCE_VERSION_SIZE).zeros(6);
  return writer.u64(version.high).u64(version.low).finish();
}
