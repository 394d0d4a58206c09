// Every codec of a message body, described once in `codecs` and put through the same properties.
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Command, Dialect } from '../constants.ts';
import * as cancel from './cancel.ts';
import * as changeNotify from './change-notify.ts';
import * as close from './close.ts';
import * as create from './create.ts';
import * as contexts from './create-contexts.ts';
import * as echo from './echo.ts';
import * as error from './error.ts';
import { WireError } from './errors.ts';
import * as flush from './flush.ts';
import { encodeHeader, encodeMessage, HEADER_SIZE } from './header.ts';
import * as ioctl from './ioctl.ts';
import * as payloads from './ioctl-payloads.ts';
import * as lock from './lock.ts';
import * as logoff from './logoff.ts';
import * as negotiate from './negotiate.ts';
import type { NegotiateContext } from './negotiate-contexts.ts';
import * as oplockBreak from './oplock-break.ts';
import * as queryDirectory from './query-directory.ts';
import * as queryInfo from './query-info.ts';
import * as read from './read.ts';
import * as sessionSetup from './session-setup.ts';
import * as setInfo from './set-info.ts';
import * as treeConnect from './tree-connect.ts';
import * as treeDisconnect from './tree-disconnect.ts';
import * as write from './write.ts';

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const size64 = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER));
const bytesOf = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map((bytes) => Buffer.from(bytes));
const bytes = bytesOf(0, 80);
const guid = bytesOf(16, 16);
const fileId = fc.record({ persistent: u64, volatile: u64 });
const name = fc.string({ unit: 'grapheme', maxLength: 40 });

const facts = {
  creationTime: u64,
  lastAccessTime: u64,
  lastWriteTime: u64,
  changeTime: u64,
  allocationSize: size64,
  endOfFile: size64,
  fileAttributes: u32,
};
const createContexts = fc.array(
  fc.record({ name: fc.constantFrom(...Object.values(contexts.CreateContextName)), data: bytes }),
  { maxLength: 6 },
);
const list16 = fc.array(u16, { maxLength: 5 });
const negotiateContexts: fc.Arbitrary<NegotiateContext[]> = fc.array(
  fc.oneof(
    fc.record({ type: fc.constant('preauthIntegrity' as const), hashAlgorithms: list16, salt: bytes }),
    fc.record({ type: fc.constant('encryption' as const), ciphers: list16 }),
    fc.record({ type: fc.constant('compression' as const), algorithms: list16, flags: u32 }),
    fc.record({ type: fc.constant('netname' as const), name }),
    fc.record({ type: fc.constant('transport' as const), flags: u32 }),
    fc.record({ type: fc.constant('rdmaTransform' as const), transforms: list16 }),
    fc.record({ type: fc.constant('signing' as const), algorithms: list16 }),
    fc.record({ type: fc.constant('unknown' as const), id: fc.constantFrom(4, 9, 0x100), data: bytes }),
  ),
  { maxLength: 6 },
);
/** Only 3.1.1 has contexts on the wire. */
const withContexts = <T>(with311: fc.Arbitrary<T>, without: fc.Arbitrary<T>) => fc.oneof(with311, without);
const negotiateRequest = {
  securityMode: u16,
  capabilities: u32,
  clientGuid: guid,
};
const negotiateResponse = {
  securityMode: u16,
  serverGuid: guid,
  capabilities: u32,
  maxTransactSize: u32,
  maxReadSize: u32,
  maxWriteSize: u32,
  systemTime: u64,
  serverStartTime: u64,
  securityBuffer: bytes,
};
const oplock = fc.record({ kind: fc.constant('oplock' as const), oplockLevel: u8, fileId });
const leaseAck = fc.record({ kind: fc.constant('lease' as const), leaseKey: guid, leaseState: u32 });
const leaseBreak = fc.record({
  kind: fc.constant('lease-break' as const),
  newEpoch: u16,
  flags: u32,
  leaseKey: guid,
  currentLeaseState: u32,
  newLeaseState: u32,
});
const output = fc.record({ output: bytes });
const nothing = fc.constant(undefined);

