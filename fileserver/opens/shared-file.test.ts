import { describe, expect, test } from '@jest/globals';
import { SharedFile } from './shared-file.ts';

const ME = 1n;
const OTHER = 2n;
const fileId = Buffer.from('file');
const state = (version: bigint, locks: { offset: bigint; length: bigint; exclusive: boolean; openId: bigint }[]) => ({
  fileId,
  version,
  locks,
  readCached: false,
  deletePending: false,
  cachedBy: Buffer.alloc(0),
});
const exclusive = { offset: 10n, length: 10n, exclusive: true, openId: OTHER };

describe('the locks of a file', () => {
  test('an exclusive lock keeps others from reading and writing, and not its owner', () => {
    const file = new SharedFile(fileId, 'f');
    file.take(state(1n, [exclusive]));
    expect(file.isLocked(19, 1, false, ME)).toBe(true);
    expect(file.isLocked(9, 1, false, ME)).toBe(false);
    expect(file.isLocked(20, 1, true, ME)).toBe(false);
    expect(file.isLocked(10, 10, true, OTHER)).toBe(false);
    expect(file.isLocked(15, 0, true, ME)).toBe(false);
  });

  test('a shared lock keeps everybody from writing', () => {
    const file = new SharedFile(fileId, 'f');
    file.take(state(1n, [{ ...exclusive, exclusive: false }]));
    expect(file.isLocked(10, 1, false, ME)).toBe(false);
    expect(file.isLocked(10, 1, true, ME)).toBe(true);
    expect(file.isLocked(10, 1, true, OTHER)).toBe(true);
  });

  test('an older list is dropped', () => {
    const file = new SharedFile(fileId, 'f');
    file.take(state(2n, []));
    file.take(state(1n, [exclusive]));
    expect(file.isLocked(10, 1, true, ME)).toBe(false);
  });

  test('are counted with those of other files, until nobody has the file open', () => {
    const together = { locks: 0 };
    const [file, other] = [new SharedFile(fileId, 'f', together), new SharedFile(fileId, 'g', together)];
    file.take(state(1n, [exclusive, { ...exclusive, offset: 30n }]));
    other.take(state(1n, [exclusive]));
    expect(together.locks).toBe(3);
    file.take(state(2n, [exclusive]));
    expect(together.locks).toBe(2);
    file.forget();
    // An answer that comes late.
    file.take(state(3n, [exclusive]));
    expect(together.locks).toBe(1);
  });

  test('a new list has taken effect when the I/O that it forbids has ended', async () => {
    const file = new SharedFile(fileId, 'f');
    const forbidden = file.begin(15, 1, true, ME);
    const allowed = file.begin(30, 1, true, ME);
    file.take(state(1n, [exclusive]));
    let isSettled = false;
    const settled = file.settled().then(() => {
      isSettled = true;
    });
    await new Promise(setImmediate);
    expect(isSettled).toBe(false);
    file.end(forbidden);
    await settled;
    file.end(allowed);
  });
});
