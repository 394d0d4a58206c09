import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Described, Metadata, MetadataName } from './metadata.ts';
import { Errno, O, Posix } from './posix.ts';
import { SideStore } from './side-store.ts';
import { ThreadSlots } from './slots.ts';

const gate = { mayServe: () => true, reopened: () => Promise.resolve() };
const { descriptor } = MetadataName;

let base: string;
let posix: Posix;
let side: SideStore;
let file: Described;
let asked: number;

beforeEach(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-metadata-'));
  fs.writeFileSync(path.join(base, 'file'), '');
  posix = new Posix({ blocking: false, slots: new ThreadSlots(4).forVolume(), gate });
  const rootFd = fs.openSync(base, O.PATH | O.DIRECTORY);
  side = new SideStore(posix, rootFd);
  asked = 0;
  const fileId = () => {
    asked++;
    return Promise.resolve(Buffer.from('volume-idfile-1'));
  };
  file = { fd: fs.openSync(path.join(base, 'file'), O.PATH), fileId };
});

afterEach(() => fs.rmSync(base, { recursive: true, force: true }));

/** A volume on which setting an attribute gives `setting`, and reading one `reading`; undefined: as it is. */
function volumeThat(setting: number | undefined, reading?: number): Metadata {
  class Refusing extends Posix {
    override setAttribute(...args: Parameters<Posix['setAttribute']>) {
      return setting ?? super.setAttribute(...args);
    }
    override getAttribute(...args: Parameters<Posix['getAttribute']>) {
      return reading ?? super.getAttribute(...args);
    }
  }
  return new Metadata(new Refusing({ blocking: false, slots: new ThreadSlots(4).forVolume(), gate }), side);
}

describe('metadata of a file', () => {
  test('lies in an extended attribute of it, and its id is not worked out', async () => {
    const metadata = volumeThat(undefined);
    expect(await metadata.read(file, descriptor, false)).toBeUndefined();
    await metadata.write(file, descriptor, Buffer.from('one'), false);
    expect(await metadata.read(file, descriptor, true)).toEqual(Buffer.from('one'));
    expect(asked).toBe(0);
    await metadata.remove(file, descriptor, false);
    expect(await metadata.read(file, descriptor, true)).toBeUndefined();
  });

  test('lies in the side store where the volume has no extended attributes', async () => {
    const metadata = volumeThat(-Errno.EOPNOTSUPP, -Errno.EOPNOTSUPP);
    expect(await metadata.read(file, descriptor, false)).toBeUndefined();
    await metadata.write(file, descriptor, Buffer.from('one'), true);
    await metadata.write(file, descriptor, Buffer.from('another'), true);
    expect(await metadata.read(file, descriptor, false)).toEqual(Buffer.from('another'));
    // Under the file's id: a server that starts anew finds it.
    expect(await volumeThat(-Errno.EOPNOTSUPP, -Errno.EOPNOTSUPP).read(file, descriptor, false)).toBeDefined();
    await metadata.remove(file, descriptor, true);
    expect(await metadata.read(file, descriptor, false)).toBeUndefined();
  });

  test('goes to the side store when it does not fit, and the smaller one before it is gone', async () => {
    await volumeThat(undefined).write(file, descriptor, Buffer.from('small'), false);
    const metadata = volumeThat(-Errno.ENOSPC);
    await metadata.write(file, descriptor, Buffer.alloc(30_000, 'l'), false);
    expect((await metadata.read(file, descriptor, true))?.length).toBe(30_000);
  });

  test('a small one counts more than a large one that it replaces', async () => {
    await volumeThat(-Errno.E2BIG).write(file, descriptor, Buffer.alloc(30_000), false);
    const metadata = volumeThat(undefined);
    await metadata.write(file, descriptor, Buffer.from('small'), false);
    expect(await metadata.read(file, descriptor, true)).toEqual(Buffer.from('small'));
  });

  test('what the volume refuses for another reason is an error', async () => {
    await expect(volumeThat(-Errno.EROFS).write(file, descriptor, Buffer.from('x'), false)).rejects.toThrow('EROFS');
    await expect(volumeThat(undefined, -Errno.EIO).read(file, descriptor, true)).rejects.toThrow('EIO');
  });
});
