export interface NtlmClientOptions {
  user: string;
  /** Give one of password and ntHash. */
  password?: string;
  /** 16 bytes. */
  ntHash?: Buffer;
  domain?: string;
  workstation?: string;
  /** Service principal name, e.g. `cifs/server.example`; sent as MsvAvTargetName. */
  targetSpn?: string;
  randomBytes?: (size: number) => Buffer;
  /** Current time as FILETIME; used when the server's challenge holds no timestamp. */
  nowFiletime?: () => bigint;
}

export interface NtlmClientStep {
  /** To be sent to the server; absent when there is nothing left to send. */
  token?: Buffer;
  done: boolean;
  /** 16 bytes; there from the step that answers the challenge on. */
  sessionKey?: Buffer;
}

/** The initiator of one authentication exchange: NTLMv2 in SPNEGO. One instance an exchange. */
export class NtlmClient {
  constructor(_options: NtlmClientOptions) {}
  /** First token: NegTokenInit with an NTLM NEGOTIATE. */
  initial(): Buffer {
    throw new Error('being written');
  }
  /** Takes the server's token (empty is allowed at the end) and gives the next. Throws AuthError. */
  step(_token: Buffer): NtlmClientStep {
    throw new Error('being written');
  }
}
