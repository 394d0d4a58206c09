// Well-formed bytes of many kinds, which fuzzing begins with: every parser takes those of its own kind and refuses the others.
import { NtlmClient } from '../../smb/auth/client.ts';
import { ntHash } from '../../smb/auth/nt-hash.ts';
import { NtlmServer, ntlmUserLookup, serverNegotiateToken } from '../../smb/auth/server.ts';
import { decodeSpnego } from '../../smb/auth/spnego.ts';
import { Command, Dialect } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { appendDirectoryEntry, type DirectoryEntry } from '../../smb/fscc/directory.ts';
import { fileFullEaInformation, fileGetEaInformation } from '../../smb/fscc/ea.ts';
import {
  fileNameInformation,
  fileRenameInformation,
  fileRenameInformationEx,
  fileRenameInformationType1,
  fileStreamInformation,
} from '../../smb/fscc/file-info.ts';
import { fileFsAttributeInformation, fileFsLabelInformation, fileFsVolumeInformation } from '../../smb/fscc/fs-info.ts';
import { encodeRanges, encodeZeroData } from '../../smb/fscc/fsctl.ts';
import { encodeNotifyList } from '../../smb/fscc/notify.ts';
import { encodeReparseData, encodeSymlinkReparse } from '../../smb/fscc/reparse.ts';
import { netrShareEnumRequest, srvsvcBind } from '../../smb/rpc/client.ts';
import { openPolicy } from '../../smb/rpc/lsa.ts';
import { NdrWriter } from '../../smb/rpc/ndr.ts';
import { encodeBind, encodeFragments, encodePdu, PduType, syntax } from '../../smb/rpc/pdu.ts';
import { RpcServer, ShareType } from '../../smb/rpc/server.ts';
import { AceType, encodeSecurityDescriptor, plainDescriptor } from '../../smb/security/descriptor.ts';
import { encodeSid, wellKnownSids } from '../../smb/security/sid.ts';
import { encodeCreateRequest, encodeCreateResponse } from '../../smb/wire/create.ts';
import * as contexts from '../../smb/wire/create-contexts.ts';
import { encodeErrorResponse, encodeSymlinkError } from '../../smb/wire/error.ts';
import {
  encodeHeader,
  encodeMessage,
  encodeTransformHeader,
  HEADER_SIZE,
  joinCompound,
} from '../../smb/wire/header.ts';
import { encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import * as payloads from '../../smb/wire/ioctl-payloads.ts';
import { encodeLockRequest } from '../../smb/wire/lock.ts';
import { encodeNegotiateRequest, encodeNegotiateResponse } from '../../smb/wire/negotiate.ts';
import type { NegotiateContext } from '../../smb/wire/negotiate-contexts.ts';
import { encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { encodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { encodeSessionSetupRequest } from '../../smb/wire/session-setup.ts';
import { encodeSetInfoRequest } from '../../smb/wire/set-info.ts';
import { encodeSmb1Negotiate } from '../../smb/wire/smb1-negotiate.ts';
import { encodeTreeConnectRequest } from '../../smb/wire/tree-connect.ts';
import { encodeWriteRequest } from '../../smb/wire/write.ts';

const guid = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const fileId = { persistent: 0x1122n, volatile: 0x3344n };
const data = Buffer.from('some data');
export const USER = 'alice';
export const PASSWORD = 'correct horse';

const negotiateContexts: NegotiateContext[] = [
  { type: 'preauthIntegrity', hashAlgorithms: [1], salt: guid },
  { type: 'encryption', ciphers: [2, 1, 4, 3] },
  { type: 'compression', algorithms: [1], flags: 0 },
  { type: 'signing', algorithms: [2, 1] },
  { type: 'netname', name: 'files.example' },
  { type: 'transport', flags: 1 },
  { type: 'unknown', id: 0x100, data },
];

const leaseV2 = { version: 2, leaseKey: guid, leaseState: 7, flags: 0, parentLeaseKey: guid, epoch: 1 } as const;

const createContexts = [
  { name: contexts.CreateContextName.QUERY_MAXIMAL_ACCESS_REQUEST, data: Buffer.alloc(0) },
  { name: contexts.CreateContextName.QUERY_ON_DISK_ID, data: Buffer.alloc(0) },
  {
    name: contexts.CreateContextName.DURABLE_HANDLE_REQUEST_V2,
    data: contexts.encodeDH2QRequest({ timeoutMs: 0, flags: 2, createGuid: guid }),
  },
  { name: contexts.CreateContextName.REQUEST_LEASE, data: contexts.encodeRqLs(leaseV2) },
  { name: contexts.CreateContextName.APP_INSTANCE_ID, data: contexts.encodeAppInstanceId(guid) },
];

const facts = {
  ...{ creationTime: 1n, lastAccessTime: 2n, lastWriteTime: 3n, changeTime: 4n },
  ...{ allocationSize: 4096, endOfFile: 9, fileAttributes: 0x20 },
};

const eaList = [
  { flags: 0, name: 'user.one', value: data },
  { flags: 0x80, name: 'TWO', value: Buffer.alloc(30, 7) },
];

export const descriptor = plainDescriptor(wellKnownSids.administrators, wellKnownSids.users, [
  { sid: wellKnownSids.everyone, mask: 0x10000000 },
  { sid: wellKnownSids.creatorOwner, mask: 0x1f01ff, flags: 0x1b },
  { sid: 'S-1-5-21-1-2-3-1000', mask: 0x1200a9 },
]);

const rename = { replaceIfExists: true, rootDirectory: 0n, fileName: 'folder\\new name' };

const entry: DirectoryEntry = {
  ...{ fileIndex: 0, creationTime: 1n, lastAccessTime: 2n, lastWriteTime: 3n, changeTime: 4n },
  ...{ endOfFile: 9, allocationSize: 4096, fileAttributes: 0x20, eaSize: 0, reparseTag: 0, fileId: 7n },
  ...{ shortName: 'NAME~1.TXT', fileName: 'name of a file.txt' },
};

function directoryList(infoClass: number): Buffer {
  const into = Buffer.alloc(1024);
  return into.subarray(0, appendDirectoryEntry(infoClass, into, 0, entry));
}

/** A whole exchange of NTLM in SPNEGO: the client's and the server's tokens in turn, and the NTLM messages within. */
function authentication(): Buffer[] {
  const client = new NtlmClient({ user: USER, password: PASSWORD, domain: 'WORKGROUP' });
  const server = ntlmServer();
  const first = client.initial();
  const challenge = server.step(first).token;
  const answer = client.step(challenge).token ?? Buffer.alloc(0);
  const tokens = [serverNegotiateToken(), first, challenge, answer, server.step(answer).token];
  const within = tokens
    .map(decodeSpnego)
    .map((token) => (token.kind === 'init' ? token.mechToken : token.responseToken));
  return [...tokens, ...within.filter((token) => token !== undefined)];
}

/** The acceptor of one exchange, for the user of these samples. */
export function ntlmServer(): NtlmServer {
  return new NtlmServer({
    ...{ targetName: 'HOLDFAST', dnsName: 'files.example', lookup: ntlmUserLookup([[USER, ntHash(PASSWORD)]]) },
    nowFiletime: () => 133_500_000_000_000_000n,
  });
}

/** One instance of a pipe. */
export function rpcServer(): RpcServer {
  return new RpcServer({
    serverName: 'HOLDFAST',
    accounts: {
      domainName: 'HOLDFAST',
      domainSid: 'S-1-5-21-1-2-3',
      byName: (name) => (name === USER ? { name, sid: 'S-1-5-21-1-2-3-1000' } : undefined),
      bySid: (sid) => (sid === 'S-1-5-21-1-2-3-1000' ? { name: USER, sid } : undefined),
    },
    shares: () => [
      { name: 'share', type: ShareType.disk, comment: 'a share' },
      { name: 'IPC$', type: ShareType.ipc | ShareType.special, comment: '' },
    ],
  });
}

/** A request to lsarpc: OpenPolicy's handle, and what follows. */
function lsaRequest(operation: number, write: (stub: NdrWriter) => NdrWriter): Buffer {
  const policy = openPolicy().subarray(0, -4);
  const stub = write(new NdrWriter().raw(policy)).u32(0).u32(0).u32(1).u32(0).bytes();
  return Buffer.concat(encodeFragments(PduType.request, { callId: 3, contextId: 1, operation }, stub, 4280));
}

function lsaBind(): Buffer {
  const contexts = [{ id: 1, abstractSyntax: syntax.lsarpc, transferSyntaxes: [syntax.ndr20] }];
  const offer = { maxTransmitFragment: 4280, maxReceiveFragment: 4280, associationGroup: 0, contexts };
  return encodePdu(PduType.alterContext, 2, encodeBind(offer));
}

export const rpcRequests: readonly Buffer[] = [
  srvsvcBind(),
  netrShareEnumRequest('\\\\files.example'),
  lsaBind(),
  lsaRequest(7, (stub) => stub.u16(5)),
  ...[14, 58, 68].map((operation) =>
    lsaRequest(operation, (stub) => stub.u32(1).u32(1).stringHead(USER).stringBody(USER)),
  ),
  ...[15, 57].map((operation) =>
    lsaRequest(operation, (stub) => stub.u32(1).pointer().u32(1).pointer().sid('S-1-5-21-1-2-3-1000')),
  ),
];

function rpcAnswers(): Buffer[] {
  const server = rpcServer();
  return rpcRequests.map((request) => Buffer.concat(server.handle(request)));
}

const message = (command: number, body: Buffer): Buffer => encodeMessage({ command, messageId: 1 }, body);

/** Messages of every layout that has a variable part; the body of the others is found by its StructureSize. */
const messages: Buffer[] = [
  message(
    Command.NEGOTIATE,
    encodeNegotiateRequest({
      ...{ securityMode: 1, capabilities: 0x7f, clientGuid: guid },
      ...{ dialects: [0x202, 0x210, 0x300, 0x302, Dialect.SMB_3_1_1], negotiateContexts },
    }),
  ),
  message(
    Command.NEGOTIATE,
    encodeNegotiateResponse({
      ...{ securityMode: 1, dialectRevision: Dialect.SMB_3_1_1, serverGuid: guid, capabilities: 0x2f },
      ...{ maxTransactSize: 1 << 20, maxReadSize: 1 << 20, maxWriteSize: 1 << 20, systemTime: 1n, serverStartTime: 0n },
      ...{ securityBuffer: serverNegotiateToken(), negotiateContexts },
    }),
  ),
  message(
    Command.SESSION_SETUP,
    encodeSessionSetupRequest({
      ...{ flags: 0, securityMode: 1, capabilities: 1, previousSessionId: 0n, securityBuffer: serverNegotiateToken() },
    }),
  ),
  message(Command.TREE_CONNECT, encodeTreeConnectRequest({ flags: 0, path: '\\\\files.example\\share' })),
  message(
    Command.CREATE,
    encodeCreateRequest({
      ...{ requestedOplockLevel: 0xff, impersonationLevel: 2, desiredAccess: 0x12019f, fileAttributes: 0x20 },
      ...{ shareAccess: 7, createDisposition: 3, createOptions: 0x40, name: 'folder\\file:stream', createContexts },
    }),
  ),
  message(
    Command.CREATE,
    encodeCreateResponse({ ...facts, oplockLevel: 0xff, flags: 0, createAction: 1, fileId, createContexts }),
  ),
  message(
    Command.WRITE,
    encodeWriteRequest({ offset: 0, fileId, channel: 0, remainingBytes: 0, flags: 0, data, channelInfo: data }),
  ),
  message(
    Command.LOCK,
    encodeLockRequest({
      ...{ fileId, lockSequenceNumber: 1, lockSequenceIndex: 2 },
      locks: [
        { offset: 0n, length: 1n, flags: 2 },
        { offset: 10n, length: 0xffff_ffff_ffff_fff0n, flags: 0x11 },
      ],
    }),
  ),
  message(
    Command.IOCTL,
    encodeIoctlRequest({
      ...{ ctlCode: 0x11c017, fileId, input: data, maxInputResponse: 0, maxOutputResponse: 1024, flags: 1 },
      output: Buffer.alloc(0),
    }),
  ),
  message(
    Command.QUERY_DIRECTORY,
    encodeQueryDirectoryRequest({
      ...{ fileInformationClass: 0x25, flags: 1, fileIndex: 0, fileId, fileName: '*.t?t', outputBufferLength: 65536 },
    }),
  ),
  message(
    Command.QUERY_INFO,
    encodeQueryInfoRequest({
      ...{ infoType: 1, fileInfoClass: 15, outputBufferLength: 1024, additionalInformation: 0, flags: 0, fileId },
      input: fileGetEaInformation.encode(['one', 'two']),
    }),
  ),
  message(
    Command.SET_INFO,
    encodeSetInfoRequest({
      ...{ infoType: 1, fileInfoClass: 10, additionalInformation: 0, fileId },
      input: fileRenameInformation.encode(rename),
    }),
  ),
  message(
    Command.CREATE,
    encodeErrorResponse({
      contexts: [
        { errorId: 0, data },
        { errorId: 1, data },
      ],
      data: Buffer.alloc(0),
    }),
  ),
];

/** A body of zeros behind every StructureSize that there is. */
const plainBodies: Buffer[] = [2, 4, 8, 9, 16, 17, 24, 25, 31, 32, 33, 36, 40, 41, 44, 48, 49, 57, 60, 65, 89].map(
  (structureSize) => {
    const body = Buffer.alloc(Math.max(structureSize, 4) + 32);
    body.writeUInt16LE(structureSize, 0);
    return message(Command.ECHO, body);
  },
);

function sealed(): Buffer {
  const bytes = Buffer.alloc(52 + 80, 0x5a);
  encodeTransformHeader({ nonce: Buffer.alloc(16, 1), originalMessageSize: 80, sessionId: 5n }, bytes, 0);
  return bytes;
}

/** FILE_LEVEL_TRIM of one range (MS-FSCC 2.3.73). */
function trim(): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(1, 4);
  return Buffer.concat([head, encodeRanges([{ offset: 0, length: 4096 }])]);
}

function bareHeader(): Buffer {
  const bytes = Buffer.alloc(HEADER_SIZE);
  encodeHeader({ command: Command.ECHO, messageId: 1 }, bytes, 0);
  return bytes;
}

/** All of them. */
export const samples: readonly Buffer[] = [
  ...messages,
  ...plainBodies,
  bareHeader(),
  sealed(),
  joinCompound(messages.slice(3, 6)).message,
  encodeSmb1Negotiate({ dialects: ['NT LM 0.12', 'SMB 2.002', 'SMB 2.???'] }),
  ...createContexts.map((context) => context.data),
  contexts.encodeCreateContexts(createContexts),
  contexts.encodeRqLs({ version: 1, leaseKey: guid, leaseState: 7, flags: 0 }),
  contexts.encodeDH2C({ fileId, createGuid: guid, flags: 2 }),
  contexts.encodeAppInstanceVersion({ high: 1n, low: 2n }),
  payloads.encodeValidateNegotiateInfoRequest({
    ...{ capabilities: 0x7f, clientGuid: guid, securityMode: 1, dialects: [0x202, 0x311] },
  }),
  payloads.encodeNetworkInterfaceInfo([
    { ifIndex: 1, capability: 1, linkSpeed: 1000n, address: '127.0.0.1' },
    { ifIndex: 2, capability: 1, linkSpeed: 1000n, address: '::1' },
  ]),
  payloads.encodeResumeKeyResponse(Buffer.alloc(24, 3)),
  payloads.encodeCopychunkRequest({
    sourceKey: Buffer.alloc(24, 3),
    chunks: [{ sourceOffset: 0, targetOffset: 0, length: 65536 }],
  }),
  encodeSymlinkError({ unparsedPathLength: 4, substituteName: '..\\target', printName: 'target', flags: 1 }),
  ...authentication(),
  encodeSid('S-1-5-21-1-2-3-1000'),
  encodeSecurityDescriptor({
    ...descriptor,
    sacl: { revision: 2, aces: [{ type: AceType.audit, flags: 0xc0, mask: 1, sid: wellKnownSids.everyone }] },
  }),
  fileFullEaInformation.encode(eaList),
  fileGetEaInformation.encode(['user.one', 'TWO']),
  fileRenameInformation.encode(rename),
  fileRenameInformationType1.encode(rename),
  fileRenameInformationEx.encode({ flags: 3, rootDirectory: 0n, fileName: 'new name' }),
  fileNameInformation.encode({ fileName: '\\folder\\file' }),
  fileStreamInformation.encode([
    { streamSize: 9, streamAllocationSize: 4096, streamName: '::$DATA' },
    { streamSize: 9, streamAllocationSize: 4096, streamName: ':stream:$DATA' },
  ]),
  fileFsVolumeInformation.encode({
    ...{ volumeCreationTime: 1n, volumeSerialNumber: 7, supportsObjects: false, volumeLabel: 'label' },
  }),
  fileFsLabelInformation.encode({ volumeLabel: 'label' }),
  fileFsAttributeInformation.encode({
    ...{ fileSystemAttributes: 0xff, maximumComponentNameLength: 255, fileSystemName: 'NTFS' },
  }),
  ...Object.values(FileInfoClass).flatMap((infoClass) => {
    try {
      return [directoryList(infoClass)];
    } catch {
      return [];
    }
  }),
  encodeNotifyList(
    [
      { action: 1, fileName: 'name' },
      { action: 5, fileName: 'other' },
    ],
    1024,
  ) ?? Buffer.alloc(0),
  encodeReparseData({ tag: 0xa000000c, data }),
  encodeSymlinkReparse({ substituteName: 'target', printName: 'target', relative: true }),
  encodeRanges([
    { offset: 0, length: 4096 },
    { offset: 8192, length: 1 },
  ]),
  encodeZeroData({ offset: 0, length: 4096 }),
  trim(),
  ...rpcRequests,
  ...rpcAnswers(),
  Buffer.alloc(4),
  Buffer.alloc(8, 1),
  Buffer.alloc(24),
  Buffer.alloc(104),
];
