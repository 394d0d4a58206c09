import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Client, File } from '../../client/index.ts';
import { Command, CreateDisposition, CreateOptions, FileAccess, LockFlags } from '../../smb/constants.ts';
import { eventually } from '../cluster/shell.ts';
import { LossyProxy } from './lossy-proxy.ts';
import { type RawOpen, READ_WRITE } from './raw-client.ts';
import { BOB, BOBS_PASSWORD, SOON_MS, Stage } from './stage.ts';

const TIMEOUT_MS = 2000;
/** How often two clients go for the same open at once. */
const RIVALRIES = 15;
let stage: Stage;
const own = mkdtempSync(join(tmpdir(), 'holdfast-reclaim-'));
/** While it is there, the next file server that has made a file dies before it stores with it what it is. */
const DIES_MARKING = join(own, 'dies-marking');

beforeAll(async () => {
  stage = await Stage.start(2, ['--lease-duration', '5s'], {
    NODE_OPTIONS: `--import=${join(import.meta.dirname, 'dies-marking.ts')}`,
    HOLDFAST_TEST_DIES_MARKING: DIES_MARKING,
  });
}, 240_000); // on a machine that is busy with other things it may start anew
afterAll(async () => {
  await stage?.stop();
  rmSync(own, { recursive: true });
}, 60_000);

const claimOf = (open: RawOpen) => ({ fileId: open.fileId, createGuid: open.createGuid ?? Buffer.alloc(16) });

describe('a client that comes back after the timeout of its handle', () => {
  test.each(['its connection was lost', 'its server was killed'])(
    'is told that there is no such open, and others had to wait until then: %s',
    async (how) => {
      await stage.ready();
      const path = `late-${how.length}`;
      const first = await stage.raw(0);
      const open = await first.open(path, { shareAccess: 0, timeoutMs: TIMEOUT_MS });
      const leftMs = performance.now();
      if (how.includes('killed')) stage.kill('fileserver-0');
      else first.close();

      const newcomer = await stage.raw(1);
      const theirs = await eventually('the newcomer gets the file', SOON_MS, async () => {
        const answer = await newcomer.tryOpen(path, { shareAccess: 0 });
        if (typeof answer !== 'string') return answer;
        expect(answer).toBe('STATUS_FILE_NOT_AVAILABLE');
      });
      expect(performance.now() - leftMs).toBeGreaterThanOrEqual(TIMEOUT_MS);

      const back = await stage.raw(1, { clientGuid: first.clientGuid });
      expect(await back.refusal(path, { reclaim: claimOf(open) })).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      expect(await newcomer.write(theirs, 0, Buffer.from('mine'))).toBe('STATUS_SUCCESS');
      await newcomer.closeFile(theirs);
    },
    90_000,
  );

  test('finds its delete-on-close carried out by another server', async () => {
    await stage.ready();
    const path = 'delete-late';
    const onVolume = join(stage.serving.directory, path);
    const first = await stage.raw(0);
    const open = await first.open(path, {
      access: READ_WRITE | FileAccess.DELETE,
      options: CreateOptions.NON_DIRECTORY_FILE | CreateOptions.DELETE_ON_CLOSE,
      timeoutMs: TIMEOUT_MS,
    });
    await first.write(open, 0, Buffer.from('here'));
    const leftMs = performance.now();
    stage.kill('fileserver-0');
    await eventually('the file is removed', SOON_MS, () => !existsSync(onVolume) || undefined, 20);
    expect(performance.now() - leftMs).toBeGreaterThanOrEqual(TIMEOUT_MS);
    const back = await stage.raw(1, { clientGuid: first.clientGuid });
    expect(await back.refusal(path, { reclaim: claimOf(open) })).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
    expect(existsSync(onVolume)).toBe(false);
  }, 90_000);
});

