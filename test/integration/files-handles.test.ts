import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Client, type SmbError } from '../../client/index.ts';
import { FileAccess } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const TEST_TIMEOUT_MS = 60_000;

describe('handles of a continuously available share on two file servers', () => {
  let serving: Serving;
  const clients: Client[] = [];

  beforeAll(async () => {
    serving = await Serving.start({ servers: 2, flags: ['--continuously-available'] });
  }, 60_000);

  afterAll(async () => {
    await Promise.all(clients.map((client) => client.close().catch(() => {})));
    await serving?.stop();
  }, 30_000);

  /** A client that begins at one of the servers; the others are there when that one is not. */
  async function clientAt(first: number): Promise<Client> {
    const addresses = [...serving.addresses.slice(first), ...serving.addresses.slice(0, first)];
    const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: 'share' });
    clients.push(client);
    return client;
  }

  const statusOf = (promise: Promise<unknown>): Promise<number> =>
    promise.then(
      () => Status.SUCCESS,
      (error: SmbError) => error.status ?? -1,
    );

  test(
    'two servers that create names differing in case at once make one file',
    async () => {
      const [one, two] = [await clientAt(0), await clientAt(1)];
      for (let round = 0; round < 20; round++) {
        const outcomes = await Promise.all([
          statusOf(one.open(`Race${round}`, { disposition: 'create', access: 'write' })),
          statusOf(two.open(`rACE${round}`, { disposition: 'create', access: 'write' })),
        ]);
        expect(outcomes.filter((status) => status === Status.SUCCESS)).toHaveLength(1);
      }
      const made = readdirSync(serving.directory).filter((name) => /^race/i.test(name));
      expect(made).toHaveLength(20);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a handle, its data and its locks outlive the process that served them',
    async () => {
      const client = await clientAt(0);
      const file = await client.open('survivor', { disposition: 'create', access: 'readwrite' });
      expect(file.durability).toBe('persistent');
      await file.write(0, Buffer.from('before'));
      await file.lock(0, 6);
      const served = client.address === serving.addresses[0] ? 'fileserver-0' : 'fileserver-1';
      await serving.kill(served);
      await file.write(6, Buffer.from(' and after'));
      expect((await file.read(0, 100)).toString()).toBe('before and after');
      expect(readFileSync(join(serving.directory, 'survivor'), 'utf8')).toBe('before and after');
      const other = await clientAt(1);
      const theirs = await other.open('survivor', { access: 'readwrite' });
      expect(await statusOf(theirs.read(0, 1))).toBe(Status.FILE_LOCK_CONFLICT);
      await file.unlock(0, 6);
      expect((await theirs.read(0, 6)).toString()).toBe('before');
      await theirs.close();
      await file.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a handle can be closed, renamed and deleted through after its server died',
    async () => {
      const client = await clientAt(0);
      const access = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE | FileAccess.DELETE;
      const file = await client.open('short-lived', { disposition: 'create', access });
      const served = client.address === serving.addresses[0] ? 'fileserver-0' : 'fileserver-1';
      await serving.kill(served);
      await file.rename('renamed');
      expect(readdirSync(serving.directory)).toContain('renamed');
      await file.deleteOnClose();
      await file.close();
      expect(readdirSync(serving.directory)).not.toContain('renamed');
    },
    TEST_TIMEOUT_MS,
  );
});
