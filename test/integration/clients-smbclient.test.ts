// What people do with Samba's tools: trees up and down, tar, streams, notifications, descriptors, quotas.
//   FILES=5000   of the tree (default 500)
import { spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { CommandError, eventually, run } from '../cluster/shell.ts';
import { Balancer } from '../conformance/balancer.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const FILES = Number(process.env.FILES ?? 500);
const FILES_A_FOLDER = 50;
const OTHER_USER = 'bob';
const OTHER_PASSWORD = 'battery staple';
const TEST_TIMEOUT_MS = 60_000 + FILES * 500;
/** Tools that know no other. */
const SMB_PORT = 445;

/** Every file below a folder with its content, in one comparable form. */
function contentOf(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((file) => join(file.parentPath, file.name)).toSorted();
  return new Map(paths.map((path) => [path.slice(folder.length), readFileSync(path, 'base64')]));
}

/** Files of many sizes, some of them empty, in folders within folders, with names that are not only ASCII. */
function writeTree(folder: string, files: number): void {
  for (let i = 0; i < files; i++) {
    const within = Math.floor(i / FILES_A_FOLDER);
    const path = join(folder, `folder ${within % 5}`, `é${within}`);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, `file ${i}.bin`), randomBytes((i * 37) % 9000));
  }
}

