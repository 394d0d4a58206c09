// What malformed requests are answered with: the status that MS-SMB2 3.3.5.*, MS-FSA 2.1.5.* or MS-FSCC name, or the end of the connection
// where they say so, and never anything but that. Each request is one that would succeed, changed at one place.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { RawClient, RELATED } from '../../fileserver/testing/raw-client.ts';
import {
  ALL_ONES_FILE_ID,
  Channel,
  Command,
  CreateDisposition,
  Dialect,
  FileAccess,
  Flags,
  Fsctl,
  HashAlgorithm,
  InfoType,
  IoctlFlags,
  LockFlags,
  SecurityInformation,
} from '../../smb/constants.ts';
import { FileInfoClass, FsInfoClass, ReparseTag } from '../../smb/fscc/constants.ts';
import {
  fileEndOfFileInformation,
  fileLinkInformation,
  fileNameInformation,
  filePositionInformation,
  fileRenameInformation,
} from '../../smb/fscc/file-info.ts';
import { statusName } from '../../smb/status.ts';
import { encodeChangeNotifyRequest } from '../../smb/wire/change-notify.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import {
  encodeDH2QRequest,
  encodeDHnC,
  encodeDHnQRequest,
  CreateContextName as Name,
} from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { encodeFlushRequest } from '../../smb/wire/flush.ts';
import { framePrefix } from '../../smb/wire/framing.ts';
import { HEADER_SIZE, joinCompound } from '../../smb/wire/header.ts';
import { encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import { encodeCopychunkRequest } from '../../smb/wire/ioctl-payloads.ts';
import { encodeLockRequest, type LockElement } from '../../smb/wire/lock.ts';
import { encodeLogoffRequest } from '../../smb/wire/logoff.ts';
import { encodeNegotiateRequest } from '../../smb/wire/negotiate.ts';
import type { NegotiateContext } from '../../smb/wire/negotiate-contexts.ts';
import { encodeOplockBreakRequest } from '../../smb/wire/oplock-break.ts';
import { encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { encodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { encodeReadRequest } from '../../smb/wire/read.ts';
import { encodeSessionSetupRequest } from '../../smb/wire/session-setup.ts';
import { encodeSetInfoRequest } from '../../smb/wire/set-info.ts';
import { encodeTreeConnectRequest } from '../../smb/wire/tree-connect.ts';
import { encodeTreeDisconnectRequest } from '../../smb/wire/tree-disconnect.ts';
import { encodeWriteRequest } from '../../smb/wire/write.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const NOTHING = Buffer.alloc(0);
const CONTENT = 'what was there';
const ACCESS = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE | FileAccess.DELETE | FileAccess.WRITE_DAC;
const BEYOND = 0xffff_ffff;
const GUID = Buffer.alloc(16, 7);

const invalid = 'STATUS_INVALID_PARAMETER';
const unsupported = 'STATUS_NOT_SUPPORTED';

let serving: Serving;
let port: number;
/** Logged on, with the share connected, a file and a directory open. */
let client: RawClient;
let file: FileId;
let folder: FileId;
/** The directory again, opened without FILE_LIST_DIRECTORY. */
let unlisted: FileId;

beforeAll(async () => {
  serving = await Serving.start();
  const [address = ''] = serving.addresses;
  port = parseAddress(address).port;
  mkdirSync(join(serving.directory, 'folder'));
  writeFileSync(join(serving.directory, 'file'), CONTENT);
  client = await RawClient.loggedOn(port, USER, PASSWORD);
  await client.treeConnect('share');
  file = await opened('file');
  folder = await opened('folder');
  unlisted = await opened('folder', FileAccess.READ_ATTRIBUTES);
}, 60_000);

// Anew: what one request should not have written, the next does not stumble over.
beforeEach(() => writeFileSync(join(serving.directory, 'file'), CONTENT));

afterAll(async () => {
  client?.end();
  await serving?.stop();
}, 30_000);

async function opened(name: string, desiredAccess: number = ACCESS): Promise<FileId> {
  const { header, message } = await client.request(Command.CREATE, createOf({ name, desiredAccess }));
  expect(statusName(header.status)).toBe('STATUS_SUCCESS');
  return decodeCreateResponse(message).fileId;
}

// ---- requests that would do, but for what a row changes ---------------------------------------------------------------

const createOf = (change: Partial<Parameters<typeof encodeCreateRequest>[0]> = {}) =>
  encodeCreateRequest({
    ...{ requestedOplockLevel: 0, impersonationLevel: 2, desiredAccess: ACCESS, fileAttributes: 0, shareAccess: 7 },
    ...{ createDisposition: CreateDisposition.OPEN_IF, createOptions: 0, name: 'file', createContexts: [], ...change },
  });
const contextOf = (name: string, data: Buffer) => createOf({ createContexts: [{ name, data }] });
const readOf = (change: Partial<Parameters<typeof encodeReadRequest>[0]> = {}) =>
  encodeReadRequest({
    ...{ length: 4, offset: 0, fileId: file, minimumCount: 0, channel: 0, remainingBytes: 0, flags: 0 },
    ...{ channelInfo: NOTHING, ...change },
  });
const writeOf = (change: Partial<Parameters<typeof encodeWriteRequest>[0]> = {}) =>
  encodeWriteRequest({
    ...{ data: Buffer.from('WHAT'), offset: 0, fileId: file, channel: 0, remainingBytes: 0, flags: 0 },
    ...{ channelInfo: NOTHING, ...change },
  });
const lockOf = (...locks: LockElement[]) =>
  encodeLockRequest({ fileId: file, lockSequenceNumber: 0, lockSequenceIndex: 0, locks });
const element = (flags: number, offset = 0n, length = 1n): LockElement => ({ offset, length, flags });
const ioctlOf = (ctlCode: number, input: Buffer, change: Partial<Parameters<typeof encodeIoctlRequest>[0]> = {}) =>
  encodeIoctlRequest({
    ...{ ctlCode, fileId: file, input, maxInputResponse: 0, maxOutputResponse: 4096, flags: IoctlFlags.IS_FSCTL },
    ...{ output: NOTHING, ...change },
  });
const directoryOf = (change: Partial<Parameters<typeof encodeQueryDirectoryRequest>[0]> = {}) =>
  encodeQueryDirectoryRequest({
    ...{ fileInformationClass: FileInfoClass.directory, flags: 0, fileIndex: 0, fileId: folder, fileName: '*' },
    ...{ outputBufferLength: 4096, ...change },
  });
const notifyOf = (change: Partial<Parameters<typeof encodeChangeNotifyRequest>[0]> = {}) =>
  encodeChangeNotifyRequest({ flags: 0, outputBufferLength: 4096, fileId: folder, completionFilter: 1, ...change });
const queryOf = (change: Partial<Parameters<typeof encodeQueryInfoRequest>[0]> = {}) =>
  encodeQueryInfoRequest({
    ...{ infoType: InfoType.FILE, fileInfoClass: FileInfoClass.basic, outputBufferLength: 4096 },
    ...{ additionalInformation: 0, flags: 0, fileId: file, input: NOTHING, ...change },
  });
const setOf = (fileInfoClass: number, input: Buffer, infoType: number = InfoType.FILE, additionalInformation = 0) =>
  encodeSetInfoRequest({ infoType, fileInfoClass, additionalInformation, fileId: file, input });
const endOfFile = (size: number) =>
  setOf(FileInfoClass.endOfFile, fileEndOfFileInformation.encode({ endOfFile: size }));
const renamed = (fileName: string, rootDirectory = 0n) =>
  setOf(FileInfoClass.rename, fileRenameInformation.encode({ replaceIfExists: false, rootDirectory, fileName }));
const treeOf = (share = 'share') => encodeTreeConnectRequest({ flags: 0, path: `\\\\server\\${share}` });
const flushOf = () => encodeFlushRequest({ fileId: file });
const closeOf = (fileId: FileId) => encodeCloseRequest({ flags: 0, fileId });
const chunks = (count: number) =>
  encodeCopychunkRequest({
    sourceKey: Buffer.alloc(24, 1),
    chunks: Array.from({ length: count }, () => ({ sourceOffset: 0, targetOffset: 0, length: 1 })),
  });

/** REPARSE_DATA_BUFFER of a symbolic link that leads nowhere (MS-FSCC 2.1.2.4). */
function symlink(): Buffer {
  const buffer = Buffer.alloc(8 + 12);
  buffer.writeUInt32LE(ReparseTag.symlink, 0);
  buffer.writeUInt16LE(12, 4);
  return buffer;
}

/** A copy with another number at a byte of it. */
function patched(body: Buffer, at: number, size: 1 | 2 | 4 | 8, value: number | bigint): Buffer {
  const copy = Buffer.from(body);
  if (size === 8) copy.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), at);
  else copy.writeUIntLE(Number(value), at, size);
  return copy;
}

/** A body's variable part, changed: `at` counts from where it begins. */
const within = (body: Buffer, fixed: number, at: number, size: 1 | 2 | 4 | 8, value: number | bigint) =>
  patched(body, fixed + at, size, value);

/** Where the first context of a CREATE begins that names "file", counted from the body. */
const CONTEXT_AT = 56 + 8;
/** A request with two contexts, MxAc and QFid, the second at 24 of the first. */
const twoContexts = () =>
  createOf({
    createContexts: [
      { name: Name.QUERY_MAXIMAL_ACCESS_REQUEST, data: NOTHING },
      { name: Name.QUERY_ON_DISK_ID, data: NOTHING },
    ],
  });

/** Of the POSIX extensions that Samba and Linux speak. */
const POSIX_CLASS = 100;
const { id64ExtdDirectory, id64ExtdBothDirectory, idAllExtdDirectory, idAllExtdBothDirectory } = FileInfoClass;
const directoryClassesOfOthers = [
  ...[id64ExtdDirectory, id64ExtdBothDirectory, idAllExtdDirectory, idAllExtdBothDirectory],
  POSIX_CLASS,
];

type Row = [command: keyof typeof Command, what: string, body: () => Buffer, status: string];

const rows: Row[] = [
  // MS-SMB2 3.3.5.9
  ['CREATE', 'a name of an odd length', () => patched(createOf(), 46, 2, 7), invalid],
  ['CREATE', 'a name that begins in the fixed part', () => patched(createOf(), 44, 2, HEADER_SIZE + 48), invalid],
  ['CREATE', 'a name that leads out of the message', () => patched(createOf(), 46, 2, 0x200), invalid],
  ['CREATE', 'a name that begins with a separator', () => createOf({ name: '\\file' }), invalid],
  ['CREATE', 'contexts that begin behind the message', () => patched(twoContexts(), 48, 4, 0x1000), invalid],
  ['CREATE', 'contexts that begin in the fixed part', () => patched(twoContexts(), 48, 4, HEADER_SIZE), invalid],
  ['CREATE', 'contexts longer than the message', () => patched(twoContexts(), 52, 4, BEYOND), invalid],
  ['CREATE', 'contexts that overlap', () => within(twoContexts(), CONTEXT_AT, 0, 4, 8), invalid],
  ['CREATE', 'a context that is not aligned', () => within(twoContexts(), CONTEXT_AT, 0, 4, 20), invalid],
  ['CREATE', 'a context behind the last', () => within(twoContexts(), CONTEXT_AT, 0, 4, 0x800), invalid],
  ['CREATE', 'a context with a name of two bytes', () => within(twoContexts(), CONTEXT_AT, 6, 2, 2), invalid],
  ['CREATE', 'a context whose name is beyond it', () => within(twoContexts(), CONTEXT_AT, 4, 2, 0x100), invalid],
  ['CREATE', 'a context whose data is beyond it', () => within(twoContexts(), CONTEXT_AT, 12, 4, 64), invalid],
  [
    'CREATE',
    'more contexts than there are kinds',
    () =>
      createOf({ createContexts: Array.from({ length: 65 }, () => ({ name: Name.QUERY_ON_DISK_ID, data: NOTHING })) }),
    invalid,
  ],
  ['CREATE', 'half of DHnQ', () => contextOf(Name.DURABLE_HANDLE_REQUEST, Buffer.alloc(8)), invalid],
  ['CREATE', 'half of DHnC', () => contextOf(Name.DURABLE_HANDLE_RECONNECT, Buffer.alloc(8)), invalid],
  ['CREATE', 'half of DH2Q', () => contextOf(Name.DURABLE_HANDLE_REQUEST_V2, Buffer.alloc(16)), invalid],
  ['CREATE', 'half of DH2C', () => contextOf(Name.DURABLE_HANDLE_RECONNECT_V2, Buffer.alloc(18)), invalid],
  ['CREATE', 'half of TWrp', () => contextOf(Name.TIMEWARP_TOKEN, Buffer.alloc(4)), invalid],
  ['CREATE', 'half of AlSi', () => contextOf(Name.ALLOCATION_SIZE, Buffer.alloc(4)), invalid],
  ['CREATE', 'half of MxAc', () => contextOf(Name.QUERY_MAXIMAL_ACCESS_REQUEST, Buffer.alloc(4)), invalid],
  [
    'CREATE',
    'a lease of no version',
    () =>
      createOf({ requestedOplockLevel: 0xff, createContexts: [{ name: Name.REQUEST_LEASE, data: Buffer.alloc(40) }] }),
    invalid,
  ],
  [
    'CREATE',
    'a durable handle of both versions',
    () =>
      createOf({
        createContexts: [
          { name: Name.DURABLE_HANDLE_REQUEST, data: encodeDHnQRequest() },
          {
            name: Name.DURABLE_HANDLE_REQUEST_V2,
            data: encodeDH2QRequest({ timeoutMs: 0, flags: 0, createGuid: GUID }),
          },
        ],
      }),
    invalid,
  ],
  [
    'CREATE',
    'a reconnect of one version and a request of the other',
    () =>
      createOf({
        createContexts: [
          { name: Name.DURABLE_HANDLE_RECONNECT, data: encodeDHnC(file) },
          {
            name: Name.DURABLE_HANDLE_REQUEST_V2,
            data: encodeDH2QRequest({ timeoutMs: 0, flags: 0, createGuid: GUID }),
          },
        ],
      }),
    invalid,
  ],
  ['CREATE', 'half a descriptor', () => contextOf(Name.SD_BUFFER, Buffer.alloc(10)), 'STATUS_INVALID_SECURITY_DESCR'],
  ['CREATE', 'half an attribute', () => contextOf(Name.EA_BUFFER, Buffer.alloc(5)), 'STATUS_EA_LIST_INCONSISTENT'],
  ['CREATE', 'an unknown impersonation', () => createOf({ impersonationLevel: 4 }), 'STATUS_BAD_IMPERSONATION_LEVEL'],
  ['CREATE', 'an unknown disposition', () => createOf({ createDisposition: 6 }), invalid],
  ['CREATE', 'unknown sharing', () => createOf({ shareAccess: 8 }), invalid],
  ['CREATE', 'unknown attributes', () => createOf({ fileAttributes: 0x8000_0000 }), invalid],
  // 3.3.5.10, .11
  ['CLOSE', 'a FileId of nothing', () => closeOf({ persistent: 1n, volatile: 1n }), 'STATUS_FILE_CLOSED'],
  ['CLOSE', 'half the FileId of another', () => closeOf({ ...file, persistent: 1n }), 'STATUS_FILE_CLOSED'],
  ['FLUSH', 'a FileId of nothing', () => encodeFlushRequest({ fileId: ALL_ONES_FILE_ID }), 'STATUS_FILE_CLOSED'],
  // 3.3.5.12, .13
  ['READ', 'a negative offset', () => patched(readOf(), 8, 8, -8), invalid],
  ['READ', 'more than a read may ask for', () => readOf({ length: BEYOND }), invalid],
  ['READ', 'RDMA where there is none', () => readOf({ channel: Channel.RDMA_V1 }), invalid],
  ['READ', 'an unknown channel', () => readOf({ channel: 9 }), invalid],
  ['READ', 'channel information beyond the message', () => patched(readOf(), 46, 2, 16), invalid],
  ['READ', 'less than it must bring', () => readOf({ minimumCount: 100 }), 'STATUS_END_OF_FILE'],
  ['WRITE', 'a negative offset', () => patched(writeOf(), 8, 8, -8), invalid],
  ['WRITE', 'data that begins in the fixed part', () => patched(writeOf(), 2, 2, HEADER_SIZE), invalid],
  ['WRITE', 'data longer than the message', () => patched(writeOf(), 4, 4, 5), invalid],
  ['WRITE', 'data of 4 GiB', () => patched(writeOf(), 4, 4, BEYOND), invalid],
  [
    'WRITE',
    'data farther from the header than is allowed',
    () => patched(Buffer.concat([writeOf(), Buffer.alloc(0x108)]), 2, 2, 0x108),
    invalid,
  ],
  ['WRITE', 'RDMA where there is none', () => writeOf({ data: NOTHING, channel: Channel.RDMA_V1 }), invalid],
  ['WRITE', 'channel information beyond the message', () => patched(writeOf(), 42, 2, 16), invalid],
  // 3.3.5.14
  ['LOCK', 'no locks', () => patched(lockOf(element(LockFlags.EXCLUSIVE_LOCK)), 2, 2, 0), invalid],
  ['LOCK', 'more locks than came', () => patched(lockOf(element(LockFlags.EXCLUSIVE_LOCK)), 2, 2, 0xffff), invalid],
  ['LOCK', 'a lock that is an unlock', () => lockOf(element(LockFlags.UNLOCK | LockFlags.SHARED_LOCK)), invalid],
  ['LOCK', 'a lock of no kind', () => lockOf(element(0)), invalid],
  ['LOCK', 'unknown flags of a lock', () => lockOf(element(LockFlags.SHARED_LOCK | 0x100)), invalid],
  [
    'LOCK',
    'two locks that would wait',
    () => lockOf(element(LockFlags.SHARED_LOCK), element(LockFlags.SHARED_LOCK, 8n)),
    invalid,
  ],
  [
    'LOCK',
    'a lock beyond the last byte',
    () => lockOf(element(LockFlags.SHARED_LOCK | LockFlags.FAIL_IMMEDIATELY, 0xffff_ffff_ffff_ffffn, 2n)),
    'STATUS_INVALID_LOCK_RANGE',
  ],
  // 3.3.5.15
  ['IOCTL', 'a control that is no FSCTL', () => ioctlOf(Fsctl.SET_SPARSE, NOTHING, { flags: 0 }), unsupported],
  ['IOCTL', 'input beyond the message', () => patched(ioctlOf(Fsctl.SET_SPARSE, Buffer.alloc(1)), 28, 4, 64), invalid],
  ['IOCTL', 'input in the fixed part', () => patched(ioctlOf(Fsctl.SET_SPARSE, Buffer.alloc(1)), 24, 4, 64), invalid],
  [
    'IOCTL',
    'more output than there may be',
    () => ioctlOf(Fsctl.SET_SPARSE, NOTHING, { maxOutputResponse: BEYOND }),
    invalid,
  ],
  [
    'IOCTL',
    'both outputs together more than is paid for',
    () => ioctlOf(Fsctl.SET_SPARSE, NOTHING, { maxInputResponse: BEYOND, maxOutputResponse: 1 }),
    invalid,
  ],
  ['IOCTL', 'half a range to zero', () => ioctlOf(Fsctl.SET_ZERO_DATA, Buffer.alloc(8)), invalid],
  [
    'IOCTL',
    'a range that ends before it begins',
    () => ioctlOf(Fsctl.SET_ZERO_DATA, patched(Buffer.alloc(16), 0, 8, 10)),
    invalid,
  ],
  [
    'IOCTL',
    'a range to zero that is negative',
    () => ioctlOf(Fsctl.SET_ZERO_DATA, patched(patched(Buffer.alloc(16), 0, 8, -10), 8, 8, -1)),
    invalid,
  ],
  ['IOCTL', 'half a range to ask for', () => ioctlOf(Fsctl.QUERY_ALLOCATED_RANGES, Buffer.alloc(15)), invalid],
  [
    'IOCTL',
    'ranges to trim that did not come',
    () => ioctlOf(Fsctl.FILE_LEVEL_TRIM, Buffer.from('00000000ffffffff', 'hex')),
    invalid,
  ],
  ['IOCTL', 'a chunk that did not come', () => ioctlOf(Fsctl.SRV_COPYCHUNK, patched(chunks(1), 24, 4, 2)), invalid],
  ['IOCTL', '4 billion chunks', () => ioctlOf(Fsctl.SRV_COPYCHUNK, patched(chunks(1), 24, 4, BEYOND)), invalid],
  ['IOCTL', 'half a copy', () => ioctlOf(Fsctl.SRV_COPYCHUNK, Buffer.alloc(16)), invalid],
  [
    'IOCTL',
    'a copy of a file that is not open',
    () => ioctlOf(Fsctl.SRV_COPYCHUNK, chunks(1)),
    'STATUS_OBJECT_NAME_NOT_FOUND',
  ],
  ['IOCTL', 'half a resiliency', () => ioctlOf(Fsctl.LMR_REQUEST_RESILIENCY, Buffer.alloc(4)), invalid],
  ['IOCTL', 'the interfaces of a file', () => ioctlOf(Fsctl.QUERY_NETWORK_INTERFACE_INFO, NOTHING), invalid],
  // MS-FSA 2.1.5.10.3, 2.1.5.10.37: of file systems that have reparse points.
  [
    'IOCTL',
    'a reparse point to set',
    () => ioctlOf(Fsctl.SET_REPARSE_POINT, symlink()),
    'STATUS_INVALID_DEVICE_REQUEST',
  ],
  [
    'IOCTL',
    'a reparse point to delete',
    () => ioctlOf(Fsctl.DELETE_REPARSE_POINT, symlink().subarray(0, 8)),
    'STATUS_INVALID_DEVICE_REQUEST',
  ],
  // 3.3.5.18
  [
    'QUERY_DIRECTORY',
    'an unknown class',
    () => directoryOf({ fileInformationClass: 0xff }),
    'STATUS_INVALID_INFO_CLASS',
  ],
  ...directoryClassesOfOthers.map(
    (fileInformationClass): Row => [
      'QUERY_DIRECTORY',
      `class ${fileInformationClass} of others`,
      () => directoryOf({ fileInformationClass }),
      'STATUS_INVALID_INFO_CLASS',
    ],
  ),
  ['QUERY_DIRECTORY', 'a pattern of an odd length', () => patched(directoryOf({ fileName: '**' }), 26, 2, 3), invalid],
  ['QUERY_DIRECTORY', 'a pattern beyond the message', () => patched(directoryOf(), 26, 2, 200), invalid],
  ['QUERY_DIRECTORY', 'room for no entry', () => directoryOf({ outputBufferLength: 8 }), 'STATUS_INFO_LENGTH_MISMATCH'],
  ['QUERY_DIRECTORY', 'more room than there may be', () => directoryOf({ outputBufferLength: BEYOND }), invalid],
  ['QUERY_DIRECTORY', 'a file', () => directoryOf({ fileId: file }), invalid],
  ['QUERY_DIRECTORY', 'no right to list', () => directoryOf({ fileId: unlisted }), 'STATUS_ACCESS_DENIED'],
  [
    'QUERY_DIRECTORY',
    'no right to list, and an unknown class',
    () => directoryOf({ fileId: unlisted, fileInformationClass: 0xff }),
    'STATUS_ACCESS_DENIED',
  ],
  [
    'QUERY_DIRECTORY',
    'no right to list, and room for no entry',
    () => directoryOf({ fileId: unlisted, outputBufferLength: 8 }),
    'STATUS_ACCESS_DENIED',
  ],
  [
    'QUERY_DIRECTORY',
    'no right to list, and more room than there may be',
    () => directoryOf({ fileId: unlisted, outputBufferLength: BEYOND }),
    invalid,
  ],
  // 3.3.5.19
  ['CHANGE_NOTIFY', 'a file', () => notifyOf({ fileId: file }), invalid],
  ['CHANGE_NOTIFY', 'more room than there may be', () => notifyOf({ outputBufferLength: BEYOND }), invalid],
  // 3.3.5.20
  ['QUERY_INFO', 'information of no kind', () => queryOf({ infoType: 0 }), invalid],
  ['QUERY_INFO', 'information of an unknown kind', () => queryOf({ infoType: 5 }), invalid],
  ['QUERY_INFO', 'an unknown class', () => queryOf({ fileInfoClass: 0xff }), 'STATUS_INVALID_INFO_CLASS'],
  [
    'QUERY_INFO',
    'an unknown class of the file system',
    () => queryOf({ infoType: InfoType.FILESYSTEM, fileInfoClass: 0xff }),
    'STATUS_INVALID_INFO_CLASS',
  ],
  [
    'QUERY_INFO',
    'a class of directories',
    () => queryOf({ fileInfoClass: FileInfoClass.idBothDirectory }),
    unsupported,
  ],
  ['QUERY_INFO', 'a class that is set', () => queryOf({ fileInfoClass: FileInfoClass.endOfFile }), unsupported],
  ['QUERY_INFO', 'a class of local use', () => queryOf({ fileInfoClass: FileInfoClass.hardLink }), unsupported],
  [
    'QUERY_INFO',
    'a class of local use of the file system',
    () => queryOf({ infoType: InfoType.FILESYSTEM, fileInfoClass: FsInfoClass.label }),
    unsupported,
  ],
  ['QUERY_INFO', 'no room', () => queryOf({ outputBufferLength: 0 }), 'STATUS_INFO_LENGTH_MISMATCH'],
  ['QUERY_INFO', 'more room than there may be', () => queryOf({ outputBufferLength: BEYOND }), invalid],
  [
    'QUERY_INFO',
    'input beyond the message',
    () => patched(queryOf({ input: Buffer.alloc(8) }), 12, 4, 0x1000),
    invalid,
  ],
  // 3.3.5.21, MS-FSA 2.1.5.15
  ['SET_INFO', 'nothing', () => setOf(FileInfoClass.endOfFile, NOTHING), invalid],
  [
    'SET_INFO',
    'half an end of file',
    () => setOf(FileInfoClass.endOfFile, Buffer.alloc(4)),
    'STATUS_INFO_LENGTH_MISMATCH',
  ],
  ['SET_INFO', 'input beyond the message', () => patched(endOfFile(4), 4, 4, 64), invalid],
  ['SET_INFO', 'input in the fixed part', () => patched(endOfFile(4), 8, 2, HEADER_SIZE), invalid],
  ['SET_INFO', 'a negative end of file', () => within(endOfFile(4), 32, 0, 8, -1), invalid],
  [
    'SET_INFO',
    'a negative position',
    () => within(setOf(FileInfoClass.position, filePositionInformation.encode({ currentByteOffset: 0 })), 32, 0, 8, -1),
    invalid,
  ],
  [
    'SET_INFO',
    'a negative allocation',
    () => setOf(FileInfoClass.allocation, patched(Buffer.alloc(8), 0, 8, -1)),
    invalid,
  ],
  ['SET_INFO', 'a new name that is empty', () => renamed(''), invalid],
  ['SET_INFO', 'a new name of an odd length', () => within(renamed('new'), 32, 16, 4, 5), invalid],
  ['SET_INFO', 'a new name beyond the input', () => within(renamed('new'), 32, 16, 4, BEYOND - 1), invalid],
  ['SET_INFO', 'a new name below another root', () => renamed('new', 1n), invalid],
  [
    'SET_INFO',
    'one more name that is empty',
    () =>
      setOf(
        FileInfoClass.link,
        fileLinkInformation.encode({ replaceIfExists: false, rootDirectory: 0n, fileName: '' }),
      ),
    invalid,
  ],
  ['SET_INFO', 'half an attribute', () => setOf(FileInfoClass.fullEa, Buffer.alloc(5)), 'STATUS_EA_LIST_INCONSISTENT'],
  [
    'SET_INFO',
    'half a descriptor',
    () => setOf(0, Buffer.alloc(10), InfoType.SECURITY, SecurityInformation.DACL),
    'STATUS_INVALID_SECURITY_DESCR',
  ],
  ['SET_INFO', 'an unknown class', () => setOf(0xff, Buffer.alloc(8)), 'STATUS_INVALID_INFO_CLASS'],
  [
    'SET_INFO',
    'a class that is only asked for',
    () => setOf(FileInfoClass.standard, Buffer.alloc(24)),
    'STATUS_INVALID_INFO_CLASS',
  ],
  ['SET_INFO', 'quotas of a file', () => setOf(FileInfoClass.quota, Buffer.alloc(64)), unsupported],
  [
    'SET_INFO',
    'a short name without the privilege',
    () => setOf(FileInfoClass.shortName, fileNameInformation.encode({ fileName: 'SHORT.TXT' })),
    'STATUS_PRIVILEGE_NOT_HELD',
  ],
  [
    'SET_INFO',
    'a class of the file system that is only asked for',
    () => setOf(FsInfoClass.size, Buffer.alloc(24), InfoType.FILESYSTEM),
    'STATUS_INVALID_INFO_CLASS',
  ],
  [
    'SET_INFO',
    'a label of the file system',
    () => setOf(FsInfoClass.label, Buffer.alloc(8), InfoType.FILESYSTEM),
    unsupported,
  ],
  ['SET_INFO', 'quotas', () => setOf(FsInfoClass.control, Buffer.alloc(48), InfoType.FILESYSTEM), invalid],
  ['SET_INFO', 'information of an unknown kind', () => setOf(0, Buffer.alloc(8), 5), invalid],
  ['SET_INFO', 'a negative time', () => setOf(FileInfoClass.basic, patched(Buffer.alloc(40), 8, 8, -3)), invalid],
  // 3.3.5.7, 3.3.5.22
  ['TREE_CONNECT', 'a path of an odd length', () => patched(treeOf(), 6, 2, 29), invalid],
  ['TREE_CONNECT', 'a path beyond the message', () => patched(treeOf(), 6, 2, 0x1000), invalid],
  ['TREE_CONNECT', 'a path of nothing', () => patched(treeOf(), 6, 2, 0), 'STATUS_BAD_NETWORK_NAME'],
  [
    'OPLOCK_BREAK',
    'the acknowledgement of no break',
    () => encodeOplockBreakRequest({ kind: 'oplock', oplockLevel: 0, fileId: ALL_ONES_FILE_ID }),
    'STATUS_FILE_CLOSED',
  ],
  [
    'OPLOCK_BREAK',
    'the acknowledgement of no lease',
    () => encodeOplockBreakRequest({ kind: 'lease', leaseKey: GUID, leaseState: 0 }),
    'STATUS_OBJECT_NAME_NOT_FOUND',
  ],
];

/** What each command takes. */
const bodies: [keyof typeof Command, () => Buffer][] = [
  ['LOGOFF', encodeLogoffRequest],
  ['TREE_CONNECT', treeOf],
  ['TREE_DISCONNECT', encodeTreeDisconnectRequest],
  ['CREATE', createOf],
  ['CLOSE', () => closeOf(file)],
  ['FLUSH', flushOf],
  ['READ', readOf],
  ['WRITE', writeOf],
  ['LOCK', () => lockOf(element(LockFlags.EXCLUSIVE_LOCK))],
  ['IOCTL', () => ioctlOf(Fsctl.SET_SPARSE, NOTHING)],
  ['ECHO', encodeEchoRequest],
  ['QUERY_DIRECTORY', directoryOf],
  ['CHANGE_NOTIFY', notifyOf],
  ['QUERY_INFO', queryOf],
  ['SET_INFO', () => endOfFile(4)],
  ['OPLOCK_BREAK', () => encodeOplockBreakRequest({ kind: 'oplock', oplockLevel: 0, fileId: file })],
];

const answered = async (command: keyof typeof Command, body: Buffer) =>
  statusName((await client.request(Command[command], body)).header.status);

/** Nothing was changed, and the server goes on. */
async function expectUnharmed(): Promise<void> {
  expect(await answered('ECHO', encodeEchoRequest())).toBe('STATUS_SUCCESS');
  expect(await answered('FLUSH', flushOf())).toBe('STATUS_SUCCESS');
  expect(readFileSync(join(serving.directory, 'file'), 'utf8')).toBe(CONTENT);
}

describe('a request of a session that is malformed', () => {
  test.each(rows)('%s with %s', async (command, _what, body, status) => {
    expect(await answered(command, body())).toBe(status);
    await expectUnharmed();
  });

  // 3.3.5.2.6
  test.each(bodies)('%s of another structure, or cut off within it, is refused', async (command, body) => {
    const whole = body();
    const size = whole.readUInt16LE(0);
    expect(await answered(command, patched(whole, 0, 2, size + 2))).toBe(invalid);
    expect(await answered(command, patched(whole, 0, 2, 0))).toBe(invalid);
    expect(await answered(command, whole.subarray(0, (size & ~1) - 1))).toBe(invalid);
    expect(await answered(command, NOTHING)).toBe(invalid);
    await expectUnharmed();
  });
});

describe('a request about a pipe that is malformed', () => {
  let pipes: RawClient;
  let pipe: FileId;
  beforeAll(async () => {
    pipes = await RawClient.loggedOn(port, USER, PASSWORD);
    await pipes.treeConnect('IPC$');
    const { message } = await pipes.request(Command.CREATE, createOf({ name: 'srvsvc' }));
    pipe = decodeCreateResponse(message).fileId;
  });
  afterAll(() => pipes?.end());

  const waitFor = (nameLength: number) =>
    ioctlOf(Fsctl.PIPE_WAIT, patched(Buffer.alloc(14 + 12), 8, 4, nameLength), { fileId: ALL_ONES_FILE_ID });
  const no = { persistent: 99n, volatile: 99n };
  const pipeRows: [keyof typeof Command, string, () => Buffer, string][] = [
    ['CREATE', 'an unknown name', () => createOf({ name: 'none' }), 'STATUS_OBJECT_NAME_NOT_FOUND'],
    ['READ', 'a FileId of nothing', () => readOf({ fileId: no }), 'STATUS_FILE_CLOSED'],
    ['READ', 'more than a read may ask for', () => readOf({ fileId: pipe, length: BEYOND }), invalid],
    ['WRITE', 'a FileId of nothing', () => writeOf({ fileId: no }), 'STATUS_FILE_CLOSED'],
    ['WRITE', 'data longer than the message', () => patched(writeOf({ fileId: pipe }), 4, 4, 5), invalid],
    ['FLUSH', 'a FileId of nothing', () => encodeFlushRequest({ fileId: no }), 'STATUS_FILE_CLOSED'],
    ['FLUSH', 'another structure', () => patched(encodeFlushRequest({ fileId: pipe }), 0, 2, 22), invalid],
    ['CLOSE', 'a FileId of nothing', () => closeOf(no), 'STATUS_FILE_CLOSED'],
    ['QUERY_INFO', 'a FileId of nothing', () => queryOf({ fileId: no }), 'STATUS_FILE_CLOSED'],
    [
      'IOCTL',
      'a FileId of nothing',
      () => ioctlOf(Fsctl.PIPE_TRANSCEIVE, NOTHING, { fileId: no }),
      'STATUS_FILE_CLOSED',
    ],
    [
      'IOCTL',
      'no room for what it peeks at',
      () => ioctlOf(Fsctl.PIPE_PEEK, NOTHING, { fileId: pipe, maxOutputResponse: 8 }),
      invalid,
    ],
    ['IOCTL', 'half a name to wait for', () => waitFor(13), invalid],
    ['IOCTL', 'a name to wait for that did not come', () => waitFor(BEYOND), invalid],
    ['LOCK', 'a pipe', () => lockOf(element(LockFlags.SHARED_LOCK)), 'STATUS_INVALID_DEVICE_REQUEST'],
  ];

  test.each(pipeRows)('%s with %s', async (command, _what, body, status) => {
    expect(statusName((await pipes.request(Command[command], body())).header.status)).toBe(status);
    const query = queryOf({ fileId: pipe, fileInfoClass: FileInfoClass.standard });
    expect(statusName((await pipes.request(Command.QUERY_INFO, query)).header.status)).toBe('STATUS_SUCCESS');
  });
});

describe('a compound', () => {
  /** The statuses of its parts. */
  async function statuses(...messages: Buffer[]): Promise<string[]> {
    const compound = joinCompound(messages);
    for (const part of compound.parts) client.signer?.sign(part);
    client.sendFrame(compound.message);
    const got: string[] = [];
    while (got.length < messages.length) got.push(statusName((await client.receive()).header.status));
    return got;
  }

  test('whose second part is malformed has the others done', async () => {
    expect(
      await statuses(
        client.message(Command.READ, readOf()),
        client.message(Command.READ, patched(readOf(), 0, 2, 48)),
        client.message(Command.ECHO, encodeEchoRequest()),
      ),
    ).toEqual(['STATUS_SUCCESS', invalid, 'STATUS_SUCCESS']);
    await expectUnharmed();
  });

  test('whose second part is of a command that there is not has the others done', async () => {
    expect(
      await statuses(
        client.message(Command.READ, readOf()),
        client.message(0xff, readOf()),
        client.message(Command.ECHO, encodeEchoRequest()),
      ),
    ).toEqual(['STATUS_SUCCESS', invalid, 'STATUS_SUCCESS']);
    await expectUnharmed();
  });

  test('whose CREATE is malformed is refused as a whole', async () => {
    const open = patched(createOf(), 46, 2, 7);
    const close = closeOf(ALL_ONES_FILE_ID);
    const first = client.message(Command.CREATE, open);
    expect(
      await statuses(
        first,
        client.message(Command.READ, readOf({ fileId: ALL_ONES_FILE_ID }), RELATED),
        client.message(Command.CLOSE, close, RELATED),
      ),
    ).toEqual([invalid, invalid, invalid]);
    await expectUnharmed();
  });

  test('whose second part is malformed closes what its first has opened', async () => {
    expect(
      await statuses(
        client.message(Command.CREATE, createOf()),
        client.message(Command.READ, patched(readOf({ fileId: ALL_ONES_FILE_ID }), 0, 2, 0), RELATED),
        client.message(Command.CLOSE, closeOf(ALL_ONES_FILE_ID), RELATED),
      ),
    ).toEqual(['STATUS_SUCCESS', invalid, 'STATUS_SUCCESS']);
    await expectUnharmed();
  });

  // 3.3.5.2.7.2
  test('whose second part is about an open that no part has is refused there', async () => {
    expect(
      await statuses(
        client.message(Command.TREE_CONNECT, treeOf()),
        client.message(Command.CLOSE, closeOf(file), RELATED),
      ),
    ).toEqual(['STATUS_SUCCESS', 'STATUS_INVALID_HANDLE']);
    await expectUnharmed();
  });
});

/** Frames that end the connection (3.3.5.2.2, .3, .6, .7). */
const fatal: [string, (client: RawClient) => Buffer][] = [
  ['a message shorter than its header', (one) => one.message(Command.ECHO, NOTHING).subarray(0, HEADER_SIZE - 1)],
  ['a header of another size', (one) => patched(one.message(Command.ECHO, encodeEchoRequest()), 4, 2, 63)],
  ['a command that there is not', (one) => one.message(0x14, encodeEchoRequest())],
  ['the last of all commands', (one) => one.message(0xffff, encodeEchoRequest())],
  ['a response', (one) => one.message(Command.ECHO, encodeEchoRequest(), { flags: Flags.SERVER_TO_REDIR })],
  ['a sequence number used twice', (one) => one.message(Command.ECHO, encodeEchoRequest(), { messageId: 0 })],
  [
    'a charge that nothing was granted for',
    (one) => one.message(Command.ECHO, encodeEchoRequest(), { creditCharge: 0xffff }),
  ],
  ['a second part within the first', (one) => patched(one.message(Command.ECHO, Buffer.alloc(256)), 20, 4, 8)],
  ['a second part that is not aligned', (one) => patched(one.message(Command.ECHO, Buffer.alloc(256)), 20, 4, 68)],
  ['a second part behind the message', (one) => patched(one.message(Command.ECHO, Buffer.alloc(256)), 20, 4, 0x1000)],
  ['a second part that is none', (one) => patched(one.message(Command.ECHO, Buffer.alloc(256)), 20, 4, 72)],
  ['an encrypted message of no session', () => Buffer.concat([Buffer.from('\xfdSMB', 'latin1'), Buffer.alloc(116)])],
];

describe('a connection', () => {
  test.each(fatal)('ends with %s', async (_what, frame) => {
    const one = await RawClient.loggedOn(port, USER, PASSWORD);
    try {
      one.sendFrame(frame(one));
      await one.closed();
    } finally {
      one.end();
    }
    await expectUnharmed();
  });

  test('ends with a message longer than any may be', async () => {
    const one = await RawClient.connect(port);
    try {
      one.socket.write(framePrefix(0xff_ffff));
      await one.closed();
    } finally {
      one.end();
    }
    await expectUnharmed();
  });
});

const preauth: NegotiateContext = {
  type: 'preauthIntegrity',
  hashAlgorithms: [HashAlgorithm.SHA_512],
  salt: Buffer.alloc(32, 1),
};
const negotiateOf = (negotiateContexts: NegotiateContext[], dialects: number[] = [Dialect.SMB_3_1_1]) =>
  encodeNegotiateRequest({
    ...{ securityMode: 1, capabilities: 0, clientGuid: GUID },
    ...{ dialects, negotiateContexts },
  });

/** MS-SMB2 3.3.5.4. */
const negotiations: [string, () => Buffer, string][] = [
  ['no dialect', () => patched(negotiateOf([preauth]), 2, 2, 0), invalid],
  ['more dialects than came', () => patched(negotiateOf([preauth]), 2, 2, 0xffff), invalid],
  ['an unknown dialect', () => negotiateOf([], [0x0312]), 'STATUS_NOT_SUPPORTED'],
  ['another structure', () => patched(negotiateOf([preauth]), 0, 2, 38), invalid],
  ['no hash', () => negotiateOf([]), invalid],
  ['a hash of no kind', () => negotiateOf([{ ...preauth, hashAlgorithms: [] }]), invalid],
  [
    'a hash of an unknown kind',
    () => negotiateOf([{ ...preauth, hashAlgorithms: [9] }]),
    'STATUS_SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP',
  ],
  ['two hashes', () => negotiateOf([preauth, preauth]), invalid],
  ['a cipher of no kind', () => negotiateOf([preauth, { type: 'encryption', ciphers: [] }]), invalid],
  ['a signing algorithm of no kind', () => negotiateOf([preauth, { type: 'signing', algorithms: [] }]), invalid],
  ['contexts that begin in the fixed part', () => patched(negotiateOf([preauth]), 28, 4, HEADER_SIZE), invalid],
  ['contexts that begin behind the message', () => patched(negotiateOf([preauth]), 28, 4, 0x1000), invalid],
  ['more contexts than came', () => patched(negotiateOf([preauth]), 32, 2, 2), invalid],
  ['65,535 contexts', () => patched(negotiateOf([preauth]), 32, 2, 0xffff), invalid],
  ['a context longer than the message', () => patched(negotiateOf([preauth]), 42, 2, 0x1000), invalid],
];

describe('before anybody logs on', () => {
  test.each(negotiations)('NEGOTIATE with %s', async (_what, body, status) => {
    const one = await RawClient.connect(port);
    try {
      one.sendFrame(one.message(Command.NEGOTIATE, body()));
      expect(statusName((await one.receive()).header.status)).toBe(status);
    } finally {
      one.end();
    }
  });

  test('SESSION_SETUP with a token that leads out of the message, or that is none, is refused', async () => {
    const one = await RawClient.connect(port);
    try {
      await one.negotiate();
      const setup = encodeSessionSetupRequest({
        ...{ flags: 0, securityMode: 1, capabilities: 0, previousSessionId: 0n, securityBuffer: Buffer.alloc(16, 1) },
      });
      for (const body of [patched(setup, 14, 2, 0x1000), patched(setup, 12, 2, HEADER_SIZE), setup]) {
        one.sendFrame(one.message(Command.SESSION_SETUP, body));
        expect(statusName((await one.receive()).header.status)).toBe(invalid);
      }
    } finally {
      one.end();
    }
    await expectUnharmed();
  });
});
