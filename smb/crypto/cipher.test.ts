// Vectors: the Open Specifications blog of Microsoft, "Encryption in SMB 3.0: A protocol perspective" (CCM) and "SMB 3.1.1
// Encryption in Windows 10" (GCM).
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CipherId, Command, Dialect } from '../constants.ts';
import { WireError } from '../wire/errors.ts';
import { decodeHeader, TRANSFORM_HEADER_SIZE } from '../wire/header.ts';
import { decodeReadResponse } from '../wire/read.ts';
import { decodeWriteRequest } from '../wire/write.ts';
import { cipherIdOf, createCipher } from './cipher.ts';
import { CryptoError } from './errors.ts';
import { nodeProvider } from './node-provider.ts';
import { openSslProvider } from './openssl-provider.ts';

const hex = (...lines: string[]): Buffer => Buffer.from(lines.join(''), 'hex');
const providers = [openSslProvider(), nodeProvider];
const keyFor = (cipherId: number) => Buffer.alloc(cipherId >= CipherId.AES_256_CCM ? 32 : 16, 0x42);

const ccmWrite = {
  key: hex('261B72350558F2E9DCF613070383EDBF'),
  sealed: hex(
    'FD534D4281A286535415445DAE393921E44FA42E66E69A111892584FB5ED524A',
    '744DA3EE87000000000001001100001400E4080025C8FEE16605A437832D1CD5',
    '2DA9F4645333482A175FE5384563F45FCDAFAEF38BC62BA4D5C62897996625A4',
    '4C29BE5658DE2E6117585779E7B59FFD971278D08580D7FA899E410E910EABF5',
    'AA1DB43050B33B49182637759AC15D84BFCDF5B6B238993C0F4CF4D6012023F6',
    'C627297075D84B7803912D0A9639634453595EF3E33FFE4E7AC2AB',
  ),
  plain: hex(
    'FE534D4240000100000000000900400008000000000000000400000000000000',
    'FFFE0000010000001100001400E4080000000000000000000000000000000000',
    '3100700017000000000000000000000015010000390000020100000039020000',
    '00000000000000007000000000000000536D623320656E6372797074696F6E20',
    '74657374696E67',
  ),
};
const ccmReadResponse = {
  key: hex('8FE2B57EC34D2DB5B1A9727F526BBDB5'),
  sealed: hex(
    'FD534D42ABD518B68C2F04D7879F482B689EB83F870000000000000011000014',
    '00E4080067000000000001001100001400E40800493D6FE2BDBEB435CF5F5469',
    '70C7BB57BF20E713C75A3D045507E0D68E5C0346659D6FFB8AC1504A786CA2BB',
    '89C9E7FE4F313E910A04180D2D0EA7DF636329E5A3285984500EF86FE9D55DA4',
    'FAB9531CFDD4C551D47F3C73124BB4590A45052B694048B991CCF5',
  ),
};
const gcmWrite = {
  key: hex('A2F5E80E5D59103034F32E52F698E5EC'),
  sealed: hex(
    'FD534D42BD73D97D2BC9001BCAFAC0FDFF5FEEBCC7D6822D269CAF48904C664C0000000087000000',
    '0000010025000000001000006ECDD2A7AFC7B47763057A041B8FD4DAFFE990B70C9E09D36C084E02',
    'D14EF247F8BDE38ACF6256F8B1D3B56F77FBDEB312FEA5E92CBCC1ED8FB2EBBFAA75E49A4A394BB4',
    '4576545567C24D4C014D47C9FBDFDAFD2C4F9B72F8D256452620A299F48E29E53D6B61D1C13A19E9',
    '1AF013F00D17E3ABC2FC3D36C8C1B6B93973253852DBD442E46EE8',
  ),
  plain: hex(
    'FE534D4240000100000000000900010008000000000000000500000000000000FFFE000001000000',
    '25000000001000000000000000000000000000000000000031007000170000000000000000000000',
    '0600000004000000010000000400000000000000000000007000000000000000536D623320656E63',
    '72797074696F6E2074657374696E67',
  ),
};

describe.each(providers)('what Windows encrypted, opened with $name', (provider) => {
  test('AES-128-CCM: a WRITE request of Windows 8', () => {
    const cipher = createCipher(CipherId.AES_128_CCM, ccmWrite.key, provider);
    const message = cipher.open(Buffer.from(ccmWrite.sealed));
    expect(message).toEqual(ccmWrite.plain);
    expect(decodeHeader(message)).toMatchObject({ command: Command.WRITE, messageId: 4 });
    expect(decodeWriteRequest(message).data.toString()).toBe('Smb3 encryption testing');
  });

  test('AES-128-CCM: a READ response of Windows Server 2012', () => {
    const cipher = createCipher(CipherId.AES_128_CCM, ccmReadResponse.key, provider);
    const message = cipher.open(Buffer.from(ccmReadResponse.sealed));
    expect(decodeReadResponse(message).data.toString()).toBe('Smb3 encryption testing');
  });

  test('AES-128-GCM: a WRITE request of Windows 10', () => {
    const cipher = createCipher(CipherId.AES_128_GCM, gcmWrite.key, provider);
    const message = cipher.open(Buffer.from(gcmWrite.sealed));
    expect(message).toEqual(gcmWrite.plain);
    expect(decodeWriteRequest(message)).toMatchObject({ fileId: { persistent: 0x400000006n, volatile: 0x400000001n } });
  });
});