describe("Samba's tools, at two servers in turn", () => {
  let serving: Serving;
  let work: string;
  let credentials: string;
  let ports: string[];
  let turn = 0;

  /** Each time at the other server: what one has done, the other knows. */
  const smbclientArgs = (commands: string) => {
    const port = ports[turn++ % ports.length] ?? '';
    return ['//127.0.0.1/share', '-p', port, '-A', credentials, '-c', commands];
  };
  /** Runs smbclient in the work folder and gives what it prints. Throws CommandError. */
  const smbclient = (commands: string) => run('smbclient', smbclientArgs(commands), { cwd: work });
  const onShare = (path: string) => join(serving.directory, path);

  beforeAll(async () => {
    serving = await Serving.start({ servers: 2, flags: ['--user', `${OTHER_USER}:${OTHER_PASSWORD}`] });
    ports = serving.addresses.map((address) => String(parseAddress(address).port));
  }, 60_000);

  afterAll(() => serving?.stop(), 30_000);

  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'holdfast-clients-'));
    credentials = join(work, 'credentials');
    writeFileSync(credentials, `username=${USER}\npassword=${PASSWORD}\n`, { mode: 0o600 });
  });

  afterEach(() => rmSync(work, { recursive: true, force: true }));

  test(
    `a tree of ${FILES} files goes up, comes back the same, goes into a tar archive and out of one, and is deleted`,
    async () => {
      const tree = join(work, 'tree');
      writeTree(tree, FILES);
      const wanted = contentOf(tree);

      await smbclient('recurse on; prompt off; mput tree');
      expect(contentOf(onShare('tree'))).toEqual(wanted);

      mkdirSync(join(work, 'back'));
      await smbclient('lcd back; recurse on; prompt off; mget tree');
      expect(contentOf(join(work, 'back/tree'))).toEqual(wanted);

      await smbclient('tar c all.tar tree');
      mkdirSync(join(work, 'unpacked'));
      await run('tar', ['xf', join(work, 'all.tar'), '-C', join(work, 'unpacked')]);
      expect(contentOf(join(work, 'unpacked/tree'))).toEqual(wanted);

      await smbclient('mkdir restored; cd restored; tar x all.tar');
      expect(contentOf(onShare('restored/tree'))).toEqual(wanted);

      await smbclient('deltree tree; deltree restored');
      expect(existsSync(onShare('tree'))).toBe(false);
      expect(existsSync(onShare('restored'))).toBe(false);
    },
    TEST_TIMEOUT_MS,
  );

  test('a file is listed, described, renamed, hidden and deleted', async () => {
    writeFileSync(join(work, 'up'), 'content');
    const all = await smbclient('mkdir d; put up "d/a file.txt"; allinfo "d/a file.txt"');
    const found: Stats = statSync(onShare('d/a file.txt'));
    expect(all).toContain('stream: [::$DATA], 7 bytes');
    const [, written] = /write_time: +(.*)/.exec(all) ?? [];
    expect(Math.abs(Date.parse(written ?? '') - found.mtimeMs)).toBeLessThan(1000);

    expect(await smbclient('setmode "d/a file.txt" +hr; ls d/*')).toMatch(/a file\.txt +AHR +7 /);
    await smbclient('setmode "d/a file.txt" -hr; rename "d/a file.txt" d/ä; ');
    expect(readdirSync(onShare('d'))).toEqual(['ä']);
    expect(await smbclient('ls D/Ä')).toMatch(/ä +A +7 /);

    await smbclient('del d/ä; rmdir d');
    expect(existsSync(onShare('d'))).toBe(false);
  });

  test('a stream is written, listed, read, and moves and ends with its file', async () => {
    writeFileSync(join(work, 'up'), 'content');
    writeFileSync(join(work, 'other'), 'of the stream');
    await smbclient('put up file; put other file:stream');
    expect(await smbclient('allinfo file')).toContain('stream: [:stream:$DATA], 13 bytes');

    await smbclient('rename file renamed; get renamed:stream back; get renamed main');
    expect(readFileSync(join(work, 'back'), 'utf8')).toBe('of the stream');
    expect(readFileSync(join(work, 'main'), 'utf8')).toBe('content');

    await smbclient('del renamed; put up renamed');
    expect(await smbclient('allinfo renamed')).not.toContain(':stream:');
    await smbclient('del renamed');
  });

  test('changes in a folder are told', async () => {
    await smbclient('mkdir watched');
    // Without a line buffer it would tell at its end only, and it has none.
    const watcher = spawn('stdbuf', ['-oL', 'smbclient', ...smbclientArgs('notify watched')], { cwd: work });
    const told: string[] = [];
    watcher.stdout.on('data', (chunk: Buffer) => told.push(...chunk.toString().split('\n')));
    try {
      writeFileSync(join(work, 'up'), 'content');
      // There is no saying when it has begun to watch.
      await eventually('a notification', 20_000, async () => {
        await smbclient('put up watched/first; del watched/first');
        return told.some((line) => line.includes('first')) ? true : undefined;
      });
      told.length = 0;
      await smbclient('put up watched/new; rename watched/new watched/newer; del watched/newer');
      const wanted = ['0001 new', '0004 new', '0005 newer', '0002 newer'];
      await eventually(`${wanted} of ${told}`, 10_000, () =>
        wanted.every((line) => told.includes(line)) ? true : undefined,
      );
    } finally {
      watcher.kill('SIGKILL');
    }
    await smbclient('rmdir watched');
  }, 60_000);

  describe('that know port 445 alone', () => {
    let front: Balancer | undefined;
    let share: string;

    beforeAll(async () => {
      // An address of the loopback network that nobody else uses.
      const host = `127.${randomInt(64, 250)}.${randomInt(1, 250)}.${randomInt(1, 250)}`;
      front = await Balancer.to(serving.addresses, { host, port: SMB_PORT });
      share = `//${host}/share`;
    });

    afterAll(() => front?.close());

    /** The lines that smbcacls prints of a file. */
    const acl = (file: string, ...args: string[]) => run('smbcacls', [share, file, '-A', credentials, ...args]);
    const as = (user: string, password: string) =>
      writeFileSync(credentials, `username=${user}\npassword=${password}\n`, { mode: 0o600 });

    test('smbcacls reads and changes a descriptor, and what it says holds', async () => {
      writeFileSync(join(work, 'up'), 'content');
      await smbclient('put up guarded');
      const before = await acl('guarded', '--numeric');
      const owner = /OWNER:(\S+)/.exec(before)?.[1] ?? '';
      expect(owner).toMatch(/^S-1-5-21-/);

      await acl('guarded', '-a', 'ACL:S-1-5-11:ALLOWED/0x0/READ');
      expect(await acl('guarded', '--numeric')).toContain('ACL:S-1-5-11:0/0x0/0x001200a9');

      await acl('guarded', '-S', `REVISION:1,OWNER:${owner},GROUP:S-1-5-32-545,ACL:${owner}:ALLOWED/0x0/FULL`);
      await smbclient('get guarded mine');
      expect(readFileSync(join(work, 'mine'), 'utf8')).toBe('content');
      as(OTHER_USER, OTHER_PASSWORD);
      await expect(smbclient('get guarded theirs')).rejects.toThrow('NT_STATUS_ACCESS_DENIED');
      await expect(acl('guarded', '-a', 'ACL:S-1-5-11:ALLOWED/0x0/READ')).rejects.toThrow(CommandError);

      as(USER, PASSWORD);
      await acl('guarded', '-M', `ACL:${owner}:ALLOWED/0x0/READ`);
      await expect(smbclient('put up guarded')).rejects.toThrow('NT_STATUS_ACCESS_DENIED');
      // An owner may still change the DACL, but smbcacls asks for WRITE_OWNER along with it, which nobody has now.
      await expect(acl('guarded', '-M', `ACL:${owner}:ALLOWED/0x0/FULL`)).rejects.toThrow(CommandError);
      rmSync(onShare('guarded'));
    }, 60_000);

    test('smbcacls names people and groups, in what it shows and in what it is told', async () => {
      writeFileSync(join(work, 'up'), 'content');
      await smbclient('put up named');
      expect((await acl('named')).trim().split('\n').slice(2)).toEqual([
        `OWNER:LOCAL\\${USER}`,
        'GROUP:BUILTIN\\Users',
        'ACL:NT AUTHORITY\\Authenticated Users:ALLOWED/0x0/FULL',
      ]);
      await acl('named', '-a', `ACL:${OTHER_USER}:ALLOWED/0x0/READ`);
      await acl('named', '-a', 'ACL:Everyone:DENIED/0x0/W');
      await acl('named', '-a', 'ACL:BUILTIN\\Administrators:ALLOWED/0x0/FULL');
      const named = await acl('named');
      expect(named).toContain('ACL:Everyone:DENIED/0x0/W');
      expect(named).toContain(`ACL:LOCAL\\${OTHER_USER}:ALLOWED/0x0/READ`);
      expect(named).toContain('ACL:BUILTIN\\Administrators:ALLOWED/0x0/FULL');
      await expect(acl('named', '-a', 'ACL:stranger:ALLOWED/0x0/READ')).rejects.toThrow(CommandError);

      await acl('named', '-D', 'ACL:Everyone:DENIED/0x0/W');
      expect(await acl('named')).not.toContain('Everyone');
      await acl('named', '-C', OTHER_USER);
      await acl('named', '-G', 'Guests');
      const given = await acl('named');
      expect(given).toContain(`OWNER:LOCAL\\${OTHER_USER}`);
      expect(given).toContain('GROUP:BUILTIN\\Guests');
      await acl('named', '-S', `OWNER:${USER}`);
      expect(await acl('named')).toContain(`OWNER:LOCAL\\${USER}`);

      await acl('named', '--sddl', '-S', 'D:P(A;;FA;;;WD)(A;;FR;;;SY)');
      expect(await acl('named', '--sddl')).toMatch(/^O:S-1-5-21-[-\d]+G:BGD:P\(A;;\w+;;;WD\)\(A;;0x00120089;;;SY\)/);
      expect(await acl('named', '-x')).toMatch(/Maximum access: 0x/);
      rmSync(onShare('named'));
    }, 60_000);

    test('smbcacls switches inheritance off and on, and carries entries on to what is below', async () => {
      writeFileSync(join(work, 'up'), 'content');
      await smbclient('mkdir tree; mkdir tree/below; put up tree/below/file');
      await acl('tree', '-S', `OWNER:${USER},ACL:${USER}:ALLOWED/OI|CI/FULL`);
      await acl('tree', '--propagate-inheritance', '-a', `ACL:${OTHER_USER}:ALLOWED/OI|CI/READ`);
      expect(await acl('tree/below/file')).toContain(`ACL:LOCAL\\${OTHER_USER}:ALLOWED/I/READ`);
      await acl('tree/below', '-I', 'copy');
      expect(await acl('tree/below')).toMatch(/CONTROL:SR\|PD\|DP/);
      await acl('tree/below', '-I', 'allow');
      expect(await acl('tree/below')).toContain(`ACL:LOCAL\\${OTHER_USER}:ALLOWED/OI|CI|I/READ`);
      await acl('tree/below/file', '-I', 'remove');
      const own = await acl('tree/below/file');
      expect(own).toContain('ACL:NT AUTHORITY\\Authenticated Users:ALLOWED/0x0/FULL');
      expect(own).not.toContain('/I/');
      rmSync(onShare('tree'), { recursive: true });
    }, 60_000);

    test('smbcquotas is told that there are none', async () => {
      for (const wants of [['-F'], ['-L'], ['-u', USER]]) {
        const said = await run('smbcquotas', [share, '-A', credentials, ...wants]);
        expect(said).toContain('Quotas are not supported by the server.');
      }
    });
  });
});
