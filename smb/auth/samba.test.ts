import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, test } from '@jest/globals';
import { NtlmClient } from './client.ts';
import { AuthError } from './errors.ts';
import { ntHash } from './nt-hash.ts';
import { NtlmServer, ntlmUserLookup, serverNegotiateToken } from './server.ts';

/** Samba's ntlm_auth (Debian package winbind) plays the other side; without it these tests are left out. */
const available = spawnSync('ntlm_auth', ['--version']).status === 0;
const describeWithSamba = available ? describe : describe.skip;

let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill();
  child = undefined;
});

/** Starts ntlm_auth in one of its roles; `ask` sends a line and gives the line that answers it, split at blanks. */
function ntlmAuth(protocol: string, password: string): { ask: (line: string) => Promise<string[]> } {
  const options = [`--helper-protocol=${protocol}`, '--username=alice', '--domain=WG', `--password=${password}`];
  const helper = spawn('ntlm_auth', options, { stdio: ['pipe', 'pipe', 'ignore'] });
  child = helper;
  const lines = createInterface({ input: helper.stdout })[Symbol.asyncIterator]();
  return {
    ask: async (line) => {
      helper.stdin.write(`${line}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('ntlm_auth ended');
      return String(value).split(' ');
    },
  };
}

const base64 = (token: Buffer): string => token.toString('base64');
const token = (answer: string[]): Buffer => Buffer.from(answer[1] ?? '', 'base64');

const server = (): NtlmServer =>
  new NtlmServer({
    targetName: 'HOLDFAST',
    dnsName: 'files.example',
    lookup: ntlmUserLookup([['alice', ntHash('secret')]]),
    nowFiletime: () => 133_500_000_000_000_000n,
  });

describeWithSamba('Samba as the client', () => {
  test('in raw NTLMSSP: both have the same key', async () => {
    const [helper, acceptor] = [ntlmAuth('ntlmssp-client-1', 'secret'), server()];

    const challenge = acceptor.step(token(await helper.ask('YR')));
    const result = acceptor.step(token(await helper.ask(`TT ${base64(challenge.token)}`)));

    const [verb, key] = await helper.ask('GK');
    expect(verb).toBe('GK');
    expect(result).toMatchObject({
      done: true,
      user: 'alice',
      domain: 'WG',
      sessionKey: Buffer.from(key ?? '', 'base64'),
    });
  });

  test('with a wrong password', async () => {
    const [helper, acceptor] = [ntlmAuth('ntlmssp-client-1', 'wrong'), server()];
    const challenge = acceptor.step(token(await helper.ask('YR')));
    const authenticate = token(await helper.ask(`TT ${base64(challenge.token)}`));

    expect(() => acceptor.step(authenticate)).toThrow(AuthError);
  });

  test('in SPNEGO, after the offer of the server', async () => {
    const [helper, acceptor] = [ntlmAuth('gss-spnego-client', 'secret'), server()];

    const init = await helper.ask(`TT ${base64(serverNegotiateToken())}`);
    const challenge = acceptor.step(token(init));
    const result = acceptor.step(token(await helper.ask(`TT ${base64(challenge.token)}`)));

    expect(result).toMatchObject({ done: true, user: 'alice' });
    expect(await helper.ask(`TT ${base64(result.token)}`)).toEqual(['AF']);
  });
});

describeWithSamba('Samba as the server', () => {
  test('takes our response and our mechListMIC, and we take its own', async () => {
    const helper = ntlmAuth('gss-spnego', 'secret');
    const initiator = new NtlmClient({ user: 'alice', password: 'secret', domain: 'WG' });

    const challenge = await helper.ask(`YR ${base64(initiator.initial())}`);
    const answer = initiator.step(token(challenge));
    const result = await helper.ask(`KK ${base64(answer.token ?? Buffer.alloc(0))}`);
    const end = initiator.step(token(result));

    expect(result[0]).toBe('AF');
    expect(end.done).toBe(true);
    expect(await helper.ask('GK')).toEqual(['GK', base64(end.sessionKey ?? Buffer.alloc(0))]);
  });

  test('refuses a wrong password', async () => {
    const helper = ntlmAuth('gss-spnego', 'secret');
    const initiator = new NtlmClient({ user: 'alice', password: 'wrong', domain: 'WG' });
    const challenge = await helper.ask(`YR ${base64(initiator.initial())}`);
    const answer = initiator.step(token(challenge));

    expect((await helper.ask(`KK ${base64(answer.token ?? Buffer.alloc(0))}`))[0]).toBe('NA');
  });
});