describe('a reclaim', () => {
  test('by somebody else, or with a wrong id, is refused, and the handle stays for its owner with its lock', async () => {
    await stage.ready();
    const path = 'wanted';
    const first = await stage.raw(0);
    const open = await first.open(path, { shareAccess: 0 });
    expect(await first.lock(open, 0, 10)).toBe('STATUS_SUCCESS');
    expect(await first.write(open, 0, Buffer.from('owned'))).toBe('STATUS_SUCCESS');
    first.close();

    const claim = claimOf(open);
    const bob = await stage.raw(1, { user: BOB, password: BOBS_PASSWORD, clientGuid: first.clientGuid });
    expect(await bob.refusal(path, { reclaim: claim })).toBe('STATUS_ACCESS_DENIED');
    const alice = await stage.raw(1, { clientGuid: first.clientGuid });
    const otherGuid = Buffer.from(claim.createGuid);
    otherGuid[0] = (otherGuid[0] ?? 0) ^ 1;
    expect(await alice.refusal(path, { reclaim: { ...claim, createGuid: otherGuid } })).toBe(
      'STATUS_OBJECT_NAME_NOT_FOUND',
    );
    const otherId = { ...open.fileId, persistent: open.fileId.persistent + 1n };
    expect(await alice.refusal(path, { reclaim: { ...claim, fileId: otherId } })).toBe('STATUS_OBJECT_NAME_NOT_FOUND');

    const back = await alice.open(path, { reclaim: claim });
    expect(back.fileId.persistent).toBe(open.fileId.persistent);
    expect(await alice.unlock(back, 0, 10)).toBe('STATUS_SUCCESS');
    expect(await alice.write(back, 5, Buffer.from(' again'))).toBe('STATUS_SUCCESS');
    expect(readFileSync(join(stage.serving.directory, path), 'utf8')).toBe('owned again');
    expect(await alice.closeFile(back)).toBe('STATUS_SUCCESS');
    expect(await alice.refusal(path, { reclaim: claim })).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
  }, 60_000);

  test('at another server has the handle though the sidecar of the first was started anew while it waited', async () => {
    await stage.ready();
    const path = 'waiting';
    const first = await stage.raw(0);
    const open = await first.open(path, { shareAccess: 0 });
    expect(await first.lock(open, 0, 10)).toBe('STATUS_SUCCESS');
    first.close();
    const control = await stage.control(0);
    await eventually('the handle waits for its client', SOON_MS, async () => {
      const [server] = (await control.status()).servers;
      return (server?.opensActive === 0n && server.opensDisconnected === 1n) || undefined;
    });
    const from = stage.serving.log.length;
    stage.kill('sidecar-0');
    await stage.logged(
      'the file server goes on with a new sidecar',
      from,
      (line) => line.part === 'fileserver' && line.msg === 'registered with the sidecar',
    );
    await stage.ready();

    const back = await stage.raw(1, { clientGuid: first.clientGuid });
    const theirs = await eventually('it has its handle back', SOON_MS, async () => {
      const answer = await back.tryOpen(path, { reclaim: claimOf(open) });
      if (typeof answer !== 'string') return answer;
      expect(answer).toBe('STATUS_FILE_NOT_AVAILABLE');
    });
    expect(theirs.fileId.persistent).toBe(open.fileId.persistent);
    expect(await back.unlock(theirs, 0, 10)).toBe('STATUS_SUCCESS');
    expect(await back.closeFile(theirs)).toBe('STATUS_SUCCESS');
  }, 90_000);

  test('while its owner is connected elsewhere is refused, and the owner notices nothing', async () => {
    await stage.ready();
    const owner = await stage.raw(0);
    const open = await owner.open('held');
    const thief = await stage.raw(1, { clientGuid: owner.clientGuid });
    expect(await thief.refusal('held', { reclaim: claimOf(open) })).not.toBe('STATUS_SUCCESS');
    const bob = await stage.raw(1, { user: BOB, password: BOBS_PASSWORD });
    expect(await bob.refusal('held', { reclaim: claimOf(open) })).not.toBe('STATUS_SUCCESS');
    expect(await owner.write(open, 0, Buffer.from('still mine'))).toBe('STATUS_SUCCESS');
  }, 60_000);

  test('by two at once, at both servers, succeeds once', async () => {
    await stage.ready();
    for (let i = 0; i < RIVALRIES; i++) {
      const first = await stage.raw(0);
      const open = await first.open('coveted', { shareAccess: 0 });
      first.close();
      const rivals = [
        await stage.raw(0, { clientGuid: first.clientGuid }),
        await stage.raw(1, { clientGuid: first.clientGuid }),
      ];
      const ask = () => Promise.all(rivals.map((rival) => rival.tryOpen('coveted', { reclaim: claimOf(open) })));
      // Both may be told to come again; never may both have it.
      const answers = await eventually('one of them has it', SOON_MS, async () => {
        const some = await ask();
        return some.some((answer) => typeof answer !== 'string') ? some : undefined;
      });
      const winners = answers.filter((answer) => typeof answer !== 'string');
      expect(winners).toHaveLength(1);
      const [winner] = winners as [RawOpen];
      const k = answers.indexOf(winner);
      expect(await rivals[k]?.write(winner, 0, Buffer.from('x'))).toBe('STATUS_SUCCESS');
      expect(await rivals[k]?.closeFile(winner)).toBe('STATUS_SUCCESS');
      for (const rival of rivals) rival.close();
    }
  }, 60_000);
});