interface Codec {
  what: string;
  arbitrary: fc.Arbitrary<unknown>;
  encode: (value: never) => Buffer;
  decode: (message: Buffer) => unknown;
}

function codec<T>(
  what: string,
  arbitrary: fc.Arbitrary<T>,
  encode: (value: T) => Buffer,
  decode: (message: Buffer) => T | undefined,
): Codec {
  return { what, arbitrary, encode, decode } as Codec;
}

const codecs: Codec[] = [
  codec(
    'NEGOTIATE request',
    withContexts<negotiate.NegotiateRequest>(
      fc.record({ ...negotiateRequest, dialects: fc.constant([0x0202, Dialect.SMB_3_1_1]), negotiateContexts }),
      fc.record({
        ...negotiateRequest,
        dialects: fc.array(fc.constantFrom(0x0202, 0x0210, 0x0300, 0x0302)),
        negotiateContexts: fc.constant([]),
      }),
    ),
    negotiate.encodeNegotiateRequest,
    negotiate.decodeNegotiateRequest,
  ),
  codec(
    'NEGOTIATE response',
    withContexts<negotiate.NegotiateResponse>(
      fc.record({ ...negotiateResponse, dialectRevision: fc.constant(Dialect.SMB_3_1_1), negotiateContexts }),
      fc.record({
        ...negotiateResponse,
        dialectRevision: fc.constantFrom(Dialect.SMB_3_0, Dialect.SMB_2_WILDCARD),
        negotiateContexts: fc.constant([]),
      }),
    ),
    negotiate.encodeNegotiateResponse,
    negotiate.decodeNegotiateResponse,
  ),
  codec(
    'SESSION_SETUP request',
    fc.record({ flags: u8, securityMode: u8, capabilities: u32, previousSessionId: u64, securityBuffer: bytes }),
    sessionSetup.encodeSessionSetupRequest,
    sessionSetup.decodeSessionSetupRequest,
  ),
  codec(
    'SESSION_SETUP response',
    fc.record({ sessionFlags: u16, securityBuffer: bytes }),
    sessionSetup.encodeSessionSetupResponse,
    sessionSetup.decodeSessionSetupResponse,
  ),
  codec('LOGOFF request', nothing, logoff.encodeLogoffRequest, (m) => void logoff.decodeLogoffRequest(m)),
  codec('LOGOFF response', nothing, logoff.encodeLogoffResponse, (m) => void logoff.decodeLogoffResponse(m)),
  codec(
    'TREE_CONNECT request',
    fc.record({ flags: u16, path: name }),
    treeConnect.encodeTreeConnectRequest,
    treeConnect.decodeTreeConnectRequest,
  ),
  codec(
    'TREE_CONNECT response',
    fc.record({ shareType: u8, shareFlags: u32, capabilities: u32, maximalAccess: u32 }),
    treeConnect.encodeTreeConnectResponse,
    treeConnect.decodeTreeConnectResponse,
  ),
  codec(
    'TREE_DISCONNECT request',
    nothing,
    treeDisconnect.encodeTreeDisconnectRequest,
    (m) => void treeDisconnect.decodeTreeDisconnectRequest(m),
  ),
  codec(
    'TREE_DISCONNECT response',
    nothing,
    treeDisconnect.encodeTreeDisconnectResponse,
    (m) => void treeDisconnect.decodeTreeDisconnectResponse(m),
  ),
  codec(
    'CREATE request',
    fc.record({
      requestedOplockLevel: u8,
      impersonationLevel: u32,
      desiredAccess: u32,
      fileAttributes: u32,
      shareAccess: u32,
      createDisposition: u32,
      createOptions: u32,
      name,
      createContexts,
    }),
    create.encodeCreateRequest,
    create.decodeCreateRequest,
  ),
  codec(
    'CREATE response',
    fc.record({ ...facts, oplockLevel: u8, flags: u8, createAction: u32, fileId, createContexts }),
    create.encodeCreateResponse,
    create.decodeCreateResponse,
  ),
  codec('CLOSE request', fc.record({ flags: u16, fileId }), close.encodeCloseRequest, close.decodeCloseRequest),
  codec('CLOSE response', fc.record({ ...facts, flags: u16 }), close.encodeCloseResponse, close.decodeCloseResponse),
  codec('FLUSH request', fc.record({ fileId }), flush.encodeFlushRequest, flush.decodeFlushRequest),
  codec('FLUSH response', nothing, flush.encodeFlushResponse, (m) => void flush.decodeFlushResponse(m)),
  codec(
    'READ request',
    fc.record({
      flags: u8,
      length: u32,
      offset: size64,
      fileId,
      minimumCount: u32,
      channel: u32,
      remainingBytes: u32,
      channelInfo: bytes,
    }),
    read.encodeReadRequest,
    read.decodeReadRequest,
  ),
  codec(
    'READ response',
    fc.record({ data: bytes, dataRemaining: u32, flags: u32 }),
    read.encodeReadResponse,
    read.decodeReadResponse,
  ),
  codec(
    'WRITE request',
    fc.record({
      offset: size64,
      fileId,
      channel: u32,
      remainingBytes: u32,
      flags: u32,
      data: bytes,
      channelInfo: bytes,
    }),
    write.encodeWriteRequest,
    write.decodeWriteRequest,
  ),
  codec('WRITE response', fc.record({ count: u32 }), write.encodeWriteResponse, write.decodeWriteResponse),
  codec(
    'LOCK request',
    fc.record({
      fileId,
      lockSequenceNumber: fc.integer({ min: 0, max: 15 }),
      lockSequenceIndex: fc.integer({ min: 0, max: 0x0fff_ffff }),
      locks: fc.array(fc.record({ offset: u64, length: u64, flags: u32 }), { minLength: 1, maxLength: 5 }),
    }),
    lock.encodeLockRequest,
    lock.decodeLockRequest,
  ),
  codec('LOCK response', nothing, lock.encodeLockResponse, (m) => void lock.decodeLockResponse(m)),
  codec(
    'IOCTL request',
    fc.record({
      ctlCode: u32,
      fileId,
      input: bytes,
      maxInputResponse: u32,
      maxOutputResponse: u32,
      flags: u32,
      output: bytes,
    }),
    ioctl.encodeIoctlRequest,
    ioctl.decodeIoctlRequest,
  ),
  codec(
    'IOCTL response',
    fc.record({ ctlCode: u32, fileId, input: bytes, output: bytes, flags: u32 }),
    ioctl.encodeIoctlResponse,
    ioctl.decodeIoctlResponse,
  ),
  codec('CANCEL request', nothing, cancel.encodeCancelRequest, (m) => void cancel.decodeCancelRequest(m)),
  codec('ECHO request', nothing, echo.encodeEchoRequest, (m) => void echo.decodeEchoRequest(m)),
  codec('ECHO response', nothing, echo.encodeEchoResponse, (m) => void echo.decodeEchoResponse(m)),
  codec(
    'QUERY_DIRECTORY request',
    fc.record({
      fileInformationClass: u8,
      flags: u8,
      fileIndex: u32,
      fileId,
      fileName: name,
      outputBufferLength: u32,
    }),
    queryDirectory.encodeQueryDirectoryRequest,
    queryDirectory.decodeQueryDirectoryRequest,
  ),
  codec(
    'QUERY_DIRECTORY response',
    output,
    queryDirectory.encodeQueryDirectoryResponse,
    queryDirectory.decodeQueryDirectoryResponse,
  ),
  codec(
    'CHANGE_NOTIFY request',
    fc.record({ flags: u16, outputBufferLength: u32, fileId, completionFilter: u32 }),
    changeNotify.encodeChangeNotifyRequest,
    changeNotify.decodeChangeNotifyRequest,
  ),
  codec(
    'CHANGE_NOTIFY response',
    output,
    changeNotify.encodeChangeNotifyResponse,
    changeNotify.decodeChangeNotifyResponse,
  ),
  codec(
    'QUERY_INFO request',
    fc.record({
      infoType: u8,
      fileInfoClass: u8,
      outputBufferLength: u32,
      additionalInformation: u32,
      flags: u32,
      fileId,
      input: bytes,
    }),
    queryInfo.encodeQueryInfoRequest,
    queryInfo.decodeQueryInfoRequest,
  ),
  codec('QUERY_INFO response', output, queryInfo.encodeQueryInfoResponse, queryInfo.decodeQueryInfoResponse),
  codec(
    'SET_INFO request',
    fc.record({ infoType: u8, fileInfoClass: u8, additionalInformation: u32, fileId, input: bytes }),
    setInfo.encodeSetInfoRequest,
    setInfo.decodeSetInfoRequest,
  ),
  codec('SET_INFO response', nothing, setInfo.encodeSetInfoResponse, (m) => void setInfo.decodeSetInfoResponse(m)),
  codec(
    'OPLOCK_BREAK request',
    fc.oneof(oplock, leaseAck),
    oplockBreak.encodeOplockBreakRequest,
    oplockBreak.decodeOplockBreakRequest,
  ),
  codec(
    'OPLOCK_BREAK response',
    fc.oneof(oplock, leaseAck, leaseBreak),
    oplockBreak.encodeOplockBreakResponse,
    oplockBreak.decodeOplockBreakResponse,
  ),
  codec(
    'ERROR response',
    fc.oneof(
      fc.record({ contexts: fc.constant<error.ErrorContext[]>([]), data: bytes }),
      fc.record({
        contexts: fc.array(fc.record({ errorId: u32, data: bytes }), { minLength: 1, maxLength: 3 }),
        data: fc.constant(Buffer.alloc(0)),
      }),
    ),
    error.encodeErrorResponse,
    error.decodeErrorResponse,
  ),
];

