// Cost of sign() on the reference machine (2 cores, OpenSSL / node:crypto), in microseconds:
//   HMAC-SHA256 128 B 2.2 / 3.6, 64 KiB 39 / 45; AES-CMAC 1.2 / 5.8, 49 / 87; AES-GMAC 1.5 / 5.1, 4.3 / 15.
import { createCipheriv, createHmac } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Command, Dialect, Flags, SigningAlgorithmId } from '../constants.ts';
import { encodeMessage, HEADER_SIZE } from '../wire/header.ts';
import { agree, defaultProvider } from './default-provider.ts';
import { CryptoError } from './errors.ts';
import { nodeProvider } from './node-provider.ts';
import { openSslProvider } from './openssl-provider.ts';
import { createSigner, signingAlgorithmOf } from './signer.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const providers = [openSslProvider(), nodeProvider];
const noNonce = Buffer.alloc(12);

test('OpenSSL is used where it can be had, and agrees with node:crypto', () => {
  expect(agree(openSslProvider(), nodeProvider)).toBe(true);
  expect(defaultProvider().name).toBe('openssl');
});

test('a provider that computes something else is found out', () => {
  const wrong = {
    ...nodeProvider,
    mac: (algorithm: number, key: Buffer) => nodeProvider.mac(algorithm === 1 ? 0 : algorithm, key),
  };
  expect(agree(wrong, nodeProvider)).toBe(false);
});

describe.each(providers)('the codes of $name', (provider) => {
  test('AES-CMAC, RFC 4493 section 4', () => {
    const mac = provider.mac(SigningAlgorithmId.AES_CMAC, hex('2b7e151628aed2a6abf7158809cf4f3c'));
    const message = hex(
      '6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51' +
        '30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710',
    );
    const codes = [0, 16, 40, 64].map((length) => {
      const tag = Buffer.alloc(16);
      mac.compute(message.subarray(0, length), noNonce, tag);
      return tag.toString('hex');
    });
    expect(codes).toEqual([
      'bb1d6929e95937287fa37d129b756746',
      '070a16b46b4d4144f79bdd9dd04a287c',
      'dfa66747de9ae63030ca32611497c827',
      '51f0bebf7e3b9d92fc49741779363cfe',
    ]);
  });

  test('AES-GMAC, GCM test case 1 (nothing to encrypt, nothing added)', () => {
    const mac = provider.mac(SigningAlgorithmId.AES_GMAC, Buffer.alloc(16));
    const tag = Buffer.alloc(16);
    mac.compute(Buffer.alloc(0), Buffer.alloc(12), tag);
    expect(tag.toString('hex')).toBe('58e2fccefa7e3061367f1d57a4e7455a');
  });

  test('HMAC-SHA256 is cut to 16 bytes', () => {
    const key = Buffer.alloc(16, 3);
    const tag = Buffer.alloc(16);
    provider.mac(SigningAlgorithmId.HMAC_SHA256, key).compute(Buffer.from('abc'), noNonce, tag);
    expect(tag).toEqual(createHmac('sha256', key).update('abc').digest().subarray(0, 16));
  });

  test('a key of another length, or no such algorithm, is refused without telling the key', () => {
    const key = hex('00112233445566778899');
    expect(() => provider.mac(SigningAlgorithmId.AES_CMAC, key)).toThrow(CryptoError);
    expect(() => provider.mac(SigningAlgorithmId.AES_CMAC, key)).not.toThrow(/0011/);
    expect(() => provider.mac(9, Buffer.alloc(16))).toThrow(CryptoError);
  });
});

