/** What went wrong in cryptography. Messages never hold keys, nonces or data. */
export type CryptoErrorCode =
  /** The tag of an encrypted message is wrong: drop the connection (MS-SMB2 3.3.5.2.1.1). */
  | 'AUTHENTICATION_FAILED'
  /** A key does not have the length its algorithm wants. */
  | 'BAD_KEY'
  /** No such algorithm, or not here. */
  | 'UNKNOWN_ALGORITHM'
  /** The message is too short to be signed, sealed or opened. */
  | 'BAD_MESSAGE'
  /** The library refused; it should not. */
  | 'LIBRARY_FAILED';

export class CryptoError extends Error {
  readonly code: CryptoErrorCode;

  constructor(code: CryptoErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CryptoError';
    this.code = code;
  }
}
