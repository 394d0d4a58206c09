import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from '../wire/errors.ts';
import { NtlmClient, type NtlmClientOptions } from './client.ts';
import { readDer } from './der.ts';
import { AuthError } from './errors.ts';
import { ntHash } from './nt-hash.ts';
import { messageIntegrityCode, ntlmMic, ntlmV2ClientBlob, ntlmV2Proof, ntowfV2 } from './ntlm-keys.ts';
import {
  AvId,
  decodeAuthenticate,
  decodeChallenge,
  encodeAuthenticate,
  encodeAvPairs,
  encodeNegotiate,
  NtlmFlag,
} from './ntlm-messages.ts';
import { NtlmServer, ntlmUserLookup, serverNegotiateToken } from './server.ts';
import {
  decodeSpnego,
  encodeMechTypes,
  encodeNegTokenInit,
  encodeNegTokenResp,
  Mech,
  NegState,
  type NegTokenResp,
} from './spnego.ts';

const users = ntlmUserLookup([['Alice', ntHash('correct horse')]]);
const nowFiletime = (): bigint => 133_500_000_000_000_000n;
const server = (): NtlmServer =>
  new NtlmServer({ targetName: 'HOLDFAST', dnsName: 'files.example', lookup: users, nowFiletime });
const client = (options: Partial<NtlmClientOptions> = {}): NtlmClient =>
  new NtlmClient({ user: 'alice', password: 'correct horse', targetSpn: 'cifs/files.example', ...options });

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('value is missing');
  return value;
}

const resp = (token: Buffer): NegTokenResp => {
  const decoded = decodeSpnego(token);
  if (decoded.kind !== 'resp') throw new Error('NegTokenResp expected');
  return decoded;
};

function authErrorOf(action: () => unknown): AuthError {
  try {
    action();
  } catch (error) {
    if (error instanceof AuthError) return error;
    throw error;
  }
  throw new Error('AuthError expected');
}

