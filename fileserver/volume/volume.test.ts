import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { FileAttribute } from '../../smb/fscc/constants.ts';
import { creationTime, fileAttributes, noAttributes } from './attributes.ts';
import { Folder, type Lookup } from './folder.ts';
import { O } from './posix.ts';
import { ThreadSlots } from './slots.ts';
import { statOf, Volume } from './volume.ts';

const openGate = { mayServe: () => true, reopened: () => Promise.resolve() };

let base: string;
let volume: Volume;
let folder: Folder;

const openVolume = (gate = openGate) =>
  Volume.open({ name: 'v', path: base, fencing: 'Deadline' }, { gate, slots: new ThreadSlots(4) });

beforeEach(async () => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-volume-'));
  fs.mkdirSync(path.join(base, 'share/Docs/Deep'), { recursive: true });
  fs.writeFileSync(path.join(base, 'share/Docs/Report.TXT'), 'report');
  fs.writeFileSync(path.join(base, 'outside'), 'secret');
  volume = await openVolume();
  folder = await Folder.open(volume, '/share');
});

afterEach(() => fs.rmSync(base, { recursive: true, force: true }));

function found(lookup: Lookup): Extract<Lookup, { kind: 'found' }> {
  if (lookup.kind !== 'found') throw new Error(`lookup gave ${lookup.kind}`);
  return lookup;
}

