import { mkdirSync, mkdtempSync, openSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { DirectoryScan } from './directory-scan.ts';
import { type Keeper, KeptChunks } from './kept-chunks.ts';
import { Posix } from './posix.ts';
import { ThreadSlots } from './slots.ts';

const gate = { mayServe: () => true, reopened: () => Promise.resolve() };

describe.each([
  ['at once', false],
  ['in the thread pool', true],
])('a listing (%s)', (_how, blocking) => {
  const posix = new Posix({ blocking, slots: new ThreadSlots(4).forVolume(), gate });
  let folder: string;
  let fd: number;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-scan-'));
    mkdirSync(join(folder, 'd'));
    // Names that do not fit into one chunk together.
    for (let i = 0; i < 3000; i++) writeFileSync(join(folder, 'd', `${'n'.repeat(60)}${i}`), '');
    fd = openSync(join(folder, 'd'), 'r');
  });

  afterEach(async () => {
    await posix.close(fd);
    rmSync(folder, { recursive: true, force: true });
  });

  test('goes on where it was when it was made to forget what it had read ahead', async () => {
    const scan = await DirectoryScan.open(posix, fd, false);
    await scan.restart('*');
    const seen: string[] = [];
    let most = 0;
    for (let name = await scan.next(); name !== undefined; name = await scan.next()) {
      seen.push(name.disk);
      most = Math.max(most, scan.keptBytes);
      if (seen.length % 7 === 0) {
        scan.forget();
        if (seen.length > 2) expect(scan.keptBytes).toBe(0);
      }
      // Names that went meanwhile do not move the others.
      if (seen.length === 1000) for (const gone of seen.slice(10, 200)) unlinkSync(join(folder, 'd', gone));
    }
    await scan.close();
    expect(most).toBeGreaterThan(0);
    expect(new Set(seen).size).toBe(3002);
    expect(seen.length).toBe(3002);
  });

  test('keeps nothing when it is at its end', async () => {
    const scan = await DirectoryScan.open(posix, fd, false);
    await scan.restart('*');
    while ((await scan.next()) !== undefined);
    scan.rest();
    expect(scan.keptBytes).toBe(0);
    await scan.close();
  });
});

describe('what listings keep together', () => {
  const keeper = (keptBytes: number): Keeper & { forgot: number } => ({
    keptBytes,
    forgot: 0,
    forget() {
      this.forgot++;
    },
  });

  test('is bounded: who was not asked for the longest time forgets', () => {
    const chunks = new KeptChunks(100);
    const [a, b, c] = [keeper(40), keeper(40), keeper(40)];
    chunks.keep(a);
    chunks.keep(b);
    chunks.keep(a);
    chunks.keep(c);
    expect([a.forgot, b.forgot, c.forgot]).toEqual([0, 1, 0]);
    expect(chunks.bytes).toBe(80);
    chunks.release(a);
    chunks.keep(b);
    expect([a.forgot, b.forgot, c.forgot]).toEqual([0, 1, 0]);
    expect(chunks.bytes).toBe(80);
  });
});