/** Structures that ride inside a message; their decoders take the bytes alone. */
const structures: Codec[] = [
  codec('MxAc request', fc.option(u64, { nil: undefined }), contexts.encodeMxAcRequest, contexts.decodeMxAcRequest),
  codec(
    'MxAc response',
    fc.record({ queryStatus: u32, maximalAccess: u32 }),
    contexts.encodeMxAcResponse,
    contexts.decodeMxAcResponse,
  ),
  codec(
    'QFid response',
    fc.record({ diskFileId: u64, volumeId: u64 }),
    contexts.encodeQFidResponse,
    contexts.decodeQFidResponse,
  ),
  codec('TWrp', u64, contexts.encodeTWrp, contexts.decodeTWrp),
  codec('AlSi', size64, contexts.encodeAlSi, contexts.decodeAlSi),
  codec('DHnQ request', nothing, contexts.encodeDHnQRequest, (m) => void contexts.decodeDHnQRequest(m)),
  codec('DHnQ response', nothing, contexts.encodeDHnQResponse, (m) => void contexts.decodeDHnQResponse(m)),
  codec('DHnC', fileId, contexts.encodeDHnC, contexts.decodeDHnC),
  codec(
    'DH2Q request',
    fc.record({ timeoutMs: u32, flags: u32, createGuid: guid }),
    contexts.encodeDH2QRequest,
    contexts.decodeDH2QRequest,
  ),
  codec(
    'DH2Q response',
    fc.record({ timeoutMs: u32, flags: u32 }),
    contexts.encodeDH2QResponse,
    contexts.decodeDH2QResponse,
  ),
  codec('DH2C', fc.record({ fileId, createGuid: guid, flags: u32 }), contexts.encodeDH2C, contexts.decodeDH2C),
  codec(
    'RqLs',
    fc.oneof(
      fc.record({ version: fc.constant(1 as const), leaseKey: guid, leaseState: u32, flags: u32 }),
      fc.record({
        version: fc.constant(2 as const),
        leaseKey: guid,
        leaseState: u32,
        flags: u32,
        parentLeaseKey: guid,
        epoch: u16,
      }),
    ),
    contexts.encodeRqLs,
    contexts.decodeRqLs,
  ),
  codec('AppInstanceId', guid, contexts.encodeAppInstanceId, contexts.decodeAppInstanceId),
  codec(
    'AppInstanceVersion',
    fc.record({ high: u64, low: u64 }),
    contexts.encodeAppInstanceVersion,
    contexts.decodeAppInstanceVersion,
  ),
  codec('create contexts', createContexts, contexts.encodeCreateContexts, contexts.decodeCreateContexts),
  codec(
    'VALIDATE_NEGOTIATE_INFO request',
    fc.record({ capabilities: u32, clientGuid: guid, securityMode: u16, dialects: list16 }),
    payloads.encodeValidateNegotiateInfoRequest,
    payloads.decodeValidateNegotiateInfoRequest,
  ),
  codec(
    'VALIDATE_NEGOTIATE_INFO response',
    fc.record({ capabilities: u32, serverGuid: guid, securityMode: u16, dialect: u16 }),
    payloads.encodeValidateNegotiateInfoResponse,
    payloads.decodeValidateNegotiateInfoResponse,
  ),
  codec(
    'NETWORK_INTERFACE_INFO',
    fc.array(
      fc.record({
        ifIndex: u32,
        capability: u32,
        linkSpeed: u64,
        address: fc.oneof(
          fc.ipV4(),
          fc.array(u16, { minLength: 8, maxLength: 8 }).map((groups) => groups.map((g) => g.toString(16)).join(':')),
        ),
      }),
      { maxLength: 4 },
    ),
    payloads.encodeNetworkInterfaceInfo,
    payloads.decodeNetworkInterfaceInfo,
  ),
  codec('resume key', bytesOf(24, 24), payloads.encodeResumeKeyResponse, payloads.decodeResumeKeyResponse),
  codec(
    'SRV_COPYCHUNK request',
    fc.record({
      sourceKey: bytesOf(24, 24),
      chunks: fc.array(fc.record({ sourceOffset: size64, targetOffset: size64, length: u32 }), { maxLength: 4 }),
    }),
    payloads.encodeCopychunkRequest,
    payloads.decodeCopychunkRequest,
  ),
  codec(
    'SRV_COPYCHUNK response',
    fc.record({ chunksWritten: u32, chunkBytesWritten: u32, totalBytesWritten: u32 }),
    payloads.encodeCopychunkResponse,
    payloads.decodeCopychunkResponse,
  ),
  codec('resiliency', u32, payloads.encodeResiliencyRequest, payloads.decodeResiliencyRequest),
  codec(
    'symbolic link error',
    fc.record({ unparsedPathLength: u16, substituteName: name, printName: name, flags: u32 }),
    error.encodeSymlinkError,
    error.decodeSymlinkError,
  ),
  codec('buffer too small', u32, error.encodeBufferTooSmall, error.decodeBufferTooSmall),
];

