import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Errno, Posix } from './posix.ts';
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
