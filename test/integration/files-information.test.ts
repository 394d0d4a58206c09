// What QUERY_INFO, SET_INFO, QUERY_DIRECTORY and IOCTL answer, class by class, compared with the volume.
import { constants, mkdirSync, readdirSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Client } from '../../client/index.ts';
import {
  ALL_ONES_FILE_ID,
  CloseFlags,
  Command,
  CreateDisposition,
  CreateOptions,
  FileAccess,
  Fsctl,
  InfoType,
  IoctlFlags,
  QueryDirectoryFlags,
  SecurityInformation,
} from '../../smb/constants.ts';
import { FileAttribute, FileInfoClass, FsAttribute, FsDevice, FsInfoClass } from '../../smb/fscc/constants.ts';
import { decodeDirectoryList } from '../../smb/fscc/directory.ts';
import type { Codec } from '../../smb/fscc/fields.ts';
import {
  fileAccessInformation,
  fileAlignmentInformation,
  fileAllInformation,
  fileAllocationInformation,
  fileAttributeTagInformation,
  fileBasicInformation,
  fileCompressionInformation,
  fileDispositionInformation,
  fileEaInformation,
  fileEndOfFileInformation,
  fileInternalInformation,
  fileLinkInformation,
  fileModeInformation,
  fileNameInformation,
  fileNetworkOpenInformation,
  filePositionInformation,
  fileRenameInformation,
  fileStandardInformation,
  fileStreamInformation,
} from '../../smb/fscc/file-info.ts';
import {
  fileFsAttributeInformation,
  fileFsDeviceInformation,
  fileFsFullSizeInformation,
  fileFsSectorSizeInformation,
  fileFsSizeInformation,
  fileFsVolumeInformation,
} from '../../smb/fscc/fs-info.ts';
import { CompressionFormat } from '../../smb/fscc/fsctl.ts';
import { decodeSecurityDescriptor } from '../../smb/security/descriptor.ts';
import { Status } from '../../smb/status.ts';
import { decodeCloseResponse, encodeCloseRequest } from '../../smb/wire/close.ts';
import { decodeIoctlResponse, encodeIoctlRequest, type IoctlRequest } from '../../smb/wire/ioctl.ts';
import { decodeNetworkInterfaceInfo } from '../../smb/wire/ioctl-payloads.ts';
import { decodeQueryDirectoryResponse, encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { decodeQueryInfoResponse, encodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { RawOpen, send } from './raw-requests.ts';

const ACCESS = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE | FileAccess.DELETE;
const NAME = 'folder\\file';
const SIZE = 5000;
const NOTHING = Buffer.alloc(0);
/** 1601 to 1970, in 100 ns. */
const UNIX_EPOCH = 116_444_736_000_000_000n;

let serving: Serving;
let client: Client;
const onDisk = (...path: string[]) => join(serving.directory, ...path);

beforeAll(async () => {
  serving = await Serving.start({ flags: ['--continuously-available'] });
  client = await Client.connect({ addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' });
}, 60_000);
afterAll(async () => {
  await client?.close();
  await serving?.stop();
}, 30_000);

/** An answer of QUERY_INFO. Throws where the status is another. */
async function query(
  open: RawOpen,
  infoType: number,
  fileInfoClass: number,
  additionalInformation = 0,
): Promise<Buffer> {
  const body = encodeQueryInfoRequest({
    infoType,
    fileInfoClass,
    outputBufferLength: 4096,
    additionalInformation,
    flags: 0,
    fileId: open.fileId,
    input: NOTHING,
  });
  const { status, message } = await send(open.client, Command.QUERY_INFO, body);
  expect([infoType, fileInfoClass, status]).toEqual([infoType, fileInfoClass, Status.SUCCESS]);
  return decodeQueryInfoResponse(message).output;
}

describe('of a file', () => {
  let open: RawOpen;
  const file = async <T>(infoClass: number, codec: Codec<T>) =>
    codec.decode(await query(open, InfoType.FILE, infoClass));
  const set = <T>(infoClass: number, codec: Codec<T>, value: T) =>
    open.set(InfoType.FILE, infoClass, codec.encode(value));
  const disk = () => statSync(onDisk('folder', 'file'), { bigint: true });
  /** To the 100 ns that a FILETIME has. */
  const filetime = (ns: bigint) => ns / 100n + UNIX_EPOCH;

  beforeEach(async () => {
    mkdirSync(onDisk('folder'), { recursive: true });
    writeFileSync(onDisk('folder', 'file'), Buffer.alloc(SIZE, 1));
    open = await RawOpen.open(client, NAME, { access: ACCESS });
  });
  afterEach(() => open.close());

  test('each class that is asked for says what is on the volume', async () => {
    const { mtimeNs, atimeNs, ino } = disk();
    const basic = await file(FileInfoClass.basic, fileBasicInformation);
    expect(basic).toMatchObject({
      lastWriteTime: filetime(mtimeNs),
      lastAccessTime: filetime(atimeNs),
      fileAttributes: FileAttribute.archive,
    });
    expect(basic.creationTime).toBeGreaterThan(UNIX_EPOCH);
    expect(basic.changeTime).toBeGreaterThanOrEqual(basic.lastWriteTime);
    const standard = { endOfFile: SIZE, numberOfLinks: 1, deletePending: false, directory: false };
    const told = await file(FileInfoClass.standard, fileStandardInformation);
    expect(told).toMatchObject(standard);
    expect(told.allocationSize).toBeGreaterThanOrEqual(SIZE);
    expect(await file(FileInfoClass.internal, fileInternalInformation)).toEqual({ indexNumber: ino });
    expect(await file(FileInfoClass.ea, fileEaInformation)).toEqual({ eaSize: 0 });
    expect(await file(FileInfoClass.access, fileAccessInformation)).toEqual({ accessFlags: ACCESS });
    expect(await file(FileInfoClass.mode, fileModeInformation)).toEqual({ mode: 0 });
    expect(await file(FileInfoClass.alignment, fileAlignmentInformation)).toEqual({ alignmentRequirement: 0 });
    expect(await file(FileInfoClass.name, fileNameInformation)).toEqual({ fileName: `\\${NAME}` });
    const { creationTime, lastWriteTime, fileAttributes } = basic;
    expect(await file(FileInfoClass.networkOpen, fileNetworkOpenInformation)).toMatchObject({
      ...{ creationTime, lastWriteTime, fileAttributes, endOfFile: SIZE, allocationSize: told.allocationSize },
    });
    expect(await file(FileInfoClass.attributeTag, fileAttributeTagInformation)).toEqual({
      fileAttributes: FileAttribute.archive,
      reparseTag: 0,
    });
    expect(await file(FileInfoClass.compression, fileCompressionInformation)).toEqual({
      ...{ compressedFileSize: told.allocationSize, compressionFormat: CompressionFormat.none },
      ...{ compressionUnitShift: 0, chunkShift: 0, clusterShift: 0 },
    });
    expect(await file(FileInfoClass.stream, fileStreamInformation)).toMatchObject([
      { streamName: '::$DATA', streamSize: SIZE },
    ]);
    expect(await file(FileInfoClass.all, fileAllInformation)).toMatchObject({
      basic,
      standard,
      internal: { indexNumber: ino },
      access: { accessFlags: ACCESS },
      name: { fileName: `\\${NAME}` },
    });
  });

  test('the position follows reads and writes, and can be set', async () => {
    await open.read(10, 20);
    expect(await file(FileInfoClass.position, filePositionInformation)).toEqual({ currentByteOffset: 30 });
    await open.write(100, Buffer.alloc(7));
    expect(await file(FileInfoClass.position, filePositionInformation)).toEqual({ currentByteOffset: 107 });
    expect(await set(FileInfoClass.position, filePositionInformation, { currentByteOffset: 3 })).toBe(Status.SUCCESS);
    expect(await file(FileInfoClass.position, filePositionInformation)).toEqual({ currentByteOffset: 3 });
  });

  test('CLOSE tells what has become of it where it is asked to', async () => {
    const close = async (flags: number) => {
      const closing = await RawOpen.open(client, NAME, { access: ACCESS });
      await closing.write(SIZE, Buffer.alloc(10));
      const body = encodeCloseRequest({ flags, fileId: closing.fileId });
      const { status, message } = await send(client, Command.CLOSE, body);
      expect(status).toBe(Status.SUCCESS);
      return decodeCloseResponse(message);
    };
    expect(await close(CloseFlags.POSTQUERY_ATTRIB)).toMatchObject({
      ...{ flags: CloseFlags.POSTQUERY_ATTRIB, endOfFile: SIZE + 10, fileAttributes: FileAttribute.archive },
      lastWriteTime: filetime(disk().mtimeNs),
    });
    expect(await close(0)).toMatchObject({ flags: 0, endOfFile: 0, lastWriteTime: 0n });
  });

  test('a mode is kept as far as it may be set', async () => {
    const mode = CreateOptions.SEQUENTIAL_ONLY;
    expect(await set(FileInfoClass.mode, fileModeInformation, { mode })).toBe(Status.SUCCESS);
    expect(await file(FileInfoClass.mode, fileModeInformation)).toEqual({ mode });
    await open.read(0, 30);
    expect(await file(FileInfoClass.all, fileAllInformation)).toMatchObject({
      mode: { mode },
      position: { currentByteOffset: 30 },
    });
    const other = { mode: CreateOptions.DELETE_ON_CLOSE };
    expect(await set(FileInfoClass.mode, fileModeInformation, other)).toBe(Status.INVALID_PARAMETER);
  });

  test('times and attributes are set', async () => {
    const time = filetime(1_500_000_000_000_000_000n);
    const value = {
      creationTime: time,
      lastAccessTime: 0n,
      lastWriteTime: time + 1n,
      changeTime: 0n,
      fileAttributes: FileAttribute.hidden,
    };
    expect(await set(FileInfoClass.basic, fileBasicInformation, value)).toBe(Status.SUCCESS);
    const { creationTime, lastWriteTime, fileAttributes } = value;
    const expected = { creationTime, lastWriteTime, fileAttributes };
    expect(await file(FileInfoClass.basic, fileBasicInformation)).toMatchObject(expected);
    expect(filetime(disk().mtimeNs)).toBe(time + 1n);
  });

  test('the end of the file and its allocation are set', async () => {
    expect(await set(FileInfoClass.endOfFile, fileEndOfFileInformation, { endOfFile: 123 })).toBe(Status.SUCCESS);
    expect(disk().size).toBe(123n);
    const room = { allocationSize: 1 << 20 };
    expect(await set(FileInfoClass.allocation, fileAllocationInformation, room)).toBe(Status.SUCCESS);
    expect(disk().size).toBe(123n);
    expect(Number(disk().blocks) * 512).toBeGreaterThanOrEqual(1 << 20);
    const less = { allocationSize: 100 };
    expect(await set(FileInfoClass.allocation, fileAllocationInformation, less)).toBe(Status.SUCCESS);
    expect(disk().size).toBe(100n);
  });

  test('it is renamed, and removed when it was to be deleted', async () => {
    const to = { replaceIfExists: false, rootDirectory: 0n, fileName: 'folder\\renamed' };
    expect(await set(FileInfoClass.rename, fileRenameInformation, to)).toBe(Status.SUCCESS);
    expect(readdirSync(onDisk('folder'))).toEqual(['renamed']);
    const marked = { deletePending: true };
    expect(await set(FileInfoClass.disposition, fileDispositionInformation, marked)).toBe(Status.SUCCESS);
    expect(await file(FileInfoClass.standard, fileStandardInformation)).toMatchObject({ ...marked, numberOfLinks: 0 });
    await open.close();
    expect(readdirSync(onDisk('folder'))).toEqual([]);
  });

  test('it gets one more name, and not that of another file', async () => {
    const to = { replaceIfExists: false, rootDirectory: 0n, fileName: 'folder\\linked' };
    expect(await set(FileInfoClass.link, fileLinkInformation, to)).toBe(Status.SUCCESS);
    expect(statSync(onDisk('folder', 'linked'), { bigint: true })).toMatchObject({ ino: disk().ino, nlink: 2n });
    expect(await file(FileInfoClass.standard, fileStandardInformation)).toMatchObject({ numberOfLinks: 2 });
    writeFileSync(onDisk('folder', 'other'), '');
    const taken = { ...to, fileName: 'folder\\other' };
    expect(await set(FileInfoClass.link, fileLinkInformation, taken)).toBe(Status.OBJECT_NAME_COLLISION);
    for (const name of ['linked', 'other']) rmSync(onDisk('folder', name));
  });

  test('attributes are told to who may read them', async () => {
    const reader = await RawOpen.open(client, NAME, { access: FileAccess.READ_DATA });
    for (const infoClass of ['basic', 'all', 'networkOpen', 'attributeTag'] as const) {
      const asked = query(reader, InfoType.FILE, FileInfoClass[infoClass]);
      await expect(asked).rejects.toThrow(String(Status.ACCESS_DENIED));
    }
    const told = fileStandardInformation.decode(await query(reader, InfoType.FILE, FileInfoClass.standard));
    expect(told.endOfFile).toBe(SIZE);
    await reader.close();
  });

  test('a read brings what there is, or no less than was wanted', async () => {
    const rest = SIZE - 4990;
    expect((await open.read(4990, 100)).data).toHaveLength(rest);
    expect((await open.read(4990, 100, rest)).data).toHaveLength(rest);
    expect((await open.read(4990, 100, rest + 1)).status).toBe(Status.END_OF_FILE);
    expect((await open.read(SIZE, 1)).status).toBe(Status.END_OF_FILE);
  });

  test('it is read by who opened it to read, and written by who opened it to write', async () => {
    const reader = await RawOpen.open(client, NAME, { access: FileAccess.FILE_GENERIC_READ });
    const writer = await RawOpen.open(client, NAME, { access: FileAccess.FILE_GENERIC_WRITE });
    expect((await reader.read(0, 10)).status).toBe(Status.SUCCESS);
    expect((await writer.read(0, 10)).status).toBe(Status.ACCESS_DENIED);
    expect(await writer.write(0, Buffer.alloc(10))).toBe(Status.SUCCESS);
    for (const offset of [0, SIZE]) expect(await reader.write(offset, Buffer.alloc(10))).toBe(Status.ACCESS_DENIED);
    await Promise.all([reader.close(), writer.close()]);
  });

  test('more than its credits pay for is neither read nor written', async () => {
    const unpaid = 65_537;
    expect((await open.read(0, unpaid)).status).toBe(Status.INVALID_PARAMETER);
    expect(await open.write(0, Buffer.alloc(unpaid))).toBe(Status.INVALID_PARAMETER);
    expect((await open.read(0, unpaid - 1)).data).toHaveLength(SIZE);
  });

  test('what no class is, is refused', async () => {
    expect(await open.set(InfoType.FILE, 0, Buffer.alloc(64))).toBe(Status.INVALID_INFO_CLASS);
    expect(await open.set(InfoType.FILE, FileInfoClass.basic, Buffer.alloc(39))).toBe(Status.INFO_LENGTH_MISMATCH);
    await expect(query(open, InfoType.FILE, 200)).rejects.toThrow(String(Status.INVALID_INFO_CLASS));
    await expect(query(open, InfoType.FILESYSTEM, 200)).rejects.toThrow(String(Status.INVALID_INFO_CLASS));
  });

  test('its security descriptor has an owner', async () => {
    const output = await query(open, InfoType.SECURITY, 0, SecurityInformation.OWNER | SecurityInformation.DACL);
    expect(decodeSecurityDescriptor(output).owner).toBeDefined();
  });

  test('writes to a continuously available share are answered when the disk has them', async () => {
    const flags = serving.writingFlags(0, 'folder/file');
    expect(flags.map((each) => each & constants.O_DSYNC)).toEqual([constants.O_DSYNC]);
  });
});

describe('of the file system', () => {
  test('each class says what the volume says', async () => {
    const open = await RawOpen.open(client, '', { createOptions: CreateOptions.DIRECTORY_FILE });
    const ask = async <T>(infoClass: number, codec: Codec<T>) =>
      codec.decode(await query(open, InfoType.FILESYSTEM, infoClass));
    const { bsize, blocks } = statfsSync(serving.directory);
    const unit = ({
      sectorsPerAllocationUnit,
      bytesPerSector,
    }: Record<'sectorsPerAllocationUnit' | 'bytesPerSector', number>) => sectorsPerAllocationUnit * bytesPerSector;
    const total = bsize * blocks;
    const volume = await ask(FsInfoClass.volume, fileFsVolumeInformation);
    expect(volume.volumeLabel).toBe('share');
    expect(volume.volumeSerialNumber).not.toBe(0);
    const size = await ask(FsInfoClass.size, fileFsSizeInformation);
    expect(size.totalAllocationUnits * unit(size)).toBe(total);
    expect(size.availableAllocationUnits).toBeGreaterThan(0);
    expect(size.availableAllocationUnits).toBeLessThan(size.totalAllocationUnits);
    const full = await ask(FsInfoClass.fullSize, fileFsFullSizeInformation);
    expect(full.totalAllocationUnits * unit(full)).toBe(total);
    expect(full.actualAvailableAllocationUnits).toBeGreaterThanOrEqual(full.callerAvailableAllocationUnits);
    expect(full.callerAvailableAllocationUnits).toBeGreaterThan(0);
    expect(full.actualAvailableAllocationUnits).toBeLessThan(full.totalAllocationUnits);
    expect(await ask(FsInfoClass.device, fileFsDeviceInformation)).toEqual({
      deviceType: FsDevice.disk,
      characteristics: FsDevice.mounted,
    });
    const attribute = await ask(FsInfoClass.attribute, fileFsAttributeInformation);
    expect(attribute.maximumComponentNameLength).toBe(255);
    const { casePreservedNames, unicodeOnDisk, persistentAcls, namedStreams, supportsExtendedAttributes } = FsAttribute;
    const kept = casePreservedNames | unicodeOnDisk | persistentAcls | namedStreams | supportsExtendedAttributes;
    expect(attribute.fileSystemAttributes & kept).toBe(kept);
    expect(await ask(FsInfoClass.sectorSize, fileFsSectorSizeInformation)).toMatchObject({
      ...{ logicalBytesPerSector: 512, physicalBytesPerSectorForAtomicity: 4096 },
      ...{ physicalBytesPerSectorForPerformance: 4096, effectivePhysicalBytesPerSectorForAtomicity: 4096 },
    });
    await open.close();
  });
});

describe('of a directory', () => {
  const CLASSES = [
    'directory',
    'fullDirectory',
    'bothDirectory',
    'idFullDirectory',
    'idBothDirectory',
    'idExtdDirectory',
    'idExtdBothDirectory',
    'names',
  ] as const;

  test.each(CLASSES)('class %s lists what is there', async (name) => {
    mkdirSync(onDisk('listed', 'sub'), { recursive: true });
    writeFileSync(onDisk('listed', 'file'), '');
    truncateSync(onDisk('listed', 'file'), 77);
    const open = await RawOpen.open(client, 'listed', {
      access: FileAccess.FILE_GENERIC_READ,
      disposition: CreateDisposition.OPEN,
      createOptions: CreateOptions.DIRECTORY_FILE,
    });
    const fileInformationClass = FileInfoClass[name];
    const body = encodeQueryDirectoryRequest({
      fileInformationClass,
      flags: 0,
      fileIndex: 0,
      fileId: open.fileId,
      fileName: '*',
      outputBufferLength: 65_536,
    });
    const { status, message } = await send(client, Command.QUERY_DIRECTORY, body);
    expect(status).toBe(Status.SUCCESS);
    const entries = decodeDirectoryList(fileInformationClass, decodeQueryDirectoryResponse(message).output);
    expect(entries.map(({ fileName }) => fileName).sort()).toEqual(['.', '..', 'file', 'sub']);
    const file = entries.find(({ fileName }) => fileName === 'file');
    if (name !== 'names') expect(file).toMatchObject({ endOfFile: 77, fileAttributes: FileAttribute.archive });
    if (name.startsWith('id')) {
      expect(file?.fileId).toBe(statSync(onDisk('listed', 'file'), { bigint: true }).ino);
    }
    // There is no more.
    const again = await send(client, Command.QUERY_DIRECTORY, body);
    expect(again.status).toBe(Status.NO_MORE_FILES);
    await open.close();
  });

  test('it says that it is one', async () => {
    mkdirSync(onDisk('itself'));
    const open = await RawOpen.open(client, 'itself', { createOptions: CreateOptions.DIRECTORY_FILE });
    const told = await query(open, InfoType.FILE, FileInfoClass.standard);
    expect(fileStandardInformation.decode(told)).toMatchObject({ directory: true, endOfFile: 0 });
    expect(fileAllInformation.decode(await query(open, InfoType.FILE, FileInfoClass.all))).toMatchObject({
      ...{ standard: { directory: true }, basic: { fileAttributes: FileAttribute.directory } },
    });
    await open.close();
  });

  test('the root of a share is not deleted', async () => {
    const root = await RawOpen.open(client, '', {
      access: FileAccess.DELETE,
      createOptions: CreateOptions.DIRECTORY_FILE,
    });
    const deletion = fileDispositionInformation.encode({ deletePending: true });
    expect(await root.set(InfoType.FILE, FileInfoClass.disposition, deletion)).toBe(Status.CANNOT_DELETE);
    await root.close();
  });

  test('a listing is one name at a time, of a pattern, and from its beginning, as is asked for', async () => {
    mkdirSync(onDisk('asked'));
    for (const name of ['a.txt', 'b.txt', 'c.bin']) writeFileSync(onDisk('asked', name), '');
    const directory = { disposition: CreateDisposition.OPEN, createOptions: CreateOptions.DIRECTORY_FILE };
    const open = await RawOpen.open(client, 'asked', { ...directory, access: FileAccess.FILE_GENERIC_READ });
    const { bothDirectory } = FileInfoClass;
    const { RESTART_SCANS, REOPEN, RETURN_SINGLE_ENTRY } = QueryDirectoryFlags;
    const list = async (of: RawOpen, fileName: string, flags = 0, outputBufferLength = 65_536) => {
      const asked = { fileInformationClass: bothDirectory, flags, fileIndex: 0, fileId: of.fileId, fileName };
      const body = encodeQueryDirectoryRequest({ ...asked, outputBufferLength });
      const { status, message } = await send(client, Command.QUERY_DIRECTORY, body);
      if (status !== Status.SUCCESS) return status;
      const { output } = decodeQueryDirectoryResponse(message);
      return decodeDirectoryList(bothDirectory, output).map((entry) => entry.fileName);
    };
    const first = await list(open, '*.txt', RETURN_SINGLE_ENTRY);
    const second = await list(open, '*.txt', RETURN_SINGLE_ENTRY);
    expect([first, second].flat().sort()).toEqual(['a.txt', 'b.txt']);
    expect(await list(open, '*.txt')).toBe(Status.NO_MORE_FILES);
    expect(await list(open, '', RESTART_SCANS)).toHaveLength(2);
    expect(await list(open, '*.bin', REOPEN)).toEqual(['c.bin']);
    expect(await list(open, 'nothing', REOPEN)).toBe(Status.NO_SUCH_FILE);
    expect(await list(open, '*', RESTART_SCANS, 93)).toBe(Status.INFO_LENGTH_MISMATCH);
    const blind = await RawOpen.open(client, 'asked', { ...directory, access: FileAccess.READ_ATTRIBUTES });
    expect(await list(blind, '*')).toBe(Status.ACCESS_DENIED);
    await Promise.all([open.close(), blind.close()]);
  });
});

describe('controls', () => {
  const ioctl = (ctlCode: number, change: Partial<IoctlRequest> = {}) =>
    send(
      client,
      Command.IOCTL,
      encodeIoctlRequest({
        ctlCode,
        fileId: ALL_ONES_FILE_ID,
        input: NOTHING,
        maxInputResponse: 0,
        maxOutputResponse: 4096,
        flags: IoctlFlags.IS_FSCTL,
        output: NOTHING,
        ...change,
      }),
    );

  test('the network interface is the one that the client came to', async () => {
    const { status, message } = await ioctl(Fsctl.QUERY_NETWORK_INTERFACE_INFO);
    expect(status).toBe(Status.SUCCESS);
    expect(decodeNetworkInterfaceInfo(decodeIoctlResponse(message).output)).toMatchObject([{ address: '127.0.0.1' }]);
  });

  test('what is no FSCTL is refused, and a FileId where none is meant', async () => {
    const { QUERY_NETWORK_INTERFACE_INFO } = Fsctl;
    expect((await ioctl(QUERY_NETWORK_INTERFACE_INFO, { flags: 0 })).status).toBe(Status.NOT_SUPPORTED);
    const fileId = { persistent: 1n, volatile: 1n };
    expect((await ioctl(QUERY_NETWORK_INTERFACE_INFO, { fileId })).status).toBe(Status.INVALID_PARAMETER);
    expect((await ioctl(QUERY_NETWORK_INTERFACE_INFO, { maxOutputResponse: 8 })).status).toBe(Status.BUFFER_TOO_SMALL);
    expect((await ioctl(0x1234_5678)).status).toBe(Status.FILE_CLOSED);
  });

  test('there are no DFS referrals', async () => {
    for (const control of [Fsctl.DFS_GET_REFERRALS, Fsctl.DFS_GET_REFERRALS_EX]) {
      expect((await ioctl(control)).status).toBe(Status.FS_DRIVER_REQUIRED);
    }
  });
});
