// A volume whose files have no extended attributes: what they have beyond their data lies in the hidden side store. Needs root.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Client, SmbError } from '../../client/index.ts';
import { O } from '../../fileserver/volume/posix.ts';
import { ThreadSlots } from '../../fileserver/volume/slots.ts';
import { statOf, Volume } from '../../fileserver/volume/volume.ts';
import { CreateDisposition, InfoType } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { fileFullEaInformation } from '../../smb/fscc/ea.ts';
import { fileBasicInformation } from '../../smb/fscc/file-info.ts';
import { Access, FileAccess } from '../../smb/security/access-mask.ts';
import { AceType, encodeSecurityDescriptor, SecurityInfo } from '../../smb/security/descriptor.ts';
import { wellKnownSids } from '../../smb/security/sid.ts';
import { ended, eventually } from '../cluster/shell.ts';
import { canMakeVolumes } from '../loop-volume.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { RawOpen } from './raw-requests.ts';

const TEST_TIMEOUT_MS = 90_000;
const HIDDEN = 0x2;
const SUCCESS = 0;

async function statusOf(operation: Promise<unknown>): Promise<string> {
  try {
    await operation;
    return 'STATUS_SUCCESS';
  } catch (error) {
    if (error instanceof SmbError) return error.code;
    throw error;
  }
}

(canMakeVolumes ? describe : describe.skip)('a volume without extended attributes', () => {
  let base: string;
  const mounts = new Map<string, ChildProcess>();
  const behind = () => join(base, 'behind');

  /** One more mount of the folder, as each node has its own. */
  async function mount(name: string): Promise<string> {
    const path = join(base, name);
    mkdirSync(path, { recursive: true });
    const daemon = spawn('bindfs', ['-f', '--xattr-none', behind(), path], { stdio: 'inherit' });
    mounts.set(path, daemon);
    await eventually('it is mounted', 10_000, () => readdirSync(path).includes('mark') || undefined, 20);
    return path;
  }

  async function unmount(path: string): Promise<void> {
    const daemon = mounts.get(path);
    mounts.delete(path);
    await ended(spawn('umount', ['--lazy', path], { stdio: 'ignore' }));
    if (daemon?.kill('SIGKILL')) await ended(daemon);
  }

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'holdfast-no-xattrs-'));
    mkdirSync(behind());
    writeFileSync(join(behind(), 'mark'), '');
  });

  afterEach(async () => {
    for (const path of [...mounts.keys()]) await unmount(path);
    rmSync(base, { recursive: true, force: true });
  }, TEST_TIMEOUT_MS);

  test(
    'gives a file the same id at every mount, and no other file this one',
    async () => {
      for (let i = 0; i < 5; i++) writeFileSync(join(behind(), `file${i}`), '');
      const [here, there] = [await mount('a'), await mount('b')];
      // Seen in another order there.
      for (const i of [4, 3]) openSync(join(there, `file${i}`), 'r');
      const gate = { mayServe: () => true, reopened: () => Promise.resolve() };
      const slots = new ThreadSlots(4);
      const idsAt = async (path: string) => {
        const volume = await Volume.open({ name: 'v', path, fencing: 'Deadline' }, { gate, slots });
        const ids: string[] = [];
        for (let i = 0; i < 5; i++) {
          const fd = openSync(join(path, `file${i}`), O.PATH);
          ids.push((await volume.fileId(fd, await statOf(volume.posix, fd))).toString('hex'));
        }
        return ids;
      };
      const ids = await idsAt(here);
      expect(await idsAt(there)).toEqual(ids);
      expect(new Set(ids).size).toBe(5);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'keeps descriptor, attributes, extended attributes and streams with their file, whatever happens to it and to the server',
    async () => {
      const directory = await mount('a');
      let serving = await Serving.start({ directory, servers: 2 });
      let client = await connect(serving);
      await client.mkdir('folder');
      const all = { access: FileAccess.all, disposition: CreateDisposition.OPEN_IF };
      const file = await RawOpen.open(client, 'file', all);
      const basic = { creationTime: 0n, lastAccessTime: 0n, lastWriteTime: 0n, changeTime: 0n, fileAttributes: HIDDEN };
      const { FILE, SECURITY } = InfoType;
      const eas = [{ flags: 0, name: 'ea', value: Buffer.from('kept') }];
      expect(await file.set(FILE, FileInfoClass.basic, fileBasicInformation.encode(basic))).toBe(SUCCESS);
      expect(await file.set(FILE, FileInfoClass.fullEa, fileFullEaInformation.encode(eas))).toBe(SUCCESS);
      const stream = await RawOpen.open(client, 'file:stream', all);
      expect(await stream.write(0, Buffer.from('of the stream'))).toBe(SUCCESS);
      await stream.close();
      const mask = FileAccess.read | Access.delete | Access.writeDac;
      const aces = [{ type: AceType.allow, flags: 0, sid: wellKnownSids.everyone, mask }];
      const descriptor = encodeSecurityDescriptor({ control: 0, dacl: { revision: 2, aces } });
      expect(await file.set(SECURITY, 0, descriptor, SecurityInfo.dacl)).toBe(SUCCESS);
      await file.close();
      const expectAll = async (path: string) => {
        expect(await statusOf(client.open(path, { access: 'write' }))).toBe('STATUS_ACCESS_DENIED');
        await using opened = await client.open(`${path}:stream`);
        expect((await opened.read(0, 100)).toString()).toBe('of the stream');
        const listed = await client.list(path.includes('/') ? 'folder' : '');
        expect(listed.find(({ name }) => path.endsWith(name))?.attributes).toBe(HIDDEN);
      };
      await expectAll('file');

      await client.rename('file', 'folder/renamed');
      await expectAll('folder/renamed');
      await client.rename('folder/renamed', 'file');

      for (const server of ['fileserver-0', 'fileserver-1']) await serving.kill(server);
      await expectAll('file');

      // The whole of it starts anew, on another mount.
      await client.close();
      await serving.stop();
      await unmount(directory);
      serving = await Serving.start({ directory: await mount('b') });
      client = await connect(serving);
      try {
        await expectAll('file');
        await client.remove('file');
        const kept = readdirSync(join(behind(), '.holdfast-side'), { recursive: true, encoding: 'utf8' });
        expect(kept.filter((path) => /stream|sd$|ea$/.test(path))).toEqual([]);
        // Whoever gets its inode gets nothing else.
        await (await client.open('file', { disposition: 'create', access: 'write' })).close();
        expect(await statusOf(client.open('file', { access: 'write' }))).toBe('STATUS_SUCCESS');
        expect(await statusOf(client.open('file:stream'))).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      } finally {
        await client.close();
        await serving.stop();
      }
    },
    TEST_TIMEOUT_MS,
  );

  const connect = (serving: Serving) =>
    Client.connect({ addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' });
});
