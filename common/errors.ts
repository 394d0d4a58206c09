/** An error that a person can act on: `code` for programs, the message for people (what was tried, on what, what to do). */
export class HoldfastError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'HoldfastError';
    this.code = code;
  }
}

/** The text of whatever was thrown, for a log line or a message. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
