import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Errno, O, Posix } from './posix.ts';
import { ThreadSlots } from './slots.ts';

describe('writeNow', () => {
  let directory: string;
  let fd: number;
  let isOpen: boolean;
  const gate = { mayServe: () => isOpen, reopened: () => Promise.resolve() };
  const posixOf = (blocking: boolean) => new Posix({ blocking, slots: new ThreadSlots(4).forVolume(), gate });
  const content = () => readFileSync(join(directory, 'file'), 'latin1');

  beforeEach(() => {
    isOpen = true;
    directory = mkdtempSync(join(tmpdir(), 'holdfast-posix-'));
    fd = openSync(join(directory, 'file'), 'w+');
  });
  afterEach(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });

  test('writes on a local volume before it returns', () => {
    const posix = posixOf(false);
    expect(posix.writeNow(fd, Buffer.from('hold'), 0)).toBe(4);
    expect(posix.writeNow(fd, Buffer.from('fast'), 4)).toBe(4);
    expect(content()).toBe('holdfast');
  });

  test('leaves it to the thread pool where the volume may wait for a network', () => {
    expect(posixOf(true).writeNow(fd, Buffer.from('hold'), 0)).toBeUndefined();
    expect(content()).toBe('');
  });

  test('writes nothing past the deadline', () => {
    isOpen = false;
    expect(posixOf(false).writeNow(fd, Buffer.from('hold'), 0)).toBeUndefined();
    expect(content()).toBe('');
  });

  test('gives the errno of a write that fails', () => {
    const readOnly = openSync(join(directory, 'file'), 'r');
    expect(posixOf(false).writeNow(readOnly, Buffer.from('hold'), 0)).toBe(-Errno.EBADF);
    closeSync(readOnly);
  });
});

test('a file is created only where there is none', async () => {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-posix-'));
  writeFileSync(join(path, 'file'), 'old');
  const directory = openSync(path, 'r');
  const gate = { mayServe: () => true, reopened: () => Promise.resolve() };
  const posix = new Posix({ blocking: false, slots: new ThreadSlots(4).forVolume(), gate });
  expect(await posix.createFile(directory, 'file', O.RDWR, 0o600)).toBe(-Errno.EEXIST);
  expect(readFileSync(join(path, 'file'), 'latin1')).toBe('old');
  closeSync(directory);
  rmSync(path, { recursive: true });
});

/** Everything that changes a volume: in a directory that holds "file", which is open, and is to be done what each says. */
const CHANGES: Record<string, (posix: Posix, directory: number, file: number) => Promise<unknown> | unknown> = {
  createFile: (posix, directory) => posix.createFile(directory, 'new', O.RDWR, 0o600),
  makeDirectory: (posix, directory) => posix.makeDirectory(directory, 'new', 0o700),
  rename: (posix, directory) => posix.rename(directory, 'file', directory, 'renamed', 0),
  link: (posix, directory) => posix.link(directory, 'file', directory, 'linked'),
  linkFile: (posix, directory, file) => posix.linkFile(file, directory, 'linked'),
  unlink: (posix, directory) => posix.unlink(directory, 'file', false),
  setTimes: (posix, _directory, file) => posix.setTimes(file, undefined, 132_000_000_000_000_000n),
  write: (posix, _directory, file) => posix.write(file, Buffer.from('hold'), 0),
  truncate: (posix, _directory, file) => posix.truncate(file, 100),
  allocate: (posix, _directory, file) => posix.allocate(file, 0, 0, 100),
  copyRange: (posix, _directory, file) => posix.copyRange(file, 0, file, 10, 3),
};

describe.each([
  ['a local volume', false],
  ['a volume beyond a network', true],
] as const)('past the deadline, on %s', (_kind, blocking) => {
  let path: string;
  let directory: number;
  let file: number;
  let gate: { isOpen: boolean; waits: number; opened: PromiseWithResolvers<void> };
  let posix: Posix;

  beforeEach(() => {
    path = mkdtempSync(join(tmpdir(), 'holdfast-posix-'));
    writeFileSync(join(path, 'file'), 'old');
    directory = openSync(path, 'r');
    file = openSync(join(path, 'file'), 'r+');
    gate = { isOpen: false, waits: 0, opened: Promise.withResolvers() };
    const asked = {
      mayServe: () => gate.isOpen,
      reopened: () => {
        gate.waits++;
        return gate.opened.promise;
      },
    };
    posix = new Posix({ blocking, slots: new ThreadSlots(4).forVolume(), gate: asked });
  });
  afterEach(() => {
    closeSync(file);
    closeSync(directory);
    rmSync(path, { recursive: true });
  });

  const now = () => {
    const { size, mtimeMs } = statSync(join(path, readdirSync(path).find((name) => name !== 'new') ?? ''));
    return { names: readdirSync(path), size, mtimeMs, content: readFileSync(`/proc/self/fd/${file}`, 'latin1') };
  };
  const turns = async () => {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  };

  test.each(Object.keys(CHANGES))('%s is done when the server was renewed, and not before', async (name) => {
    const before = now();
    const done = Promise.resolve(CHANGES[name]?.(posix, directory, file));
    await turns();
    expect(gate.waits).toBeGreaterThan(0);
    expect(now()).toEqual(before);
    gate.isOpen = true;
    gate.opened.resolve();
    const result = await done;
    expect(result).toBeGreaterThanOrEqual(0);
    if (name === 'createFile') closeSync(result as number);
    expect(now()).not.toEqual(before);
  });

  test.each(Object.keys(CHANGES))('%s is not done when the server was fenced', async (name) => {
    const before = now();
    const done = Promise.resolve(CHANGES[name]?.(posix, directory, file));
    gate.opened.reject(new Error('fenced'));
    await expect(done).rejects.toThrow('fenced');
    await turns();
    expect(now()).toEqual(before);
  });
});
