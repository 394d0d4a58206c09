import { execFile } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { PASSWORD, Serving, USER } from '../serving.ts';

const MIB = 1024 * 1024;
const TEST_TIMEOUT_MS = 30_000;

interface Ran {
  code: number;
  output: string;
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe("Samba's smbclient, on file server, sidecar and Redis", () => {
  let serving: Serving;
  let folder: string;
  let port: string;

  beforeAll(async () => {
    serving = await Serving.start({ servers: 1 });
    folder = mkdtempSync(join(tmpdir(), 'holdfast-smbclient-'));
    port = serving.addresses[0]?.split(':')[1] ?? '';
  }, 60_000);

  afterAll(async () => {
    await serving?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 30_000);

  const smbclient = (args: string[], user = USER, password = PASSWORD): Promise<Ran> => {
    const credentials = join(folder, `credentials-${randomUUID()}`);
    writeFileSync(credentials, `username=${user}\npassword=${password}\n`, { mode: 0o600 });
    return new Promise((resolve) =>
      execFile('smbclient', ['-p', port, '-A', credentials, ...args], { cwd: folder }, (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, output: stdout + stderr });
      }),
    );
  };
  const onShare = (commands: string, ...args: string[]) => smbclient(['//127.0.0.1/share', ...args, '-c', commands]);

  describe.each(['SMB3_00', 'SMB3_02', 'SMB3_11'])('dialect %s', (dialect) => {
    test.each(['sign', 'encrypt'])(
      'lists shares and moves files (%s)',
      async (protection) => {
        const flags = ['-m', dialect, `--client-protection=${protection}`];
        const shares = await smbclient(['-L', '//127.0.0.1', ...flags]);
        expect(shares.output).toMatch(/share\s+Disk/);
        expect(shares.output).toMatch(/IPC\$\s+IPC/);

        const content = randomBytes(3 * MIB + 17);
        writeFileSync(join(folder, 'up'), content);
        const moved = await onShare('mkdir d; put up d/file; get d/file down; del d/file; rmdir d', ...flags);
        expect(moved).toMatchObject({ code: 0 });
        expect(sha256(readFileSync(join(folder, 'down')))).toBe(sha256(content));
        expect(existsSync(join(serving.directory, 'd'))).toBe(false);
      },
      TEST_TIMEOUT_MS,
    );
  });

  test.each(['aes-128-ccm', 'aes-128-gcm', 'aes-256-ccm', 'aes-256-gcm'])(
    'encrypts with %s',
    async (cipher) => {
      const flags = ['--client-protection=encrypt', `--option=client smb3 encryption algorithms=${cipher}`];
      expect((await onShare('ls', ...flags)).code).toBe(0);
    },
    TEST_TIMEOUT_MS,
  );

  test.each(['aes-128-gmac', 'aes-128-cmac', 'hmac-sha256'])(
    'signs with %s',
    async (algorithm) => {
      expect((await onShare('ls', `--option=client smb3 signing algorithms=${algorithm}`)).code).toBe(0);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'moves a large file without damage',
    async () => {
      const content = randomBytes(64 * MIB);
      writeFileSync(join(folder, 'large'), content);
      expect((await onShare('put large; get large large.back')).code).toBe(0);
      expect(sha256(readFileSync(join(serving.directory, 'large')))).toBe(sha256(content));
      expect(sha256(readFileSync(join(folder, 'large.back')))).toBe(sha256(content));
    },
    TEST_TIMEOUT_MS,
  );

  test('a wrong password, an unknown user and an unknown share get the status that MS-SMB2 names', async () => {
    expect((await smbclient(['-L', '//127.0.0.1'], USER, 'wrong')).output).toContain('NT_STATUS_LOGON_FAILURE');
    expect((await smbclient(['-L', '//127.0.0.1'], 'nobody', PASSWORD)).output).toContain('NT_STATUS_LOGON_FAILURE');
    expect((await smbclient(['//127.0.0.1/nothing', '-c', 'ls'])).output).toContain('NT_STATUS_BAD_NETWORK_NAME');
  });

  test(
    'a wrong password holds up nobody else',
    async () => {
      const wrong = Promise.all(Array.from({ length: 8 }, () => smbclient(['-L', '//127.0.0.1'], USER, 'wrong')));
      expect((await onShare('ls')).code).toBe(0);
      for (const { output } of await wrong) expect(output).toContain('NT_STATUS_LOGON_FAILURE');
    },
    TEST_TIMEOUT_MS,
  );

  test('a client that would also speak SMB1 comes to SMB3', async () => {
    const flags = ['-m', 'SMB3_11', '--option=client min protocol=NT1'];
    expect((await onShare('mkdir from-smb1; rmdir from-smb1', ...flags)).code).toBe(0);
  });

  test('dialects below the least that is allowed are refused', async () => {
    expect((await onShare('ls', '-m', 'SMB2_10')).output).toContain('NT_STATUS_NOT_SUPPORTED');
    const smb1 = await onShare('ls', '-m', 'NT1', '--option=client min protocol=NT1');
    expect(smb1.code).not.toBe(0);
  });
});
