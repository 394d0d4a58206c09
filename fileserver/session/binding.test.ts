import { describe, expect, test } from '@jest/globals';
import { CipherId, Dialect, SigningAlgorithmId } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { type Binding, MAX_CHANNELS, refusalToBind } from './binding.ts';
import type { SessionSecurity } from './session.ts';

const { AES_CMAC, AES_GMAC, HMAC_SHA256 } = SigningAlgorithmId;
const cmac: SessionSecurity = {
  dialect: Dialect.SMB_3_1_1,
  signingAlgorithm: AES_CMAC,
  cipherId: CipherId.AES_128_GCM,
};
const gmac = { ...cmac, signingAlgorithm: AES_GMAC };
const hmac = { ...cmac, signingAlgorithm: HMAC_SHA256 };
const smb21 = { dialect: Dialect.SMB_2_1, signingAlgorithm: HMAC_SHA256, cipherId: undefined };
const smb302 = { dialect: Dialect.SMB_3_0_2, signingAlgorithm: AES_CMAC, cipherId: CipherId.AES_128_CCM };

const status = (session: SessionSecurity | undefined, connection: SessionSecurity, more: Partial<Binding> = {}) =>
  refusalToBind({
    session,
    connection,
    isExpired: false,
    isAnonymous: false,
    channels: 1,
    isSigned: true,
    ...more,
  });

describe('a connection becomes a channel of a session', () => {
  test('where dialect and cipher are the same, whichever of CMAC and HMAC it signs with', () => {
    expect(status(cmac, cmac)).toBeUndefined();
    expect(status(gmac, gmac)).toBeUndefined();
    expect(status(cmac, hmac)).toBeUndefined();
    expect(status(hmac, cmac)).toBeUndefined();
    expect(status(smb302, smb302)).toBeUndefined();
  });

  test('but not with GMAC on some channels only, whatever the dialects', () => {
    for (const other of [cmac, hmac, smb21, smb302]) {
      expect(status(gmac, other)).toBe(Status.REQUEST_OUT_OF_SEQUENCE);
      expect(status(other, gmac)).toBe(Status.NOT_SUPPORTED);
    }
  });

  test('nor with another dialect, another cipher or an older protocol', () => {
    expect(status(smb302, cmac)).toBe(Status.INVALID_PARAMETER);
    expect(status(smb21, cmac)).toBe(Status.INVALID_PARAMETER);
    expect(status(cmac, { ...cmac, cipherId: CipherId.AES_128_CCM })).toBe(Status.INVALID_PARAMETER);
    expect(status(cmac, smb21)).toBe(Status.REQUEST_NOT_ACCEPTED);
    expect(status(smb21, smb21)).toBe(Status.REQUEST_NOT_ACCEPTED);
  });

  test('nor where the request is not signed, or the session is not what it was', () => {
    expect(status(cmac, cmac, { isSigned: false })).toBe(Status.INVALID_PARAMETER);
    expect(status(undefined, cmac)).toBe(Status.REQUEST_NOT_ACCEPTED);
    expect(status(cmac, cmac, { isExpired: true })).toBe(Status.NETWORK_SESSION_EXPIRED);
    expect(status(cmac, cmac, { isAnonymous: true })).toBe(Status.NOT_SUPPORTED);
    expect(status(cmac, cmac, { channels: MAX_CHANNELS })).toBe(Status.INSUFFICIENT_RESOURCES);
  });
});
