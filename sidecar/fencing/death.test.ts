import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { isProvenDead } from './death.ts';

let folder: string;
let path: string;
let holder: ChildProcessWithoutNullStreams | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-lock-'));
  path = join(folder, 'fileserver-0.lock');
});
afterEach(() => {
  holder?.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

/** A process of its own that holds the lock, as a file server does. */
async function hold(): Promise<ChildProcessWithoutNullStreams> {
  const child = spawn('flock', ['--no-fork', path, 'sh', '-c', 'echo held; exec sleep 60'], { stdio: 'pipe' });
  holder = child;
  await once(child.stdout, 'data');
  return child;
}

test('a process that holds its lock lives, also one that is stopped', async () => {
  const child = await hold();
  expect(isProvenDead(path)).toBe(false);
  child.kill('SIGSTOP');
  expect(isProvenDead(path)).toBe(false);
});

test('a lock that can be taken proves the death, and to look takes it from nobody', async () => {
  const child = await hold();
  const over = once(child, 'exit');
  child.kill('SIGKILL');
  await over;
  expect(isProvenDead(path)).toBe(true);
  expect(isProvenDead(path)).toBe(true);
  await hold();
  expect(isProvenDead(path)).toBe(false);
});

test('a file that is not there proves nothing', () => {
  expect(isProvenDead(path)).toBe(false);
});
