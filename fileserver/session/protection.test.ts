// What protects a session is asked for on every request, not only where it is negotiated.
import { afterEach, describe, expect, test } from '@jest/globals';
import { CipherId, Command } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { encodeTreeConnectRequest } from '../../smb/wire/tree-connect.ts';
import { encodeTreeDisconnectRequest } from '../../smb/wire/tree-disconnect.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, BOB, TestServer } from '../testing/test-server.ts';

let server: TestServer;
afterEach(() => server.stop());

const shares = [{ name: 'data', volume: 'v', path: '/', access: [{ principal: '*', permission: 'Full' }] }];
const encryptedShares = shares.map((share) => ({ ...share, encryption: 'Required' }));
const toData = encodeTreeConnectRequest({ flags: 0, path: '\\\\server\\data' });

/** Logged on with a cipher, so that it could encrypt. */
async function canEncrypt(): Promise<RawClient> {
  const client = await server.connected();
  await client.negotiate([CipherId.AES_128_GCM]);
  expect(await client.logOn(...ALICE)).toBe(Status.SUCCESS);
  return client;
}
const statusOf = async (client: RawClient) => (await client.receive()).header.status;

describe('a share that requires encryption', () => {
  test('does nothing that is asked for in the clear, though signed, and all of it encrypted', async () => {
    server = await TestServer.start({ shares: encryptedShares });
    const client = await canEncrypt();
    expect(await client.treeConnect('data')).toBe(Status.SUCCESS);
    client.send(Command.TREE_DISCONNECT, encodeTreeDisconnectRequest());
    expect(await statusOf(client)).toBe(Status.ACCESS_DENIED);
    client.sendSealed(Command.TREE_DISCONNECT, encodeTreeDisconnectRequest());
    expect(await statusOf(client)).toBe(Status.SUCCESS);
  });
});

describe('a cluster that requires encryption', () => {
  test('does nothing for a session that is asked for in the clear, though signed', async () => {
    server = await TestServer.start({ shares, security: { encryption: 'Required' } });
    const client = await canEncrypt();
    client.send(Command.TREE_CONNECT, toData);
    expect(await statusOf(client)).toBe(Status.ACCESS_DENIED);
    client.sendFrame(client.message(Command.ECHO, encodeEchoRequest()));
    expect(await statusOf(client)).toBe(Status.ACCESS_DENIED);
    client.sendSealed(Command.TREE_CONNECT, toData);
    expect(await statusOf(client)).toBe(Status.SUCCESS);
  });
});

describe('the key of a session', () => {
  test('opens no other session of its connection', async () => {
    server = await TestServer.start({ shares });
    const client = await canEncrypt();
    const { sessionId, sealer, opener } = client;
    client.sessionId = 0n;
    client.signer = undefined;
    expect(await client.logOn(...BOB)).toBe(Status.SUCCESS);
    expect(client.sessionId).not.toBe(sessionId);
    // The answer comes under the key that the request came with.
    client.opener = opener;
    client.sendSealed(Command.ECHO, encodeEchoRequest(), { sessionId, sealer });
    expect(await statusOf(client)).toBe(Status.ACCESS_DENIED);
  });
});

describe('in 3.1.1', () => {
  test('the first TREE_CONNECT proves what was negotiated, whether or not the session is signed', async () => {
    server = await TestServer.start({ shares, security: { signing: 'Desired' } });
    const client = await server.loggedOn(...ALICE);
    client.sendFrame(client.message(Command.ECHO, encodeEchoRequest()));
    expect(await statusOf(client)).toBe(Status.SUCCESS);
    client.sendFrame(client.message(Command.TREE_CONNECT, toData));
    await client.closed();
  });
});
