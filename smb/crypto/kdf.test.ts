// Vectors: the Open Specifications blog of Microsoft, "SMB 2 and SMB 3 security in Windows 10: the anatomy of signing and
// cryptographic keys" (key derivation) and "SMB 3.1.1 Encryption in Windows 10".
import { describe, expect, test } from '@jest/globals';
import { CipherId, Dialect } from '../constants.ts';
import { CryptoError } from './errors.ts';
import { deriveSessionKeys, type SessionKeys, smb3Kdf } from './kdf.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

function inHex(keys: SessionKeys): Record<string, string> {
  return Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, key.toString('hex').toUpperCase()]));
}

const preauthHash = hex(
  '0DD13628CC3ED218EF9DF9772D436D0887AB9814BFAE63A80AA845F36909DB79' +
    '28622DDDAD522D9751640A459762C5A9D6BB084CBB3CE6BDADEF5D5BCE3C6C01',
);

describe('deriveSessionKeys', () => {
  test('3.0', () => {
    const sessionKey = hex('7CD451825D0450D235424E44BA6E78CC');
    const expected = {
      signingKey: '0B7E9C5CAC36C0F6EA9AB275298CEDCE',
      applicationKey: 'BB23A4575AA26C721AF525AF15A87B4F',
      clientToServerKey: 'FAD27796665B313EBB578F388632B4F7',
      serverToClientKey: 'B0F0427F7CEB416D1D9DCC0CD4F99447',
    };
    expect(inHex(deriveSessionKeys({ dialect: Dialect.SMB_3_0, sessionKey }))).toEqual(expected);
    expect(inHex(deriveSessionKeys({ dialect: Dialect.SMB_3_0_2, sessionKey }))).toEqual(expected);
  });

  test('the second channel of a 3.0 session signs with a key of its own', () => {
    const sessionKey = hex('4E01A2B313BCF660CC250BEF021AEDE6');
    const { signingKey } = deriveSessionKeys({ dialect: Dialect.SMB_3_0, sessionKey });
    expect(signingKey).toEqual(hex('BA1A17DBBFEC349BCA105563D598952F'));
  });

  test('3.1.1', () => {
    const sessionKey = hex('270E1BA896585EEB7AF3472D3B4C75A7');
    const keys = deriveSessionKeys({
      dialect: Dialect.SMB_3_1_1,
      sessionKey,
      preauthHash,
      cipherId: CipherId.AES_128_GCM,
    });
    expect(inHex(keys)).toEqual({
      signingKey: '73FE7A9A77BEF0BDE49C650D8CCB5F76',
      applicationKey: '6D7AD7954E9EC61E907B4D473DC178FF',
      clientToServerKey: '629BCBC54422A0F572B97F45989B6073',
      serverToClientKey: 'E2AF0DCEFAC68DA71A0DFBD0D1350D74',
    });
  });

  test('another 3.1.1 session', () => {
    const keys = deriveSessionKeys({
      dialect: Dialect.SMB_3_1_1,
      sessionKey: hex('419FDDF34C1E001909D362AE7FB6AF79'),
      preauthHash: hex(
        'B23F3CBFD69487D9832B79B1594A367CDD950909B774C3A4C412B4FCEA9EDDDB' +
          'A7DB256BA2EA30E977F11F9B113247578E0E915C6D2A513B8F2FCA5707DC8770',
      ),
    });
    expect(keys.clientToServerKey).toEqual(hex('A2F5E80E5D59103034F32E52F698E5EC'));
    expect(keys.serverToClientKey).toEqual(hex('748C50868C90F302962A5C35F5F9A8BF'));
  });

  test('AES-256 takes 32 bytes for encryption, out of the whole key, and 16 for the rest', () => {
    const sessionKey = Buffer.concat([hex('270E1BA896585EEB7AF3472D3B4C75A7'), Buffer.alloc(16, 9)]);
    const keys = deriveSessionKeys({
      dialect: Dialect.SMB_3_1_1,
      sessionKey,
      preauthHash,
      cipherId: CipherId.AES_256_GCM,
    });
    expect(keys.signingKey).toEqual(hex('73FE7A9A77BEF0BDE49C650D8CCB5F76'));
    expect(keys.clientToServerKey).toEqual(smb3Kdf(sessionKey, Buffer.from('SMBC2SCipherKey\0'), preauthHash, 256));
    expect(keys.clientToServerKey).toHaveLength(32);
  });

  test('2.x signs with the session key, padded or cut to 16 bytes', () => {
    const dialect = Dialect.SMB_2_1;
    const long = Buffer.alloc(32, 7);
    expect(deriveSessionKeys({ dialect, sessionKey: long }).signingKey).toEqual(long.subarray(0, 16));
    expect(deriveSessionKeys({ dialect, sessionKey: hex('aabb') }).signingKey).toEqual(
      hex('aabb0000000000000000000000000000'),
    );
  });

  test('3.1.1 without the preauthentication hash is refused, and the error keeps the key to itself', () => {
    const sessionKey = hex('270E1BA896585EEB7AF3472D3B4C75A7');
    const derive = () => deriveSessionKeys({ dialect: Dialect.SMB_3_1_1, sessionKey });
    expect(derive).toThrow(CryptoError);
    expect(derive).not.toThrow(/270e1b/i);
  });
});
