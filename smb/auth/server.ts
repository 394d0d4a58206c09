import { randomBytes as systemRandomBytes } from 'node:crypto';
import { foldCase } from '../fscc/names.ts';
import { WireError } from '../wire/errors.ts';
import { AuthError } from './errors.ts';
import { canSign, messageIntegrityCode, ntlmMic, ntlmV2Proof, ntowfV2, sameSecret } from './ntlm-keys.ts';
import {
  AvId,
  avFlagMicPresent,
  avFlags,
  decodeAuthenticate,
  decodeAvPairs,
  decodeNegotiate,
  encodeChallenge,
  isNtlmMessage,
  micOffset,
  type NtlmAuthenticate,
  NtlmFlag,
} from './ntlm-messages.ts';
import { rc4 } from './rc4.ts';
import { decodeSpnego, encodeNegTokenInit2, encodeNegTokenResp, Mech, NegState, type NegTokenInit } from './spnego.ts';

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
  /** Who gives no name and no response is let in as nobody; the default refuses. */
  allowAnonymous?: boolean;
}

export type NtlmServerStep =
  | { done: false; token: Buffer }
  /**
   * `user` and `domain` as the client sent them, empty where `isAnonymous`; `sessionKey` is 16 bytes, and no secret where `isAnonymous`.
   * `token` may be empty (raw NTLMSSP).
   */
  | ({ done: true; token: Buffer } & Authenticated);

interface Authenticated {
  user: string;
  domain: string;
  sessionKey: Buffer;
  isAnonymous: boolean;
}

/** A lookup for NtlmServer over user names, matched without regard to case, whatever the domain. */
export function ntlmUserLookup(users: Iterable<readonly [user: string, ntHash: Buffer]>): NtlmServerOptions['lookup'] {
  const hashes = new Map<string, Buffer>();
  for (const [user, hash] of users) hashes.set(foldCase(user), hash);
  return (user) => hashes.get(foldCase(user));
}

/** Security buffer of a NEGOTIATE response: NegTokenInit2 that offers NTLMSSP (MS-SPNG 2.2.1, MS-SMB2 3.3.5.4). */
export function serverNegotiateToken(): Buffer {
  return encodeNegTokenInit2([Mech.ntlmssp]);
}

/** Flags that the server grants when the client asks for them. */
const grantedOnRequest =
  NtlmFlag.sign |
  NtlmFlag.seal |
  NtlmFlag.alwaysSign |
  NtlmFlag.extendedSessionSecurity |
  NtlmFlag.negotiate128 |
  NtlmFlag.negotiate56 |
  NtlmFlag.keyExchange |
  NtlmFlag.version |
  NtlmFlag.requestTarget;

/** Shortest NTLMv2 response: NTProofStr and a client challenge with an empty AV_PAIR list; NTLMv1's has 24 bytes. */
const minimumV2ResponseSize = 16 + 28 + 4;

/** Stands in for the hash of a user that does not exist, so that such a logon does the same work. */
const noUsersHash = systemRandomBytes(16);

/** What the SPNEGO negotiation has come to, when the client uses it. */
interface Spnego {
  mechTypesDer: Buffer;
  /** NTLMSSP was not the client's first choice: then both sides must prove the list (RFC 4178 5). */
  micRequired: boolean;
}

type State = 'expect-start' | 'expect-negotiate' | 'expect-authenticate' | 'over';

/** The acceptor of one authentication exchange: NTLMv2, in SPNEGO or raw. One instance an exchange. */
export class NtlmServer {
  readonly #options: NtlmServerOptions;
  readonly #randomBytes: (size: number) => Buffer;
  #state: State = 'expect-start';
  #spnego: Spnego | undefined;
  #negotiate: Buffer = Buffer.alloc(0);
  #challenge: Buffer = Buffer.alloc(0);
  #serverChallenge: Buffer = Buffer.alloc(0);

  constructor(options: NtlmServerOptions) {
    this.#options = options;
    this.#randomBytes = options.randomBytes ?? systemRandomBytes;
  }

  /** Takes the client's next token and gives the answer. Throws AuthError, after which the exchange is over. */
  step(token: Buffer): NtlmServerStep {
    const state = this.#state;
    this.#state = 'over';
    try {
      if (state === 'over') throw new AuthError('INVALID_PARAMETER', 'the authentication exchange is over already');
      if (state === 'expect-start') return this.#start(token);
      return this.#continue(token, state);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new AuthError('INVALID_PARAMETER', `malformed authentication token: ${error.message}`, {}, error);
    }
  }

