/**
 * What a decoder throws for bytes that are not the message they claim to be, and an encoder for values that do not
 * fit their field. Servers answer STATUS_INVALID_PARAMETER or drop the connection, as MS-SMB2 3.3.5.2 says for the
 * place where it happened.
 */
export class WireError extends Error {
  readonly code = 'MALFORMED';

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'WireError';
  }
}
