import { type Cipher, cipherIdOf, createCipher } from '../../smb/crypto/cipher.ts';
import { deriveSessionKeys } from '../../smb/crypto/kdf.ts';
import { preauthHashStart, preauthHashUpdate } from '../../smb/crypto/preauth.ts';
import { createSigner, type Signer, signingAlgorithmOf } from '../../smb/crypto/signer.ts';
import { TRANSFORM_HEADER_SIZE } from '../../smb/wire/header.ts';
import { SmbError } from '../errors.ts';
import type { Negotiated } from './negotiate.ts';

/** Preauthentication integrity (MS-SMB2 3.2.5.2, 3.2.5.3): the hash over NEGOTIATE and then SESSION_SETUP as they were sent. */
export class PreauthChain {
  #hash: Buffer;

  /** @param negotiate the two messages of NEGOTIATE as they were on the wire */
  constructor({ request, response }: { request: Buffer; response: Buffer }) {
    this.#hash = preauthHashUpdate(preauthHashUpdate(preauthHashStart(), request), response);
  }

  update(message: Buffer): void {
    this.#hash = preauthHashUpdate(this.#hash, message);
  }

  get value(): Buffer {
    return this.#hash;
  }
}

/** Signs, encrypts and checks the messages of one session. */
export class SessionSecurity {
  readonly sessionId: bigint;
  readonly #signer: Signer;
  readonly #outgoing: Cipher | undefined;
  readonly #incoming: Cipher | undefined;
  #encrypts = false;
  #closed = false;

  constructor(sessionId: bigint, sessionKey: Buffer, negotiated: Negotiated, preauthHash: Buffer) {
    const { dialect } = negotiated;
    const cipherId = negotiated.cipher === 0 ? undefined : cipherIdOf(dialect, negotiated.cipher);
    const keys = deriveSessionKeys({ dialect, sessionKey, preauthHash, cipherId });
    this.sessionId = sessionId;
    this.#signer = createSigner(signingAlgorithmOf(dialect, negotiated.signingAlgorithm), keys.signingKey);
    if (cipherId !== undefined && keys.clientToServerKey && keys.serverToClientKey) {
      this.#outgoing = createCipher(cipherId, keys.clientToServerKey);
      this.#incoming = createCipher(cipherId, keys.serverToClientKey);
    }
  }

  /** Whether requests go out encrypted. */
  get encrypts(): boolean {
    return this.#encrypts;
  }

  /** Throws SmbError NEGOTIATION_REFUSED when no cipher was agreed on. */
  encryptFromNow(): void {
    if (!this.#outgoing)
      throw new SmbError('NEGOTIATION_REFUSED', 'encryption is demanded, but no cipher was agreed on with the server');
    this.#encrypts = true;
  }

  /** Fills in flag and signature of a message that begins at its SMB2 header. */
  sign(message: Buffer): void {
    if (!this.#closed) this.#signer.sign(message);
  }

  verify(message: Buffer): boolean {
    return !this.#closed && this.#signer.verify(message);
  }

  /** Writes the transform header at `at` of the frame and encrypts, in place, the message that lies behind it. */
  encrypt(frame: Buffer, at: number): void {
    if (this.#closed) return;
    this.#outgoing?.sealInPlace({ sessionId: this.sessionId }, frame, at, frame.length - at - TRANSFORM_HEADER_SIZE);
  }

  /** The plain message of a received one that begins at its transform header. Throws CryptoError when it is not authentic. */
  decrypt(received: Buffer): Buffer | undefined {
    return this.#closed ? undefined : this.#incoming?.open(received);
  }

  /** Frees the keys. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signer.close();
    this.#outgoing?.close();
    this.#incoming?.close();
  }
}
