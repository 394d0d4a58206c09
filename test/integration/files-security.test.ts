import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { RawClient } from '../../fileserver/testing/raw-client.ts';
import { Command, CreateDisposition, CreateOptions, InfoType, OplockLevel, ShareAccess } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { decodeDirectoryList } from '../../smb/fscc/directory.ts';
import { type FullEa, fileFullEaInformation } from '../../smb/fscc/ea.ts';
import {
  type FileBasicInformation,
  fileBasicInformation,
  fileEaInformation,
  fileRenameInformation,
} from '../../smb/fscc/file-info.ts';
import { Access, FileAccess } from '../../smb/security/access-mask.ts';
import {
  AceFlag,
  AceType,
  DescriptorControl,
  decodeSecurityDescriptor,
  encodeSecurityDescriptor,
  type SecurityDescriptor,
  SecurityInfo,
} from '../../smb/security/descriptor.ts';
import { wellKnownSids } from '../../smb/security/sid.ts';
import { Status } from '../../smb/status.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import { decodeMxAcResponse, findCreateContext, CreateContextName as Name } from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { decodeQueryDirectoryResponse, encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { decodeQueryInfoResponse, encodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { encodeSetInfoRequest } from '../../smb/wire/set-info.ts';
import { encodeWriteRequest } from '../../smb/wire/write.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const OTHER = 'bob';
/** A share with access-based enumeration, of the same folder. */
const DISCREET = 'discreet';
const { everyone, localSystem } = wellKnownSids;
const SHARE_ALL = ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE;

interface Opened {
  status: number;
  fileId: FileId;
  maximalAccess: number | undefined;
}

/** One user at one server, asking for exactly what a test says. */
class Person {
  readonly #client: RawClient;

  private constructor(client: RawClient) {
    this.#client = client;
  }

  static async at(address: string | undefined, user: string, share = 'share'): Promise<Person> {
    const client = await RawClient.loggedOn(Number(address?.split(':')[1]), user, PASSWORD);
    await client.treeConnect(share);
    return new Person(client);
  }

