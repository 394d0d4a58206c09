import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ended, eventually, run } from '../cluster/shell.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const HOLDFAST = join(import.meta.dirname, '../../bin/holdfast');
/** Longer than `holdfast serve` gives its servers: where they are too slow it says so, and is started once more. */
const STARTING_MS = 150_000;

async function fails(
  args: string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number | null; text: string }> {
  const child = spawn(HOLDFAST, ['serve', ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  return { code: await ended(child), text };
}

describe('holdfast serve', () => {
  let serving: Serving | undefined;

  afterEach(async () => {
    await serving?.stop();
    serving = undefined;
  });

  const smbclient = (address: string, command: string, share = 'share', credentials = `${USER}%${PASSWORD}`) =>
    run('smbclient', [
      ...[`//127.0.0.1/${share}`, '-p', address.split(':')[1] ?? ''],
      ...['-U', credentials, '-c', command],
    ]);

  test(
    'says that it is ready when all servers accept clients, and not before',
    async () => {
      serving = await Serving.start({ servers: 3 });
      expect(serving.addresses).toHaveLength(3);
      for (const address of serving.addresses) {
        const [host, port] = address.split(':');
        const socket = connect(Number(port), host);
        await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
        socket.destroy();
      }
      for (const index of serving.addresses.keys()) expect(await serving.isReady(index)).toBe(true);
    },
    STARTING_MS,
  );

  test(
    'serves one folder through all its servers, each a process of its own',
    async () => {
      serving = await Serving.start({ servers: 2, flags: ['--share', 'team', '--user', 'bob:colons: allowed'] });
      const [first = '', second = ''] = serving.addresses;
      writeFileSync(join(serving.directory, 'a.txt'), 'hello');
      expect(await smbclient(first, 'ls', 'team')).toContain('a.txt');
      await smbclient(second, 'rename a.txt b.txt', 'team', 'bob%colons: allowed');
      expect(readdirSync(serving.directory)).toContain('b.txt');
      const pids = ['fileserver-0', 'fileserver-1', 'sidecar-0', 'sidecar-1', 'redis'].map((name) =>
        serving?.pid(name),
      );
      expect(new Set(pids).size).toBe(5);
    },
    STARTING_MS,
  );

  test(
    'starts what was killed anew, and leaves nothing behind when it is told to stop',
    async () => {
      serving = await Serving.start();
      const address = serving.addresses[0] ?? '';
      // Of a store that it has not seen begin a sidecar must not think that it is new: it would wait for nobody's state.
      const takesStoreForNew = () =>
        /\0--new-store\0/.test(readFileSync(`/proc/${serving?.pid('sidecar-0')}/cmdline`, 'utf8'));
      expect(takesStoreForNew()).toBe(true);
      await serving.kill('fileserver-0');
      await serving.kill('sidecar-0');
      expect(takesStoreForNew()).toBe(false);
      await eventually('it serves again', 30_000, async () => ((await smbclient(address, 'ls')) ? true : undefined));
      const pids = ['fileserver-0', 'sidecar-0', 'redis'].map((name) => serving?.pid(name));
      const { directory } = serving;
      const state = dirname(serving.detail('sidecar-0', 'runDirectory'));
      expect(existsSync(state)).toBe(true);
      await serving.stop();
      serving = undefined;
      for (const pid of pids) expect(existsSync(`/proc/${pid}`)).toBe(false);
      expect(existsSync(state)).toBe(false);
      expect(existsSync(directory)).toBe(false);
    },
    STARTING_MS,
  );

  test('says what is missing where no redis-server is installed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'serve-'));
    try {
      // A PATH with the shell's own few programs, and no redis-server.
      for (const program of ['sh', 'readlink', 'dirname', 'env']) {
        await run('ln', ['-s', (await run('which', [program])).trim(), join(folder, program)]);
      }
      const { code, text } = await fails([folder], { ...process.env, PATH: folder });
      expect(code).toBe(1);
      expect(text).toContain('no redis-server is installed');
      expect(text).toContain('apt-get install redis-server');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('says which folder does not exist, and which port is taken', async () => {
    expect(await fails(['/no/such/folder'])).toMatchObject({
      code: 1,
      text: expect.stringContaining('/no/such/folder'),
    });
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    try {
      const { code, text } = await fails([tmpdir(), '--port', String(port)]);
      expect(code).toBe(1);
      expect(text).toContain(`127.0.0.1:${port}`);
      expect(text).toContain('--port');
    } finally {
      other.close();
    }
  });
});
