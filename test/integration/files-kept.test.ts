import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Client } from '../../client/index.ts';
import { CreateOptions, FileAccess, LeaseState, OplockLevel } from '../../smb/constants.ts';
import { CreateContextName, decodeRqLs, encodeRqLs } from '../../smb/wire/create-contexts.ts';
import { eventually } from '../cluster/shell.ts';
import { RawClient, type RawCreate, type RawOpen, SHARE_ALL } from '../faults/raw-client.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { SidecarControl } from '../sidecar-control.ts';

const TEST_TIMEOUT_MS = 60_000;
const NOBODY_ELSE = 0;
const READ = FileAccess.FILE_GENERIC_READ;

// A file that is opened the same way again and again stays open in the table after its CLOSE, at the server that it was closed at
// (fileserver/handles/kept-opens.ts). Nobody may notice.
describe('an open that its server keeps after the CLOSE', () => {
  let serving: Serving;
  let state: string;
  let clients: { close(): unknown }[] = [];

  beforeAll(async () => {
    state = mkdtempSync(join(tmpdir(), 'holdfast-kept-'));
    serving = await Serving.start({ servers: 2, flags: ['--state-dir', state] });
  }, 120_000);
  afterEach(async () => {
    await Promise.all(clients.map((client) => client.close()));
    clients = [];
  });
  afterAll(async () => {
    await serving?.stop();
    rmSync(state, { recursive: true, force: true });
  }, 30_000);

  async function clientAt(server: number): Promise<RawClient> {
    const options = { user: USER, password: PASSWORD, share: 'share' };
    const client = await RawClient.connect(serving.addresses[server] ?? '', options);
    clients.push(client);
    return client;
  }

  async function libraryAt(server: number): Promise<Client> {
    const addresses = [serving.addresses[server] ?? ''];
    const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: 'share' });
    clients.push(client);
    return client;
  }

  async function metric(server: number, name: string): Promise<number> {
    const response = await fetch(`http://${serving.detail(`fileserver-${server}`, 'metrics')}/metrics`);
    const line = (await response.text()).split('\n').find((one) => one.startsWith(`${name} `));
    return Number(line?.split(' ')[1]);
  }
  const kept = (server: number) => metric(server, 'holdfast_fileserver_kept_opens');
  const reused = (server: number) => metric(server, 'holdfast_fileserver_reused_opens_total');

  /** Without a handle that outlives its connection: such an open is not kept. */
  async function open(client: RawClient, path: string, create: RawCreate): Promise<RawOpen> {
    const opened = await client.tryOpen(path.replaceAll('/', '\\'), create);
    if (typeof opened === 'string') throw new Error(`opening ${path}: ${opened}`);
    return opened;
  }

  const put = (path: string) => writeFileSync(join(serving.directory, path), 'data');

  /** Has a client open and close a file until its server keeps it; the last open is given back as it is, open. */
  async function inUse(client: RawClient, path: string, create: RawCreate = {}): Promise<RawOpen> {
    const how = { access: READ, shareAccess: SHARE_ALL, ...create };
    const before = await reused(0);
    for (let i = 0; i < 2; i++) expect(await client.closeFile(await open(client, path, how))).toBe('STATUS_SUCCESS');
    const reopened = await open(client, path, how);
    expect(await reused(0)).toBeGreaterThan(before);
    return reopened;
  }

  async function parked(client: RawClient, path: string, create: RawCreate = {}): Promise<void> {
    const before = await kept(0);
    await client.closeFile(await inUse(client, path, create));
    expect(await kept(0)).toBe(before + 1);
  }

  test(
    'is the same open under another FileId; the one before is closed',
    async () => {
      put('again');
      const client = await clientAt(0);
      const how = { access: READ, shareAccess: SHARE_ALL };
      for (let i = 0; i < 2; i++) await client.closeFile(await open(client, 'again', how));
      const third = await open(client, 'again', how);
      await client.closeFile(third);
      const fourth = await open(client, 'again', how);
      expect(fourth.fileId.persistent).toBe(third.fileId.persistent);
      expect(fourth.fileId.volatile).not.toBe(third.fileId.volatile);
      expect(await client.read(third, 0, 4)).toBe('STATUS_FILE_CLOSED');
      expect(await client.closeFile(third)).toBe('STATUS_FILE_CLOSED');
      expect(await client.read(fourth, 0, 4)).toEqual(Buffer.from('data'));
    },
    TEST_TIMEOUT_MS,
  );

  test.each([0, 1])(
    'is no sharing violation for a client of server %d, which nobody else disturbs then',
    async (server) => {
      put(`alone-${server}`);
      await parked(await clientAt(0), `alone-${server}`);
      const other = await clientAt(server);
      const theirs = await open(other, `alone-${server}`, { access: READ, shareAccess: NOBODY_ELSE });
      const late = await clientAt(0);
      expect(await late.refusal(`alone-${server}`, { access: READ, shareAccess: SHARE_ALL })).toBe(
        'STATUS_SHARING_VIOLATION',
      );
      await other.closeFile(theirs);
      await open(late, `alone-${server}`, { access: READ, shareAccess: SHARE_ALL });
    },
    TEST_TIMEOUT_MS,
  );

  test.each([0, 1])(
    'is gone when a directory above is renamed right after its CLOSE, by a client of server %d',
    async (server) => {
      const client = await clientAt(0);
      const other = await libraryAt(server);
      let at = `renamed-${server}-0`;
      mkdirSync(join(serving.directory, at));
      const access = READ | FileAccess.DELETE;
      const directory = await other.open(at, { access, durable: false, kind: 'directory' });
      for (let i = 1; i <= 60; i++) {
        for (let j = 0; j < 4; j++) put(`${at}/${i}-${j}`);
        for (let j = 0; j < 4; j++) {
          const how = { access: READ, shareAccess: SHARE_ALL };
          await client.closeFile(await open(client, `${at}/${i}-${j}`, how));
        }
        // Before the table is told, and while it is.
        await new Promise((resolve) => setTimeout(resolve, i % 12));
        const to = `renamed-${server}-${i}`;
        await directory.rename(to);
        at = to;
      }
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'takes no oplock from a client of another server',
    async () => {
      put('cached');
      await parked(await clientAt(0), 'cached');
      const other = await clientAt(1);
      const theirs = await open(other, 'cached', { access: READ, shareAccess: SHARE_ALL, oplock: OplockLevel.BATCH });
      expect(theirs.oplockLevel).toBe(OplockLevel.BATCH);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'keeps others out, from every server, while a client has it',
    async () => {
      put('busy');
      const held = await inUse(await clientAt(0), 'busy', { shareAccess: NOBODY_ELSE });
      for (const server of [0, 1]) {
        const other = await clientAt(server);
        expect(await other.refusal('busy', { access: READ, shareAccess: SHARE_ALL })).toBe('STATUS_SHARING_VIOLATION');
      }
      expect(held.oplockLevel).toBe(OplockLevel.NONE);
      expect(await (clients[0] as RawClient).read(held, 0, 4)).toEqual(Buffer.from('data'));
      await (clients[0] as RawClient).closeFile(held);
      await open(await clientAt(1), 'busy', { access: READ, shareAccess: NOBODY_ELSE });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'goes with a file that a client of another server deletes, at once',
    async () => {
      put('deleted');
      await parked(await clientAt(0), 'deleted');
      const other = await clientAt(1);
      const options = CreateOptions.DELETE_ON_CLOSE | CreateOptions.NON_DIRECTORY_FILE;
      await other.closeFile(
        await open(other, 'deleted', { access: FileAccess.DELETE, shareAccess: SHARE_ALL, options }),
      );
      expect(existsSync(join(serving.directory, 'deleted'))).toBe(false);
    },
    TEST_TIMEOUT_MS,
  );

  test.each([0, 1])(
    'is not in the way of a rename over its file, or of one of a directory above, at server %d',
    async (server) => {
      const folder = `folder-${server}`;
      mkdirSync(join(serving.directory, folder));
      for (const name of ['beneath', 'replaced']) put(`${folder}/${name}`);
      put(`new-${server}`);
      const client = await clientAt(0);
      await parked(client, `${folder}/beneath`);
      await parked(client, `${folder}/replaced`);
      const other = await libraryAt(server);
      const file = await other.open(`new-${server}`, { access: READ | FileAccess.DELETE, durable: false });
      await file.rename(`${folder}/replaced`, { replace: true });
      await file.close();
      const directory = await other.open(folder, {
        access: READ | FileAccess.DELETE,
        durable: false,
        kind: 'directory',
      });
      await directory.rename(`moved-${server}`);
      await directory.close();
      expect(readFileSync(join(serving.directory, `moved-${server}/beneath`), 'utf8')).toBe('data');
    },
    TEST_TIMEOUT_MS,
  );

  test('keeps nobody waiting who opens its file at the same moment, here or at the other server', async () => {
    const rounds = 40;
    for (let i = 0; i < rounds; i++) put(`hot-${i}`);
    const [one, two, three] = [await clientAt(0), await clientAt(0), await clientAt(1)];
    const how = { access: READ, shareAccess: SHARE_ALL };
    const startedMs = performance.now();
    for (let i = 0; i < rounds; i++) {
      // Known from before, so that whoever is first now is granted it to keep.
      await one.closeFile(await open(one, `hot-${i}`, how));
      await three.closeFile(await open(three, `hot-${i}`, how));
      const all = [one, two, three];
      const opened = await Promise.all(all.map((client) => open(client, `hot-${i}`, how)));
      await Promise.all(opened.map((each, at) => (all[at] as RawClient).closeFile(each)));
    }
    // A break that was lost takes 5 s, or 35 s.
    expect(performance.now() - startedMs).toBeLessThan(rounds * 500);
    await open(await clientAt(1), 'hot-0', { access: READ, shareAccess: NOBODY_ELSE });
  }, 120_000);

  test(
    'caches nothing where somebody else has the file open: who asks for handle caching gets it',
    async () => {
      put('leased');
      const [one, two, three] = [await clientAt(0), await clientAt(0), await clientAt(1)];
      const how = { access: READ, shareAccess: SHARE_ALL };
      await open(one, 'leased', how);
      await open(two, 'leased', how); // the second time: it is asked for to be kept
      const leaseState = LeaseState.READ_CACHING | LeaseState.HANDLE_CACHING;
      const data = encodeRqLs({ version: 1, leaseKey: Buffer.alloc(16, 7), leaseState, flags: 0 });
      const contexts = [{ name: CreateContextName.REQUEST_LEASE, data }];
      const leased = await open(three, 'leased', { ...how, oplock: OplockLevel.LEASE, contexts });
      const granted = leased.createContexts.find(({ name }) => name === CreateContextName.REQUEST_LEASE);
      expect(decodeRqLs(granted?.data ?? Buffer.alloc(0)).leaseState).toBe(leaseState);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'ends with its process',
    async () => {
      put('orphan');
      await parked(await clientAt(0), 'orphan', { shareAccess: NOBODY_ELSE });
      await serving.kill('fileserver-0');
      await open(await clientAt(1), 'orphan', { access: READ, shareAccess: NOBODY_ELSE });
      await eventually('server 0 is back', 30_000, async () => (await serving.isReady(0)) || undefined);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'is known to a sidecar that was restarted, parked or not',
    async () => {
      put('told');
      put('held');
      const client = await clientAt(0);
      await parked(client, 'told', { shareAccess: NOBODY_ELSE });
      const held = await inUse(client, 'held', { shareAccess: NOBODY_ELSE });
      await serving.kill('sidecar-0');
      const other = await clientAt(1);
      await open(other, 'told', { access: READ, shareAccess: NOBODY_ELSE });
      expect(await other.refusal('held', { access: READ, shareAccess: SHARE_ALL })).toBe('STATUS_SHARING_VIOLATION');
      await client.closeFile(held);
      await open(other, 'held', { access: READ, shareAccess: NOBODY_ELSE });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'ends when its session moves to another server',
    async () => {
      put('moves');
      await inUse(await clientAt(0), 'moves', { shareAccess: NOBODY_ELSE });
      const control = await SidecarControl.connect(serving.detail('sidecar-0', 'address'), state);
      try {
        expect(await control.migrate({ migrationId: 'kept' })).toMatchObject({ phase: 'Done' });
      } finally {
        control.close();
      }
      await open(await clientAt(1), 'moves', { access: READ, shareAccess: NOBODY_ELSE });
      expect(await kept(0)).toBe(0);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'is in nobody’s way while its server stands still',
    async () => {
      put('still');
      const [client, other] = [await clientAt(0), await clientAt(1)];
      const how = { access: READ, shareAccess: SHARE_ALL };
      await open(client, 'still', how);
      serving.signal('fileserver-0', 'SIGSTOP');
      try {
        const beganMs = performance.now();
        await open(other, 'still', how);
        expect(performance.now() - beganMs).toBeLessThan(1000);
      } finally {
        serving.signal('fileserver-0', 'SIGCONT');
      }
    },
    TEST_TIMEOUT_MS,
  );
});
