// What clients hear when the volume fails: it is full, write-protected, its quota is used up, its disk is gone, its FUSE daemon has died, a file
// was removed behind its back. Needs root.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Client, SmbError } from '../../client/index.ts';
import { CreateDisposition, CreateOptions, FileAccess, Fsctl, InfoType, WriteFlags } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { fileFullEaInformation } from '../../smb/fscc/ea.ts';
import {
  fileAllocationInformation,
  fileBasicInformation,
  fileDispositionInformation,
  fileEndOfFileInformation,
  fileRenameInformation,
} from '../../smb/fscc/file-info.ts';
import { Access, FileAccess as Rights } from '../../smb/security/access-mask.ts';
import { AceType, encodeSecurityDescriptor, SecurityInfo } from '../../smb/security/descriptor.ts';
import { statusName } from '../../smb/status.ts';
import {
  decodeCopychunkResponse,
  decodeResumeKeyResponse,
  encodeCopychunkRequest,
} from '../../smb/wire/ioctl-payloads.ts';
import { ended, eventually, run } from '../cluster/shell.ts';
import { canMakeVolumes, LoopVolume } from '../loop-volume.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { RawOpen, type RawOpenOptions } from './raw-requests.ts';

const MIB = 1024 * 1024;
/** ext4 has files of 16 TiB at most. */
const TIB = 1024 ** 4;
const TEST_TIMEOUT_MS = 60_000;
const READ_WRITE = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE;
const NOTHING = Buffer.alloc(0);
/** Of a block of the volume, bytes. */
const SMALLEST = 1024;

const full = 'STATUS_DISK_FULL';
const readOnly = 'STATUS_MEDIA_WRITE_PROTECTED';
const broken = 'STATUS_UNEXPECTED_IO_ERROR';
const closed = 'STATUS_FILE_CLOSED';
const success = 'STATUS_SUCCESS';
const tooLarge = 'STATUS_INVALID_PARAMETER';

const endOfFile = (size: number) => fileEndOfFileInformation.encode({ endOfFile: size });
const allocation = (size: number) => fileAllocationInformation.encode({ allocationSize: size });
const extendedAttribute = (size: number) =>
  fileFullEaInformation.encode([{ flags: 0, name: 'large', value: Buffer.alloc(size, 'x') }]);
const renamed = (fileName: string) =>
  fileRenameInformation.encode({ replaceIfExists: false, rootDirectory: 0n, fileName });
const readOnlyAttribute = fileBasicInformation.encode({
  creationTime: 0n,
  lastAccessTime: 0n,
  lastWriteTime: 0n,
  changeTime: 0n,
  fileAttributes: 1,
});

/** More entries than an inode of ext4 has room for. */
function largeDescriptor(): Buffer {
  const aces = Array.from({ length: 200 }, (_, i) => ({
    type: AceType.allow,
    flags: 0,
    mask: Rights.read,
    sid: `S-1-5-21-1-2-3-${i}`,
  }));
  return encodeSecurityDescriptor({ control: 0, dacl: { revision: 2, aces } });
}

interface Stage {
  serving: Serving;
  client: Client;
}