describe('an exchange in SPNEGO', () => {
  test('with the right password gives both sides the same key', () => {
    const [initiator, acceptor] = [client({ domain: 'WORKGROUP' }), server()];

    const challenge = acceptor.step(initiator.initial());
    const answer = initiator.step(challenge.token);
    const result = acceptor.step(required(answer.token));
    const end = initiator.step(result.token);

    expect(challenge.done).toBe(false);
    expect(result).toMatchObject({ done: true, user: 'alice', domain: 'WORKGROUP' });
    expect(end.done).toBe(true);
    expect(end.sessionKey).toHaveLength(16);
    expect(result).toMatchObject({ sessionKey: end.sessionKey });
  });

  test('sends a MIC and the mechListMIC of both sides', () => {
    const [initiator, acceptor] = [client(), server()];
    const answer = required(initiator.step(acceptor.step(initiator.initial()).token).token);
    const authenticate = decodeAuthenticate(required(resp(answer).responseToken));

    const result = acceptor.step(answer);

    expect(required(authenticate.mic).equals(Buffer.alloc(16))).toBe(false);
    expect(resp(answer).mechListMic).toHaveLength(16);
    expect(resp(result.token)).toMatchObject({ negState: NegState.acceptCompleted });
    expect(resp(result.token).mechListMic).toHaveLength(16);
  });

  test.each<[string, Partial<NtlmClientOptions>]>([
    ['a wrong password', { password: 'wrong' }],
    ['an unknown user', { user: 'mallory' }],
    ['an empty password', { password: '' }],
  ])('with %s fails with LOGON_FAILURE', (_, options) => {
    const [initiator, acceptor] = [client(options), server()];
    const answer = required(initiator.step(acceptor.step(initiator.initial()).token).token);

    const error = authErrorOf(() => acceptor.step(answer));

    expect(error).toMatchObject({ code: 'LOGON_FAILURE', anonymous: false });
    expect(error.user).toBe(options.user ?? 'alice');
  });

  test('an unknown user and a wrong password read the same', () => {
    const messages = [{ user: 'mallory' }, { password: 'wrong' }].map((options) => {
      const [initiator, acceptor] = [client(options), server()];
      const answer = required(initiator.step(acceptor.step(initiator.initial()).token).token);
      return authErrorOf(() => acceptor.step(answer)).message;
    });

    expect(messages[0]).toBe(messages[1]);
  });

  test('a change of what only the MIC protects makes it fail', () => {
    const [initiator, acceptor] = [client(), server()];
    const answer = required(initiator.step(acceptor.step(initiator.initial()).token).token);
    const ntlm = required(resp(answer).responseToken);
    // The Version field takes part in no other computation.
    const tampered = Buffer.from(answer);
    tampered.writeUInt8(0x7f, answer.indexOf(ntlm) + 64);

    expect(authErrorOf(() => acceptor.step(tampered)).code).toBe('LOGON_FAILURE');
  });

  test('a changed mechListMIC makes it fail on either side', () => {
    const [initiator, acceptor] = [client(), server()];
    const answer = required(initiator.step(acceptor.step(initiator.initial()).token).token);
    const tampered = Buffer.from(answer);
    tampered.writeUInt8(tampered.readUInt8(tampered.length - 6) ^ 1, tampered.length - 6);
    expect(authErrorOf(() => acceptor.step(tampered)).code).toBe('LOGON_FAILURE');

    const [initiator2, acceptor2] = [client(), server()];
    const result = acceptor2.step(required(initiator2.step(acceptor2.step(initiator2.initial()).token).token));
    result.token.writeUInt8(result.token.readUInt8(result.token.length - 6) ^ 1, result.token.length - 6);
    expect(authErrorOf(() => initiator2.step(result.token)).code).toBe('LOGON_FAILURE');
  });

  test('a token that follows the end is refused', () => {
    const [initiator, acceptor] = [client(), server()];
    const answer = required(initiator.step(acceptor.step(initiator.initial()).token).token);
    acceptor.step(answer);

    expect(authErrorOf(() => acceptor.step(answer)).code).toBe('INVALID_PARAMETER');
  });
});

describe('negotiation of the mechanism', () => {
  test('the server offers NTLMSSP with the hint that is to be ignored', () => {
    const init = decodeSpnego(serverNegotiateToken());

    expect(init).toMatchObject({ kind: 'init', mechTypes: [Mech.ntlmssp], mechListMic: undefined });
  });

  /** Plays a client that prefers Kerberos; `withMic` says whether it proves its list in the end. */
  function kerberosFirst(withMic: boolean): () => unknown {
    const acceptor = server();
    const mechTypes = [Mech.msKerberos, Mech.kerberos, Mech.ntlmssp];
    const first = acceptor.step(encodeNegTokenInit({ mechTypes, mechToken: Buffer.from('optimistic AP-REQ') }));
    expect(resp(first.token)).toMatchObject({ negState: NegState.requestMic, supportedMech: Mech.ntlmssp });
    const initiator = client();
    const init = decodeSpnego(initiator.initial());
    if (init.kind !== 'init') throw new Error('NegTokenInit expected');
    const challenge = acceptor.step(encodeNegTokenResp({ responseToken: init.mechToken }));
    const answer = initiator.step(challenge.token);
    const responseToken = required(resp(required(answer.token)).responseToken);
    const { flags } = decodeAuthenticate(responseToken);
    const mechListMic = withMic
      ? ntlmMic(flags, required(answer.sessionKey), 'client', encodeMechTypes(mechTypes))
      : undefined;
    return () => acceptor.step(encodeNegTokenResp({ responseToken, mechListMic }));
  }

  test('an optimistic Kerberos token is stepped past', () => {
    expect(kerberosFirst(true)()).toMatchObject({ done: true, user: 'alice' });
  });

  test('then the list must be proven', () => {
    expect(authErrorOf(kerberosFirst(false)).code).toBe('LOGON_FAILURE');
  });

  test('a client without NTLM is told that it is not supported', () => {
    const init = encodeNegTokenInit({ mechTypes: [Mech.kerberos], mechToken: Buffer.from('AP-REQ') });

    expect(authErrorOf(() => server().step(init)).code).toBe('NOT_SUPPORTED');
  });
});

