import { WireError } from '../wire/errors.ts';

/** PTYPE (C706 12.6.4, MS-RPCE 2.2.2). */
export const PduType = {
  request: 0,
  response: 2,
  fault: 3,
  bind: 11,
  bindAck: 12,
  bindNak: 13,
  alterContext: 14,
  alterContextResponse: 15,
} as const;

/** pfc_flags (C706 12.6.3.1). */
export const PduFlag = { firstFragment: 0x1, lastFragment: 0x2, objectUuid: 0x80 } as const;

/** Status of a fault PDU (C706 appendix E, MS-RPCE 2.2.2.9). */
export const FaultStatus = {
  operationRange: 0x1c010002,
  unknownInterface: 0x1c010003,
  protocolError: 0x1c01000b,
  badStubData: 0x000006f7,
} as const;

/** Size of the common header, and of what a request, response or fault has before its stub. */
export const headerSize = 16;
export const requestHeadSize = 24;

/** Largest fragment that is sent, and announced as receivable: what Windows uses on pipes. */
export const maximumFragmentSize = 4280;
/** Every implementation must take fragments of this size (C706 12.6.3.4, MustRecvFragSize). */
export const minimumFragmentSize = 1432;

export interface PduHeader {
  type: number;
  flags: number;
  fragmentLength: number;
  authLength: number;
  callId: number;
}

/** Interface or transfer syntax: UUID in wire order, and version. */
export interface SyntaxId {
  uuid: Buffer;
  version: number;
}

export const syntax = {
  /** 8a885d04-1ceb-11c9-9fe8-08002b104860, the transfer syntax NDR20 */
  ndr20: { uuid: Buffer.from('045d888aeb1cc9119fe808002b104860', 'hex'), version: 2 },
  /** 4b324fc8-1670-01d3-1278-5a47bf6ee188 */
  srvsvc: { uuid: Buffer.from('c84f324b7016d30112785a47bf6ee188', 'hex'), version: 3 },
  /** 6bffd098-a112-3610-9833-46c3f87e345a */
  wkssvc: { uuid: Buffer.from('98d0ff6b12a11036983346c3f87e345a', 'hex'), version: 1 },
  /** 12345778-1234-abcd-ef00-0123456789ab */
  lsarpc: { uuid: Buffer.from('785734123412cdabef000123456789ab', 'hex'), version: 0 },
} as const satisfies Record<string, SyntaxId>;

/** 6cb71c2c-9812-4540-xxxx: asks for features in the guise of a transfer syntax (MS-RPCE 3.3.1.5.3). */
const featureNegotiationPrefix = Buffer.from('2c1cb76c12984045', 'hex');

export const isFeatureNegotiation = ({ uuid }: SyntaxId): boolean =>
  uuid.subarray(0, 8).equals(featureNegotiationPrefix);

export const sameSyntax = (a: SyntaxId, b: SyntaxId): boolean => a.version === b.version && a.uuid.equals(b.uuid);

/** Reads the common header at the start of `buffer`. Throws WireError when what is there cannot be framed. */
export function decodeHeader(buffer: Buffer): PduHeader {
  if (buffer.length < headerSize) throw new WireError('RPC header is cut off');
  if (buffer.readUInt8(0) !== 5 || buffer.readUInt8(1) > 1) throw new WireError('RPC version is not 5');
  if (buffer.readUInt8(4) !== 0x10) throw new WireError('RPC data representation is not little-endian');
  const fragmentLength = buffer.readUInt16LE(8);
  if (fragmentLength < headerSize) throw new WireError('RPC fragment is shorter than its header');
  return {
    type: buffer.readUInt8(2),
    flags: buffer.readUInt8(3),
    fragmentLength,
    authLength: buffer.readUInt16LE(10),
    callId: buffer.readUInt32LE(12),
  };
}

/** A whole PDU: common header and body. */
export function encodePdu(type: number, callId: number, body: Buffer, flags: number = wholePdu): Buffer {
  const header = Buffer.alloc(headerSize);
  header.writeUInt8(5, 0);
  header.writeUInt8(0, 1);
  header.writeUInt8(type, 2);
  header.writeUInt8(flags, 3);
  header.writeUInt8(0x10, 4);
  header.writeUInt16LE(headerSize + body.length, 8);
  header.writeUInt32LE(callId >>> 0, 12);
  return Buffer.concat([header, body]);
}

export const wholePdu = PduFlag.firstFragment | PduFlag.lastFragment;

/** One presentation context that a bind offers. */
export interface OfferedContext {
  id: number;
  abstractSyntax: SyntaxId;
  transferSyntaxes: SyntaxId[];
}

export interface Bind {
  maxTransmitFragment: number;
  maxReceiveFragment: number;
  associationGroup: number;
  contexts: OfferedContext[];
}

function readSyntax(buffer: Buffer, at: number): SyntaxId {
  if (at + 20 > buffer.length) throw new WireError('RPC syntax identifier is cut off');
  return { uuid: buffer.subarray(at, at + 16), version: buffer.readUInt32LE(at + 16) };
}

function encodeSyntax({ uuid, version }: SyntaxId): Buffer {
  const buffer = Buffer.alloc(20);
  uuid.copy(buffer);
  buffer.writeUInt32LE(version, 16);
  return buffer;
}