  /** The user whose password the token is to prove, where that is what comes next. Reads, and decides nothing. */
  claimedUser(token: Buffer): string | undefined {
    if (this.#state !== 'expect-authenticate') return undefined;
    try {
      const resp = this.#spnego === undefined ? undefined : decodeSpnego(token);
      const ntlmToken = resp === undefined ? token : resp.kind === 'resp' ? resp.responseToken : undefined;
      return ntlmToken && decodeAuthenticate(ntlmToken).user;
    } catch (error) {
      if (error instanceof WireError) return undefined;
      throw error;
    }
  }

  #start(token: Buffer): NtlmServerStep {
    if (isNtlmMessage(token)) return { done: false, token: this.#answerNegotiate(token) };
    const init = decodeSpnego(token);
    if (init.kind !== 'init') throw new WireError('SPNEGO: NegTokenInit expected');
    const choice = chooseMech(init);
    this.#spnego = { mechTypesDer: Buffer.from(init.mechTypesDer), micRequired: !choice.preferred };
    if (choice.ntlmToken !== undefined) return this.#challengeInSpnego(choice.ntlmToken, NegState.acceptIncomplete);
    this.#state = 'expect-negotiate';
    const negState = choice.preferred ? NegState.acceptIncomplete : NegState.requestMic;
    return { done: false, token: encodeNegTokenResp({ negState, supportedMech: Mech.ntlmssp }) };
  }

  #continue(token: Buffer, state: 'expect-negotiate' | 'expect-authenticate'): NtlmServerStep {
    if (this.#spnego === undefined) return { ...this.#authenticate(token).result, token: Buffer.alloc(0) };
    const resp = decodeSpnego(token);
    if (resp.kind !== 'resp' || resp.responseToken === undefined) {
      throw new WireError('SPNEGO: NegTokenResp with a token expected');
    }
    if (state === 'expect-negotiate') return this.#challengeInSpnego(resp.responseToken, NegState.acceptIncomplete);
    return this.#finishSpnego(this.#spnego, resp.responseToken, resp.mechListMic);
  }

  #challengeInSpnego(ntlmToken: Buffer, negState: number): NtlmServerStep {
    const responseToken = this.#answerNegotiate(ntlmToken);
    return { done: false, token: encodeNegTokenResp({ negState, supportedMech: Mech.ntlmssp, responseToken }) };
  }