async function serve(directory: string, flags: readonly string[]): Promise<Stage> {
  const serving = await Serving.start({ directory, flags: [...flags] });
  const login = { addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' };
  return { serving, client: await Client.connect(login) };
}

async function leave(stage: Stage | undefined): Promise<void> {
  await stage?.client.close();
  await stage?.serving.stop();
}

function clientOf(stage: Stage | undefined): Client {
  if (!stage) throw new Error('nothing is served');
  return stage.client;
}

const raw = (stage: Stage | undefined, name: string, options: RawOpenOptions = {}) =>
  RawOpen.open(clientOf(stage), name, { access: READ_WRITE, ...options });

const listed = (stage: Stage | undefined) => clientOf(stage).list();

/** The name of the status that an operation ends with. */
async function statusOf(result: Promise<unknown>): Promise<string> {
  try {
    const value = await result;
    if (typeof value === 'number') return statusName(value);
    if (value instanceof RawOpen) return statusName(await value.close());
    return success;
  } catch (error) {
    if (error instanceof SmbError) return error.code;
    throw error;
  }
}

const created = { disposition: CreateDisposition.CREATE };

const onVolumes = canMakeVolumes ? describe : describe.skip;

const kinds = [
  ['a plain share', []],
  ['a continuously available share', ['--continuously-available']],
] as const;

onVolumes('a share whose volume', () => {
  let volume: LoopVolume;
  let stage: Stage;

  const begin = async (flags: readonly string[] = []) => {
    volume = await LoopVolume.make({ inodes: 64 });
    writeFileSync(join(volume.path, 'there'), 'what was there');
    stage = await serve(volume.path, flags);
  };

  afterEach(async () => {
    await leave(stage);
    await volume?.remove();
  }, TEST_TIMEOUT_MS);

  /** Writes until the volume takes no more; gives what it has taken. */
  async function fill(open: RawOpen): Promise<Buffer> {
    const taken: Buffer[] = [];
    let size = 64 * 1024;
    for (let at = 0; at < 64 * MIB; ) {
      const data = randomBytes(size);
      const status = statusName(await open.write(at, data));
      if (status === success) {
        taken.push(data);
        at += size;
        continue;
      }
      expect(status).toBe(full);
      if (size === SMALLEST) return Buffer.concat(taken);
      // No block is left over.
      size = SMALLEST;
    }
    throw new Error('a volume of 16 MiB has taken 64');
  }

  test.each(kinds)(
    'is full says so to whatever takes room, keeps what it has taken, and goes on when there is room again: %s',
    async (_kind, flags) => {
      await begin(flags);
      const { client } = stage;
      await client.mkdir('folder');
      writeFileSync(join(volume.path, 'source'), randomBytes(MIB));
      const there = await raw(stage, 'there', { access: READ_WRITE | Access.writeDac | Access.delete });
      const large = await raw(stage, 'large', created);
      const taken = await fill(large);
      expect(await statusOf(large.flush())).toBe(success);
      expect(readFileSync(join(volume.path, 'large')).equals(taken)).toBe(true);

      const { allocation: allocate, endOfFile: setEnd, fullEa, rename } = FileInfoClass;
      const { FILE, SECURITY } = InfoType;
      expect(await statusOf(there.set(FILE, allocate, allocation(8 * MIB)))).toBe(full);
      expect(await statusOf(there.set(FILE, fullEa, extendedAttribute(30_000)))).toBe(full);
      expect(await statusOf(there.set(SECURITY, 0, largeDescriptor(), SecurityInfo.dacl))).toBe(full);
      expect(await statusOf(client.mkdir('another folder'))).toBe(full);
      expect(await statusOf(raw(stage, 'there:stream', created))).toBe(full);
      // A file may end where nothing is yet, but what is written there needs room.
      expect(await statusOf(there.set(FILE, setEnd, endOfFile(4 * MIB)))).toBe(success);
      expect(await statusOf(there.write(2 * MIB, Buffer.alloc(4096)))).toBe(full);
      expect(await statusOf(there.set(FILE, setEnd, endOfFile(14)))).toBe(success);

      const source = await raw(stage, 'source');
      const key = decodeResumeKeyResponse((await source.ioctl(Fsctl.SRV_REQUEST_RESUME_KEY, NOTHING, 32)).output);
      const chunks = [{ sourceOffset: 0, targetOffset: MIB, length: MIB }];
      const copied = await there.ioctl(Fsctl.SRV_COPYCHUNK, encodeCopychunkRequest({ sourceKey: key, chunks }));
      expect(statusName(copied.status)).toBe(full);
      expect(decodeCopychunkResponse(copied.output)).toMatchObject({ chunksWritten: 0 });
      await source.close();

      // There is room for the data of none, and after some more for no file at all.
      const names = Array.from({ length: 64 }, (_, i) => `empty${i}`);
      const made: string[] = [];
      for (const name of names) {
        const status = await statusOf(raw(stage, name, created));
        if (status === success) made.push(name);
        else expect(status).toBe(full);
      }
      expect(made.length).toBeLessThan(names.length);
      expect((await client.list()).map(({ name }) => name).sort()).toEqual(
        ['folder', 'large', 'lost+found', 'source', 'there', ...made].sort(),
      );

      // What needs no room goes on.
      expect(await statusOf(there.write(0, Buffer.from('WHAT')))).toBe(success);
      expect(await statusOf(there.set(FILE, rename, renamed('folder\\moved')))).toBe(success);
      expect(readFileSync(join(volume.path, 'folder/moved'), 'utf8').slice(0, 14)).toBe('WHAT was there');
      expect(statusName((await there.read(0, 14)).status)).toBe(success);
      expect(await statusOf(there.close())).toBe(success);

      await large.close();
      for (const name of ['large', ...made]) await client.remove(name);
      expect(await statusOf(raw(stage, 'folder\\moved:stream', created))).toBe(success);
      const again = await client.open('again', { disposition: 'create', access: 'write' });
      await again.write(0, Buffer.alloc(MIB));
      await again.flush();
      await again.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'has no files as large as is wanted says so, and not that it is full',
    async () => {
      await begin();
      const there = await raw(stage, 'there');
      const { allocation: allocate, endOfFile: setEnd } = FileInfoClass;
      for (const size of [17 * TIB, Number.MAX_SAFE_INTEGER]) {
        expect(await statusOf(there.set(InfoType.FILE, setEnd, endOfFile(size)))).toBe(tooLarge);
        expect(await statusOf(there.set(InfoType.FILE, allocate, allocation(size)))).toBe(tooLarge);
      }
      expect(readFileSync(join(volume.path, 'there'), 'utf8')).toBe('what was there');
      await there.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'has a quota that is used up is full',
    async () => {
      volume = await LoopVolume.withQuota(8);
      stage = await serve(volume.path, []);
      const large = await raw(stage, 'large', created);
      const taken = await fill(large);
      expect(taken.length).toBeLessThan(9 * MIB);
      expect(await statusOf(large.flush())).toBe(success);
      // Behind it lies what the volume had taken of a write that failed.
      expect(readFileSync(join(volume.path, 'large')).subarray(0, taken.length).equals(taken)).toBe(true);
      // It is the quota, and not the volume.
      const errno = -constants.errno.EDQUOT;
      expect(() => writeFileSync(join(volume.path, 'another'), Buffer.alloc(MIB))).toThrow(
        expect.objectContaining({ errno }),
      );

      await large.close();
      await stage.client.remove('large');
      const again = await raw(stage, 'again', created);
      const given = async () => {
        // What was removed is given back with the volume's next transaction.
        await run('btrfs', ['filesystem', 'sync', volume.path]);
        return (await statusOf(again.write(0, Buffer.alloc(64 * 1024)))) === success ? true : undefined;
      };
      await eventually('there is room again', TEST_TIMEOUT_MS, given);
      await again.close();
    },
    2 * TEST_TIMEOUT_MS,
  );

  test(
    'is mounted read-only lets nothing be changed, and everything be read',
    async () => {
      await begin();
      const { client } = stage;
      await client.mkdir('empty');
      const only = await raw(stage, 'there', { access: Access.delete | Access.writeAttributes | Access.writeDac });
      await volume.remountReadOnly();
      const { rename, disposition, basic } = FileInfoClass;
      const { FILE, SECURITY } = InfoType;
      expect(await statusOf(raw(stage, 'there'))).toBe(readOnly);
      expect(await statusOf(raw(stage, 'there', { disposition: CreateDisposition.OVERWRITE }))).toBe(readOnly);
      expect(await statusOf(raw(stage, 'new', created))).toBe(readOnly);
      expect(await statusOf(raw(stage, 'there:stream', created))).toBe(readOnly);
      expect(await statusOf(client.mkdir('new'))).toBe(readOnly);
      expect(await statusOf(only.set(FILE, rename, renamed('renamed')))).toBe(readOnly);
      expect(await statusOf(only.set(FILE, basic, readOnlyAttribute))).toBe(readOnly);
      expect(await statusOf(only.set(SECURITY, 0, largeDescriptor(), SecurityInfo.dacl))).toBe(readOnly);
      const pending = fileDispositionInformation.encode({ deletePending: true });
      expect(await statusOf(only.set(FILE, disposition, pending))).toBe(readOnly);
      for (const name of ['there', 'empty']) {
        const how = { access: Access.delete, createOptions: CreateOptions.DELETE_ON_CLOSE };
        expect(await statusOf(raw(stage, name, how))).toBe(readOnly);
      }
      await only.close();

      const reading = await raw(stage, 'there', { access: FileAccess.FILE_GENERIC_READ });
      expect((await reading.read(0, 100)).data.toString()).toBe('what was there');
      await reading.close();
      expect((await client.list()).map(({ name }) => name).sort()).toEqual(['empty', 'lost+found', 'there']);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'was given up writing by the kernel refuses changes through what was open before, too',
    async () => {
      await begin();
      const open = await raw(stage, 'there');
      await volume.giveUpWriting();
      expect(await statusOf(open.write(0, Buffer.from('lost')))).toBe(readOnly);
      expect(await statusOf(open.set(InfoType.FILE, FileInfoClass.endOfFile, endOfFile(5)))).toBe(readOnly);
      expect(await statusOf(raw(stage, 'new', created))).toBe(readOnly);
      expect((await open.read(0, 100)).data.toString()).toBe('what was there');
      await open.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'has on its disk what was written through or flushed, when that is answered',
    async () => {
      await begin();
      // What the loop device was given; the volume's own cache is not in it.
      const disk = () => readFileSync(join(volume.folder, 'image'));
      const open = await raw(stage, 'there');
      // A block each: those of a file need not lie side by side.
      const [through, flushed] = [randomBytes(SMALLEST), randomBytes(SMALLEST)];
      expect(await statusOf(open.write(0, through, WriteFlags.WRITE_THROUGH))).toBe(success);
      expect(disk().includes(through)).toBe(true);
      expect(await statusOf(open.write(SMALLEST, flushed))).toBe(success);
      expect(await statusOf(open.flush())).toBe(success);
      expect(disk().includes(flushed)).toBe(true);
      await open.close();
    },
    TEST_TIMEOUT_MS,
  );

  test.each(kinds)(
    'has lost its disk fails whatever needs it, and the server lives on: %s',
    async (_kind, flags) => {
      await begin(flags);
      const { client, serving } = stage;
      await client.mkdir('folder');
      writeFileSync(join(volume.path, 'folder', 'file'), 'x');
      const open = await raw(stage, 'there');
      const folder = await raw(stage, 'folder', { createOptions: CreateOptions.DIRECTORY_FILE });
      const before = serving.pid('fileserver-0');
      await volume.fail();
      expect(await statusOf(open.write(0, Buffer.from('lost')))).toBe(broken);
      expect(await statusOf(open.flush())).toBe(broken);
      expect(await statusOf(folder.flush())).toBe(broken);
      expect(await statusOf(open.set(InfoType.FILE, FileInfoClass.endOfFile, endOfFile(5)))).toBe(broken);
      expect(await statusOf(open.set(InfoType.FILE, FileInfoClass.basic, readOnlyAttribute))).toBe(broken);
      expect(await statusOf(raw(stage, 'new', created))).toBe(broken);
      expect(await statusOf(client.mkdir('new'))).toBe(broken);
      expect(await statusOf(client.list('folder'))).toBe(broken);
      expect(await statusOf(folder.close())).toBe(success);
      expect(await statusOf(open.close())).toBe(success);
      expect(await serving.isReady(0)).toBe(true);
      expect(serving.pid('fileserver-0')).toBe(before);
    },
    TEST_TIMEOUT_MS,
  );
});

onVolumes('a share on a FUSE file system', () => {
  let volume: LoopVolume;
  let mounted: string;
  let stage: Stage | undefined;
  let daemon: ReturnType<typeof spawn>;
  const behind = () => readFileSync(join(volume.path, 'there'), 'utf8');

  beforeEach(async () => {
    volume = await LoopVolume.make();
    writeFileSync(join(volume.path, 'there'), 'what was there');
    mounted = mkdtempSync(join(tmpdir(), 'holdfast-fuse-'));
    daemon = spawn('bindfs', ['-f', volume.path, mounted], { stdio: 'inherit' });
    await eventually('the file system is mounted', 10_000, () => readdirSync(mounted).includes('there') || undefined);
    stage = await serve(mounted, []);
  }, TEST_TIMEOUT_MS);

  afterEach(async () => {
    await leave(stage);
    stage = undefined;
    daemon.kill('SIGKILL');
    await ended(spawn('umount', ['--lazy', mounted], { stdio: 'ignore' }));
    rmSync(mounted, { recursive: true, force: true });
    await volume.remove();
  }, TEST_TIMEOUT_MS);

  test(
    'tells at CLOSE of what was taken and could not be made stable',
    async () => {
      const open = await raw(stage, 'there');
      expect(await statusOf(open.write(0, Buffer.from('WHAT')))).toBe(success);
      await volume.fail();
      expect(await statusOf(open.close())).toBe(broken);
      // It is closed all the same.
      expect(await statusOf(open.close())).toBe(closed);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'whose daemon dies fails whatever needs it, and the server lives on',
    async () => {
      const open = await raw(stage, 'there');
      expect(await statusOf(open.write(0, Buffer.from('WHAT')))).toBe(success);
      expect(await statusOf(open.flush())).toBe(success);
      const over = ended(daemon);
      daemon.kill('SIGKILL');
      await over;
      expect(await statusOf(open.write(0, Buffer.from('lost')))).toBe(broken);
      expect(await statusOf(open.flush())).toBe(broken);
      expect(await statusOf(raw(stage, 'there'))).toBe(broken);
      expect(await statusOf(raw(stage, 'new', created))).toBe(broken);
      expect(await statusOf(listed(stage))).toBe(broken);
      expect(await stage?.serving.isReady(0)).toBe(true);
      expect(behind()).toBe('WHAT was there');
    },
    TEST_TIMEOUT_MS,
  );
});

onVolumes('a share on a mount of a folder in which others work, too', () => {
  let program: string;
  let volume: LoopVolume;
  let mounted: string;
  let stage: Stage | undefined;
  let daemon: ReturnType<typeof spawn>;
  const behind = (name: string) => join(volume.path, name);

  beforeAll(async () => {
    program = join(mkdtempSync(join(tmpdir(), 'holdfast-program-')), 'stale-mount');
    const source = join(import.meta.dirname, 'programs/stale-mount.c');
    await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-I/usr/include/fuse3', '-o', program, source, '-lfuse3']);
  }, TEST_TIMEOUT_MS);

  afterAll(() => rmSync(join(program, '..'), { recursive: true, force: true }));

  beforeEach(async () => {
    volume = await LoopVolume.make();
    mounted = mkdtempSync(join(tmpdir(), 'holdfast-stale-'));
    mkdirSync(behind('folder'));
    for (const name of ['there', 'folder/file']) writeFileSync(behind(name), 'what was there');
    daemon = spawn(program, [volume.path, mounted], { stdio: 'inherit' });
    await eventually('it is mounted', TEST_TIMEOUT_MS, () => readdirSync(mounted).includes('there') || undefined);
    stage = await serve(mounted, []);
  }, 2 * TEST_TIMEOUT_MS);

  afterEach(async () => {
    await leave(stage);
    stage = undefined;
    await run('umount', ['--lazy', mounted]);
    daemon.kill('SIGKILL');
    rmSync(mounted, { recursive: true, force: true });
    await volume.remove();
  }, TEST_TIMEOUT_MS);

  test(
    'whose file was removed there says that the handle is not open any more, and a new file of that name is another',
    async () => {
      const { serving, client } = stage as Stage;
      const open = await raw(stage, 'there', { access: READ_WRITE | Access.delete | Access.writeDac });
      const folder = await raw(stage, 'folder', { createOptions: CreateOptions.DIRECTORY_FILE });
      expect((await open.read(0, 100)).data.toString()).toBe('what was there');
      rmSync(behind('there'));
      rmSync(behind('folder'), { recursive: true });
      const { basic, endOfFile: end, rename } = FileInfoClass;
      expect(statusName((await open.read(0, 100)).status)).toBe(closed);
      expect(await statusOf(open.write(0, Buffer.from('lost')))).toBe(closed);
      expect(await statusOf(open.flush())).toBe(closed);
      expect(await statusOf(open.set(InfoType.FILE, end, endOfFile(5)))).toBe(closed);
      expect(await statusOf(open.set(InfoType.FILE, basic, readOnlyAttribute))).toBe(closed);
      expect(await statusOf(open.set(InfoType.SECURITY, 0, largeDescriptor(), SecurityInfo.dacl))).toBe(closed);
      expect(await statusOf(open.set(InfoType.FILE, rename, renamed('renamed')))).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      expect(await statusOf(folder.flush())).toBe(closed);
      // What could not be flushed is told once more; it is closed all the same, as the new file shows.
      expect(await statusOf(open.close())).toBe(closed);
      expect(await statusOf(folder.close())).toBe(success);
      expect(await statusOf(raw(stage, 'folder\\file'))).toBe('STATUS_OBJECT_PATH_NOT_FOUND');

      const another = await raw(stage, 'there', created);
      expect(await statusOf(another.write(0, Buffer.from('another')))).toBe(success);
      expect(await statusOf(another.close())).toBe(success);
      expect(readFileSync(behind('there'), 'utf8')).toBe('another');
      expect((await client.list()).map(({ name }) => name).sort()).toEqual(['lost+found', 'there']);
      expect(await serving.isReady(0)).toBe(true);
    },
    2 * TEST_TIMEOUT_MS,
  );
});