describe('a share of a volume', () => {
  test('gives no name away that another server gave in another case while this one changed the directory', async () => {
    const docs = path.join(base, 'share/Docs');
    const elsewhere = (name: string) => fs.writeFileSync(path.join(docs, name), ''); // as another server does
    expect((await folder.lookup(['Docs', 'free'])).kind).toBe('missing');
    elsewhere('first');
    fs.utimesSync(docs, 1, 1); // later than any granularity of time stamps
    const look = await folder.lookup(['Docs', 'free']);
    if (look.kind !== 'missing') throw new Error('it is free');
    const { parentFd } = look;
    jest.spyOn(folder.posix, 'makeDirectory').mockImplementationOnce(async (_fd, name) => {
      fs.mkdirSync(path.join(docs, name));
      elsewhere('Goal');
      return 0;
    });
    expect(await folder.createDirectory(parentFd, 'own')).toBe(0);
    await folder.posix.close(parentFd);
    expect(found(await folder.lookup(['Docs', 'GOAL'], undefined, { elsewhere: false })).path).toBe('Docs/Goal');
  });

  test('gives no name away that another server gave at the moment at which it had looked twice', async () => {
    const docs = path.join(base, 'share/Docs');
    const { names } = volume;
    const fd = await folder.open('Docs', O.PATH | O.DIRECTORY);
    await names.find(fd, await statOf(folder.posix, fd), 'free');
    fs.writeFileSync(path.join(docs, 'first'), ''); // as another server does
    fs.utimesSync(docs, 1, 1); // later than any granularity of time stamps
    const now = await statOf(folder.posix, fd);
    const look = () => names.find(fd, now, 'GOAL', { elsewhere: false });
    expect([await look(), await look()]).toEqual([undefined, undefined]);
    fs.writeFileSync(path.join(docs, 'Goal'), ''); // within the granularity: the directory looks as before
    expect(await look()).toBe('Goal');
    await folder.posix.close(fd);
  });

  test('gives no name away that another server gave while this one changed the directory, when it hears that one was at it', async () => {
    const docs = path.join(base, 'share/Docs');
    const { names } = volume;
    const fd = await folder.open('Docs', O.PATH | O.DIRECTORY);
    const state = () => statOf(folder.posix, fd);
    await names.find(fd, await state(), 'free');
    const before = await state();
    fs.writeFileSync(path.join(docs, 'Goal'), ''); // as another server does
    fs.writeFileSync(path.join(docs, 'own'), '');
    names.changed(before, await state(), { added: 'own' });
    const look = async (elsewhere: boolean) => names.find(fd, await state(), 'GOAL', { elsewhere });
    expect(await look(false)).toBeUndefined(); // its time stamps show nothing
    expect(await look(true)).toBe('Goal');
    await folder.posix.close(fd);
  });

  test('finds names in any case and tells how they are written on disk', async () => {
    expect(found(await folder.lookup(['Docs', 'Report.TXT'])).path).toBe('Docs/Report.TXT');
    expect(found(await folder.lookup(['dOCS', 'report.txt'])).path).toBe('Docs/Report.TXT');
    expect(found(await folder.lookup([])).path).toBe('.');
  });

  test('tells a missing name from a missing path', async () => {
    const missing = await folder.lookup(['docs', 'new']);
    expect(missing).toMatchObject({ kind: 'missing', parentPath: 'Docs', name: 'new' });
    expect(await folder.lookup(['nowhere', 'new'])).toEqual({ kind: 'no-path' });
    expect(await folder.lookup(['Docs', 'Report.TXT', 'x'])).toEqual({ kind: 'no-path' });
  });

  test('sees names that others create, rename and remove', async () => {
    expect((await folder.lookup(['docs', 'LATER'])).kind).toBe('missing');
    fs.writeFileSync(path.join(base, 'share/Docs/later'), '');
    expect(found(await folder.lookup(['docs', 'LATER'])).path).toBe('Docs/later');
    fs.renameSync(path.join(base, 'share/Docs/later'), path.join(base, 'share/Docs/Sooner'));
    expect((await folder.lookup(['docs', 'LATER'])).kind).toBe('missing');
    expect(found(await folder.lookup(['docs', 'sooner'])).path).toBe('Docs/Sooner');
  });

  test('finds a file whose name another server writes in another case while it looks', async () => {
    const docs = path.join(base, 'share/Docs');
    fs.writeFileSync(path.join(docs, 'NAME'), '');
    const { names } = folder.volume;
    const find = names.find.bind(names);
    const others = ['NAme', 'NaMe', 'Name'];
    names.find = async (...asked) => {
      const seen = await find(...asked);
      const next = others.shift();
      if (next !== undefined) fs.renameSync(path.join(docs, seen ?? ''), path.join(docs, next));
      return seen;
    };
    expect(found(await folder.lookup(['Docs', 'nAME'])).path).toBe('Docs/Name');
  });

  test('knows its own changes without reading the directory again', async () => {
    const { parentFd } = (await folder.lookup(['docs', 'MINE'])) as Extract<Lookup, { kind: 'missing' }>;
    expect(await folder.createFile(parentFd, 'Mine', O.WRONLY)).toBeGreaterThan(0);
    expect(found(await folder.lookup(['docs', 'mINE'])).path).toBe('Docs/Mine');
    expect(await folder.rename(parentFd, 'Mine', parentFd, 'Yours', false)).toBe(0);
    expect((await folder.lookup(['docs', 'mine'])).kind).toBe('missing');
    expect(found(await folder.lookup(['docs', 'YOURS'])).path).toBe('Docs/Yours');
    expect(await folder.rename(parentFd, 'Yours', parentFd, 'Report.TXT', false)).toBe(-17);
  });

  test.each([
    ['../outside', ['escape']],
    ['/etc/passwd', ['escape']],
  ])('refuses a symbolic link to %s', async (target, names) => {
    fs.symlinkSync(target, path.join(base, 'share/escape'));
    await expect(folder.lookup(names)).rejects.toMatchObject({ code: 'EXDEV' });
  });

  test('follows a symbolic link that stays inside', async () => {
    fs.symlinkSync('Docs/../Docs/Report.TXT', path.join(base, 'share/link'));
    expect(found(await folder.lookup(['link'])).stat.size).toBe(6);
  });

  test('cannot be a folder that leaves the volume or is not there', async () => {
    fs.symlinkSync('/etc', path.join(base, 'etc'));
    await expect(Folder.open(volume, '/etc')).rejects.toMatchObject({ code: 'SHARE' });
    await expect(Folder.open(volume, '/../..')).rejects.toMatchObject({ code: 'SHARE' });
    await expect(Folder.open(volume, '/nothing')).rejects.toMatchObject({ code: 'SHARE' });
  });

  test('gives a file one id under all its names and after a rename, and the same to every server', async () => {
    const before = found(await folder.lookup(['Docs', 'Report.TXT']));
    fs.renameSync(path.join(base, 'share/Docs/Report.TXT'), path.join(base, 'share/other'));
    const other = await Folder.open(await openVolume(), '/share');
    const after = found(await other.lookup(['other']));
    const id = await folder.fileId(before.fd, before.stat);
    expect(id.equals(await other.fileId(after.fd, after.stat))).toBe(true);
    expect(id.length).toBeLessThanOrEqual(160);
    fs.rmSync(path.join(base, 'share/other'));
    expect((await statOf(folder.posix, before.fd)).links).toBe(0);
  });

  test('keeps attributes and creation time', async () => {
    const { fd, stat } = found(await folder.lookup(['Docs', 'Report.TXT']));
    expect(fileAttributes(stat, await folder.attributes(fd))).toBe(FileAttribute.archive);
    const created = creationTime(stat, noAttributes);
    await folder.setAttributes(fd, {
      ...noAttributes,
      attributes: FileAttribute.hidden,
      creationTime: 42n,
      rest: Buffer.from('later'),
    });
    const stored = await folder.attributes(fd);
    expect(fileAttributes(stat, stored)).toBe(FileAttribute.hidden);
    expect(creationTime(stat, stored)).toBe(42n);
    expect(stored.rest.toString()).toBe('later');
    expect(created).toBeGreaterThan(130_000_000_000_000_000n);
  });

  test('removes a name only while it is that file', async () => {
    const { fd, stat } = found(await folder.lookup(['Docs', 'Report.TXT']));
    const id = await folder.fileId(fd, stat);
    fs.renameSync(path.join(base, 'share/Docs/Report.TXT'), path.join(base, 'share/kept'));
    fs.writeFileSync(path.join(base, 'share/Docs/Report.TXT'), 'another');
    expect(await folder.removeIfSame('Docs/Report.TXT', id, true)).toBe(true);
    expect(fs.existsSync(path.join(base, 'share/Docs/Report.TXT'))).toBe(true);
    expect(await folder.removeIfSame('kept', id, true)).toBe(true);
    expect(fs.existsSync(path.join(base, 'share/kept'))).toBe(false);
    const docs = found(await folder.lookup(['docs']));
    await expect(folder.removeIfSame('Docs', await folder.fileId(docs.fd, docs.stat), false)).rejects.toMatchObject({
      code: 'ENOTEMPTY',
    });
  });

  test('knows that the id of a file that is gone may be that of a new one, where inode numbers are the ids', async () => {
    const identity = path.join(base, '.holdfast-volume');
    const { id } = JSON.parse(fs.readFileSync(identity, 'utf8'));
    fs.writeFileSync(identity, JSON.stringify({ id, fileIds: 'inode' }));
    const other = await Folder.open(await openVolume(), '/share');
    const { fd, stat } = found(await other.lookup(['Docs', 'Report.TXT']));
    expect(await other.removal('Docs/Report.TXT', await other.fileId(fd, stat), false)).toBe('gone');
  });

  test('knows when no name leads to a file any more', async () => {
    fs.linkSync(path.join(base, 'share/Docs/Report.TXT'), path.join(base, 'share/other'));
    const { fd, stat } = found(await folder.lookup(['Docs', 'Report.TXT']));
    const id = await folder.fileId(fd, stat);
    expect(await folder.removal('other', id, false)).toBe('gone');
    expect(await folder.removal('Docs/Report.TXT', id, false)).toBe('last');
    expect(await folder.removal('Docs/Report.TXT', id, false)).toBe('gone');
    expect(await folder.removal('.', id, false)).toBe('refused');
  });
});