const header = { command: Command.ECHO, messageId: 1 };
const messageOf = (body: Buffer): Buffer => encodeMessage(header, body);

/** Runs a decoder on bytes that may be anything: it gives a value or a WireError. */
function decodesOrRefuses(decode: (message: Buffer) => unknown, message: Buffer): void {
  try {
    decode(message);
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    expect(thrown.code).toBe('MALFORMED');
  }
}

/** Bytes changed here and there, cut off or added to, as an attacker or a broken peer would. */
const damage = fc.record({
  changes: fc.array(fc.record({ at: fc.nat({ max: 400 }), to: fc.oneof(u8, fc.constantFrom(0, 1, 0x7f, 0xff)) }), {
    maxLength: 6,
  }),
  keep: fc.nat({ max: 400 }),
  cut: fc.boolean(),
  added: bytesOf(0, 8),
});

function damaged(
  bytes: Buffer,
  { changes, keep, cut, added }: typeof damage extends fc.Arbitrary<infer D> ? D : never,
) {
  const result = Buffer.concat([cut ? bytes.subarray(0, keep % (bytes.length + 1)) : bytes, added]);
  for (const { at, to } of changes) if (result.length > 0) result[at % result.length] = to;
  return result;
}

describe.each(codecs)('$what', ({ arbitrary, encode, decode }) => {
  test('what is encoded is decoded', () => {
    fc.assert(
      fc.property(arbitrary, (value) => {
        expect(decode(messageOf(encode(value as never)))).toEqual(value);
      }),
    );
  });

  test('a damaged message is decoded or refused with WireError', () => {
    fc.assert(
      fc.property(arbitrary, damage, (value, harm) => {
        const body = damaged(encode(value as never), harm);
        decodesOrRefuses(decode, messageOf(body));
      }),
      { numRuns: 300 },
    );
  });

  test('random bytes behind the right StructureSize are decoded or refused with WireError', () => {
    const structureSize = fc
      .sample(arbitrary, { numRuns: 1, seed: 1 })
      .map((value) => encode(value as never)[0] ?? 0)[0];
    fc.assert(
      fc.property(bytesOf(0, 160), (body) => {
        if (body.length > 1) body.writeUInt16LE(structureSize ?? 0, 0);
        decodesOrRefuses(decode, messageOf(body));
      }),
      { numRuns: 300 },
    );
  });

  test('a message that ends in or right behind its header is refused', () => {
    for (const size of [0, 1, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + 1]) {
      expect(() => decode(Buffer.alloc(size))).toThrow(WireError);
    }
  });

  test('another StructureSize is refused', () => {
    const message = messageOf(Buffer.alloc(200));
    message.writeUInt16LE(0xfffe, HEADER_SIZE);
    expect(() => decode(message)).toThrow(WireError);
  });
});

