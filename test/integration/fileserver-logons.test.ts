// Logging on with Samba's client: dialects and what protects them, nobody in particular, and a server that encrypts everything.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ALICE, TestServer } from '../../fileserver/testing/test-server.ts';
import { Status } from '../../smb/status.ts';

const TEST_TIMEOUT_MS = 30_000;
const DIALECTS = ['SMB2_02', 'SMB2_10', 'SMB3_00', 'SMB3_02', 'SMB3_11'];

describe('logging on', () => {
  let server: TestServer;
  afterEach(() => server.stop());

  /** What smbclient says; it ends well where that begins with "ok". */
  const smbclient = (...args: string[]): Promise<string> =>
    new Promise((resolve) =>
      execFile('smbclient', ['-p', String(server.port), ...args], (error, stdout, stderr) =>
        resolve(`${error ? 'failed' : 'ok'}: ${stdout}${stderr}`),
      ),
    );
  /** Connects to the share and goes again. */
  const mounts = (...args: string[]): Promise<string> => {
    const credentials = join(server.folder, 'credentials');
    writeFileSync(credentials, `username=${ALICE[0]}\npassword=${ALICE[1]}\n`, { mode: 0o600 });
    return smbclient('//127.0.0.1/data', '-A', credentials, '-c', 'exit', ...args);
  };
  const listsForNobody = () => smbclient('-N', '-L', '127.0.0.1');

  test(
    'goes in every dialect that the cluster lets in, and with what protects it',
    async () => {
      server = await TestServer.start({ security: { minDialect: '2.0.2' } });
      for (const dialect of DIALECTS) {
        const flags = [`--option=client min protocol=${dialect}`, '-m', dialect];
        expect(await mounts(...flags, '--client-protection=sign')).toMatch(/^ok/);
        const encrypted = await mounts(...flags, '--client-protection=encrypt');
        expect(`${dialect} ${encrypted}`).toMatch(dialect < 'SMB3' ? /^\S+ failed/ : /^\S+ ok/);
      }
      for (const dialect of ['SMB2_02', 'SMB3_11']) {
        expect(await mounts('--option=client min protocol=NT1', '-m', dialect)).toMatch(/^ok/);
      }
    },
    TEST_TIMEOUT_MS,
  );

  test('does not go in dialects that are too old', async () => {
    server = await TestServer.start();
    expect(await mounts('-m', 'SMB2_10')).toMatch(/^failed/);
    expect(await mounts('--option=client min protocol=NT1', '-m', 'SMB2_02')).toMatch(/^failed/);
    expect(await mounts()).toMatch(/^ok/);
  });

  test.each(['AES-128-CCM', 'AES-128-GCM', 'AES-256-CCM', 'AES-256-GCM'])('encrypts by %s alone', async (cipher) => {
    server = await TestServer.start();
    const flags = [`--option=client smb3 encryption algorithms=${cipher}`, '--client-protection=encrypt'];
    expect(await mounts(...flags)).toMatch(/^ok/);
  });

  test.each(['HMAC-SHA256', 'AES-128-CMAC', 'AES-128-GMAC'])('signs by %s alone', async (algorithm) => {
    server = await TestServer.start();
    const flags = [`--option=client smb3 signing algorithms=${algorithm}`, '--client-protection=sign'];
    expect(await mounts(...flags)).toMatch(/^ok/);
  });

  test('nobody lists the shares unless that is switched on', async () => {
    server = await TestServer.start();
    expect(await listsForNobody()).toMatch(/^failed.*LOGON_FAILURE/s);
  });

  test('nobody lists the shares where that is switched on, and comes no further', async () => {
    server = await TestServer.start({ security: { anonymousIpc: true } });
    expect(await listsForNobody()).toMatch(/^ok.*\bdata\b.*Disk/s);
    expect(await smbclient('-N', '//127.0.0.1/data', '-c', 'exit')).toMatch(/^failed.*ACCESS_DENIED/s);
    expect(await mounts()).toMatch(/^ok/);
  });

  test('needs encryption where the cluster requires it', async () => {
    server = await TestServer.start({ security: { encryption: 'Required', minDialect: '2.0.2' } });
    expect(await mounts('--client-protection=encrypt')).toMatch(/^ok/);
    // Samba's client encrypts as soon as the session says so.
    expect(await mounts()).toMatch(/^ok/);
    expect(await mounts('-m', 'SMB2_10')).toMatch(/^failed.*ACCESS_DENIED/s);
    const withoutCipher = await server.negotiated();
    expect(await withoutCipher.logOn(...ALICE)).toBe(Status.ACCESS_DENIED);
  });
});