  async open(name: string, access: number, how: { disposition?: number; options?: number } = {}): Promise<Opened> {
    const { disposition = CreateDisposition.OPEN_IF, options = 0 } = how;
    const { header, message } = await this.#client.requestToEnd(
      Command.CREATE,
      encodeCreateRequest({
        requestedOplockLevel: OplockLevel.NONE,
        impersonationLevel: 2,
        desiredAccess: access,
        fileAttributes: 0,
        shareAccess: SHARE_ALL,
        createDisposition: disposition,
        createOptions: options,
        name,
        createContexts: [{ name: Name.QUERY_MAXIMAL_ACCESS_REQUEST, data: Buffer.alloc(0) }],
      }),
    );
    if (header.status !== 0) return { status: header.status, fileId: NO_FILE, maximalAccess: undefined };
    const { fileId, createContexts } = decodeCreateResponse(message);
    const answer = findCreateContext(createContexts, Name.QUERY_MAXIMAL_ACCESS_REQUEST);
    return { status: 0, fileId, maximalAccess: answer && decodeMxAcResponse(answer).maximalAccess };
  }

  /** The status of opening, which is undone at once. */
  async tries(name: string, access: number, how: Parameters<Person['open']>[2] = {}): Promise<number> {
    const { status, fileId } = await this.open(name, access, how);
    if (status === 0) await this.close(fileId);
    return status;
  }

  async close(fileId: FileId): Promise<void> {
    await this.#client.requestToEnd(Command.CLOSE, encodeCloseRequest({ flags: 0, fileId }));
  }

  async set(fileId: FileId, infoType: number, fileInfoClass: number, input: Buffer, parts = 0): Promise<number> {
    const body = encodeSetInfoRequest({ infoType, fileInfoClass, additionalInformation: parts, fileId, input });
    return (await this.#client.requestToEnd(Command.SET_INFO, body)).header.status;
  }

  async query(fileId: FileId, infoType: number, fileInfoClass: number, parts = 0): Promise<Buffer> {
    const { header, message } = await this.#client.requestToEnd(
      Command.QUERY_INFO,
      encodeQueryInfoRequest({
        infoType,
        fileInfoClass,
        outputBufferLength: 65_536,
        additionalInformation: parts,
        flags: 0,
        fileId,
        input: Buffer.alloc(0),
      }),
    );
    if (header.status !== 0) throw new Error(`0x${header.status.toString(16)}`);
    return decodeQueryInfoResponse(message).output;
  }

  /** The names in a directory that match a pattern, without "." and ".."; or the status, where that is another. */
  async list(name: string, pattern = '*', fileInformationClass = FileInfoClass.idBothDirectory as number) {
    const { fileId } = await this.open(name, Access.listDirectory | Access.readAttributes);
    const body = encodeQueryDirectoryRequest({
      ...{ fileInformationClass, flags: 0, fileIndex: 0, fileId },
      ...{ fileName: pattern, outputBufferLength: 65_536 },
    });
    const { header, message } = await this.#client.requestToEnd(Command.QUERY_DIRECTORY, body);
    await this.close(fileId);
    if (header.status !== 0) return header.status;
    const entries = decodeDirectoryList(fileInformationClass, decodeQueryDirectoryResponse(message).output);
    return entries.map(({ fileName }) => fileName).filter((fileName) => !/^\.\.?$/.test(fileName));
  }

  async descriptor(name: string): Promise<SecurityDescriptor> {
    const { fileId } = await this.open(name, Access.readControl);
    const { owner, group, dacl } = SecurityInfo;
    const bytes = await this.query(fileId, InfoType.SECURITY, 0, owner | group | dacl);
    await this.close(fileId);
    return decodeSecurityDescriptor(bytes);
  }

  async setDacl(name: string, control: number, ...aces: [type: number, sid: string, mask: number, flags?: number][]) {
    const { fileId } = await this.open(name, Access.writeDac | Access.readControl);
    const dacl = { revision: 2, aces: aces.map(([type, sid, mask, flags = 0]) => ({ type, sid, mask, flags })) };
    const input = encodeSecurityDescriptor({ control, dacl });
    const status = await this.set(fileId, InfoType.SECURITY, 0, input, SecurityInfo.dacl);
    await this.close(fileId);
    return status;
  }

  async write(fileId: FileId, offset: number, data: string): Promise<number> {
    const body = encodeWriteRequest({
      data: Buffer.from(data),
      offset,
      fileId,
      channel: 0,
      remainingBytes: 0,
      channelInfo: Buffer.alloc(0),
      flags: 0,
    });
    return (await this.#client.requestToEnd(Command.WRITE, body)).header.status;
  }

  end(): void {
    this.#client.end();
  }
}

const NO_FILE: FileId = { persistent: 0n, volatile: 0n };

