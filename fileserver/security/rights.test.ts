import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FileAccess, userToken } from '../../smb/security/access.ts';
import { Access } from '../../smb/security/access-mask.ts';
import { plainDescriptor, type SecurityDescriptor } from '../../smb/security/descriptor.ts';
import { encodeSid, wellKnownSids } from '../../smb/security/sid.ts';
import { StatusError } from '../session/request.ts';
import { noAttributes } from '../volume/attributes.ts';
import { Folder } from '../volume/folder.ts';
import { O } from '../volume/posix.ts';
import { ThreadSlots } from '../volume/slots.ts';
import { Volume } from '../volume/volume.ts';
import { effectiveDescriptor, newDescriptor, storedForm } from './descriptors.ts';
import { mayAssignOwner, rightsTo } from './rights.ts';

const alice = 'S-1-5-21-1-2-3-1001';
const bob = 'S-1-5-21-1-2-3-1002';
const { users, everyone, administrators } = wellKnownSids;
const CHANGE = FileAccess.all & ~(Access.writeDac | Access.writeOwner);
const gate = { mayServe: () => true, reopened: () => Promise.resolve() };

let base: string;
let folder: Folder;

beforeEach(async () => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-rights-'));
  fs.mkdirSync(path.join(base, 'dir'));
  fs.writeFileSync(path.join(base, 'dir/file'), '');
  const slots = new ThreadSlots(4);
  folder = await Folder.open(await Volume.open({ name: 'v', path: base, fencing: 'Deadline' }, { gate, slots }), '/');
});

afterEach(() => fs.rmSync(base, { recursive: true, force: true }));

/** Lets everybody do `mask` with what lies at `at`. */
async function restrict(at: string, mask: number): Promise<void> {
  const fd = await folder.open(at, O.PATH);
  await folder.setDescriptor(fd, storedForm(plainDescriptor(bob, users, [{ sid: everyone, mask, flags: 0 }])));
  await folder.setAttributes(fd, { ...noAttributes, hasDescriptor: true });
}

const asker = (shareAccess: number, user = alice) => ({ token: userToken(user), shareAccess });
const reads = plainDescriptor(bob, users, [{ sid: everyone, mask: FileAccess.read, flags: 0 }]);
const rights = (descriptor: SecurityDescriptor | undefined, shareAccess: number, user?: string) =>
  rightsTo(folder, { path: 'dir/file', descriptor }, asker(shareAccess, user));

describe('the rights to a file', () => {
  test('without a descriptor are those to the share, and nothing is waited for', () => {
    expect(rights(undefined, CHANGE)).toBe(CHANGE);
  });

  test('are what descriptor and share both give', async () => {
    await restrict('dir', 0);
    expect(await rights(reads, FileAccess.all)).toBe(FileAccess.read);
    expect(await rights(reads, Access.readData | Access.writeData)).toBe(Access.readData);
  });

  test('include deleting where the directory lets its children be deleted, and seeing attributes where it can be listed', async () => {
    const nothing = plainDescriptor(bob, users, []);
    expect(await rights(nothing, FileAccess.all)).toBe(Access.delete | Access.readAttributes);
    await restrict('dir', Access.listDirectory);
    expect(await rights(nothing, FileAccess.all)).toBe(Access.readAttributes);
    await restrict('dir', Access.deleteChild);
    expect(await rights(nothing, FileAccess.all)).toBe(Access.delete);
    // The share bounds what comes through the directory, too.
    expect(await rights(nothing, FileAccess.read)).toBe(0);
  });

  test('of the owner include reading and changing the descriptor', async () => {
    await restrict('dir', 0);
    const nothing = plainDescriptor(bob, users, []);
    expect(await rights(nothing, FileAccess.all, bob)).toBe(Access.readControl | Access.writeDac);
  });
});

describe('descriptors that are not stored', () => {
  test('let everybody who may use the share do everything; the owner is who created the file', async () => {
    const file = effectiveDescriptor({ ...noAttributes, owner: encodeSid(alice) }, undefined, false);
    expect(file.owner).toBe(alice);
    expect(effectiveDescriptor(noAttributes, undefined, true).owner).toBe(administrators);
    expect(await rightsTo(folder, { path: '.', descriptor: file }, asker(FileAccess.all, bob))).toBe(FileAccess.all);
  });

  test('are inherited by storing nothing', () => {
    expect(newDescriptor(undefined, undefined, { directory: false, owner: alice })).toBeUndefined();
    const inherited = newDescriptor(reads, undefined, { directory: false, owner: alice });
    expect(inherited?.dacl?.aces.map(({ sid }) => sid)).toEqual([alice, wellKnownSids.localSystem]);
  });
});

test('a descriptor that is larger than one may be is not stored', () => {
  const grants = (count: number) => Array.from({ length: count }, () => ({ sid: alice, mask: 1 }));
  const large = plainDescriptor(alice, users, grants(1700));
  expect(storedForm(large).length).toBeGreaterThan(60_000);
  expect(() => storedForm({ ...large, sacl: large.dacl ?? null })).toThrow(StatusError);
  expect(() => storedForm(plainDescriptor(alice, users, grants(1900)))).toThrow(StatusError);
});

test('owners are assigned to themselves by anybody, to others by who has full access to the share', () => {
  expect(mayAssignOwner(userToken(alice), CHANGE, alice)).toBe(true);
  expect(mayAssignOwner(userToken(alice), CHANGE, bob)).toBe(false);
  expect(mayAssignOwner(userToken(alice), FileAccess.all, bob)).toBe(true);
});