describe.each(structures)('$what', ({ arbitrary, encode, decode }) => {
  test('what is encoded is decoded', () => {
    fc.assert(
      fc.property(arbitrary, (value) => {
        expect(decode(encode(value as never))).toEqual(value);
      }),
    );
  });

  test('damaged and random bytes are decoded or refused with WireError', () => {
    fc.assert(
      fc.property(arbitrary, damage, bytesOf(0, 200), (value, harm, random) => {
        decodesOrRefuses(decode, damaged(encode(value as never), harm));
        decodesOrRefuses(decode, random);
      }),
      { numRuns: 300 },
    );
  });
});

test('a decoded buffer is a view on the message, not a copy', () => {
  const message = messageOf(
    write.encodeWriteRequest({
      offset: 0,
      fileId: { persistent: 1n, volatile: 2n },
      channel: 0,
      remainingBytes: 0,
      flags: 0,
      data: Buffer.from('before'),
      channelInfo: Buffer.alloc(0),
    }),
  );
  const { data } = write.decodeWriteRequest(message);
  message.write('behind', message.length - 6);
  expect(data.toString()).toBe('behind');
});

test('the fixed part that is written in place is the one that is encoded', () => {
  const data = Buffer.from('some data');
  const into = Buffer.alloc(read.READ_RESPONSE_DATA_OFFSET + data.length, 0xee);
  encodeHeader(header, into, 0);
  read.writeReadResponseFixed(into, HEADER_SIZE, data.length, 7);
  into.set(data, read.READ_RESPONSE_DATA_OFFSET);
  expect(into).toEqual(messageOf(read.encodeReadResponse({ data, dataRemaining: 7, flags: 0 })));
});

