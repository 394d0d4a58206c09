// What signing and encryption need from a cryptographic library. Two implementations: openssl-provider.ts and
// node-provider.ts; they agree bit for bit.
import { CipherId, SigningAlgorithmId } from '../constants.ts';
import { CryptoError } from './errors.ts';

/** A message authentication code with its key. */
export interface Mac {
  /**
   * Writes the first 16 bytes of the code of `message` into `tag`. `nonce` (12 bytes) is for AES-GMAC, the others do
   * not look at it. `message` may be the memory that `tag` lies in.
   */
  compute(message: Buffer, nonce: Buffer, tag: Buffer): void;
  /** Frees the key. Not to be used afterwards. */
  close(): void;
}

/** Authenticated encryption with its key. Data is changed in place. */
export interface Aead {
  /** Encrypts `data`, writes the 16-byte tag. */
  encrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): void;
  /** Decrypts `data`; false if the tag is wrong, then `data` is worthless. */
  decrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): boolean;
  /** Frees the key. Not to be used afterwards. */
  close(): void;
}

export interface Provider {
  readonly name: 'openssl' | 'node';
  /** `algorithm`: SigningAlgorithmId.*; `key`: 16 bytes. */
  mac(algorithm: number, key: Buffer): Mac;
  /** `cipherId`: CipherId.*; `key`: 16 or 32 bytes, as the cipher says. */
  aead(cipherId: number, key: Buffer): Aead;
}

export const TAG_SIZE = 16;

export interface CipherFacts {
  /** As Node and OpenSSL call it. */
  readonly name: 'aes-128-ccm' | 'aes-128-gcm' | 'aes-256-ccm' | 'aes-256-gcm';
  readonly isCcm: boolean;
  /** Bytes. */
  readonly keySize: 16 | 32;
  /** Bytes of the 16-byte nonce field that the cipher uses (MS-SMB2 2.2.41). */
  readonly nonceSize: 11 | 12;
}

const ciphers: ReadonlyMap<number, CipherFacts> = new Map<number, CipherFacts>([
  [CipherId.AES_128_CCM, { name: 'aes-128-ccm', isCcm: true, keySize: 16, nonceSize: 11 }],
  [CipherId.AES_128_GCM, { name: 'aes-128-gcm', isCcm: false, keySize: 16, nonceSize: 12 }],
  [CipherId.AES_256_CCM, { name: 'aes-256-ccm', isCcm: true, keySize: 32, nonceSize: 11 }],
  [CipherId.AES_256_GCM, { name: 'aes-256-gcm', isCcm: false, keySize: 32, nonceSize: 12 }],
]);

/** What a CipherId stands for. Throws CryptoError UNKNOWN_ALGORITHM. */
export function cipherFacts(cipherId: number): CipherFacts {
  const facts = ciphers.get(cipherId);
  if (!facts) throw new CryptoError('UNKNOWN_ALGORITHM', `no cipher has the id ${cipherId}`);
  return facts;
}

const macKeySize = 16;
const macAlgorithms: readonly number[] = Object.values(SigningAlgorithmId);

/** Throws CryptoError if there is no such signing algorithm or the key does not fit it. */
export function checkMac(algorithm: number, key: Buffer): void {
  if (!macAlgorithms.includes(algorithm)) {
    throw new CryptoError('UNKNOWN_ALGORITHM', `no signing algorithm has the id ${algorithm}`);
  }
  if (key.length !== macKeySize) {
    throw new CryptoError('BAD_KEY', `a signing key has ${macKeySize} bytes, this has ${key.length}`);
  }
}

/** Throws CryptoError if there is no such cipher or the key does not fit it. */
export function checkAead(cipherId: number, key: Buffer): CipherFacts {
  const facts = cipherFacts(cipherId);
  if (key.length !== facts.keySize) {
    throw new CryptoError('BAD_KEY', `a key of ${facts.name} has ${facts.keySize} bytes, this has ${key.length}`);
  }
  return facts;
}
