import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { WORKS } from '../../bench/smb/works.ts';
import { ntHash } from '../../smb/auth/nt-hash.ts';
import { ntowfV2 } from '../../smb/auth/ntlm-keys.ts';
import { CipherId, Dialect, SigningAlgorithmId } from '../../smb/constants.ts';
import { createCipher } from '../../smb/crypto/cipher.ts';
import { deriveSessionKeys } from '../../smb/crypto/kdf.ts';
import { createSigner } from '../../smb/crypto/signer.ts';
import { run } from '../cluster/shell.ts';
import { Smbd } from './smbd.ts';

const ROOT = join(import.meta.dirname, '../..');
const GENERATOR = join(ROOT, 'bench/smb');
const BUILDING_MS = 120_000;
const RUNNING_MS = 300_000;

describe('the benchmark against smbd', () => {
  test('its vectors are what we compute', () => {
    const text = JSON.parse(readFileSync(join(GENERATOR, 'vectors.json'), 'utf8')) as Record<string, string>;
    const vector = (name: string) => Buffer.from(text[name] ?? '', 'hex');
    const signer = createSigner(SigningAlgorithmId.AES_GMAC, vector('key'));
    const request = vector('request');
    signer.sign(request);
    expect(request).toEqual(vector('signedRequest'));
    expect(signer.verify(vector('signedResponse'))).toBe(true);
    expect(createCipher(CipherId.AES_128_GCM, vector('key')).open(vector('sealedRequest'))).toEqual(vector('request'));
    const keys = deriveSessionKeys({
      dialect: Dialect.SMB_3_1_1,
      sessionKey: vector('sessionKey'),
      preauthHash: vector('preauthHash'),
      cipherId: CipherId.AES_128_GCM,
    });
    expect(keys.signingKey).toEqual(vector('signingKey'));
    expect(keys.clientToServerKey).toEqual(vector('clientToServerKey'));
    expect(keys.serverToClientKey).toEqual(vector('serverToClientKey'));
    expect(ntowfV2(ntHash(text.password ?? ''), text.user ?? '', '')).toEqual(vector('responseKey'));
  });

  test(
    'its load generator passes its own tests, with those vectors',
    async () => {
      const command =
        '. test/cluster/lib.sh; need_go "the load generator"; cd bench/smb; GOTOOLCHAIN=local go test ./...';
      expect(await run('bash', ['-c', `cd '${ROOT}'; ${command}`])).toContain('ok');
    },
    BUILDING_MS,
  );

  test(
    'every work runs against both servers; the ratios are printed, and judged by people on a quiet machine',
    async () => {
      const output = await run(process.execPath, [join(ROOT, 'bench/run.ts'), 'smb', '--short']);
      process.stdout.write(output);
      const ratio = Smbd.isInstalled() ? /, ratio [\d.,]+$/ : /^/;
      for (const { name } of WORKS) {
        const line = output.split('\n').find((text) => text.startsWith(`${name}: holdfast `));
        expect(line).toMatch(ratio);
      }
    },
    RUNNING_MS,
  );
});