const negotiateFlags =
  NtlmFlag.unicode | NtlmFlag.ntlm | NtlmFlag.extendedSessionSecurity | NtlmFlag.negotiate128 | NtlmFlag.sign;
const noField = Buffer.alloc(0);

describe('raw NTLMSSP', () => {
  function started(): { acceptor: NtlmServer; negotiate: Buffer; challenge: Buffer } {
    const acceptor = server();
    const negotiate = encodeNegotiate({ flags: negotiateFlags });
    return { acceptor, negotiate, challenge: acceptor.step(negotiate).token };
  }

  const authenticate = (ntResponse: Buffer, user = 'alice', lmResponse = Buffer.alloc(24)): Buffer =>
    encodeAuthenticate({
      flags: negotiateFlags,
      user,
      domain: 'D',
      workstation: 'W',
      lmResponse,
      ntResponse,
      encryptedRandomSessionKey: noField,
      mic: undefined,
    });

  function ntlmV2(challenge: Buffer, avFlags: number): { response: Buffer; key: Buffer } {
    const value = Buffer.alloc(4);
    value.writeUInt32LE(avFlags);
    const blob = ntlmV2ClientBlob(nowFiletime(), Buffer.alloc(8, 7), encodeAvPairs([{ id: AvId.flags, value }]));
    const responseKey = ntowfV2(ntHash('correct horse'), 'alice', 'D');
    const proof = ntlmV2Proof(responseKey, decodeChallenge(challenge).serverChallenge, blob);
    return { response: Buffer.concat([proof.ntProof, blob]), key: proof.keyExchangeKey };
  }

  test('without key exchange gives the session base key, and an empty token', () => {
    const { acceptor, challenge } = started();
    const { response, key } = ntlmV2(challenge, 0);

    const result = acceptor.step(authenticate(response));

    expect(result).toEqual({
      done: true,
      user: 'alice',
      domain: 'D',
      token: noField,
      sessionKey: key,
      isAnonymous: false,
    });
  });

  test('a MIC that the response announces must be there and match', () => {
    const { acceptor, challenge } = started();
    const { response } = ntlmV2(challenge, 2);

    expect(authErrorOf(() => acceptor.step(authenticate(response)))).toMatchObject({ code: 'LOGON_FAILURE' });

    const second = started();
    const signed = ntlmV2(second.challenge, 2);
    const message = authenticate(signed.response);
    messageIntegrityCode(signed.key, second.negotiate, second.challenge, message).copy(message, 72);
    expect(second.acceptor.step(message)).toMatchObject({ done: true });
  });

  test('a MIC that the response announces, in a message that has no room for one', () => {
    const { acceptor, challenge } = started();
    const message = authenticate(ntlmV2(challenge, 2).response);
    // Without Version and MIC the payload starts at 64: everything moves up by 24 bytes.
    const short = Buffer.concat([message.subarray(0, 64), message.subarray(88)]);
    for (const at of [12, 20, 28, 36, 44, 52]) short.writeUInt32LE(message.readUInt32LE(at + 4) - 24, at + 4);

    expect(authErrorOf(() => acceptor.step(short)).message).toMatch('is missing');
  });

  test('a field that points beyond the message is malformed', () => {
    const { acceptor, challenge } = started();
    const message = authenticate(ntlmV2(challenge, 0).response);
    message.writeUInt32LE(message.length - 1, 44 + 4);

    expect(authErrorOf(() => acceptor.step(message)).code).toBe('INVALID_PARAMETER');
  });

  test('a response to another challenge is refused', () => {
    const { response } = ntlmV2(started().challenge, 0);

    expect(authErrorOf(() => started().acceptor.step(authenticate(response))).code).toBe('LOGON_FAILURE');
  });

  test('NTLMv1 and LM are refused', () => {
    expect(authErrorOf(() => started().acceptor.step(authenticate(Buffer.alloc(24, 1)))).code).toBe('LOGON_FAILURE');
    expect(authErrorOf(() => started().acceptor.step(authenticate(noField))).code).toBe('LOGON_FAILURE');
  });

  test('anonymous is refused, and can be told from other failures', () => {
    const message = authenticate(noField, '', Buffer.alloc(1));

    expect(authErrorOf(() => started().acceptor.step(message))).toMatchObject({
      code: 'LOGON_FAILURE',
      anonymous: true,
    });
  });

  test('a client without Unicode is told that it is not supported', () => {
    const negotiate = encodeNegotiate({ flags: NtlmFlag.oem | NtlmFlag.ntlm });

    expect(authErrorOf(() => server().step(negotiate)).code).toBe('NOT_SUPPORTED');
  });
});