describe('the deadline', () => {
  test('holds every change back until it is renewed, and lets reads through', async () => {
    let serves = false;
    let renew: () => void = () => {};
    const renewed = new Promise<void>((resolve) => {
      renew = resolve;
    });
    volume = await openVolume({ mayServe: () => serves, reopened: () => renewed });
    folder = await Folder.open(volume, '/share');
    const { fd } = found(await folder.lookup(['Docs', 'Report.TXT']));
    const forWriting = await folder.posix.reopen(fd, O.RDWR);
    const changes = [
      folder.posix.write(forWriting, Buffer.from('REPORT'), 0),
      Promise.resolve(folder.setAttributes(fd, { ...noAttributes, attributes: 2 })),
      folder.posix.unlink(fd, 'nothing', false),
    ];
    const into = Buffer.alloc(6);
    expect(await folder.posix.read(forWriting, into, 0, 6, 0)).toBe(6);
    expect(into.toString()).toBe('report');
    serves = true;
    renew();
    await Promise.all(changes);
    expect(fs.readFileSync(path.join(base, 'share/Docs/Report.TXT'), 'utf8')).toBe('REPORT');
  });

  test('is looked at again when a thread gets free, not when the change was asked for', async () => {
    let serves = true;
    volume = await openVolume({ mayServe: () => serves, reopened: () => Promise.reject(new Error('fenced')) });
    folder = await Folder.open(volume, '/share');
    const { fd } = found(await folder.lookup(['Docs', 'Report.TXT']));
    const forWriting = await folder.posix.reopen(fd, O.RDWR);
    const writes = Array.from({ length: 12 }, () => folder.posix.write(forWriting, Buffer.from('x'), 0));
    serves = false;
    const outcomes = await Promise.allSettled(writes);
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(3);
    expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThanOrEqual(9);
  });
});