interface LostAnswer {
  what: string;
  command: number;
  /** Done before the answer is lost; gives what `act` works on. */
  given?: (client: Client, path: string) => Promise<File>;
  act: (client: Client, path: string, file: File | undefined) => Promise<void>;
  after?: (path: string) => Promise<void>;
}

const openFile = (client: Client, path: string) =>
  client.open(path, { access: READ_WRITE | FileAccess.DELETE, disposition: 'openIf' });
const onVolume = (path: string) => join(stage.serving.directory, path);

const LOST: LostAnswer[] = [
  {
    what: 'CREATE of a new file that nobody else may open',
    command: Command.CREATE,
    act: async (client, path) => {
      const file = await client.open(path, { access: 'readwrite', disposition: 'create', shareAccess: 0 });
      expect(file.durability).toBe('persistent');
      await file.write(0, Buffer.from('made once'));
      const other = await stage.raw(1);
      expect(await other.refusal(path)).toBe('STATUS_SHARING_VIOLATION');
      await file.close();
      // No second open was left behind.
      expect(await other.refusal(path, { shareAccess: 0, disposition: CreateDisposition.OPEN })).toBe('STATUS_SUCCESS');
    },
    after: async (path) => expect(readFileSync(onVolume(path), 'utf8')).toBe('made once'),
  },
  {
    what: 'WRITE',
    command: Command.WRITE,
    given: openFile,
    act: async (_client, _path, file) => file?.write(0, Buffer.from('written')),
    after: async (path) => expect(readFileSync(onVolume(path), 'utf8')).toBe('written'),
  },
  {
    what: 'LOCK',
    command: Command.LOCK,
    given: openFile,
    act: async (_client, path, file) => {
      await file?.lock(0, 10);
      const other = await stage.raw(1);
      const theirs = await other.open(path);
      expect(await other.lock(theirs, 0, 1)).toBe('STATUS_LOCK_NOT_GRANTED');
      await file?.unlock(0, 10);
      expect(await other.lock(theirs, 0, 1, LockFlags.EXCLUSIVE_LOCK)).toBe('STATUS_SUCCESS');
      other.close();
    },
  },
  {
    what: 'LOCK that unlocks',
    command: Command.LOCK,
    given: async (client, path) => {
      const file = await openFile(client, path);
      await file.lock(0, 10);
      return file;
    },
    act: async (_client, path, file) => {
      await file?.unlock(0, 10);
      const other = await stage.raw(1);
      expect(await other.lock(await other.open(path), 0, 10)).toBe('STATUS_SUCCESS');
      other.close();
    },
  },
  {
    what: 'SET_INFO that marks for removal',
    command: Command.SET_INFO,
    given: openFile,
    act: async (_client, path, file) => {
      await file?.deleteOnClose();
      expect(existsSync(onVolume(path))).toBe(true);
      await file?.close();
      expect(existsSync(onVolume(path))).toBe(false);
    },
  },
  {
    what: 'SET_INFO that renames',
    command: Command.SET_INFO,
    given: openFile,
    act: async (_client, path, file) => {
      await file?.rename(`${path}-moved`);
      await file?.write(0, Buffer.from('moved'));
    },
    after: async (path) => {
      expect(existsSync(onVolume(path))).toBe(false);
      expect(readFileSync(onVolume(`${path}-moved`), 'utf8')).toBe('moved');
    },
  },
  {
    what: 'CLOSE',
    command: Command.CLOSE,
    given: openFile,
    act: async (_client, path, file) => {
      await file?.close();
      const other = await stage.raw(1);
      expect(await other.refusal(path, { shareAccess: 0 })).toBe('STATUS_SUCCESS');
    },
  },
];

