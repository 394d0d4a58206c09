// Keys of a session (MS-SMB2 3.1.4.2, 3.2.5.3.1, 3.3.5.5.3).
import { createHmac } from 'node:crypto';
import { Dialect } from '../constants.ts';
import { CryptoError } from './errors.ts';
import { cipherFacts } from './provider.ts';

const SESSION_KEY_SIZE = 16;

/**
 * The key derivation of SP800-108 in counter mode with HMAC-SHA256 and 32-bit counters (3.1.4.2). `label` and `context` as
 * bytes, their terminating zeros included; `bits`: 128 or 256, which take one round.
 */
export function smb3Kdf(key: Buffer, label: Buffer, context: Buffer, bits: 128 | 256): Buffer {
  const counter = Buffer.from([0, 0, 0, 1]);
  const separator = Buffer.from([0]);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(bits);
  const hmac = createHmac('sha256', key).update(counter).update(label).update(separator).update(context).update(size);
  return hmac.digest().subarray(0, bits / 8);
}

export interface SessionKeys {
  /** Signs both ways. 16 bytes. */
  signingKey: Buffer;
  /** For protocols above SMB. 16 bytes. */
  applicationKey: Buffer;
  /** Encrypts what the client sends; the server's DecryptionKey. Dialects 3.x only. */
  clientToServerKey?: Buffer;
  /** Encrypts what the server sends; the server's EncryptionKey. Dialects 3.x only. */
  serverToClientKey?: Buffer;
}

export interface SessionKeyInput {
  /** Dialect.* */
  dialect: number;
  /** The key of the GSS context, as long as the mechanism gives it (NTLM: 16 bytes). */
  sessionKey: Buffer;
  /** Session.PreauthIntegrityHashValue; needed in 3.1.1. For a bound channel, that channel's. */
  preauthHash?: Buffer;
  /** CipherId.* of the connection; decides how long the encryption keys are. */
  cipherId?: number;
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'latin1');

/** Labels and contexts of 3.0 and 3.0.2. "ServerIn " ends in a blank. */
const LABELS_3_0 = {
  signing: [text('SMB2AESCMAC'), text('SmbSign')],
  application: [text('SMB2APP'), text('SmbRpc')],
  clientToServer: [text('SMB2AESCCM'), text('ServerIn ')],
  serverToClient: [text('SMB2AESCCM'), text('ServerOut')],
} as const;

const LABELS_3_1_1 = {
  signing: text('SMBSigningKey'),
  application: text('SMBAppKey'),
  clientToServer: text('SMBC2SCipherKey'),
  serverToClient: text('SMBS2CCipherKey'),
} as const;

/**
 * All keys of a session, or of one more channel of it (then only `signingKey` counts: encryption and application keys stay
 * those of the first channel). Throws CryptoError.
 */
export function deriveSessionKeys(input: SessionKeyInput): SessionKeys {
  const sessionKey = firstBytes(input.sessionKey);
  if (input.dialect < Dialect.SMB_3_0) return { signingKey: sessionKey, applicationKey: sessionKey };
  const bits = input.cipherId && cipherFacts(input.cipherId).keySize === 32 ? 256 : 128;
  // AES-256 keys come from the whole key of the mechanism, all others from its first 16 bytes.
  const cipherSource = bits === 256 ? input.sessionKey : sessionKey;
  if (input.dialect < Dialect.SMB_3_1_1) {
    return {
      signingKey: smb3Kdf(sessionKey, ...LABELS_3_0.signing, 128),
      applicationKey: smb3Kdf(sessionKey, ...LABELS_3_0.application, 128),
      clientToServerKey: smb3Kdf(sessionKey, ...LABELS_3_0.clientToServer, 128),
      serverToClientKey: smb3Kdf(sessionKey, ...LABELS_3_0.serverToClient, 128),
    };
  }
  const { preauthHash } = input;
  if (!preauthHash) throw new CryptoError('BAD_KEY', 'keys of dialect 3.1.1 need the preauthentication integrity hash');
  return {
    signingKey: smb3Kdf(sessionKey, LABELS_3_1_1.signing, preauthHash, 128),
    applicationKey: smb3Kdf(sessionKey, LABELS_3_1_1.application, preauthHash, 128),
    clientToServerKey: smb3Kdf(cipherSource, LABELS_3_1_1.clientToServer, preauthHash, bits),
    serverToClientKey: smb3Kdf(cipherSource, LABELS_3_1_1.serverToClient, preauthHash, bits),
  };
}

/** Session.SessionKey: the first 16 bytes of the mechanism's key, filled up with zeros. */
function firstBytes(key: Buffer): Buffer {
  const sessionKey = Buffer.alloc(SESSION_KEY_SIZE);
  key.copy(sessionKey, 0, 0, SESSION_KEY_SIZE);
  return sessionKey;
}
