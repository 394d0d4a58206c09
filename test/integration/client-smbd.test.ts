import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Client, type ClientOptions, DEFAULT_OFFER } from '../../client/index.ts';
import { CipherId, Dialect, FileAccess, ShareAccess, SigningAlgorithmId } from '../../smb/constants.ts';
import { Smbd } from './smbd.ts';

// The client against another implementation: Debian's smbd. `make test` installs it; without it there is nothing to test.
jest.setTimeout(30_000);

const whenInstalled = Smbd.isInstalled() ? describe : describe.skip;

let smbd: Smbd;

async function connect(options: Partial<ClientOptions> = {}): Promise<Client> {
  return Client.connect({
    addresses: smbd.address,
    user: smbd.user,
    password: smbd.password,
    share: 'share',
    operationTimeoutMs: 10_000,
    ...options,
  });
}

whenInstalled('the client against smbd', () => {
  beforeAll(async () => {
    smbd = await Smbd.start();
  }, 60_000);
  afterAll(async () => {
    await smbd.stop();
  });

  describe.each([
    ['3.0', Dialect.SMB_3_0],
    ['3.0.2', Dialect.SMB_3_0_2],
    ['3.1.1', Dialect.SMB_3_1_1],
  ])('dialect %s', (_, dialect) => {
    test.each([
      ['signed', false],
      ['encrypted', true],
    ])('copies a file there and back, %s', async (_name, encryption) => {
      await using client = await connect({ offer: { ...DEFAULT_OFFER, dialects: [dialect] }, encryption });
      expect(client.link?.connection.negotiated.dialect).toBe(dialect);
      const data = randomBytes(3_000_001);
      const file = await client.open('copy.bin', { access: 'readwrite', disposition: 'overwriteIf' });
      await file.write(0, data);
      await file.flush();
      expect((await file.read(0, data.length + 10)).equals(data)).toBe(true);
      await file.close();
      expect(readFileSync(join(smbd.directory, 'copy.bin')).equals(data)).toBe(true);
    });
  });

  test.each(Object.entries(CipherId))('encrypts with %s', async (_, cipher) => {
    await using client = await connect({ offer: { ...DEFAULT_OFFER, ciphers: [cipher] }, encryption: true });
    expect(client.link?.connection.negotiated.cipher).toBe(cipher);
    expect(await client.list()).toBeInstanceOf(Array);
  });

  test.each(Object.entries(SigningAlgorithmId))('signs with %s', async (_, algorithm) => {
    await using client = await connect({ offer: { ...DEFAULT_OFFER, signingAlgorithms: [algorithm] } });
    expect(client.link?.connection.negotiated.signingAlgorithm).toBe(algorithm);
    expect(await client.list()).toBeInstanceOf(Array);
  });

  test('encrypts on a share that demands it', async () => {
    await using client = await connect({ share: 'secret' });
    await client.mkdir('on-secret');
    expect(existsSync(join(smbd.directory, 'on-secret'))).toBe(true);
    await client.remove('on-secret');
  });

  test('lists, makes, renames and removes', async () => {
    await using client = await connect();
    await client.mkdir('folder');
    for (const name of ['one', 'two', 'näme'])
      await (await client.open(`folder/${name}`, { access: 'write', disposition: 'create' })).close();
    expect((await client.list('folder')).map((entry) => entry.name).sort()).toEqual(['näme', 'one', 'two']);
    await client.rename('folder/one', 'folder/three');
    await expect(client.rename('folder/two', 'folder/three')).rejects.toMatchObject({
      code: 'STATUS_OBJECT_NAME_COLLISION',
    });
    await expect(client.remove('folder')).rejects.toMatchObject({ code: 'STATUS_DIRECTORY_NOT_EMPTY' });
    for (const name of ['two', 'three', 'näme']) await client.remove(`folder/${name}`);
    await client.remove('folder');
    await expect(client.stat('folder')).rejects.toMatchObject({ code: 'STATUS_OBJECT_NAME_NOT_FOUND' });
  });

  test('lists a directory that does not fit into one answer', async () => {
    const names = Array.from({ length: 700 }, (_, i) => `${'a long name '.repeat(15)}${i}`);
    await using client = await connect();
    await client.mkdir('many');
    for (const name of names) writeFileSync(join(smbd.directory, 'many', name), '');
    expect((await client.list('many')).map((entry) => entry.name).sort()).toEqual([...names].sort());
  });

  test('tells size and kind', async () => {
    await using client = await connect();
    writeFileSync(join(smbd.directory, 'sized'), Buffer.alloc(12_345));
    expect(await client.stat('sized')).toMatchObject({ size: 12_345, isDirectory: false });
    expect(await client.stat('')).toMatchObject({ isDirectory: true });
  });

  test('reads nothing behind the end, and cuts files off', async () => {
    await using client = await connect();
    const file = await client.open('short', { access: 'readwrite', disposition: 'overwriteIf' });
    await file.write(0, Buffer.from('0123456789'));
    await file.truncate(4);
    expect((await file.read(2, 100)).toString()).toBe('23');
    expect((await file.read(50, 10)).length).toBe(0);
    expect(await file.stat()).toMatchObject({ size: 4 });
    await file.close();
    await expect(file.read(0, 1)).rejects.toMatchObject({ code: 'HANDLE_CLOSED' });
  });

  test('keeps two clients apart with byte-range locks', async () => {
    await using one = await connect();
    await using other = await connect();
    const options = { access: 'readwrite', disposition: 'openIf', durable: false } as const;
    const mine = await one.open('locked', options);
    const theirs = await other.open('locked', options);
    await mine.lock(0, 100);
    await expect(theirs.lock(50, 100)).rejects.toMatchObject({ code: 'STATUS_LOCK_NOT_GRANTED' });
    await theirs.lock(100, 100);
    const waiting = theirs.lock(50, 10, { wait: true });
    await mine.unlock(0, 100);
    await waiting;
  });

  test('gives up a lock that it waits for when it is told so', async () => {
    await using one = await connect();
    await using other = await connect();
    const options = { access: 'readwrite', disposition: 'openIf', durable: false } as const;
    await (await one.open('locked too', options)).lock(0, 100);
    const theirs = await other.open('locked too', options);
    await expect(theirs.lock(0, 1, { wait: true, signal: AbortSignal.timeout(300) })).rejects.toMatchObject({
      code: 'TIMED_OUT',
    });
    expect((await theirs.read(200, 1)).length).toBe(0);
  });

  test('acknowledges the break of its batch oplock, so that another client gets in', async () => {
    await using one = await connect();
    await using other = await connect();
    const held = await one.open('broken', { access: 'readwrite', disposition: 'openIf' });
    expect(held.durability).toBe('durable');
    const startedMs = performance.now();
    await (await other.open('broken', { access: 'read' })).close();
    // Without the acknowledgement smbd would wait 35 s.
    expect(performance.now() - startedMs).toBeLessThan(5000);
    await held.write(0, Buffer.from('still mine'));
  });

  test('respects what others share', async () => {
    await using one = await connect();
    await using other = await connect();
    const alone = await one.open('alone', {
      access: 'readwrite',
      disposition: 'openIf',
      shareAccess: ShareAccess.READ,
      durable: false,
    });
    await expect(other.open('alone', { access: 'write' })).rejects.toMatchObject({ code: 'STATUS_SHARING_VIOLATION' });
    await alone.close();
    await (await other.open('alone', { access: FileAccess.FILE_GENERIC_WRITE })).close();
  });

  test('gets its durable handle back when the connection is cut', async () => {
    await using client = await connect();
    const file = await client.open('durable', { access: 'readwrite', disposition: 'overwriteIf' });
    expect(file.durability).toBe('durable');
    await file.write(0, Buffer.from('before'));
    const ended = new Promise<{ reclaimed: number; lost: number }>((resolve) => client.once('failoverEnded', resolve));
    client.link?.connection.close();
    await file.write(6, Buffer.from(' and after'));
    expect(await ended).toMatchObject({ reclaimed: 1, lost: 0 });
    expect((await file.read(0, 100)).toString()).toBe('before and after');
  });

  test('lists the shares', async () => {
    await using client = await connect();
    expect((await client.shares()).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['share', 'secret', 'IPC$']),
    );
  });

  test('is refused with a wrong password, an unknown user and an unknown share', async () => {
    await expect(connect({ password: 'wrong' })).rejects.toMatchObject({ code: 'STATUS_LOGON_FAILURE' });
    await expect(connect({ user: 'nobody-at-all' })).rejects.toMatchObject({ code: 'STATUS_LOGON_FAILURE' });
    await expect(connect({ share: 'nope' })).rejects.toMatchObject({ code: 'STATUS_BAD_NETWORK_NAME' });
  });
});