test('a size beyond 2^53 - 1 is refused in both directions', () => {
  const times = { creationTime: 0n, lastAccessTime: 0n, lastWriteTime: 0n, changeTime: 0n };
  const response = { ...times, flags: 0, allocationSize: 0, endOfFile: 0, fileAttributes: 0 };
  const message = messageOf(close.encodeCloseResponse(response));
  message.writeBigUInt64LE(1n << 53n, HEADER_SIZE + 48);
  expect(() => close.decodeCloseResponse(message)).toThrow(WireError);
  expect(() => close.encodeCloseResponse({ ...response, endOfFile: 2 ** 53 })).toThrow(WireError);
  expect(() => close.encodeCloseResponse({ ...response, endOfFile: -1 })).toThrow(WireError);
});

test('READ and WRITE far beyond any file are decoded up to the end of the signed 64-bit numbers', () => {
  const where = { offset: 0, fileId: { persistent: 0n, volatile: 0n }, channel: 0, remainingBytes: 0, flags: 0 };
  const reading = { ...where, length: 1, minimumCount: 0, channelInfo: Buffer.alloc(0) };
  const writing = { ...where, data: Buffer.alloc(1), channelInfo: Buffer.alloc(0) };
  const requests = [
    { message: messageOf(read.encodeReadRequest(reading)), decode: read.decodeReadRequest },
    { message: messageOf(write.encodeWriteRequest(writing)), decode: write.decodeWriteRequest },
  ];
  for (const { message, decode } of requests) {
    for (const offset of [1n << 53n, (1n << 63n) - 2n]) {
      message.writeBigUInt64LE(offset, HEADER_SIZE + 8);
      expect(decode(message).offset).toBe(Number.MAX_SAFE_INTEGER);
    }
    for (const offset of [(1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]) {
      message.writeBigUInt64LE(offset, HEADER_SIZE + 8);
      expect(() => decode(message)).toThrow(WireError);
    }
  }
});

test('a part that is said to be longer than the message is refused, not cut short', () => {
  const ids = { fileId: { persistent: 0n, volatile: 0n } };
  const data = Buffer.from('data');
  const none = Buffer.alloc(0);
  const write1 = { ...ids, offset: 0, channel: 0, remainingBytes: 0, flags: 0, data, channelInfo: none };
  const ioctl1 = { ...ids, ctlCode: 0, input: data, maxInputResponse: 0, maxOutputResponse: 0, flags: 1, output: none };
  const setup = { flags: 0, securityMode: 0, capabilities: 0, previousSessionId: 0n, securityBuffer: data };
  const set = { ...ids, infoType: 1, fileInfoClass: 4, additionalInformation: 0, input: data };
  const cases: [Buffer, (message: Buffer) => unknown][] = [
    [write.encodeWriteRequest(write1), write.decodeWriteRequest],
    [read.encodeReadResponse({ data, dataRemaining: 0, flags: 0 }), read.decodeReadResponse],
    [ioctl.encodeIoctlRequest(ioctl1), ioctl.decodeIoctlRequest],
    [sessionSetup.encodeSessionSetupRequest(setup), sessionSetup.decodeSessionSetupRequest],
    [setInfo.encodeSetInfoRequest(set), setInfo.decodeSetInfoRequest],
    [queryInfo.encodeQueryInfoResponse({ output: data }), queryInfo.decodeQueryInfoResponse],
    [treeConnect.encodeTreeConnectRequest({ flags: 0, path: '\\\\a\\b' }), treeConnect.decodeTreeConnectRequest],
  ];
  for (const [body, decode] of cases) {
    const message = messageOf(body);
    decode(message);
    expect(() => decode(message.subarray(0, -1))).toThrow(WireError);
    expect(() => decode(message.subarray(0, -2))).toThrow(WireError);
  }
});

test('a chain of create contexts that is not aligned to 8 bytes is refused', () => {
  const one = contexts.encodeCreateContexts([{ name: 'MxAc', data: Buffer.alloc(0) }]);
  const chain = Buffer.concat([one, Buffer.alloc(4), one]);
  chain.writeUInt32LE(one.length + 4, 0);
  expect(() => contexts.decodeCreateContexts(chain)).toThrow(WireError);
});

test('a chain of create contexts that goes nowhere or in circles is refused', () => {
  const chain = contexts.encodeCreateContexts([
    { name: 'MxAc', data: Buffer.alloc(0) },
    { name: 'QFid', data: Buffer.alloc(0) },
  ]);
  for (const next of [1, 4, 8, 12, 17, 0xffff_fff8]) {
    const broken = Buffer.from(chain);
    broken.writeUInt32LE(next, 0);
    expect(() => contexts.decodeCreateContexts(broken)).toThrow(WireError);
  }
});