/** Body of a bind or alter_context (C706 12.6.4.3). Throws WireError. */
export function decodeBind(body: Buffer): Bind {
  if (body.length < 12) throw new WireError('RPC bind is cut off');
  const contexts: OfferedContext[] = [];
  let at = 12;
  for (let remaining = body.readUInt8(8); remaining > 0; remaining--) {
    if (at + 4 > body.length) throw new WireError('RPC bind is cut off');
    const id = body.readUInt16LE(at);
    const syntaxes = body.readUInt8(at + 2);
    const abstractSyntax = readSyntax(body, at + 4);
    at += 24;
    const transferSyntaxes: SyntaxId[] = [];
    for (let i = 0; i < syntaxes; i++, at += 20) transferSyntaxes.push(readSyntax(body, at));
    contexts.push({ id, abstractSyntax, transferSyntaxes });
  }
  return {
    maxTransmitFragment: body.readUInt16LE(0),
    maxReceiveFragment: body.readUInt16LE(2),
    associationGroup: body.readUInt32LE(4),
    contexts,
  };
}

export function encodeBind(bind: Bind): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16LE(bind.maxTransmitFragment, 0);
  head.writeUInt16LE(bind.maxReceiveFragment, 2);
  head.writeUInt32LE(bind.associationGroup, 4);
  head.writeUInt8(bind.contexts.length, 8);
  const contexts = bind.contexts.map(({ id, abstractSyntax, transferSyntaxes }) => {
    const contextHead = Buffer.alloc(4);
    contextHead.writeUInt16LE(id, 0);
    contextHead.writeUInt8(transferSyntaxes.length, 2);
    return Buffer.concat([contextHead, encodeSyntax(abstractSyntax), ...transferSyntaxes.map(encodeSyntax)]);
  });
  return Buffer.concat([head, ...contexts]);
}

/** Answer to one offered context: p_result_t (C706 12.6.3.1), with negotiate_ack of MS-RPCE 2.2.2.4. */
export interface ContextResult {
  result: number;
  /** Why not; for negotiate_ack the features that both sides have. */
  reason: number;
  transferSyntax: SyntaxId;
}

export const ContextOutcome = { acceptance: 0, providerRejection: 2, negotiateAck: 3 } as const;
export const RejectionReason = { abstractSyntax: 1, transferSyntaxes: 2 } as const;
export const noSyntax: SyntaxId = { uuid: Buffer.alloc(16), version: 0 };

/** Body of a bind_ack or alter_context_resp (C706 12.6.4.4). */
export function encodeBindAck(
  bind: { maxTransmitFragment: number; maxReceiveFragment: number; associationGroup: number },
  secondaryAddress: string,
  results: readonly ContextResult[],
): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(bind.maxTransmitFragment, 0);
  head.writeUInt16LE(bind.maxReceiveFragment, 2);
  head.writeUInt32LE(bind.associationGroup, 4);
  const name = Buffer.from(secondaryAddress === '' ? '' : `${secondaryAddress}\0`, 'latin1');
  // The results are aligned to 4, counted from the start of the PDU.
  const address = Buffer.alloc((2 + name.length + 3) & ~3);
  address.writeUInt16LE(name.length, 0);
  name.copy(address, 2);
  const list = results.map(({ result, reason, transferSyntax }) => {
    const resultHead = Buffer.alloc(4);
    resultHead.writeUInt16LE(result, 0);
    resultHead.writeUInt16LE(reason, 2);
    return Buffer.concat([resultHead, encodeSyntax(transferSyntax)]);
  });
  return Buffer.concat([head, address, Buffer.from([results.length, 0, 0, 0]), ...list]);
}

/** The results of a bind_ack. Throws WireError. */
export function decodeBindAck(body: Buffer): { maxReceiveFragment: number; results: ContextResult[] } {
  if (body.length < 10) throw new WireError('RPC bind_ack is cut off');
  let at = 8 + ((2 + body.readUInt16LE(8) + 3) & ~3);
  if (at + 4 > body.length) throw new WireError('RPC bind_ack is cut off');
  const count = body.readUInt8(at);
  at += 4;
  const results: ContextResult[] = [];
  for (let i = 0; i < count; i++, at += 24) {
    if (at + 4 > body.length) throw new WireError('RPC bind_ack is cut off');
    const transferSyntax = readSyntax(body, at + 4);
    results.push({ result: body.readUInt16LE(at), reason: body.readUInt16LE(at + 2), transferSyntax });
  }
  return { maxReceiveFragment: body.readUInt16LE(2), results };
}

/** bind_nak that names the one version spoken (C706 12.6.4.5). Reason 0: not said, 8: authentication type not known. */
export function encodeBindNak(callId: number, reason: number): Buffer {
  return encodePdu(PduType.bindNak, callId, Buffer.from([reason & 0xff, reason >> 8, 1, 5, 0]));
}

/** A fault PDU (C706 12.6.4.7). */
export function encodeFault(callId: number, contextId: number, status: number): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt16LE(contextId, 4);
  body.writeUInt32LE(status, 8);
  return encodePdu(PduType.fault, callId, body);
}

/** Cuts a stub into request or response PDUs of at most `fragmentSize` bytes each. */
export function encodeFragments(
  type: typeof PduType.request | typeof PduType.response,
  call: { callId: number; contextId: number; operation: number },
  stub: Buffer,
  fragmentSize: number,
): Buffer[] {
  // Stubs of fragments but the last are a multiple of 8 long (C706 12.6.4.10).
  const room = (fragmentSize - requestHeadSize) & ~7;
  const pdus: Buffer[] = [];
  for (let at = 0; at === 0 || at < stub.length; at += room) {
    const part = stub.subarray(at, at + room);
    const head = Buffer.alloc(8);
    head.writeUInt32LE(stub.length - at, 0);
    head.writeUInt16LE(call.contextId, 4);
    if (type === PduType.request) head.writeUInt16LE(call.operation, 6);
    let flags = at === 0 ? PduFlag.firstFragment : 0;
    if (at + room >= stub.length) flags |= PduFlag.lastFragment;
    pdus.push(encodePdu(type, call.callId, Buffer.concat([head, part]), flags));
  }
  return pdus;
}