describe('bad input', () => {
  test.each([
    ['an element beyond the end', '6006a004300200'],
    ['an element beyond its parent', '60820004a0820010'],
    ['a length of five bytes', '608500000000010101'],
    ['an indefinite length', '60800000'],
    ['bytes behind the token', `${encodeNegTokenInit({ mechTypes: [Mech.ntlmssp] }).toString('hex')}00`],
    ['another object identifier', '600b06062b0601050503a00130'],
    ['fields out of order', 'a0173015a2020400a00f300d060b2b06010401823702020a00'],
  ])('SPNEGO with %s is malformed', (_, token) => {
    expect(authErrorOf(() => server().step(Buffer.from(token, 'hex'))).code).toBe('INVALID_PARAMETER');
    expect(() => decodeSpnego(Buffer.from(token, 'hex'))).toThrow(WireError);
  });

  test('DER elements may not reach beyond what contains them', () => {
    expect(() => readDer(Buffer.from('0403ffff', 'hex'), 0)).toThrow(WireError);
    expect(readDer(Buffer.from('0402ffff', 'hex'), 0).element.contents).toHaveLength(2);
  });

  /** A valid token with some bytes overwritten and perhaps cut. */
  const damaged = (token: Buffer): fc.Arbitrary<Buffer> =>
    fc
      .tuple(
        fc.array(fc.tuple(fc.nat(token.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.option(fc.nat(token.length), { freq: 4, nil: token.length }),
      )
      .map(([changes, length]) => {
        const copy = Buffer.from(token);
        for (const [at, value] of changes) copy[at] = value;
        return copy.subarray(0, length);
      });

  function throwsOnlyAuthError(action: () => unknown): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
    }
  }

  test('the server throws nothing but AuthError', () => {
    const first = client().initial();
    const acceptor = server();
    const initiator = client();
    const second = required(initiator.step(acceptor.step(initiator.initial()).token).token);
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));

    fc.assert(
      fc.property(fc.oneof(bytes, damaged(first)), fc.oneof(bytes, damaged(second)), (one, two) => {
        throwsOnlyAuthError(() => server().step(one));
        const started = server();
        started.step(first);
        throwsOnlyAuthError(() => started.step(two));
      }),
      { numRuns: 3000 },
    );
  });

  test('the client throws nothing but AuthError', () => {
    const challenge = server().step(client().initial()).token;
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));

    fc.assert(
      fc.property(fc.oneof(bytes, damaged(challenge)), bytes, (one, two) => {
        const initiator = client();
        initiator.initial();
        throwsOnlyAuthError(() => {
          initiator.step(one);
          initiator.step(two);
        });
      }),
      { numRuns: 3000 },
    );
  });
});
