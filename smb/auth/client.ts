import { randomBytes as systemRandomBytes } from 'node:crypto';
import { filetimeFromUnixNs } from '../fscc/filetime.ts';
import { WireError } from '../wire/errors.ts';
import { AuthError } from './errors.ts';
import { ntHash } from './nt-hash.ts';
import {
  canSign,
  lmV2Response,
  messageIntegrityCode,
  ntlmMic,
  ntlmV2ClientBlob,
  ntlmV2Proof,
  ntowfV2,
  sameSecret,
} from './ntlm-keys.ts';
import {
  AvId,
  type AvPair,
  avFlagMicPresent,
  avFlags,
  avValue,
  decodeChallenge,
  encodeAuthenticate,
  encodeAvPairs,
  encodeNegotiate,
  micOffset,
  type NtlmChallenge,
  NtlmFlag,
} from './ntlm-messages.ts';
import { rc4 } from './rc4.ts';
import {
  decodeSpnego,
  encodeMechTypes,
  encodeNegTokenInit,
  encodeNegTokenResp,
  Mech,
  NegState,
  type NegTokenResp,
} from './spnego.ts';

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

const negotiateFlags =
  NtlmFlag.unicode |
  NtlmFlag.requestTarget |
  NtlmFlag.sign |
  NtlmFlag.ntlm |
  NtlmFlag.alwaysSign |
  NtlmFlag.extendedSessionSecurity |
  NtlmFlag.targetInfo |
  NtlmFlag.version |
  NtlmFlag.negotiate128 |
  NtlmFlag.keyExchange |
  NtlmFlag.negotiate56;

/** Without these the session key would be weak or the exchange not protected: such a server is refused. */
const requiredFlags = NtlmFlag.unicode | NtlmFlag.extendedSessionSecurity | NtlmFlag.negotiate128;

const mechTypes = [Mech.ntlmssp];
const mechTypesDer = encodeMechTypes(mechTypes);

type State = 'expect-initial' | 'expect-challenge' | 'expect-result' | 'over';

/** The initiator of one authentication exchange: NTLMv2 in SPNEGO. One instance an exchange. */
export class NtlmClient {
  readonly #options: NtlmClientOptions;
  readonly #ntHash: Buffer;
  readonly #randomBytes: (size: number) => Buffer;
  #state: State = 'expect-initial';
  #negotiate: Buffer = Buffer.alloc(0);
  #flags = 0;
  #sessionKey: Buffer = Buffer.alloc(0);

  constructor(options: NtlmClientOptions) {
    this.#options = options;
    this.#ntHash = options.ntHash ?? ntHash(options.password ?? '');
    this.#randomBytes = options.randomBytes ?? systemRandomBytes;
  }

