import { WireError } from '../wire/errors.ts';
import { NdrReader, NdrWriter } from './ndr.ts';
import {
  ContextOutcome,
  decodeBindAck,
  decodeHeader,
  encodeBind,
  encodeFragments,
  encodePdu,
  headerSize,
  maximumFragmentSize,
  PduFlag,
  PduType,
  requestHeadSize,
  syntax,
} from './pdu.ts';
import { type RpcShare, srvsvcOperation } from './services.ts';

const bindCallId = 1;
const requestCallId = 2;

/** Shares that an answer may list. */
const maximumShares = 10_000;

/** Bind request for srvsvc: the first message on the pipe. */
export function srvsvcBind(): Buffer {
  const body = encodeBind({
    maxTransmitFragment: maximumFragmentSize,
    maxReceiveFragment: maximumFragmentSize,
    associationGroup: 0,
    contexts: [{ id: 0, abstractSyntax: syntax.srvsvc, transferSyntaxes: [syntax.ndr20] }],
  });
  return encodePdu(PduType.bind, bindCallId, body);
}

/** Checks the server's answer to srvsvcBind. Throws WireError when it is not an acceptance. */
export function expectBindAck(pdu: Buffer): void {
  const header = decodeHeader(pdu);
  if (header.type !== PduType.bindAck || header.fragmentLength > pdu.length) {
    throw new WireError('server does not accept the binding to srvsvc');
  }
  const [first] = decodeBindAck(pdu.subarray(headerSize, header.fragmentLength)).results;
  if (first?.result !== ContextOutcome.acceptance) throw new WireError('server does not offer srvsvc');
}

/** NetrShareEnum request, level 1 (MS-SRVS 3.1.4.8). `server` is the UNC server name, e.g. `\\\\host`. */
export function netrShareEnumRequest(server: string): Buffer {
  const stub = new NdrWriter().pointer().string(server).u32(1).u32(1).pointer().u32(0).null();
  stub.u32(0xffffffff).pointer().u32(0);
  const call = { callId: requestCallId, contextId: 0, operation: srvsvcOperation.shareEnum };
  return Buffer.concat(encodeFragments(PduType.request, call, stub.bytes(), maximumFragmentSize));
}

/** The stubs of the fragments in `pdus`, and whether the last of them is among these. Throws WireError. */
function joinFragments(pdus: Buffer): { stub: Buffer; complete: boolean } {
  const parts: Buffer[] = [];
  for (let at = 0; at + headerSize <= pdus.length; ) {
    const header = decodeHeader(pdus.subarray(at));
    if (header.type !== PduType.response) throw new WireError('server answers the request with a fault');
    if (header.fragmentLength < requestHeadSize) throw new WireError('RPC response is cut off');
    const next = at + header.fragmentLength;
    if (next > pdus.length) break;
    parts.push(pdus.subarray(at + requestHeadSize, next));
    at = next;
    if (header.flags & PduFlag.lastFragment) return { stub: Buffer.concat(parts), complete: true };
  }
  return { stub: Buffer.concat(parts), complete: false };
}

/** True when `pdus` ends with the last fragment of an answer; false: read on. Throws WireError on garbage or a fault. */
export function responseIsComplete(pdus: Buffer): boolean {
  return joinFragments(pdus).complete;
}

/** Decodes the answer, all of its fragments one after the other in `pdus`. Throws WireError (also on fault or error status). */
export function netrShareEnumResponse(pdus: Buffer): RpcShare[] {
  const { stub, complete } = joinFragments(pdus);
  if (!complete) throw new WireError('answer to NetrShareEnum is cut off');
  const reader = new NdrReader(stub);
  if (reader.u32() !== 1 || reader.u32() !== 1) throw new WireError('answer to NetrShareEnum is of another level');
  const shares = reader.u32() === 0 ? [] : readShares(reader);
  reader.u32(); // TotalEntries
  if (reader.u32() !== 0) reader.u32(); // resume handle
  const status = reader.u32();
  if (status !== 0) throw new WireError(`server refuses NetrShareEnum with error ${status}`);
  return shares;
}

function readShares(reader: NdrReader): RpcShare[] {
  const count = reader.u32();
  if (reader.u32() === 0) return [];
  if (count > maximumShares || reader.u32() !== count)
    throw new WireError('answer to NetrShareEnum of impossible size');
  const entries: { name: boolean; type: number; comment: boolean }[] = [];
  for (let i = 0; i < count; i++) {
    entries.push({ name: reader.u32() !== 0, type: reader.u32(), comment: reader.u32() !== 0 });
  }
  return entries.map(({ name, type, comment }) => ({
    name: name ? reader.string() : '',
    type,
    comment: comment ? reader.string() : '',
  }));
}
