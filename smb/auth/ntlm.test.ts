import { createHmac } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { ntHash } from './nt-hash.ts';
import { lmV2Response, ntlmMic, ntlmV2ClientBlob, ntlmV2Proof, ntowfV2, sealingKey, signingKey } from './ntlm-keys.ts';
import { AvId, decodeAuthenticate, decodeChallenge, encodeAvPairs, NtlmFlag } from './ntlm-messages.ts';
import { rc4 } from './rc4.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');
const text = (value: string): Buffer => Buffer.from(value, 'utf16le');

// MS-NLMP 4.2.1 and 4.2.4: common values and NTLMv2 authentication.
const flags = 0xe28a8233;
const serverChallenge = hex('0123456789abcdef');
const clientChallenge = Buffer.alloc(8, 0xaa);
const randomSessionKey = Buffer.alloc(16, 0x55);
const responseKey = ntowfV2(ntHash('Password'), 'User', 'Domain');
const blob = ntlmV2ClientBlob(
  0n,
  clientChallenge,
  encodeAvPairs([
    { id: AvId.netbiosDomainName, value: text('Domain') },
    { id: AvId.netbiosComputerName, value: text('Server') },
  ]),
);

describe('the NTLMv2 example of MS-NLMP 4.2.4', () => {
  test('NTOWFv2', () => {
    expect(responseKey.toString('hex')).toBe('0c868a403bfd7a93a3001ef22ef02e3f');
  });

  test('temp', () => {
    expect(blob).toEqual(
      hex(`01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e00
           01000c005300650072007600650072000000000000000000`),
    );
  });

  test('LMv2 response', () => {
    expect(lmV2Response(responseKey, serverChallenge, clientChallenge).toString('hex')).toBe(
      '86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa',
    );
  });

  test('NTProofStr, session base key, encrypted session key', () => {
    const { ntProof, keyExchangeKey } = ntlmV2Proof(responseKey, serverChallenge, blob);

    expect(ntProof.toString('hex')).toBe('68cd0ab851e51c96aabc927bebef6a1c');
    expect(keyExchangeKey.toString('hex')).toBe('8de40ccadbc14a82f15cb0ad0de95ca3');
    expect(rc4(keyExchangeKey, randomSessionKey).toString('hex')).toBe('c5dad2544fc9799094ce1ce90bc9d03e');
  });

  test('signing and sealing', () => {
    const signing = signingKey(randomSessionKey, 'client');
    const sealing = sealingKey(flags, randomSessionKey, 'client');
    const plaintext = text('Plaintext');
    const checksum = createHmac('md5', signing).update(Buffer.alloc(4)).update(plaintext).digest().subarray(0, 8);

    const sealed = rc4(sealing, Buffer.concat([plaintext, checksum]));

    expect(signing.toString('hex')).toBe('4788dc861b4782f35d43fd98fe1a2d39');
    expect(sealing.toString('hex')).toBe('59f600973cc4960a25480a7c196e4c58');
    expect(sealed.toString('hex')).toBe('54e50165bf1936dc996020c1811b0f06fb5f7fb38ec5c55d4976');
  });

  test('GSS_GetMIC: version 1, encrypted checksum, sequence number 0', () => {
    const mic = ntlmMic(flags, randomSessionKey, 'client', text('Plaintext'));
    const checksum = rc4(sealingKey(flags, randomSessionKey, 'client'), mic.subarray(4, 12));
    const expected = createHmac('md5', signingKey(randomSessionKey, 'client'))
      .update(Buffer.concat([Buffer.alloc(4), text('Plaintext')]))
      .digest()
      .subarray(0, 8);

    expect(checksum).toEqual(expected);
    expect(mic.subarray(0, 4)).toEqual(hex('01000000'));
    expect(mic.subarray(12)).toEqual(hex('00000000'));
  });

  test('CHALLENGE_MESSAGE', () => {
    const message = hex(`4e544c4d53535000020000000c000c003800000033828ae20123456789abcdef0000000000000000
      24002400440000000600 7017 0000000f 53006500720076006500720002000c0044006f006d00610069006e00
      01000c0053006500720076006500720000000000`);

    const challenge = decodeChallenge(message);

    expect(challenge).toEqual({
      flags,
      targetName: 'Server',
      serverChallenge,
      targetInfo: [
        { id: AvId.netbiosDomainName, value: text('Domain') },
        { id: AvId.netbiosComputerName, value: text('Server') },
      ],
    });
  });

  test('AUTHENTICATE_MESSAGE, which has no room for a MIC', () => {
    const message = hex(`4e544c4d535350000300000018001800 6c0000005400540084000000 0c000c0048000000
      0800080054000000 100010005c000000 10001000d8000000 358288e2 0501280a0000000f
      44006f006d00610069006e005500730065007200 43004f004d0050005500540045005200
      86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa
      68cd0ab851e51c96aabc927bebef6a1c 01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000
      02000c0044006f006d00610069006e00 01000c00530065007200760065007200 0000000000000000
      c5dad2544fc9799094ce1ce90bc9d03e`);

    const decoded = decodeAuthenticate(message);

    expect(decoded).toMatchObject({ user: 'User', domain: 'Domain', workstation: 'COMPUTER', mic: undefined });
    expect(decoded.flags & NtlmFlag.keyExchange).not.toBe(0);
    expect(decoded.ntResponse.subarray(16)).toEqual(blob);
    expect(decoded.encryptedRandomSessionKey.toString('hex')).toBe('c5dad2544fc9799094ce1ce90bc9d03e');
  });
});