  /** First token: NegTokenInit with an NTLM NEGOTIATE. */
  initial(): Buffer {
    this.#state = 'expect-challenge';
    this.#negotiate = encodeNegotiate({ flags: negotiateFlags });
    return encodeNegTokenInit({ mechTypes, mechToken: this.#negotiate });
  }

  /** Takes the server's token (empty is allowed at the end) and gives the next. Throws AuthError. */
  step(token: Buffer): NtlmClientStep {
    const state = this.#state;
    this.#state = 'over';
    try {
      if (state === 'expect-challenge') return this.#answer(requireResponse(token));
      if (state === 'expect-result') return this.#finish(token);
      throw new AuthError('INVALID_PARAMETER', 'no token of the server is expected now');
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new AuthError('INVALID_PARAMETER', `malformed token from the server: ${error.message}`, {}, error);
    }
  }

  #answer(response: NegTokenResp): NtlmClientStep {
    if (response.supportedMech !== undefined && !response.supportedMech.equals(Mech.ntlmssp)) {
      throw new AuthError('NOT_SUPPORTED', 'server chose a mechanism other than NTLM');
    }
    if (response.responseToken === undefined) throw new WireError('SPNEGO: no challenge');
    const responseToken = this.#authenticate(response.responseToken);
    this.#state = 'expect-result';
    const mechListMic = canSign(this.#flags)
      ? ntlmMic(this.#flags, this.#sessionKey, 'client', mechTypesDer)
      : undefined;
    return {
      token: encodeNegTokenResp({ responseToken, mechListMic }),
      done: false,
      sessionKey: this.#sessionKey,
    };
  }

  /** MS-NLMP 3.1.5.1.2. */
  #authenticate(challengeMessage: Buffer): Buffer {
    const challenge = decodeChallenge(challengeMessage);
    if ((challenge.flags & requiredFlags) !== requiredFlags) {
      throw new AuthError('NOT_SUPPORTED', 'server does not grant Unicode, extended session security and 128-bit keys');
    }
    this.#flags = challenge.flags & negotiateFlags;
    const { user, domain = '', workstation = '' } = this.#options;
    const responseKey = ntowfV2(this.#ntHash, user, domain);
    const clientChallenge = this.#randomBytes(8);
    const timestamp = serverTimestamp(challenge);
    const blob = ntlmV2ClientBlob(
      timestamp ?? this.#now(),
      clientChallenge,
      encodeAvPairs(responseAvPairs(challenge.targetInfo, timestamp !== undefined, this.#options.targetSpn)),
    );
    const { ntProof, keyExchangeKey } = ntlmV2Proof(responseKey, challenge.serverChallenge, blob);
    const exchanged = (this.#flags & NtlmFlag.keyExchange) !== 0;
    this.#sessionKey = exchanged ? Buffer.from(this.#randomBytes(16)) : keyExchangeKey;
    const message = encodeAuthenticate({
      flags: this.#flags,
      // With a timestamp the LMv2 response is left out (MS-NLMP 3.1.5.1.2).
      lmResponse:
        timestamp === undefined
          ? lmV2Response(responseKey, challenge.serverChallenge, clientChallenge)
          : Buffer.alloc(24),
      ntResponse: Buffer.concat([ntProof, blob]),
      domain,
      user,
      workstation,
      encryptedRandomSessionKey: exchanged ? rc4(keyExchangeKey, this.#sessionKey) : Buffer.alloc(0),
      mic: undefined,
    });
    if (timestamp !== undefined) {
      messageIntegrityCode(this.#sessionKey, this.#negotiate, challengeMessage, message).copy(message, micOffset);
    }
    return message;
  }

  #finish(token: Buffer): NtlmClientStep {
    if (token.length > 0) {
      const response = requireResponse(token);
      if (response.negState !== undefined && response.negState !== NegState.acceptCompleted) {
        throw new AuthError('LOGON_FAILURE', 'server did not complete the authentication');
      }
      const mic = response.mechListMic;
      if (mic !== undefined && !sameSecret(mic, ntlmMic(this.#flags, this.#sessionKey, 'server', mechTypesDer))) {
        throw new AuthError(
          'LOGON_FAILURE',
          'mechListMIC of the server does not match: the exchange was tampered with',
        );
      }
    }
    return { done: true, sessionKey: this.#sessionKey };
  }

  #now(): bigint {
    return this.#options.nowFiletime?.() ?? filetimeFromUnixNs(BigInt(Date.now()) * 1_000_000n);
  }
}

function requireResponse(token: Buffer): NegTokenResp {
  const response = decodeSpnego(token);
  if (response.kind !== 'resp') throw new WireError('SPNEGO: NegTokenResp expected');
  if (response.negState === NegState.reject) throw new AuthError('LOGON_FAILURE', 'server rejected the authentication');
  return response;
}

function serverTimestamp(challenge: NtlmChallenge): bigint | undefined {
  const value = avValue(challenge.targetInfo, AvId.timestamp);
  return value?.length === 8 ? value.readBigUInt64LE() : undefined;
}

/** The server's AV pairs with what the client adds: MIC flag, no channel bindings, target name (MS-NLMP 3.1.5.1.2). */
function responseAvPairs(targetInfo: readonly AvPair[], withMic: boolean, targetSpn: string | undefined): AvPair[] {
  const pairs = targetInfo.filter(({ id }) => id !== AvId.flags);
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE((avFlags(targetInfo) | (withMic ? avFlagMicPresent : 0)) >>> 0);
  if (flags.readUInt32LE() !== 0) pairs.push({ id: AvId.flags, value: flags });
  pairs.push({ id: AvId.channelBindings, value: Buffer.alloc(16) });
  if (targetSpn !== undefined) pairs.push({ id: AvId.targetName, value: Buffer.from(targetSpn, 'utf16le') });
  return pairs;
}
