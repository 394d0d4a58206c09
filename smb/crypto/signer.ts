// Signing of SMB2 messages (MS-SMB2 3.1.4.1, 3.1.5.1).
import { timingSafeEqual } from 'node:crypto';
import { Command, Dialect, Flags, SigningAlgorithmId } from '../constants.ts';
import { HEADER_SIZE, SIGNATURE_OFFSET } from '../wire/header.ts';
import { defaultProvider } from './default-provider.ts';
import { CryptoError } from './errors.ts';
import { type Mac, type Provider, TAG_SIZE } from './provider.ts';

/** One key and algorithm: make one a channel, keep it, close it. */
export interface Signer {
  /** SigningAlgorithmId.* */
  readonly algorithm: number;
  /**
   * Signs the message of `length` bytes whose SMB2 header is at `at`: sets Flags.SIGNED and writes the signature field, in
   * place. In a compound each message is signed by itself, with its padding.
   */
  sign(message: Buffer, at?: number, length?: number): void;
  /** Whether the signature is right, in time that does not depend on where it differs. The message is left as it was. */
  verify(message: Buffer, at?: number, length?: number): boolean;
  /** Frees the key. */
  close(): void;
}

/** The algorithm of a connection: what 3.1.1 negotiated, or what its dialect prescribes. */
export function signingAlgorithmOf(dialect: number, negotiated?: number): SigningAlgorithmId {
  if (dialect < Dialect.SMB_3_0) return SigningAlgorithmId.HMAC_SHA256;
  if (dialect < Dialect.SMB_3_1_1) return SigningAlgorithmId.AES_CMAC;
  const known = Object.values(SigningAlgorithmId).find((algorithm) => algorithm === negotiated);
  return known ?? SigningAlgorithmId.AES_CMAC;
}

/** `algorithm`: SigningAlgorithmId.*; `key`: 16 bytes. Throws CryptoError. The provider is for tests. */
export function createSigner(algorithm: number, key: Buffer, provider: Provider = defaultProvider()): Signer {
  return new MacSigner(algorithm, provider.mac(algorithm, key));
}

/** Bits of the last nonce word (3.1.4.1): who sends, and whether it is a CANCEL, which reuses another's MessageId. */
const NONCE_SERVER = 0x1;
const NONCE_CANCEL = 0x2;

class MacSigner implements Signer {
  readonly algorithm: number;
  readonly #mac: Mac;
  readonly #nonce = Buffer.alloc(12);
  readonly #tag = Buffer.alloc(TAG_SIZE);
  readonly #received = Buffer.alloc(TAG_SIZE);

  constructor(algorithm: number, mac: Mac) {
    this.algorithm = algorithm;
    this.#mac = mac;
  }

  sign(message: Buffer, at = 0, length = message.length - at): void {
    const part = partOf(message, at, length);
    part.writeUInt32LE((part.readUInt32LE(16) | Flags.SIGNED) >>> 0, 16);
    part.fill(0, SIGNATURE_OFFSET, HEADER_SIZE);
    this.#compute(part);
    part.set(this.#tag, SIGNATURE_OFFSET);
  }

  verify(message: Buffer, at = 0, length = message.length - at): boolean {
    const part = partOf(message, at, length);
    part.copy(this.#received, 0, SIGNATURE_OFFSET, HEADER_SIZE);
    part.fill(0, SIGNATURE_OFFSET, HEADER_SIZE);
    this.#compute(part);
    part.set(this.#received, SIGNATURE_OFFSET);
    return timingSafeEqual(this.#tag, this.#received);
  }

  #compute(part: Buffer): void {
    if (this.algorithm === SigningAlgorithmId.AES_GMAC) this.#setNonce(part);
    this.#mac.compute(part, this.#nonce, this.#tag);
  }

  #setNonce(part: Buffer): void {
    const nonce = this.#nonce;
    part.copy(nonce, 0, 24, 32); // MessageId
    let bits = 0;
    if ((part.readUInt32LE(16) & Flags.SERVER_TO_REDIR) !== 0) bits |= NONCE_SERVER;
    if (part.readUInt16LE(12) === Command.CANCEL) bits |= NONCE_CANCEL;
    nonce.writeUInt32LE(bits, 8);
  }

  close(): void {
    this.#mac.close();
  }
}

function partOf(message: Buffer, at: number, length: number): Buffer {
  if (at < 0 || length < HEADER_SIZE || length > message.length - at) {
    throw new CryptoError('BAD_MESSAGE', `no SMB2 message of ${length} bytes at ${at} of ${message.length}`);
  }
  return at === 0 && length === message.length ? message : message.subarray(at, at + length);
}
