import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Folder } from './folder.ts';
import { O, PosixError } from './posix.ts';
import { ThreadSlots } from './slots.ts';
import { statOf, Volume } from './volume.ts';

const gate = { mayServe: () => true, reopened: () => Promise.resolve() };
const how = { replace: false, sync: true };

describe('streams of a volume', () => {
  let path: string;
  let volume: Volume;
  let folder: Folder;

  beforeEach(async () => {
    path = mkdtempSync(join(tmpdir(), 'holdfast-streams-'));
    volume = await Volume.open(
      { name: 'v', path, fencing: 'Deadline' },
      {
        gate,
        slots: new ThreadSlots(),
      },
    );
    folder = await Folder.open(volume, '/');
  });

  afterEach(async () => {
    await folder.close();
    rmSync(path, { recursive: true });
  });

  const idOf = async (name: string): Promise<Buffer> => {
    const fd = await folder.open(name, O.PATH);
    try {
      return await folder.fileId(fd, await statOf(volume.posix, fd));
    } finally {
      await volume.posix.close(fd);
    }
  };
  const make = async (file: string, stream: string, content: string): Promise<void> => {
    const fd = await volume.streams.create(await idOf(file), stream, O.WRONLY, true);
    expect(fd).toBeGreaterThan(0);
    await volume.posix.write(fd, Buffer.from(content), 0);
    await volume.posix.close(fd);
  };
  const read = async (file: string, stream: string): Promise<string | undefined> => {
    const found = await volume.streams.find(await idOf(file), stream);
    if (found === undefined) return undefined;
    const content = readFileSync(`/proc/self/fd/${found.fd}`, 'utf8');
    await volume.posix.close(found.fd);
    return content;
  };
  const stored = (): string[] =>
    readdirSync(join(path, '.holdfast-side')).flatMap((bucket) => readdirSync(join(path, '.holdfast-side', bucket)));

  test('are found by name without regard to case, and keep the name that they were made with', async () => {
    writeFileSync(join(path, 'f'), '');
    await make('f', 'Straße', 'one');
    await make('f', '..', 'two');
    expect(await read('f', 'STRAßE')).toBe('one');
    expect(await read('f', '..')).toBe('two');
    expect(await read('f', 'nothing')).toBeUndefined();
    expect((await volume.streams.list(await idOf('f'))).sort()).toEqual(['..', 'Straße']);
    expect(await volume.streams.create(await idOf('f'), '..', O.WRONLY, false)).toBe(-17);
  });

  test('lie where only the server looks', async () => {
    writeFileSync(join(path, 'f'), '');
    await make('f', 's', '');
    expect(statSync(join(path, '.holdfast-side')).mode & 0o777).toBe(0o700);
    await expect(folder.lookup(['.Holdfast-Side'])).rejects.toThrow(PosixError);
  });

  test('are renamed, and removed one by one with the directory that held them', async () => {
    writeFileSync(join(path, 'f'), '');
    await make('f', 'a', 'A');
    await make('f', 'b', 'B');
    const id = await idOf('f');
    expect(await volume.streams.rename(id, 'a', 'b', how)).toBe(-17);
    expect(await volume.streams.rename(id, 'a', 'c', how)).toBe(0);
    expect(await read('f', 'c')).toBe('A');
    expect(await volume.streams.remove(id, 'c', true)).toBe(0);
    expect(await volume.streams.remove(id, 'b', true)).toBe(0);
    expect(stored()).toEqual([]);
  });

  test('go with the last name of their file, not before', async () => {
    writeFileSync(join(path, 'f'), '');
    await make('f', 's', 'S');
    const id = await idOf('f');
    const fd = await folder.open('f', O.PATH);
    const parentFd = await folder.openParent('f');
    expect(await folder.link(fd, parentFd, 'g', false)).toBe(0);
    expect(await folder.link(fd, parentFd, 'g', false)).toBe(-17);
    await volume.posix.close(fd);
    await volume.posix.close(parentFd);
    await folder.removeIfSame('f', id, true);
    expect(await read('g', 's')).toBe('S');
    await folder.removeIfSame('g', id, true);
    expect(stored()).toEqual([]);
  });

  test('stay when their directory cannot be removed', async () => {
    mkdirSync(join(path, 'd'));
    writeFileSync(join(path, 'd', 'x'), '');
    await make('d', 's', 'S');
    await expect(folder.removeIfSame('d', await idOf('d'), false)).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    expect(await read('d', 's')).toBe('S');
  });

  test('that a server which died left on their way out are collected', async () => {
    writeFileSync(join(path, 'f'), '');
    const gone = join(path, '.holdfast-side', 'gone', '00.abcd');
    mkdirSync(gone, { recursive: true });
    writeFileSync(join(gone, ':s'), 'left behind');
    utimesSync(gone, 0, 0);
    const now = Date.now;
    Date.now = () => now() + 2 * 3_600_000;
    try {
      await make('f', 's', '');
    } finally {
      Date.now = now;
    }
    expect(readdirSync(join(path, '.holdfast-side', 'gone'))).toEqual([]);
  });

  test('of one file are not removed under the name of another', async () => {
    writeFileSync(join(path, 'f'), '');
    writeFileSync(join(path, 'g'), '');
    await make('f', 's', 'S');
    await make('g', 's', 'of g');
    const found = await volume.streams.find(await idOf('f'), 's');
    const streamId = await folder.fileId(found?.fd ?? -1, await statOf(volume.posix, found?.fd ?? -1));
    await volume.posix.close(found?.fd ?? -1);
    expect(await folder.removeIfSame('g//s', streamId, false)).toBe(true);
    expect(await read('g', 's')).toBe('of g');
    expect(await folder.removeIfSame('f//s', streamId, false)).toBe(true);
    expect(await read('f', 's')).toBeUndefined();
  });
});
