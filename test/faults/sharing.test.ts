import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { SmbError } from '../../client/errors.ts';
import {
  CreateDisposition,
  CreateOptions,
  FileAccess,
  LockFlags,
  OplockLevel,
  ShareAccess,
} from '../../smb/constants.ts';
import { eventually } from '../cluster/shell.ts';
import { READ_WRITE } from './raw-client.ts';
import { SOON_MS, Stage } from './stage.ts';

const CALM_LEASE = ['--lease-duration', '5s'];
const READ = FileAccess.FILE_GENERIC_READ;
const SHARED_LOCK = LockFlags.SHARED_LOCK | LockFlags.FAIL_IMMEDIATELY;
/** How often two servers are let at the same thing at once. */
const RACES = 20;
let stage: Stage;

beforeAll(async () => {
  stage = await Stage.start(2, CALM_LEASE);
}, 60_000);
afterAll(async () => {
  await stage?.stop();
}, 60_000);

/** Kills server 0's file server; a client of our library that was there carries its handles to server 1. */
async function failOver(from: { address: string | undefined }): Promise<void> {
  stage.kill('fileserver-0');
  await eventually('the client is at server 1', SOON_MS, () => from.address === stage.address(1) || undefined, 20);
}

describe('two clients at two servers', () => {
  test('share modes: what the other server granted is refused here, before and after its owner fails over', async () => {
    await stage.ready();
    const owner = await stage.client(0);
    const file = await owner.open('exclusive', {
      access: 'readwrite',
      disposition: 'openIf',
      shareAccess: ShareAccess.READ,
    });
    const other = await stage.raw(1);
    expect(await other.refusal('exclusive', { access: READ_WRITE })).toBe('STATUS_SHARING_VIOLATION');
    expect(await other.refusal('exclusive', { access: READ, shareAccess: ShareAccess.READ })).toBe(
      'STATUS_SHARING_VIOLATION',
    );
    const reader = await other.open('exclusive', { access: READ });

    await failOver(owner);
    await file.write(0, Buffer.from('still mine'));
    expect(await other.refusal('exclusive', { access: READ_WRITE })).toBe('STATUS_SHARING_VIOLATION');
    await file.close();
    expect(await other.refusal('exclusive', { access: READ_WRITE })).toBe('STATUS_SUCCESS');
    await other.closeFile(reader);
  }, 60_000);

  test('byte-range locks: refused at the other server, as are reads and writes of the range, before and after', async () => {
    await stage.ready();
    const owner = await stage.client(0);
    const file = await owner.open('locked', { access: 'readwrite', disposition: 'openIf' });
    await file.write(0, Buffer.alloc(64, 'a'));
    const other = await stage.raw(1);
    const theirs = await other.open('locked');
    const refused = async () => {
      expect(await other.lock(theirs, 15, 2)).toBe('STATUS_LOCK_NOT_GRANTED');
      expect(await other.lock(theirs, 15, 2, SHARED_LOCK)).toBe('STATUS_LOCK_NOT_GRANTED');
      expect(await other.write(theirs, 19, Buffer.from('xx'))).toBe('STATUS_FILE_LOCK_CONFLICT');
      expect(await other.read(theirs, 8, 8)).toBe('STATUS_FILE_LOCK_CONFLICT');
      expect(await other.write(theirs, 20, Buffer.from('b'))).toBe('STATUS_SUCCESS');
      expect(await other.lock(theirs, 20, 4)).toBe('STATUS_SUCCESS');
      expect(await other.unlock(theirs, 20, 4)).toBe('STATUS_SUCCESS');
    };
    await file.lock(10, 10);
    await refused();

    await failOver(owner);
    await file.write(12, Buffer.from('mine'));
    await refused();

    await file.unlock(10, 10);
    expect(await other.lock(theirs, 15, 2)).toBe('STATUS_SUCCESS');
    await expect(file.lock(10, 10)).rejects.toMatchObject({ code: 'STATUS_LOCK_NOT_GRANTED' });
    await other.closeFile(theirs);
    await file.lock(10, 10);
    await file.close();
  }, 60_000);

  test('a lock that waits is granted when the client at the other server unlocks', async () => {
    await stage.ready();
    const here = await stage.raw(0);
    const there = await stage.raw(1);
    const mine = await here.open('queue');
    const theirs = await there.open('queue');
    expect(await here.lock(mine, 0, 1)).toBe('STATUS_SUCCESS');
    let granted: string | undefined;
    const waiting = there.lock(theirs, 0, 1, LockFlags.EXCLUSIVE_LOCK).then((status) => {
      granted = status;
    });
    expect(await there.lock(theirs, 0, 1)).toBe('STATUS_LOCK_NOT_GRANTED');
    expect(granted).toBeUndefined();
    expect(await here.unlock(mine, 0, 1)).toBe('STATUS_SUCCESS');
    await waiting;
    expect(granted).toBe('STATUS_SUCCESS');
    expect(await here.lock(mine, 0, 1)).toBe('STATUS_LOCK_NOT_GRANTED');
  }, 60_000);

  test('delete on close: pending for everybody, gone when the last handle of either server is closed', async () => {
    await stage.ready();
    const path = 'doomed';
    const onVolume = join(stage.serving.directory, path);
    const here = await stage.raw(0);
    const there = await stage.raw(1);
    const mine = await here.open(path, { access: READ_WRITE | FileAccess.DELETE });
    const theirs = await there.open(path, { access: READ_WRITE | FileAccess.DELETE });
    expect(await there.setDeletePending(theirs)).toBe('STATUS_SUCCESS');
    expect(await there.closeFile(theirs)).toBe('STATUS_SUCCESS');

    expect(existsSync(onVolume)).toBe(true);
    expect(await there.refusal(path)).toBe('STATUS_DELETE_PENDING');
    expect(await here.refusal(path)).toBe('STATUS_DELETE_PENDING');
    expect(await here.write(mine, 0, Buffer.from('to the end'))).toBe('STATUS_SUCCESS');
    expect(await here.closeFile(mine)).toBe('STATUS_SUCCESS');
    expect(existsSync(onVolume)).toBe(false);
    expect(await there.refusal(path, { disposition: CreateDisposition.OPEN })).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
  }, 60_000);

  test('delete on close survives the server that granted it', async () => {
    await stage.ready();
    const path = 'doomed-too';
    const onVolume = join(stage.serving.directory, path);
    const owner = await stage.client(0);
    const file = await owner.open(path, { access: 'readwrite', disposition: 'create', deleteOnClose: true });
    await failOver(owner);
    await file.write(0, Buffer.from('still here'));
    expect(existsSync(onVolume)).toBe(true);
    await file.close();
    expect(existsSync(onVolume)).toBe(false);
  }, 60_000);

  test('a level II oplock at one server is broken by a write at the other, before that is answered', async () => {
    await stage.ready();
    const reader = await stage.raw(0);
    const writer = await stage.raw(1);
    const theirs = await writer.open('cached');
    await writer.write(theirs, 0, Buffer.from('old'));
    const mine = await reader.open('cached', { access: READ, oplock: OplockLevel.LEVEL_II });
    expect(mine.oplockLevel).toBe(OplockLevel.LEVEL_II);
    expect(reader.breaks).toEqual([]);

    expect(await writer.write(theirs, 0, Buffer.from('new'))).toBe('STATUS_SUCCESS');
    const told = await reader.brokenBy(SOON_MS);
    expect(told).toMatchObject({ kind: 'oplock', oplockLevel: OplockLevel.NONE, fileId: mine.fileId });
    expect(await reader.read(mine, 0, 3)).toEqual(Buffer.from('new'));
    expect(await writer.write(theirs, 0, Buffer.from('newer'))).toBe('STATUS_SUCCESS');
    expect(reader.breaks).toHaveLength(1);
  }, 60_000);

  test('two servers that create the same name at once make one file', async () => {
    await stage.ready();
    const clients = [await stage.raw(0), await stage.raw(1)];
    for (let i = 0; i < 20; i++) {
      // Names that differ in case are one name, too.
      const names = [`Race-${i}`, `rACE-${i}`];
      const opened = await Promise.all(
        clients.map((client, k) =>
          client.tryOpen(names[k] as string, {
            disposition: CreateDisposition.CREATE,
            options: CreateOptions.NON_DIRECTORY_FILE,
          }),
        ),
      );
      const refused = opened.filter((one) => typeof one === 'string');
      expect(refused).toEqual(['STATUS_OBJECT_NAME_COLLISION']);
    }
  }, 60_000);

  test('two servers that give files names that differ in case at once: one of them is told that the name is taken', async () => {
    await stage.ready();
    const clients = [await stage.client(0), await stage.client(1)];
    for (let i = 0; i < RACES; i++) {
      const goals = [`Goal-${i}`, `gOAL-${i}`];
      for (const [k, client] of clients.entries()) {
        await (await client.open(`mover-${i}-${k}`, { access: 'write', disposition: 'create' })).close();
      }
      const moved = await Promise.allSettled(
        clients.map((client, k) => client.rename(`mover-${i}-${k}`, goals[k] as string)),
      );
      const refused = moved.flatMap((one) => (one.status === 'rejected' ? [(one.reason as SmbError).code] : []));
      expect(refused).toEqual(['STATUS_OBJECT_NAME_COLLISION']);
      const found = readdirSync(stage.serving.directory).filter((name) => name.toLowerCase() === `goal-${i}`);
      expect(found).toHaveLength(1);
    }
  }, 60_000);

  test('a file that one server removes while the other opens it: whoever has it open has one that is there', async () => {
    await stage.ready();
    const [here, there] = [await stage.raw(0), await stage.raw(1)];
    const seen = new Set<string>();
    for (let i = 0; i < RACES; i++) {
      const path = `removed-${i}`;
      const mine = await here.open(path, { access: READ_WRITE | FileAccess.DELETE });
      expect(await here.setDeletePending(mine)).toBe('STATUS_SUCCESS');
      const [closed, theirs] = await Promise.all([here.closeFile(mine), there.tryOpen(path)]);
      expect(closed).toBe('STATUS_SUCCESS');
      if (typeof theirs === 'string') {
        expect(theirs).toBe('STATUS_DELETE_PENDING');
        expect(existsSync(join(stage.serving.directory, path))).toBe(false);
        seen.add('refused');
        continue;
      }
      // It came after the removal, and made a new file.
      expect(await there.write(theirs, 0, Buffer.from('new'))).toBe('STATUS_SUCCESS');
      expect(readFileSync(join(stage.serving.directory, path), 'utf8')).toBe('new');
      expect(await there.closeFile(theirs)).toBe('STATUS_SUCCESS');
      seen.add('made anew');
    }
    process.stdout.write(`opens of a file that is being removed: ${[...seen].join(', ')}\n`);
  }, 60_000);

  test('a directory that one server renames while the other opens a file beneath it: one of the two is refused', async () => {
    await stage.ready();
    const [mover, opener] = [await stage.client(0), await stage.raw(1)];
    for (let i = 0; i < RACES; i++) {
      const [from, to] = [`directory-${i}`, `directory-${i}-moved`];
      await mover.mkdir(from);
      await (await mover.open(`${from}\\file`, { access: 'write', disposition: 'create' })).close();
      const [moved, opened] = await Promise.all([
        mover.rename(from, to).then(
          () => 'moved',
          (error: SmbError) => error.code,
        ),
        opener.tryOpen(`${from}\\file`, { disposition: CreateDisposition.OPEN }),
      ]);
      if (moved === 'moved') {
        expect(opened).toBe('STATUS_OBJECT_PATH_NOT_FOUND');
        expect(existsSync(join(stage.serving.directory, to, 'file'))).toBe(true);
        continue;
      }
      expect(moved).toBe('STATUS_ACCESS_DENIED');
      if (typeof opened === 'string') throw new Error(`both were refused: ${opened}`);
      expect(await opener.write(opened, 0, Buffer.from('here'))).toBe('STATUS_SUCCESS');
      expect(readFileSync(join(stage.serving.directory, from, 'file'), 'utf8')).toBe('here');
      expect(await opener.closeFile(opened)).toBe('STATUS_SUCCESS');
    }
  }, 60_000);
});
