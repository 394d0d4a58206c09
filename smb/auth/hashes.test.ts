import { describe, expect, test } from '@jest/globals';
import { md4 } from './md4.ts';
import { ntHash } from './nt-hash.ts';
import { rc4 } from './rc4.ts';

describe('MD4', () => {
  test.each([
    // RFC 1320 A.5
    ['', '31d6cfe0d16ae931b73c59d7e0c089c0'],
    ['a', 'bde52cb31de33e46245e05fbdbd6fb24'],
    ['abc', 'a448017aaf21d8525fc10ae87aa6729d'],
    ['message digest', 'd9130a8164549fe818874806e1c7014b'],
    ['abcdefghijklmnopqrstuvwxyz', 'd79e1c308aa5bbcdeea8ed63df412da9'],
    ['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', '043f8582f241db351ce627e153e7f0e4'],
    [
      '12345678901234567890123456789012345678901234567890123456789012345678901234567890',
      'e33b4ddc9c38f2199c3e7b164fcc0536',
    ],
  ])('of %j is as RFC 1320 says', (message, digest) => {
    expect(md4(Buffer.from(message)).toString('hex')).toBe(digest);
  });
});

describe('NT hash', () => {
  test.each([
    ['Password', 'a4f49c406510bdcab6824ee7c30fd852'], // MS-NLMP 4.2.2.1.2
    ['', '31d6cfe0d16ae931b73c59d7e0c089c0'],
  ])('of %j', (password, hash) => {
    expect(ntHash(password).toString('hex')).toBe(hash);
  });
});

describe('RC4', () => {
  test.each([
    ['Key', 'Plaintext', 'bbf316e8d940af0ad3'],
    ['Wiki', 'pedia', '1021bf0420'],
    ['Secret', 'Attack at dawn', '45a01f645fc35b383552544b9bf5'],
  ])('with key %s', (key, plain, cipher) => {
    expect(rc4(Buffer.from(key), Buffer.from(plain)).toString('hex')).toBe(cipher);
  });
});
