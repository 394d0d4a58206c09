import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Client } from '../../client/index.ts';
import { FileAccess } from '../../smb/constants.ts';
import { ended } from '../cluster/shell.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

/** How long the race runs: HOLDFAST_RACE_SECONDS, 10 where it is not set. */
const RACE_MS = Number(process.env.HOLDFAST_RACE_SECONDS ?? 10) * 1000;
const CLIENTS = 4;

/**
 * Exchanges what is within the share with symbolic links that lead out of it, as fast as it can: `swap` is now a directory, now
 * a link to the folder outside; `file` now a file, now a link to a file there.
 */
const SWAPPER = `
  const { renameSync } = require('node:fs');
  const [share] = process.argv.slice(1);
  const turn = (name) => {
    renameSync(share + '/' + name, share + '/' + name + '.inside');
    renameSync(share + '/' + name + '.outside', share + '/' + name);
    renameSync(share + '/' + name, share + '/' + name + '.outside');
    renameSync(share + '/' + name + '.inside', share + '/' + name);
  };
  for (;;) { turn('swap'); turn('file'); }
`;

describe('a share whose names are exchanged with links that lead out of it', () => {
  let serving: Serving;
  let outside: string;
  let swapper: ChildProcess | undefined;
  const clients: Client[] = [];

  beforeAll(async () => {
    outside = mkdtempSync(join(tmpdir(), 'holdfast-outside-'));
    writeFileSync(join(outside, 'secret'), 'outside');
    writeFileSync(join(outside, 'outside'), 'outside');
    mkdirSync(join(outside, 'sub'));
    writeFileSync(join(outside, 'sub', 'secret'), 'outside');
    serving = await Serving.start({ servers: 1 });
    const share = serving.directory;
    mkdirSync(join(share, 'swap', 'sub'), { recursive: true });
    writeFileSync(join(share, 'swap', 'secret'), 'inside');
    writeFileSync(join(share, 'swap', 'sub', 'secret'), 'inside');
    symlinkSync(outside, join(share, 'swap.outside'));
    writeFileSync(join(share, 'file'), 'inside');
    symlinkSync(join(outside, 'secret'), join(share, 'file.outside'));
    for (let i = 0; i < CLIENTS; i++) {
      const login = { addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' };
      clients.push(await Client.connect(login));
    }
  }, 60_000);

  afterAll(async () => {
    if (swapper?.kill('SIGKILL')) await ended(swapper);
    await Promise.all(clients.map((client) => client.close()));
    await serving?.stop();
    rmSync(outside, { recursive: true, force: true });
  }, 30_000);

  test(
    'shows, changes and creates nothing outside, whoever wins',
    async () => {
      swapper = spawn(process.execPath, ['-e', SWAPPER, serving.directory], { stdio: 'inherit' });
      const untilMs = performance.now() + RACE_MS;
      const done = { opened: 0, refused: 0, listed: 0 };
      let serial = 0;
      const attempt = async (act: () => Promise<void>) => {
        try {
          await act();
        } catch {
          done.refused++;
        }
      };
      const seen: string[] = [];
      const work = async (client: Client) => {
        while (performance.now() < untilMs) {
          const mine = `planted-${serial++}`;
          for (const path of ['swap/secret', 'SWAP/Sub/SECRET', 'file']) {
            await attempt(async () => {
              await using file = await client.open(path);
              seen.push((await file.read(0, 100)).toString());
              done.opened++;
            });
            await attempt(async () => {
              await using file = await client.open(path, { access: 'readwrite' });
              await file.write(0, Buffer.from('inside'));
            });
          }
          await attempt(() => client.mkdir(`swap/${mine}-directory`));
          await attempt(async () => {
            await using file = await client.open(`swap/${mine}`, { disposition: 'create', access: 'write' });
            await file.write(0, Buffer.from('inside'));
          });
          await attempt(() => client.rename(`swap/${mine}`, `swap/sub/${mine}-renamed`));
          await attempt(async () => {
            await using _stream = await client.open('swap/secret:s', { disposition: 'openIf', access: 'readwrite' });
          });
          await attempt(async () => {
            seen.push(...(await client.list('swap')).map(({ name }) => name));
            done.listed++;
          });
          await attempt(() => client.remove(`swap/sub/${mine}-renamed`));
          await attempt(() => client.remove(`swap/${mine}-directory`));
          await attempt(async () => {
            const access = FileAccess.DELETE | FileAccess.FILE_GENERIC_READ;
            await using _gone = await client.open('swap/sub/secret-of-nobody', { access, deleteOnClose: true });
          });
          expect(seen.splice(0)).not.toContain('outside');
        }
      };
      await Promise.all(clients.map(work));
      expect(done.opened).toBeGreaterThan(0);
      expect(done.refused).toBeGreaterThan(0);
      expect(done.listed).toBeGreaterThan(0);
      expect(readdirSync(outside).sort()).toEqual(['outside', 'secret', 'sub']);
      expect(readdirSync(join(outside, 'sub'))).toEqual(['secret']);
      expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('outside');
      expect(readFileSync(join(outside, 'sub', 'secret'), 'utf8')).toBe('outside');
    },
    RACE_MS + 60_000,
  );
});
