import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Client, type SmbError } from '../../client/index.ts';
import { FileAccess, ShareAccess } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const TEST_TIMEOUT_MS = 60_000;
const STORE = '.holdfast-side';
const READ_WRITE_DELETE = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE | FileAccess.DELETE;

describe('alternate data streams on two file servers', () => {
  let serving: Serving;
  let here: Client;
  let there: Client;
  let folder: string;
  const onDisk = (...path: string[]) => join(serving.directory, ...path);

  beforeAll(async () => {
    serving = await Serving.start({ servers: 2, flags: ['--continuously-available'] });
    folder = mkdtempSync(join(tmpdir(), 'holdfast-streams-'));
    writeFileSync(join(folder, 'login'), `username=${USER}\npassword=${PASSWORD}\n`, { mode: 0o600 });
    const login = { user: USER, password: PASSWORD, share: 'share' };
    const [first = '', second = ''] = serving.addresses;
    here = await Client.connect({ addresses: [first, second], ...login });
    there = await Client.connect({ addresses: [second], ...login });
  }, 60_000);

  afterAll(async () => {
    await here?.close();
    await there?.close();
    await serving?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 30_000);

  afterEach(() => {
    for (const name of readdirSync(serving.directory)) {
      // Files that are not removed through a server leave their streams behind.
      if (name === STORE || !name.startsWith('.holdfast-')) rmSync(onDisk(name), { recursive: true });
    }
  });

  const statusOf = (promise: Promise<unknown>): Promise<number> =>
    promise.then(
      () => Status.SUCCESS,
      (error: SmbError) => error.status ?? -1,
    );

  const put = async (client: Client, path: string, content: string) => {
    await using file = await client.open(path, { disposition: 'overwriteIf', access: 'readwrite' });
    await file.write(0, Buffer.from(content));
  };
  const get = async (client: Client, path: string) => {
    await using file = await client.open(path);
    return (await file.read(0, 1000)).toString();
  };
  /** Directories of files in the store: those that still have something there. */
  const kept = () =>
    existsSync(onDisk(STORE)) ? readdirSync(onDisk(STORE)).flatMap((bucket) => readdirSync(onDisk(STORE, bucket))) : [];

  test(
    'a stream has its own data, at whatever server, and goes with its file',
    async () => {
      await put(here, 'file', 'data');
      await put(here, 'file:One', 'first');
      await put(here, 'file:two:$DATA', 'second');
      expect(await get(there, 'FILE:ONE')).toBe('first');
      expect(await get(there, 'file:two')).toBe('second');
      expect(readFileSync(onDisk('file'), 'utf8')).toBe('data');

      await there.rename('file', 'renamed');
      expect(await get(here, 'renamed:one')).toBe('first');
      expect(await statusOf(here.open('file:one'))).toBe(Status.OBJECT_NAME_NOT_FOUND);

      await put(here, 'file', 'another');
      expect(await statusOf(here.open('file:one'))).toBe(Status.OBJECT_NAME_NOT_FOUND);
      await here.remove('renamed');
      expect(kept()).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test('a directory has streams too', async () => {
    await here.mkdir('folder');
    await put(here, 'folder:note', 'of a directory');
    expect(await get(there, 'folder:note')).toBe('of a directory');
    expect(await statusOf(here.open('folder::$DATA'))).toBe(Status.FILE_IS_A_DIRECTORY);
    await here.remove('folder');
    expect(kept()).toEqual([]);
  });

  test('the store is shown to nobody and opened by nobody', async () => {
    await put(here, 'file:s', 'hidden');
    expect(statSync(onDisk(STORE)).mode & 0o777).toBe(0o700);
    expect((await here.list('')).map(({ name }) => name)).toEqual(['file']);
    for (const path of [STORE, STORE.toUpperCase(), `${STORE}/gone`]) {
      expect(await statusOf(here.open(path, { kind: 'any' }))).toBe(Status.ACCESS_DENIED);
    }
  });

  test('overwriting a file takes its streams, unless one is open and not to be deleted', async () => {
    await put(here, 'file', 'data');
    await put(here, 'file:s', 'stream');
    {
      await using _open = await there.open('file:s', { shareAccess: ShareAccess.READ | ShareAccess.WRITE });
      expect(await statusOf(put(here, 'file', 'new'))).toBe(Status.SHARING_VIOLATION);
    }
    expect(await get(there, 'file:s')).toBe('stream');
    await put(here, 'file', 'new');
    expect(await statusOf(there.open('file:s'))).toBe(Status.OBJECT_NAME_NOT_FOUND);
    expect(kept()).toEqual([]);
  });

  test('streams have share modes of their own, but a file is not deleted under them', async () => {
    const file = await here.open('file', { disposition: 'create', access: READ_WRITE_DELETE, shareAccess: 0 });
    const stream = await there.open('file:s', {
      disposition: 'create',
      access: 'readwrite',
      shareAccess: ShareAccess.DELETE,
    });
    expect(await statusOf(here.open('file:s'))).toBe(Status.SHARING_VIOLATION);
    await file.close();
    expect(await statusOf(here.rename('file', 'other'))).toBe(Status.ACCESS_DENIED);
    await here.remove('file');
    expect(await statusOf(here.open('file'))).toBe(Status.DELETE_PENDING);
    expect(await statusOf(here.open('file:s'))).toBe(Status.DELETE_PENDING);
    await stream.write(0, Buffer.from('still there'));
    await stream.close();
    expect(existsSync(onDisk('file'))).toBe(false);
    expect(kept()).toEqual([]);
  });

  test('a stream that does not share deleting keeps its file', async () => {
    await put(here, 'file', 'data');
    const stream = await there.open('file:s', { disposition: 'create', access: 'readwrite', shareAccess: 0 });
    expect(await statusOf(here.remove('file'))).toBe(Status.SHARING_VIOLATION);
    await stream.close();
    await here.remove('file');
    expect(existsSync(onDisk('file'))).toBe(false);
  });

  test(
    'a handle of a stream outlives the process that served it',
    async () => {
      const stream = await here.open('file:survivor', {
        disposition: 'create',
        access: READ_WRITE_DELETE,
        shareAccess: 0,
      });
      await stream.write(0, Buffer.from('before'));
      await stream.lock(0, 6);
      await serving.kill(here.address === serving.addresses[0] ? 'fileserver-0' : 'fileserver-1');
      await stream.write(6, Buffer.from(' and after'));
      expect((await stream.read(0, 100)).toString()).toBe('before and after');
      expect(await statusOf(here.remove('file'))).toBe(Status.SHARING_VIOLATION);
      await stream.deleteOnClose();
      await stream.close();
      expect(readdirSync(serving.directory)).toContain('file');
      expect(await statusOf(here.open('file:survivor'))).toBe(Status.OBJECT_NAME_NOT_FOUND);
      expect(kept()).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'smbclient links a file, and finds its streams under both names',
    async () => {
      writeFileSync(join(folder, 'up'), 'stream');
      const [, port = ''] = (serving.addresses[1] ?? '').split(':');
      const commands = [
        ...['put up file', 'hardlink file other', 'put up other:extra', 'hardlink file other', 'allinfo file'],
        ...['del file', 'get other:extra down', 'allinfo other', 'del other'],
      ];
      const output = await new Promise<string>((resolve) => {
        const args = ['//127.0.0.1/share', '-p', port, '-A', join(folder, 'login'), '-c', commands.join('; ')];
        execFile('smbclient', args, { cwd: folder }, (_error, stdout, stderr) => resolve(stdout + stderr));
      });
      expect(output).toContain('NT_STATUS_OBJECT_NAME_COLLISION');
      expect(output.match(/stream: \[:extra:\$DATA\], 6 bytes/g)).toHaveLength(2);
      expect(readFileSync(join(folder, 'down'), 'utf8')).toBe('stream');
      expect(existsSync(onDisk('other'))).toBe(false);
      expect(kept()).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );
});