describe.each(Object.entries(SigningAlgorithmId))('signing with %s', (_name, algorithm) => {
  const signers = providers.map((provider) => createSigner(algorithm, Buffer.alloc(16, 5), provider));
  const message = fc
    .record({
      flags: fc.constantFrom(0, Flags.SERVER_TO_REDIR, Flags.RELATED_OPERATIONS),
      command: fc.constantFrom(Command.ECHO, Command.CANCEL),
      messageId: fc.maxSafeNat(),
      body: fc.uint8Array({ minLength: 4, maxLength: 200 }),
    })
    .map(({ body, ...header }) => encodeMessage(header, Buffer.from(body)));

  test('both libraries sign alike, and each takes what the other signed', () => {
    fc.assert(
      fc.property(message, (plain) => {
        const signed = signers.map((signer) => {
          const copy = Buffer.from(plain);
          signer.sign(copy);
          return copy;
        });
        expect(signed[0]).toEqual(signed[1]);
        for (const signer of signers) expect(signer.verify(signed[0] ?? plain)).toBe(true);
        expect((signed[0]?.readUInt32LE(16) ?? 0) & Flags.SIGNED).toBe(Flags.SIGNED);
      }),
    );
  });

  test('any changed bit is noticed, and verifying leaves the message as it was', () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.integer({ min: 0, max: 7 }), (signed, where, bit) => {
        signers[0]?.sign(signed);
        const at = where % signed.length;
        signed[at] = (signed[at] ?? 0) ^ (1 << bit);
        const before = Buffer.from(signed);
        for (const signer of signers) expect(signer.verify(signed)).toBe(false);
        expect(signed).toEqual(before);
      }),
    );
  });

  test('a message inside of a larger buffer', () => {
    const plain = encodeMessage({ command: Command.ECHO, messageId: 3 }, Buffer.alloc(4));
    const larger = Buffer.concat([Buffer.alloc(7, 1), plain, Buffer.alloc(5, 2)]);
    for (const signer of signers) {
      signer.sign(larger, 7, plain.length);
      signer.sign(plain);
      expect(larger.subarray(7, 7 + plain.length)).toEqual(plain);
      expect(signer.verify(larger, 7, plain.length)).toBe(true);
      expect(signer.verify(larger, 7)).toBe(false);
    }
  });

  test('what is shorter than a header is refused', () => {
    for (const signer of signers) {
      expect(() => signer.sign(Buffer.alloc(HEADER_SIZE - 1))).toThrow(CryptoError);
      expect(() => signer.verify(Buffer.alloc(HEADER_SIZE), 1)).toThrow(CryptoError);
    }
  });
});

test('the GMAC nonce is the MessageId, a bit for the server and a bit for CANCEL', () => {
  const key = Buffer.alloc(16, 8);
  const cases = [
    { flags: 0, command: Command.READ, bits: 0 },
    { flags: Flags.SERVER_TO_REDIR, command: Command.READ, bits: 1 },
    { flags: 0, command: Command.CANCEL, bits: 2 },
  ];
  for (const { flags, command, bits } of cases) {
    const message = encodeMessage({ flags, command, messageId: 0x1_0203_0405 }, Buffer.alloc(4));
    createSigner(SigningAlgorithmId.AES_GMAC, key).sign(message);
    const nonce = hex(`0504030201000000 0${bits}000000`);
    const signature = Buffer.from(message.subarray(48, 64));
    message.fill(0, 48, 64);
    const gcm = createCipheriv('aes-128-gcm', key, nonce).setAAD(message);
    gcm.final();
    expect(signature).toEqual(gcm.getAuthTag());
  }
});

test('the algorithm follows from the dialect, and in 3.1.1 from what was negotiated', () => {
  const algorithms = [Dialect.SMB_2_0_2, Dialect.SMB_2_1, Dialect.SMB_3_0, Dialect.SMB_3_0_2, Dialect.SMB_3_1_1].map(
    (dialect) => signingAlgorithmOf(dialect, SigningAlgorithmId.AES_GMAC),
  );
  expect(algorithms).toEqual([0, 0, 1, 1, 2]);
  expect(signingAlgorithmOf(Dialect.SMB_3_1_1)).toBe(SigningAlgorithmId.AES_CMAC);
});

test('a closed signer of OpenSSL refuses to be used', () => {
  const signer = createSigner(SigningAlgorithmId.AES_CMAC, Buffer.alloc(16), openSslProvider());
  signer.close();
  signer.close();
  expect(() => signer.sign(Buffer.alloc(HEADER_SIZE))).toThrow(CryptoError);
});
