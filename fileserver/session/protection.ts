/** How the messages of one session are signed and encrypted: keys in, nothing of SMB's state. */
export interface Protection {
  /** Whether messages can be encrypted: the dialect and the client allow it. */
  readonly canEncrypt: boolean;
}
