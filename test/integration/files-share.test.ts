import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Client, type SmbError } from '../../client/index.ts';
import { FileAccess, FileAttributes } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const READ_WRITE_DELETE = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE | FileAccess.DELETE;

describe('files of a share', () => {
  let serving: Serving;
  let client: Client;
  let other: Client;
  const onDisk = (...path: string[]) => join(serving.directory, ...path);

  beforeAll(async () => {
    serving = await Serving.start({ servers: 1 });
    const options = { addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' };
    client = await Client.connect(options);
    other = await Client.connect(options);
  }, 60_000);

  afterAll(async () => {
    await client?.close();
    await other?.close();
    await serving?.stop();
  }, 30_000);

  afterEach(() => {
    for (const name of readdirSync(serving.directory)) {
      if (!name.startsWith('.holdfast-')) rmSync(onDisk(name), { recursive: true });
    }
  });

  const statusOf = (promise: Promise<unknown>): Promise<number> =>
    promise.then(
      () => Status.SUCCESS,
      (error: SmbError) => error.status ?? -1,
    );

  test('the dispositions of CREATE do to an existing and a missing file what their names say', async () => {
    expect(await statusOf(client.open('a', { disposition: 'open' }))).toBe(Status.OBJECT_NAME_NOT_FOUND);
    expect(await statusOf(client.open('a', { disposition: 'overwrite', access: 'write' }))).toBe(
      Status.OBJECT_NAME_NOT_FOUND,
    );
    await using created = await client.open('a', { disposition: 'create', access: 'readwrite' });
    await created.write(0, Buffer.from('hello'));
    expect(await statusOf(client.open('a', { disposition: 'create', access: 'write' }))).toBe(
      Status.OBJECT_NAME_COLLISION,
    );
    expect(await statusOf(client.open('nowhere/a', { disposition: 'create', access: 'write' }))).toBe(
      Status.OBJECT_PATH_NOT_FOUND,
    );
    await using opened = await client.open('a', { disposition: 'openIf', access: 'readwrite' });
    expect((await opened.read(0, 100)).toString()).toBe('hello');
    await using _emptied = await client.open('a', { disposition: 'overwriteIf', access: 'readwrite' });
    expect(readFileSync(onDisk('a'))).toHaveLength(0);
  });

  test('names keep their case and are found in any', async () => {
    await client.mkdir('Mixed Case');
    await (await client.open('mixed case/File.TXT', { disposition: 'create', access: 'write' })).close();
    expect(readdirSync(onDisk('Mixed Case'))).toEqual(['File.TXT']);
    expect(await statusOf(client.open('MIXED CASE/FILE.txt', { disposition: 'create', access: 'write' }))).toBe(
      Status.OBJECT_NAME_COLLISION,
    );
    await client.rename('mixed case/file.txt', 'MIXED case/FILE.txt');
    expect(readdirSync(onDisk('Mixed Case'))).toEqual(['FILE.txt']);
  });

  test('names that Windows forbids reach the client mapped and work', async () => {
    writeFileSync(onDisk('what: really?'), 'mapped');
    const [entry] = await client.list();
    expect(entry?.name).toBe('what\uf022 really\uf025');
    await using file = await client.open(entry?.name ?? '', {});
    expect((await file.read(0, 100)).toString()).toBe('mapped');
  });

  test.each(['../outside', 'd/../../outside', 'link/passwd', '.holdfast-volume'])('%s leads nowhere', async (path) => {
    mkdirSync(onDisk('d'));
    symlinkSync('/etc', onDisk('link'));
    expect(await statusOf(client.open(path, {}))).not.toBe(Status.SUCCESS);
  });

  test('a large directory is listed whole, each name once, while files come and go', async () => {
    mkdirSync(onDisk('many'));
    const names = Array.from({ length: 3000 }, (_, i) => `a rather long name of a file ${String(i).padStart(5, '0')}`);
    for (const name of names) writeFileSync(onDisk('many', name), '');
    const listing = client.list('many');
    for (let i = 0; i < 50; i++) writeFileSync(onDisk('many', `new ${i}`), '');
    const listed = (await listing).map(({ name }) => name).filter((name) => !name.startsWith('new'));
    expect(listed.sort()).toEqual(names);
    expect((await client.list('many', { pattern: '*0042' })).map(({ name }) => name)).toEqual([names[42]]);
  }, 30_000);

  test('share modes decide between clients, and delete-pending ends with the last open', async () => {
    const mine = await client.open('f', { disposition: 'create', access: READ_WRITE_DELETE, shareAccess: 0 });
    expect(await statusOf(other.open('f', {}))).toBe(Status.SHARING_VIOLATION);
    await mine.close();
    const first = await client.open('f', { access: READ_WRITE_DELETE });
    const second = await other.open('f', {});
    await first.deleteOnClose();
    await first.close();
    expect(await statusOf(other.open('f', {}))).toBe(Status.DELETE_PENDING);
    expect(existsSync(onDisk('f'))).toBe(true);
    await second.close();
    expect(existsSync(onDisk('f'))).toBe(false);
    expect(await statusOf(other.open('f', {}))).toBe(Status.OBJECT_NAME_NOT_FOUND);
  });

  test('a byte range that another has locked can neither be read nor written', async () => {
    await using mine = await client.open('f', { disposition: 'create', access: 'readwrite' });
    await using theirs = await other.open('f', { access: 'readwrite' });
    await mine.write(0, Buffer.alloc(100, 1));
    await mine.lock(10, 10);
    expect(await statusOf(theirs.read(15, 1))).toBe(Status.FILE_LOCK_CONFLICT);
    expect(await statusOf(theirs.write(19, Buffer.from('x')))).toBe(Status.FILE_LOCK_CONFLICT);
    expect(await statusOf(theirs.write(20, Buffer.from('x')))).toBe(Status.SUCCESS);
    await mine.unlock(10, 10);
    expect(await statusOf(theirs.read(15, 1))).toBe(Status.SUCCESS);
  });

  test('a rename replaces only what it may', async () => {
    writeFileSync(onDisk('a'), 'a');
    writeFileSync(onDisk('b'), 'b');
    mkdirSync(onDisk('d'));
    expect(await statusOf(client.rename('a', 'b'))).toBe(Status.OBJECT_NAME_COLLISION);
    expect(await statusOf(client.rename('a', 'd', { replace: true }))).toBe(Status.ACCESS_DENIED);
    const held = await other.open('b', {});
    expect(await statusOf(client.rename('a', 'b', { replace: true }))).toBe(Status.ACCESS_DENIED);
    await held.close();
    await client.rename('a', 'b', { replace: true });
    expect(readFileSync(onDisk('b'), 'utf8')).toBe('a');
    await client.rename('b', 'd/moved');
    expect(readFileSync(onDisk('d', 'moved'), 'utf8')).toBe('a');
  });

  test('a directory is renamed only when nothing beneath it is open, and removed only when it is empty', async () => {
    mkdirSync(onDisk('d'));
    writeFileSync(onDisk('d', 'f'), '');
    const beneath = await other.open('d/f', {});
    expect(await statusOf(client.rename('d', 'e'))).toBe(Status.ACCESS_DENIED);
    await beneath.close();
    expect(await statusOf(client.remove('d'))).toBe(Status.DIRECTORY_NOT_EMPTY);
    await client.rename('d', 'e');
    await client.remove('e/f');
    await client.remove('e');
    expect(existsSync(onDisk('e'))).toBe(false);
  });

  test('attributes of a new file are kept, and read-only files are not written or removed', async () => {
    const fileAttributes = FileAttributes.READONLY | FileAttributes.HIDDEN;
    const file = await client.open('f', { disposition: 'create', access: 'write', fileAttributes });
    await file.write(0, Buffer.from('once'));
    await file.close();
    expect((await client.stat('f')).attributes).toBe(fileAttributes | FileAttributes.ARCHIVE);
    expect(await statusOf(client.open('f', { access: 'write' }))).toBe(Status.ACCESS_DENIED);
    expect(await statusOf(client.remove('f'))).toBe(Status.CANNOT_DELETE);
  });

  test('what the volume refuses has its own status', async () => {
    await using file = await client.open('f', { disposition: 'create', access: 'readwrite' });
    expect(await statusOf(file.write(2 ** 52, Buffer.from('x')))).toBe(Status.DISK_FULL);
    expect(
      await statusOf(client.open('n'.repeat(250) + 'ü'.repeat(5), { disposition: 'create', access: 'write' })),
    ).toBe(Status.OBJECT_NAME_INVALID);
  });
});
