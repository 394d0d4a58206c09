// Encryption of SMB 3 messages (MS-SMB2 3.1.4.3, 3.3.5.2.1.1; the transform header is 2.2.41).
import { randomBytes } from 'node:crypto';
import { CipherId, Dialect } from '../constants.ts';
import { WireError } from '../wire/errors.ts';
import {
  decodeTransformHeader,
  encodeTransformHeader,
  SIGNATURE_SIZE,
  TRANSFORM_ENCRYPTED,
  TRANSFORM_HEADER_SIZE,
} from '../wire/header.ts';
import { defaultProvider } from './default-provider.ts';
import { CryptoError } from './errors.ts';
import { type Aead, cipherFacts, type Provider, TAG_SIZE } from './provider.ts';

/** Where the part of a transform header begins that the tag covers: all behind ProtocolId and Signature. */
const AAD_OFFSET = 4 + SIGNATURE_SIZE;

/**
 * One key: a session has two, one for each direction. There must be one Cipher a key that seals, shared by all channels of
 * the session: it is what keeps nonces from repeating.
 */
export interface Cipher {
  /** CipherId.* */
  readonly cipherId: number;
  /**
   * Encrypts a message (or several, one after another: a compound) into a new buffer: transform header and ciphertext.
   * `headroom` bytes are left free in front, as for a frame's prefix.
   */
  seal(fields: { sessionId: bigint }, messages: Buffer | readonly Buffer[], headroom?: number): Buffer;
  /**
   * The same without a copy: `length` bytes of message lie in `into` from `at` + TRANSFORM_HEADER_SIZE on; they are
   * encrypted where they are and the transform header is written at `at`.
   */
  sealInPlace(fields: { sessionId: bigint }, into: Buffer, at: number, length: number): void;
  /**
   * Decrypts a message that begins with its transform header and ends where the frame ends, in place; the result is a view
   * on it. Throws WireError if it is malformed, CryptoError AUTHENTICATION_FAILED if the tag is wrong; its bytes
   * are worthless then.
   */
  open(transformMessage: Buffer): Buffer;
  /** Frees the key. */
  close(): void;
}

/** The cipher of a connection: what 3.1.1 negotiated, AES-128-CCM in 3.0 and 3.0.2, none below or if none was agreed on. */
export function cipherIdOf(dialect: number, negotiated?: number): number | undefined {
  if (dialect < Dialect.SMB_3_0) return undefined;
  if (dialect < Dialect.SMB_3_1_1) return CipherId.AES_128_CCM;
  return negotiated === 0 ? undefined : negotiated;
}

/** `cipherId`: CipherId.*; `key`: 16 or 32 bytes as the cipher wants. Throws CryptoError. The provider is for tests. */
export function createCipher(cipherId: number, key: Buffer, provider: Provider = defaultProvider()): Cipher {
  return new AeadCipher(cipherId, provider.aead(cipherId, key));
}

class AeadCipher implements Cipher {
  readonly cipherId: number;
  readonly #aead: Aead;
  /** As long as the cipher's nonce: 8 bytes that count, and random ones, should two instances ever share a key. */
  readonly #nonce: Buffer;
  #sealed = 0;

  constructor(cipherId: number, aead: Aead) {
    this.cipherId = cipherId;
    this.#aead = aead;
    this.#nonce = randomBytes(cipherFacts(cipherId).nonceSize);
  }

  seal(fields: { sessionId: bigint }, messages: Buffer | readonly Buffer[], headroom = 0): Buffer {
    const parts = Buffer.isBuffer(messages) ? [messages] : messages;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const sealed = Buffer.allocUnsafe(headroom + TRANSFORM_HEADER_SIZE + length);
    let at = headroom + TRANSFORM_HEADER_SIZE;
    for (const part of parts) {
      sealed.set(part, at);
      at += part.length;
    }
    this.sealInPlace(fields, sealed, headroom, length);
    return sealed;
  }

  sealInPlace(fields: { sessionId: bigint }, into: Buffer, at: number, length: number): void {
    const textAt = at + TRANSFORM_HEADER_SIZE;
    if (at < 0 || length <= 0 || length > into.length - textAt) {
      throw new CryptoError('BAD_MESSAGE', `no message of ${length} bytes to seal at ${at} of ${into.length}`);
    }
    const nonce = this.#nextNonce();
    encodeTransformHeader({ nonce, originalMessageSize: length, sessionId: fields.sessionId }, into, at);
    const aad = into.subarray(at + AAD_OFFSET, textAt);
    const tag = into.subarray(at + 4, at + AAD_OFFSET);
    this.#aead.encrypt(nonce, aad, into.subarray(textAt, textAt + length), tag);
  }

  #nextNonce(): Buffer {
    const count = ++this.#sealed;
    this.#nonce.writeUInt32LE(count % 0x1_0000_0000, 0);
    this.#nonce.writeUInt32LE(Math.floor(count / 0x1_0000_0000), 4);
    return this.#nonce;
  }

  open(transformMessage: Buffer): Buffer {
    const header = decodeTransformHeader(transformMessage);
    if (header.flags !== TRANSFORM_ENCRYPTED) throw new WireError(`TRANSFORM_HEADER: Flags are ${header.flags}`);
    const nonce = header.nonce.subarray(0, this.#nonce.length);
    const aad = transformMessage.subarray(AAD_OFFSET, TRANSFORM_HEADER_SIZE);
    const text = transformMessage.subarray(TRANSFORM_HEADER_SIZE);
    if (text.length === 0) throw new CryptoError('BAD_MESSAGE', 'an encrypted message is empty');
    if (!this.#aead.decrypt(nonce, aad, text, header.signature)) {
      throw new CryptoError('AUTHENTICATION_FAILED', `the ${TAG_SIZE}-byte tag of an encrypted message is wrong`);
    }
    return text;
  }

  close(): void {
    this.#aead.close();
  }
}
