export interface NtlmServerOptions {
  /** NetBIOS-like name of the server, e.g. `HOLDFAST`; clients show it and put it into their response. */
  targetName: string;
  /** DNS name of the server; may equal targetName. */
  dnsName: string;
  /** NT hash (16 bytes) of a user, or undefined. Must match names without regard to case: `ntlmUserLookup` does. */
  lookup: (user: string, domain: string) => Buffer | undefined;
  /** Source of the challenge; the default is the system's. */
  randomBytes?: (size: number) => Buffer;
  /** Current time as FILETIME (100 ns since 1601). */
  nowFiletime: () => bigint;
}

export type NtlmServerStep =
  | { done: false; token: Buffer }
  /** `user` and `domain` as the client sent them; `sessionKey` is 16 bytes. `token` may be empty (raw NTLMSSP). */
  | { done: true; token: Buffer; user: string; domain: string; sessionKey: Buffer };

/** The acceptor of one authentication exchange: NTLMv2, in SPNEGO or raw. One instance an exchange. */
export class NtlmServer {
  constructor(_options: NtlmServerOptions) {}
  /** Takes the client's next token and gives the answer. Throws AuthError, after which the exchange is over. */
  step(_token: Buffer): NtlmServerStep {
    throw new Error('being written');
  }
}

/** A lookup for NtlmServer over user names, matched without regard to case, whatever the domain. */
export function ntlmUserLookup(_users: Iterable<readonly [user: string, ntHash: Buffer]>): NtlmServerOptions['lookup'] {
  throw new Error('being written');
}

/** Security buffer of a NEGOTIATE response: NegTokenInit2 that offers NTLMSSP (MS-SPNG 2.2.1, MS-SMB2 3.3.5.4). */
export function serverNegotiateToken(): Buffer {
  throw new Error('being written');
}