  /** MS-NLMP 3.2.5.1.1. */
  #answerNegotiate(token: Buffer): Buffer {
    const { flags } = decodeNegotiate(token);
    if ((flags & NtlmFlag.unicode) === 0) {
      throw new AuthError('NOT_SUPPORTED', 'client does not offer Unicode in NTLM NEGOTIATE');
    }
    const { targetName, dnsName, nowFiletime } = this.#options;
    const text = (value: string): Buffer => Buffer.from(value, 'utf16le');
    const timestamp = Buffer.alloc(8);
    timestamp.writeBigUInt64LE(nowFiletime());
    // Views on the received message would not outlive its buffer.
    this.#negotiate = Buffer.from(token);
    this.#serverChallenge = Buffer.from(this.#randomBytes(8));
    this.#challenge = encodeChallenge({
      flags:
        (flags & grantedOnRequest) |
        NtlmFlag.unicode |
        NtlmFlag.ntlm |
        NtlmFlag.targetTypeServer |
        NtlmFlag.targetInfo |
        NtlmFlag.requestTarget,
      targetName,
      serverChallenge: this.#serverChallenge,
      targetInfo: [
        { id: AvId.netbiosDomainName, value: text(targetName) },
        { id: AvId.netbiosComputerName, value: text(targetName) },
        { id: AvId.dnsDomainName, value: text(dnsName) },
        { id: AvId.dnsComputerName, value: text(dnsName) },
        { id: AvId.timestamp, value: timestamp },
      ],
    });
    this.#state = 'expect-authenticate';
    return this.#challenge;
  }

  #finishSpnego(spnego: Spnego, ntlmToken: Buffer, mechListMic: Buffer | undefined): NtlmServerStep {
    const { result, flags } = this.#authenticate(ntlmToken);
    if (!canSign(flags)) return { ...result, token: encodeNegTokenResp({ negState: NegState.acceptCompleted }) };
    const key = result.sessionKey;
    if (mechListMic === undefined) {
      if (spnego.micRequired) throw refuse('mechListMIC is missing', result);
      return { ...result, token: encodeNegTokenResp({ negState: NegState.acceptCompleted }) };
    }
    if (!sameSecret(mechListMic, ntlmMic(flags, key, 'client', spnego.mechTypesDer))) {
      throw refuse('mechListMIC does not match', result);
    }
    const answer = ntlmMic(flags, key, 'server', spnego.mechTypesDer);
    return { ...result, token: encodeNegTokenResp({ negState: NegState.acceptCompleted, mechListMic: answer }) };
  }

  /** MS-NLMP 3.2.5.1.2, for NTLMv2 alone. */
  #authenticate(token: Buffer): {
    result: { done: true } & Authenticated;
    flags: number;
  } {
    const message = decodeAuthenticate(token);
    const { user, domain, flags } = message;
    if (isAnonymous(message)) {
      if (this.#options.allowAnonymous) {
        // MS-NLMP 3.3.2: the key exchange key of nobody is zero.
        const sessionKey = exportedSessionKey(message, Buffer.alloc(16));
        return { result: { done: true, user: '', domain: '', sessionKey, isAnonymous: true }, flags };
      }
      throw new AuthError('LOGON_FAILURE', 'anonymous logon is not allowed', { anonymous: true });
    }
    if ((flags & NtlmFlag.unicode) === 0) throw new WireError('NTLM AUTHENTICATE is not in Unicode');
    if (user === '' || message.ntResponse.length < minimumV2ResponseSize) {
      throw refuse('the response is not NTLMv2', message);
    }
    const clientBlob = message.ntResponse.subarray(16);
    if (clientBlob[0] !== 1 || clientBlob[1] !== 1) throw refuse('the response is not NTLMv2', message);
    const avPairs = decodeAvPairs(clientBlob.subarray(28));

    // From here to the comparison an unknown user costs what a wrong password costs.
    const known = this.#options.lookup(user, domain);
    const responseKey = ntowfV2(known ?? noUsersHash, user, domain);
    const proof = ntlmV2Proof(responseKey, this.#serverChallenge, clientBlob);
    const matches = sameSecret(proof.ntProof, message.ntResponse.subarray(0, 16));
    if (!matches || known === undefined) throw refuse('unknown user or wrong password', message);

    const sessionKey = exportedSessionKey(message, proof.keyExchangeKey);
    if ((avFlags(avPairs) & avFlagMicPresent) !== 0) this.#verifyMic(token, message, sessionKey);
    return { result: { done: true, user, domain, sessionKey, isAnonymous: false }, flags };
  }

  #verifyMic(token: Buffer, message: NtlmAuthenticate, sessionKey: Buffer): void {
    if (message.mic === undefined) throw refuse('the message integrity code is missing', message);
    const withoutMic = Buffer.from(token);
    withoutMic.fill(0, micOffset, micOffset + 16);
    const expected = messageIntegrityCode(sessionKey, this.#negotiate, this.#challenge, withoutMic);
    if (!sameSecret(expected, message.mic)) throw refuse('the message integrity code does not match', message);
  }
}

function refuse(reason: string, { user, domain }: { user: string; domain: string }): AuthError {
  return new AuthError('LOGON_FAILURE', `NTLM logon refused: ${reason}`, { user, domain });
}

/** MS-NLMP 3.2.5.1.2: no user name, no NT response, and an LM response of nothing or one zero byte. */
function isAnonymous({ user, ntResponse, lmResponse }: NtlmAuthenticate): boolean {
  const emptyLm = lmResponse.length === 0 || (lmResponse.length === 1 && lmResponse[0] === 0);
  return user === '' && ntResponse.length === 0 && emptyLm;
}

/** MS-NLMP 3.2.5.1.2: the client's random key when keys are exchanged, the key exchange key otherwise. */
function exportedSessionKey(message: NtlmAuthenticate, keyExchangeKey: Buffer): Buffer {
  if ((message.flags & NtlmFlag.keyExchange) === 0) return keyExchangeKey;
  const encrypted = message.encryptedRandomSessionKey;
  const protects = (message.flags & (NtlmFlag.sign | NtlmFlag.seal)) !== 0;
  if (encrypted.length === 0 && !protects) return keyExchangeKey;
  if (encrypted.length !== 16) throw new WireError(`encrypted session key of ${encrypted.length} bytes`);
  return rc4(keyExchangeKey, encrypted);
}

/** Steps past an optimistic token for another mechanism (RFC 4178 3.2): only NTLMSSP is spoken. */
function chooseMech(init: NegTokenInit): { preferred: boolean; ntlmToken: Buffer | undefined } {
  const at = init.mechTypes.findIndex((mech) => mech.equals(Mech.ntlmssp));
  if (at < 0) throw new AuthError('NOT_SUPPORTED', 'client offers no NTLM; only NTLMv2 is supported');
  return at === 0 ? { preferred: true, ntlmToken: init.mechToken } : { preferred: false, ntlmToken: undefined };
}