describe.each(Object.entries(CipherId))('%s', (_name, cipherId) => {
  const [openssl, node] = [
    createCipher(cipherId, keyFor(cipherId), openSslProvider()),
    createCipher(cipherId, keyFor(cipherId), nodeProvider),
  ];
  const part = fc.uint8Array({ minLength: 1, maxLength: 100 }).map((bytes) => Buffer.from(bytes));

  test('each library opens what the other sealed, again and again with one key', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), fc.nat({ max: 8 }), (parts, headroom) => {
        const plain = Buffer.concat(parts);
        for (const [seals, opens] of [
          [openssl, node],
          [node, openssl],
          [openssl, openssl],
        ] as const) {
          const sealed = seals.seal({ sessionId: 7n }, parts, headroom).subarray(headroom);
          expect(sealed).toHaveLength(TRANSFORM_HEADER_SIZE + plain.length);
          expect(opens.open(sealed)).toEqual(plain);
        }
      }),
    );
  });

  test('a changed bit anywhere but in the fixed fields is noticed, and the next message opens all the same', () => {
    fc.assert(
      fc.property(part, fc.nat(), fc.integer({ min: 0, max: 7 }), (plain, where, bit) => {
        for (const cipher of [openssl, node]) {
          const sealed = cipher.seal({ sessionId: 7n }, plain);
          const at = where % sealed.length;
          sealed[at] = (sealed[at] ?? 0) ^ (1 << bit);
          expect(() => cipher.open(sealed)).toThrow();
          expect(cipher.open(cipher.seal({ sessionId: 7n }, plain))).toEqual(plain);
        }
      }),
    );
  });

  test('random bytes are refused with WireError or CryptoError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        const message = Buffer.from([...Buffer.from('FD534D42', 'hex'), ...bytes]);
        if (message.length > TRANSFORM_HEADER_SIZE) message.writeUInt32LE(message.length - TRANSFORM_HEADER_SIZE, 36);
        for (const cipher of [openssl, node]) {
          let thrown: unknown;
          try {
            cipher.open(message);
          } catch (error) {
            thrown = error;
          }
          expect(thrown instanceof WireError || thrown instanceof CryptoError).toBe(true);
        }
      }),
    );
  });

  test('no nonce is used twice, and every one differs from another instance of the same key', () => {
    const other = createCipher(cipherId, keyFor(cipherId));
    const nonces = new Set<string>();
    for (let i = 0; i < 1000; i++) {
      for (const cipher of [openssl, other]) {
        nonces.add(cipher.seal({ sessionId: 1n }, Buffer.from('x')).toString('hex', 20, 36));
      }
    }
    expect(nonces.size).toBe(2000);
  });

  test('sealed in place, it is what open takes', () => {
    const text = Buffer.from('written where it is sent from');
    const into = Buffer.alloc(4 + TRANSFORM_HEADER_SIZE + text.length + 3, 0xee);
    into.set(text, 4 + TRANSFORM_HEADER_SIZE);
    openssl.sealInPlace({ sessionId: 9n }, into, 4, text.length);
    expect(into.subarray(-3)).toEqual(Buffer.alloc(3, 0xee));
    expect(openssl.open(into.subarray(4, -3))).toEqual(text);
    expect(() => openssl.sealInPlace({ sessionId: 9n }, into, 4, text.length + 4)).toThrow(CryptoError);
  });
});

test('a wrong tag says so by its code, and closing forbids use', () => {
  const cipher = createCipher(CipherId.AES_128_GCM, keyFor(CipherId.AES_128_GCM), openSslProvider());
  const sealed = cipher.seal({ sessionId: 1n }, Buffer.from('secret'));
  sealed[5] = (sealed[5] ?? 0) ^ 1;
  expect(() => cipher.open(sealed)).toThrow(expect.objectContaining({ code: 'AUTHENTICATION_FAILED' }));
  cipher.close();
  expect(() => cipher.seal({ sessionId: 1n }, Buffer.from('x'))).toThrow(CryptoError);
});

test('keys of the wrong length are refused', () => {
  expect(() => createCipher(CipherId.AES_256_GCM, Buffer.alloc(16))).toThrow(CryptoError);
  expect(() => createCipher(0, Buffer.alloc(16))).toThrow(CryptoError);
});

test('the cipher follows from the dialect', () => {
  expect(cipherIdOf(Dialect.SMB_2_1)).toBeUndefined();
  expect(cipherIdOf(Dialect.SMB_3_0, CipherId.AES_128_GCM)).toBe(CipherId.AES_128_CCM);
  expect(cipherIdOf(Dialect.SMB_3_1_1, CipherId.AES_256_GCM)).toBe(CipherId.AES_256_GCM);
  expect(cipherIdOf(Dialect.SMB_3_1_1, 0)).toBeUndefined();
});