test('reads what is cached without the thread pool, through a view of a larger buffer', async () => {
  const { fd } = found(await folder.lookup(['Docs', 'Report.TXT']));
  const forReading = await folder.posix.reopen(fd, O.RDONLY);
  const into = Buffer.from('................').subarray(4, 14);
  const read = folder.posix.readCached(forReading, into, 1, 6, 0);
  if (read !== -11) expect(into.toString()).toBe('.report...');
});

describe('a file that was opened before', () => {
  const long = new Date(Date.now() - 3_600_000);

  /** Files of the volume that have not changed for a while: the test turns the clock on, not the files back. */
  async function settled<T>(act: () => T | Promise<T>): Promise<T> {
    const now = Date.now;
    Date.now = () => now() + 10_000;
    try {
      return await act();
    } finally {
      Date.now = now;
    }
  }

  async function opened(name: string) {
    const file = found(await folder.lookup([name], O.RDONLY));
    const about = await folder.describe(file);
    const content = file.ioFlags === undefined ? undefined : fs.readFileSync(`/proc/self/fd/${file.fd}`, 'utf8');
    await volume.posix.close(file.fd);
    return { ...file, about, content };
  }

  beforeEach(() => {
    fs.writeFileSync(path.join(base, 'share/known'), 'one');
    fs.utimesSync(path.join(base, 'share/known'), long, long);
  });

  test('is opened for I/O at once, and is the same file', async () => {
    const first = await settled(() => opened('known'));
    const second = await opened('known');
    expect(first.ioFlags).toBeUndefined();
    expect(second).toMatchObject({ ioFlags: O.RDONLY, content: 'one' });
    expect(second.about.fileId).toEqual(first.about.fileId);
    expect(second.known).toBe(second.about);
  });

  test('is not believed to be unchanged right after a change', async () => {
    await opened('known');
    expect((await opened('known')).known).toBeUndefined();
  });

  test('shows attributes that somebody else has set since', async () => {
    await settled(() => opened('known'));
    const other = await Folder.open(await openVolume(), '/share');
    const { fd } = found(await other.lookup(['known']));
    await other.setAttributes(fd, { ...noAttributes, attributes: FileAttribute.hidden });
    await volume.posix.close(fd);
    const { about, known } = await opened('known');
    expect(known).toBeDefined();
    expect(about.stored.attributes).toBe(FileAttribute.hidden);
  });

  test('is another file when another has taken its name', async () => {
    const first = await settled(() => opened('known'));
    fs.writeFileSync(path.join(base, 'share/next'), 'two');
    fs.renameSync(path.join(base, 'share/next'), path.join(base, 'share/known'));
    const second = await opened('known');
    expect(second).toMatchObject({ known: undefined, content: 'two' });
    expect(second.about.fileId).not.toEqual(first.about.fileId);
  });

  test('is not opened for I/O when it is a directory or a pipe by now', async () => {
    await settled(() => opened('known'));
    const file = path.join(base, 'share/known');
    fs.rmSync(file);
    fs.mkdirSync(file);
    expect((await opened('known')).ioFlags).toBeUndefined();
    fs.rmdirSync(file);
    execFileSync('mkfifo', [file]);
    expect((await opened('known')).ioFlags).toBeUndefined();
  });
});