describe.each(['the same server', 'another server'])(
  'an answer that was lost with its connection, replayed at %s',
  (where) => {
    test.each(LOST)(
      '$what is done once, and the caller sees no error',
      async ({ what, command, given, act, after }) => {
        await stage.ready();
        const proxy = await LossyProxy.to(stage.address(0));
        try {
          const path = `lost-${where}-${what}`.replaceAll(' ', '-');
          const addresses = where === 'the same server' ? [proxy.address] : [proxy.address, stage.address(1)];
          const client = await eventually('the client is at the proxy', SOON_MS, async () => {
            const connected = await stage.client(0, { addresses, anywhere: true });
            return connected.address === proxy.address ? connected : undefined;
          });
          const file = await given?.(client, path);
          proxy.loseAnswer(command);
          await act(client, path, file);
          expect(proxy.lost).toBe(1);
          await client.close();
          await after?.(path);
        } finally {
          await proxy.close();
        }
      },
      60_000,
    );
  },
);

test('a CREATE that was lost before its server saw it, replayed where somebody else has the file: the answer is theirs', async () => {
  await stage.ready();
  const proxy = await LossyProxy.to(stage.address(0));
  try {
    const path = 'lost-request';
    const client = await eventually('the client is at the proxy', SOON_MS, async () => {
      const addresses = [proxy.address, stage.address(1)];
      const connected = await stage.client(0, { addresses, anywhere: true });
      return connected.address === proxy.address ? connected : undefined;
    });
    const owner = await stage.raw(1);
    const held = await owner.open(path, { shareAccess: 0 });
    proxy.loseRequest(Command.CREATE);
    await expect(client.open(path, { access: 'readwrite', disposition: 'openIf' })).rejects.toMatchObject({
      code: 'STATUS_SHARING_VIOLATION',
    });
    expect(proxy.lost).toBe(1);
    expect(await owner.closeFile(held)).toBe('STATUS_SUCCESS');
    await client.close();
  } finally {
    await proxy.close();
  }
}, 60_000);

test('a server that is killed when it has renamed a file, and has not said so: its client has its handle, and the rename was done', async () => {
  await stage.ready();
  const client = await stage.client(0);
  const file = await client.open('before', { access: 'readwrite', disposition: 'create' });
  const killed = await killWhenThere(join(stage.serving.directory, 'after'), stage.serving.pid('fileserver-0'));

  await client.rename('before', 'after');
  await killed();
  await file.write(0, Buffer.from('mine'));
  await file.close();

  expect(existsSync(join(stage.serving.directory, 'before'))).toBe(false);
  expect(readFileSync(join(stage.serving.directory, 'after'), 'utf8')).toBe('mine');
  const again = await client.open('after', { access: 'read' });
  await again.close();
}, 90_000);

test('a server that is killed when it has made a file, and has not stored whose it is: the replay has it as its own, nobody else has', async () => {
  await stage.ready();
  const client = await stage.client(0);
  writeFileSync(DIES_MARKING, '');
  const file = await client.open('half-made', { access: 'readwrite', disposition: 'create', shareAccess: 0 });
  expect(existsSync(DIES_MARKING)).toBe(false);
  const other = await stage.raw(1);
  expect(await other.refusal('half-made')).toBe('STATUS_SHARING_VIOLATION');
  await file.write(0, Buffer.from('made once'));
  await file.close();
  expect(readFileSync(onVolume('half-made'), 'utf8')).toBe('made once');

  const again = { createGuid: randomBytes(16), disposition: CreateDisposition.CREATE, replay: true };
  expect(await other.refusal('half-made', again)).toBe('STATUS_OBJECT_NAME_COLLISION');
}, 90_000);

/** A process that does nothing but look for a file, and kills another at that moment. Resolves when it looks; what it returns waits for its end. */
async function killWhenThere(path: string, pid: number): Promise<() => Promise<unknown>> {
  const program = `process.stdout.write('looks'); while (!require('fs').existsSync(${JSON.stringify(path)})); process.kill(${pid}, 'SIGKILL')`;
  const watcher = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 });
  const ended = once(watcher, 'exit');
  await once(watcher.stdout, 'data');
  return () => ended;
}
