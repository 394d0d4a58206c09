import { afterEach, expect, test } from '@jest/globals';
import { CipherId, Command } from '../../smb/constants.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';

let server: TestServer;
afterEach(() => server.stop());

/** The lines of a metric as Prometheus would read them. */
async function scraped(metric: string): Promise<string[]> {
  const text = await (await fetch(`http://127.0.0.1:${server.server.metricsPort}/metrics`)).text();
  return text.split('\n').filter((line) => line.startsWith(`${metric}{`));
}

test('sessions are shown by dialect, signing and what has to be encrypted; requests by how they came', async () => {
  const share = { name: 'data', volume: 'v', path: '/', access: [{ principal: '*', permission: 'Full' }] };
  server = await TestServer.start({ shares: [{ ...share, encryption: 'Required' }] });
  const client = await server.connected();
  await client.negotiate([CipherId.AES_128_GCM]);
  await client.logOn(...ALICE);
  expect(await scraped('holdfast_fileserver_protected_sessions')).toEqual([
    expect.stringMatching(/dialect="3\.1\.1",signing="(AES-GMAC|AES-CMAC)",encryption="none"\} 1$/),
  ]);
  await client.treeConnect('data');
  expect(await scraped('holdfast_fileserver_protected_sessions')).toEqual([
    expect.stringMatching(/encryption="AES-128-GCM"\} 1$/),
  ]);
  client.sendSealed(Command.ECHO, encodeEchoRequest());
  await client.receive();
  const requests = await scraped('holdfast_fileserver_protected_requests_total');
  expect(requests).toEqual([
    expect.stringMatching(/protection="encrypted"\} 1$/),
    expect.stringMatching(/protection="signed"\} [1-9]\d*$/),
    expect.stringMatching(/protection="plain"\} [1-9]\d*$/),
  ]);
});

test('each limit is shown with what is in use of it', async () => {
  server = await TestServer.start({ limits: { sessions: 7 } });
  const client = await server.connected();
  await client.negotiate();
  await client.logOn(...ALICE);
  expect(await scraped('holdfast_fileserver_limit')).toContain('holdfast_fileserver_limit{resource="sessions"} 7');
  expect(await scraped('holdfast_fileserver_in_use')).toContain('holdfast_fileserver_in_use{resource="sessions"} 1');
  const named = async (metric: string) => (await scraped(metric)).map((line) => /resource="(\w+)"/.exec(line)?.[1]);
  expect(await named('holdfast_fileserver_in_use')).toEqual(await named('holdfast_fileserver_limit'));
});