describe('permissions, extended attributes and times of files', () => {
  let serving: Serving;
  let owner: Person;
  let other: Person;

  beforeAll(async () => {
    const shares = ['--share', 'share', '--share', DISCREET, '--access-based-enumeration', DISCREET];
    const flags = [...shares, '--user', `${OTHER}:${PASSWORD}`, '--signing', 'Desired'];
    serving = await Serving.start({ servers: 2, flags });
    owner = await Person.at(serving.addresses[0], USER);
    other = await Person.at(serving.addresses[1], OTHER);
  }, 60_000);

  afterAll(async () => {
    owner?.end();
    other?.end();
    await serving?.stop();
  }, 30_000);

  afterEach(() => {
    for (const name of readdirSync(serving.directory)) {
      if (!name.startsWith('.holdfast-')) rmSync(join(serving.directory, name), { recursive: true });
    }
  });

  test('a share with access-based enumeration lists what its reader may read, and nothing else', async () => {
    const { readControl, readData, readAttributes, readEa, synchronize } = Access;
    const reading = readControl | readData | readAttributes | readEa | synchronize;
    const aces: Record<string, number> = {
      'all of reading': reading,
      'reading, not waiting for it': reading & ~synchronize,
      'no extended attributes': reading & ~readEa,
      'no attributes': reading & ~readAttributes,
      'no data': reading & ~readData,
      'only writing': FileAccess.write,
    };
    await owner.tries('d', FileAccess.all, { options: CreateOptions.DIRECTORY_FILE });
    await owner.tries('d\\nobody set any', FileAccess.all);
    await owner.tries('d\\a folder', FileAccess.all, { options: CreateOptions.DIRECTORY_FILE });
    await owner.setDacl('d\\a folder', 0, [AceType.allow, (await owner.descriptor('d')).owner ?? '', FileAccess.all]);
    for (const [name, mask] of Object.entries(aces)) {
      await owner.tries(`d\\${name}`, FileAccess.all);
      expect(await owner.setDacl(`d\\${name}`, 0, [AceType.allow, everyone, mask])).toBe(Status.SUCCESS);
    }
    const shown = ['all of reading', 'nobody set any', 'reading, not waiting for it'];
    const discreet = await Person.at(serving.addresses[1], OTHER, DISCREET);
    const owning = await Person.at(serving.addresses[0], USER, DISCREET);
    try {
      const { names, idBothDirectory, directory } = FileInfoClass;
      for (const infoClass of [names, idBothDirectory, directory]) {
        expect(((await discreet.list('d', '*', infoClass)) as string[]).sort()).toEqual(shown);
      }
      // Of its owner the right to read and change the descriptor is not enough either.
      expect(((await owning.list('d')) as string[]).sort()).toEqual(['a folder', ...shown].sort());
      expect(await discreet.list('d', 'no data')).toBe(Status.NO_SUCH_FILE);
      expect(await discreet.list('d', 'a f*')).toBe(Status.NO_SUCH_FILE);
      // Hidden is not gone: who asks for it by its name is told what the descriptor says.
      expect(await discreet.tries('d\\no data', Access.readData)).toBe(Status.ACCESS_DENIED);
      expect(await discreet.tries('d\\only writing', Access.writeData)).toBe(Status.SUCCESS);
      // By the other name of the folder all is listed, as ever.
      expect(await other.list('d')).toHaveLength(Object.keys(aces).length + 2);
    } finally {
      discreet.end();
      owning.end();
    }
  });

  test('files belong to who creates them, and without a descriptor everybody may do everything', async () => {
    await owner.tries('a', FileAccess.all);
    const mine = await owner.descriptor('a');
    await other.tries('b', FileAccess.all);
    expect((await other.descriptor('b')).owner).not.toBe(mine.owner);
    expect(await other.descriptor('a')).toEqual(mine);
    expect(await other.tries('a', FileAccess.all)).toBe(Status.SUCCESS);
  });

  test('a descriptor that one server stored decides on the other, and the file takes it along', async () => {
    await owner.tries('a', FileAccess.all);
    expect(await other.tries('a', Access.writeData)).toBe(Status.SUCCESS);
    expect(await owner.setDacl('a', 0, [AceType.allow, everyone, FileAccess.read])).toBe(Status.SUCCESS);
    for (const access of [
      Access.writeData,
      Access.writeDac,
      Access.genericAll,
      Access.maximumAllowed | Access.writeEa,
    ]) {
      expect(await other.tries('a', access)).toBe(Status.ACCESS_DENIED);
    }
    expect(await other.tries('a', Access.genericRead)).toBe(Status.SUCCESS);
    expect(await other.tries('a', Access.readData, { disposition: CreateDisposition.OVERWRITE })).toBe(
      Status.ACCESS_DENIED,
    );
    expect(await owner.tries('a', Access.writeData)).toBe(Status.ACCESS_DENIED);
    expect(await owner.tries('a', Access.writeDac)).toBe(Status.SUCCESS);

    const { fileId } = await owner.open('a', Access.delete);
    const input = fileRenameInformation.encode({ replaceIfExists: false, rootDirectory: 0n, fileName: 'c' });
    expect(await owner.set(fileId, InfoType.FILE, FileInfoClass.rename, input)).toBe(Status.SUCCESS);
    await owner.close(fileId);
    expect(await other.tries('c', Access.writeData)).toBe(Status.ACCESS_DENIED);
  });

  test('who may not write a file adds no stream to it', async () => {
    await owner.tries('a', FileAccess.all);
    await owner.setDacl('a', 0, [AceType.allow, everyone, FileAccess.read]);
    expect(await other.tries('a:stream', Access.readData)).toBe(Status.ACCESS_DENIED);
    await owner.setDacl('a', 0, [AceType.allow, everyone, FileAccess.all]);
    expect(await other.tries('a:stream', Access.readData)).toBe(Status.SUCCESS);
  });

  test('who may only append changes nothing that is there', async () => {
    await owner.tries('a', FileAccess.all);
    await owner.setDacl('a', 0, [AceType.allow, everyone, Access.appendData | Access.synchronize]);
    const { fileId } = await other.open('a', Access.appendData);
    expect(await other.write(fileId, 0, 'first ')).toBe(Status.SUCCESS);
    expect(await other.write(fileId, 6, 'second')).toBe(Status.SUCCESS);
    expect(await other.write(fileId, 3, 'what was there')).toBe(Status.ACCESS_DENIED);
    await other.close(fileId);
    expect(readFileSync(join(serving.directory, 'a'), 'utf8')).toBe('first second');
  });

  test('MxAc tells what may be had at most, with what the directory gives', async () => {
    await owner.tries('a', FileAccess.all);
    await owner.setDacl('a', 0, [AceType.allow, everyone, Access.readData]);
    const opened = await other.open('a', Access.maximumAllowed);
    expect(opened.maximalAccess).toBe(Access.readData | Access.delete | Access.readAttributes);
    await other.close(opened.fileId);
  });

  test('a directory decides on what is created in it and hands its entries on', async () => {
    const directory = { options: CreateOptions.DIRECTORY_FILE };
    await owner.tries('d', FileAccess.all, directory);
    const { objectInherit, containerInherit, inherited } = AceFlag;
    const both = objectInherit | containerInherit;
    const auto = DescriptorControl.daclAutoInherited | DescriptorControl.daclAutoInheritReq;
    await owner.setDacl(
      'd',
      auto,
      [AceType.allow, (await owner.descriptor('d')).owner ?? '', FileAccess.all, both],
      [AceType.allow, everyone, FileAccess.read, both],
    );
    expect(await other.tries('d\\mine', Access.writeData)).toBe(Status.ACCESS_DENIED);
    expect(await other.tries('d\\mine', Access.readData, directory)).toBe(Status.ACCESS_DENIED);
    expect(await owner.tries('d\\file', Access.writeData)).toBe(Status.SUCCESS);
    expect((await owner.descriptor('d\\file')).dacl?.aces.map(({ flags }) => flags)).toEqual([inherited, inherited]);
    expect(await other.tries('d\\file', Access.writeData)).toBe(Status.ACCESS_DENIED);
    expect(await other.tries('d\\file', Access.readData)).toBe(Status.SUCCESS);

    await other.tries('mine', FileAccess.all);
    const { fileId } = await other.open('mine', Access.delete);
    const input = fileRenameInformation.encode({ replaceIfExists: false, rootDirectory: 0n, fileName: 'd\\mine' });
    expect(await other.set(fileId, InfoType.FILE, FileInfoClass.rename, input)).toBe(Status.ACCESS_DENIED);
    await other.close(fileId);
  });

  test('where nothing is handed on, a new file is its creator\u2019s', async () => {
    await owner.tries('d', FileAccess.all, { options: CreateOptions.DIRECTORY_FILE });
    await owner.setDacl('d', 0, [AceType.allow, everyone, FileAccess.all]);
    await owner.tries('d\\file', FileAccess.all);
    const { owner: sid, dacl } = await owner.descriptor('d\\file');
    expect(dacl?.aces.map((ace) => ace.sid)).toEqual([sid, localSystem]);
    expect(await other.tries('d\\file', Access.readData)).toBe(Status.ACCESS_DENIED);
  });

  test('each part of a descriptor takes its right to be read and set', async () => {
    await owner.tries('a', FileAccess.all);
    const { fileId } = await owner.open('a', Access.readData);
    await expect(owner.query(fileId, InfoType.SECURITY, 0, SecurityInfo.dacl)).rejects.toThrow('0xc0000022');
    const input = encodeSecurityDescriptor({ control: 0, owner: everyone, dacl: null });
    for (const part of [SecurityInfo.owner, SecurityInfo.dacl, SecurityInfo.sacl]) {
      expect(await owner.set(fileId, InfoType.SECURITY, 0, input, part)).toBe(Status.ACCESS_DENIED);
    }
    await owner.close(fileId);
    expect(await owner.tries('a', Access.accessSystemSecurity)).toBe(Status.PRIVILEGE_NOT_HELD);
    expect(await owner.setDacl('a', 0)).toBe(Status.SUCCESS);
    const damaged = await owner.open('a', Access.writeDac);
    expect(await owner.set(damaged.fileId, InfoType.SECURITY, 0, Buffer.alloc(30), SecurityInfo.dacl)).toBe(
      Status.INVALID_SECURITY_DESCR,
    );
    await owner.close(damaged.fileId);
  });

  test('extended attributes are set, listed, changed without regard to case, and removed', async () => {
    const { fileId } = await owner.open('a', FileAccess.all);
    const { fullEa } = FileInfoClass;
    const set = (list: FullEa[]) => owner.set(fileId, InfoType.FILE, fullEa, fileFullEaInformation.encode(list));
    const list = async () => fileFullEaInformation.decode(await owner.query(fileId, InfoType.FILE, fullEa));
    const ea = (name: string, value: string): FullEa => ({ flags: 0, name, value: Buffer.from(value) });
    await expect(list()).rejects.toThrow('0xc0000052');
    expect(await set([ea('one', '1'), ea('two', '2')])).toBe(Status.SUCCESS);
    expect(await set([ea('ONE', ''), ea('Two', 'II')])).toBe(Status.SUCCESS);
    expect(await list()).toEqual([ea('Two', 'II')]);
    // Larger than what ext4 keeps in a file.
    expect(await set([ea('large', 'x'.repeat(30_000))])).toBe(Status.SUCCESS);
    expect((await list())[1]?.value.length).toBe(30_000);
    const size = fileEaInformation.decode(await owner.query(fileId, InfoType.FILE, FileInfoClass.ea)).eaSize;
    expect(size).toBeGreaterThan(30_000);
    expect(await set([ea('too large', 'x'.repeat(60_000))])).toBe(Status.EA_TOO_LARGE);
    expect(await set([ea('a*b', '1')])).toBe(Status.INVALID_EA_NAME);
    expect(await set([ea('large', ''), ea('two', '')])).toBe(Status.SUCCESS);
    await expect(list()).rejects.toThrow('0xc0000052');
    await owner.close(fileId);
  });

  describe('times', () => {
    const T = 132_000_000_000_000_000n;
    const nothing = { creationTime: 0n, lastAccessTime: 0n, lastWriteTime: 0n, changeTime: 0n, fileAttributes: 0 };
    const set = (fileId: FileId, times: Partial<FileBasicInformation>) =>
      owner.set(fileId, InfoType.FILE, FileInfoClass.basic, fileBasicInformation.encode({ ...nothing, ...times }));
    const times = async (fileId: FileId) =>
      fileBasicInformation.decode(await owner.query(fileId, InfoType.FILE, FileInfoClass.basic));

    test('all four are set, and a change of the data shows in write and change time', async () => {
      const { fileId } = await owner.open('a', FileAccess.all);
      const all = { creationTime: T, lastAccessTime: T + 10n, lastWriteTime: T + 20n, changeTime: T + 30n };
      expect(await set(fileId, all)).toBe(Status.SUCCESS);
      expect(await times(fileId)).toMatchObject(all);
      expect(await set(fileId, {})).toBe(Status.SUCCESS);
      expect(await times(fileId)).toMatchObject(all);

      const second = await other.open('a', FileAccess.all);
      expect(await other.write(second.fileId, 0, 'data')).toBe(Status.SUCCESS);
      await other.close(second.fileId);
      const after = await times(fileId);
      expect(after.creationTime).toBe(T);
      expect(after.lastWriteTime).toBeGreaterThan(T + 20n);
      expect(after.changeTime).toBeGreaterThan(T + 30n);
      await owner.close(fileId);
    });

    test('a write time that a handle has set or frozen stays when that handle writes', async () => {
      const { fileId } = await owner.open('a', FileAccess.all);
      expect(await set(fileId, { lastWriteTime: T })).toBe(Status.SUCCESS);
      expect(await owner.write(fileId, 0, 'data')).toBe(Status.SUCCESS);
      expect((await times(fileId)).lastWriteTime).toBe(T);
      expect(await set(fileId, { lastWriteTime: -2n })).toBe(Status.SUCCESS);
      expect(await owner.write(fileId, 0, 'more')).toBe(Status.SUCCESS);
      const { lastWriteTime } = await times(fileId);
      expect(lastWriteTime).toBeGreaterThan(T);
      expect(await set(fileId, { lastWriteTime: -1n })).toBe(Status.SUCCESS);
      expect(await owner.write(fileId, 0, 'most')).toBe(Status.SUCCESS);
      expect((await times(fileId)).lastWriteTime).toBe(lastWriteTime);
      expect(await set(fileId, { lastWriteTime: -3n })).toBe(Status.INVALID_PARAMETER);
      await owner.close(fileId);
    });
  });
});
