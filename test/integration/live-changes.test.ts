import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ClusterConfig, ShareConfig } from '../../common/config.ts';
import { eventually } from '../cluster/shell.ts';
import { RawClient, type RawOpen } from '../faults/raw-client.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const TEST_TIMEOUT_MS = 60_000;
let serving: Serving;
let state: string;
let clients: RawClient[] = [];

beforeAll(async () => {
  state = mkdtempSync(join(tmpdir(), 'holdfast-live-'));
  const flags = ['--continuously-available', '--state-dir', state, '--user', 'bob:of bob', '--user', 'carol:of carol'];
  serving = await Serving.start({ servers: 1, flags });
}, 60_000);
afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
});
afterAll(async () => {
  await serving?.stop();
  rmSync(state, { recursive: true, force: true });
}, 30_000);

async function clientOf(user = USER, password = PASSWORD, share = 'share'): Promise<RawClient> {
  const client = await RawClient.connect(serving.addresses[0] ?? '', { user, password, share });
  clients.push(client);
  return client;
}

/** A file of the state folder, replaced as a whole: as kubelet swaps ConfigMaps and Secrets. */
function put(name: string, text: string): void {
  writeFileSync(join(state, 'next'), text, { mode: 0o600 });
  renameSync(join(state, 'next'), join(state, name));
}

/** The configuration with what a test wants to be different, and nothing else of it. */
function putConfig(change: Partial<ClusterConfig>): void {
  const { logLevel: _, ...config } = JSON.parse(readFileSync(join(state, 'config.json'), 'utf8')) as ClusterConfig;
  put('config.json', JSON.stringify({ ...config, ...change }));
}

function putShares(change: (shares: ShareConfig[]) => ShareConfig[]): void {
  const config = JSON.parse(readFileSync(join(state, 'config.json'), 'utf8')) as ClusterConfig;
  put('config.json', JSON.stringify({ ...config, shares: change(config.shares) }));
}

const data = Buffer.from('held');

/** Whether an open still does what it did, on the connection that it had. */
async function expectHeld(client: RawClient, open: RawOpen): Promise<void> {
  expect(await client.write(open, 0, data)).toBe('STATUS_SUCCESS');
  expect(await client.read(open, 0, data.length)).toEqual(data);
  expect(client.lost).toBeUndefined();
}

/** Looked at every 2 s by a file server. */
function soon<T>(what: string, ask: () => Promise<T>): Promise<NonNullable<T>> {
  return eventually(what, 20_000, async () => ((await ask()) ?? true) as NonNullable<T>);
}

const refusalOf = (connecting: Promise<unknown>): Promise<string> =>
  connecting.then(
    () => '',
    (error: Error) => error.message,
  );

describe('while handles are held', () => {
  test(
    'a share is added, and taken away again: only who uses that one notices',
    async () => {
      const client = await clientOf();
      const held = await client.open('held');
      expect(await refusalOf(clientOf(USER, PASSWORD, 'more'))).toMatch(/BAD_NETWORK_NAME/);

      mkdirSync(join(serving.directory, 'more'));
      putShares((shares) => [...shares, { ...(shares[0] as ShareConfig), name: 'more', path: '/more' }]);
      const other = await soon('the new share is there', () => clientOf(USER, PASSWORD, 'more'));
      const open = await other.open('of-more');
      await expectHeld(client, held);

      putShares((shares) => shares.filter(({ name }) => name !== 'more'));
      await soon('the share is gone', async () => {
        const status = await other.write(open, 0, data);
        expect(status).toBe('STATUS_NETWORK_NAME_DELETED');
      });
      expect(other.lost).toBeUndefined();
      expect(await refusalOf(clientOf(USER, PASSWORD, 'more'))).toMatch(/BAD_NETWORK_NAME/);
      await expectHeld(client, held);
      // and then: what was open there is closed, so that it is in nobody's way when the share is there again
      putShares((shares) => [...shares, { ...(shares[0] as ShareConfig), name: 'more', path: '/more' }]);
      const again = await soon('the share is back', () => clientOf(USER, PASSWORD, 'more'));
      expect(await again.tryOpen('of-more', { shareAccess: 0 })).toMatchObject({});
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'who is let in no more loses the share, others do not',
    async () => {
      const [alice, bob] = [await clientOf(), await clientOf('bob', 'of bob')];
      const [held, lost] = [await alice.open('of-alice'), await bob.open('of-bob')];
      putShares(([first, ...others]) => [
        { ...(first as ShareConfig), access: [{ principal: USER, permission: 'Full' }] },
        ...others,
      ]);
      await soon('bob is out', async () => {
        expect(await bob.write(lost, 0, data)).toBe('STATUS_NETWORK_NAME_DELETED');
      });
      await expectHeld(alice, held);
      putShares(([first, ...others]) => [
        { ...(first as ShareConfig), access: [{ principal: '*', permission: 'Full' }] },
        ...others,
      ]);
      await soon('bob is in again', () => clientOf('bob', 'of bob'));
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a user is removed: the session ends and what it had open is closed; another password counts for new logons',
    async () => {
      const [alice, bob, carol] = [
        await clientOf(),
        await clientOf('bob', 'of bob'),
        await clientOf('carol', 'of carol'),
      ];
      const [held, gone] = [await alice.open('alices'), await bob.open('bobs', { shareAccess: 0 })];
      const kept = await carol.open('carols');

      rmSync(join(state, 'users', 'bob'));
      put('users/carol', 'another');
      await soon('bob is out', async () => {
        // Nobody is left who could sign an answer: the connection is of no use any more.
        await expect(bob.write(gone, 0, data)).rejects.toThrow(/no such session/);
      });
      // then: what bob had open for himself alone is free at once
      await expect(alice.open('bobs')).resolves.toBeDefined();
      expect(await refusalOf(clientOf('bob', 'of bob'))).toMatch(/LOGON_FAILURE/);
      expect(await refusalOf(clientOf('carol', 'of carol'))).toMatch(/LOGON_FAILURE/);
      await clientOf('carol', 'another');
      // and carol, who was there, has to prove herself again before anything more is done for her
      expect(await carol.write(kept, 0, data)).toBe('STATUS_NETWORK_SESSION_EXPIRED');
      await expectHeld(alice, held);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'another log level counts for file server and sidecar, and for the connections that are there',
    async () => {
      const client = await clientOf();
      const held = await client.open('watched');
      const of = (part: string) => serving.log.filter((line) => line.part === part);
      const said = async (part: string, to: string) =>
        of(part).some((line) => line.msg === 'another log level' && line.to === to) ? true : undefined;
      const told = (part: string) => of(part).filter(({ level }) => level === 'debug');
      expect([...told('fileserver'), ...told('sidecar')]).toEqual([]);

      putConfig({ logLevel: 'debug' });
      for (const part of ['fileserver', 'sidecar'])
        await eventually(`${part} says so`, 20_000, () => said(part, 'debug'));
      await expectHeld(client, held);
      client.close();
      // then: a connection that was there before says what it did not say when it began
      await eventually('it tells of the end', 20_000, async () => {
        const begun = told('fileserver').filter(({ msg }) => msg === 'connected');
        const over = told('fileserver').filter(({ msg }) => msg === 'disconnected');
        return over.some(({ connection }) => begun.every((one) => one.connection !== connection)) || undefined;
      });
      putConfig({});
      for (const part of ['fileserver', 'sidecar'])
        await eventually(`${part} says so`, 20_000, () => said(part, 'info'));
    },
    TEST_TIMEOUT_MS,
  );
});
