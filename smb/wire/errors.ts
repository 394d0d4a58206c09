/** A received message or structure breaks its format (bounds, lengths, fixed values). */
export class WireError extends Error {
  readonly code = 'MALFORMED';
}
