import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Command } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { encodeLogoffRequest } from '../../smb/wire/logoff.ts';
import { encodeTreeDisconnectRequest } from '../../smb/wire/tree-disconnect.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, BOB, TestServer } from '../testing/test-server.ts';
import { MAX_CHANNELS } from './binding.ts';

describe('a session with several channels', () => {
  let server: TestServer;
  let first: RawClient;

  beforeEach(async () => {
    server = await TestServer.start();
    first = await server.loggedOn(...ALICE);
  });
  afterEach(() => server.stop());

  const bound = async (): Promise<RawClient> => {
    const client = await server.negotiated();
    expect(await client.bind(first, ...ALICE)).toBe(Status.SUCCESS);
    return client;
  };
  const echo = async (client: RawClient) => (await client.request(Command.ECHO, encodeEchoRequest())).header.status;

  test('serves requests on each, signed with its own key', async () => {
    const second = await bound();
    const { message } = await second.request(Command.ECHO, encodeEchoRequest());
    expect(second.signer?.verify(message)).toBe(true);
    expect(first.signer?.verify(message)).toBe(false);
    expect(await echo(first)).toBe(Status.SUCCESS);
  });

  test('knows a tree connect of one on the others', async () => {
    const second = await bound();
    expect(await second.treeConnect('data')).toBe(Status.SUCCESS);
    const { treeId } = second;
    expect(
      (await first.request(Command.TREE_DISCONNECT, encodeTreeDisconnectRequest(), { treeId })).header.status,
    ).toBe(Status.SUCCESS);
  });

  test('lives as long as one of them', async () => {
    const second = await bound();
    first.socket.destroy();
    await first.closed();
    expect(await echo(second)).toBe(Status.SUCCESS);
    // The key of the session outlives the connection that made it.
    const third = await bound();
    second.socket.destroy();
    await second.closed();
    expect(await echo(third)).toBe(Status.SUCCESS);
    third.socket.destroy();
    await third.closed();
    const late = await server.negotiated();
    expect(await late.bind(first, ...ALICE).catch(String)).toContain('not signed with the key');
  });

  test('ends on all of them at once', async () => {
    const second = await bound();
    expect((await second.request(Command.LOGOFF, encodeLogoffRequest())).header.status).toBe(Status.SUCCESS);
    expect(await echo(first)).toBe(Status.USER_SESSION_DELETED);
    expect(await echo(second)).toBe(Status.USER_SESSION_DELETED);
  });

  test('is neither bound by another user nor without its key, and goes on', async () => {
    const wrongUser = await server.negotiated();
    expect(await wrongUser.bind(first, ...BOB)).toBe(Status.ACCESS_DENIED);
    const wrongPassword = await server.negotiated();
    expect(await wrongPassword.bind(first, ALICE[0], 'guess')).toBe(Status.LOGON_FAILURE);
    const withoutKey = await server.negotiated();
    const other = await server.loggedOn(...ALICE);
    const forged = Object.assign(Object.create(first), { signer: other.signer });
    await expect(withoutKey.bind(forged, ...ALICE)).rejects.toThrow('not signed with the key');
    expect(await echo(first)).toBe(Status.SUCCESS);
    expect(await echo(wrongUser)).toBe(Status.USER_SESSION_DELETED);
  });

  test('has a limited number of them', async () => {
    for (let channels = 1; channels < MAX_CHANNELS; channels++) await bound();
    const oneMore = await server.negotiated();
    expect(await oneMore.bind(first, ...ALICE)).toBe(Status.INSUFFICIENT_RESOURCES);
  });

  test('expires on all of them when its user gets another password, until he has proved it', async () => {
    const second = await bound();
    writeFileSync(join(server.folder, 'users', ALICE[0]), 'a new secret');
    const giveUpAtMs = performance.now() + 10_000;
    const ofNoTree = () => second.request(Command.TREE_DISCONNECT, encodeTreeDisconnectRequest(), { treeId: 77 });
    while ((await ofNoTree()).header.status !== Status.NETWORK_SESSION_EXPIRED) {
      if (performance.now() > giveUpAtMs) throw new Error('the session does not expire');
    }
    expect(await echo(first)).toBe(Status.SUCCESS);
    expect(await first.treeConnect('data')).toBe(Status.NETWORK_SESSION_EXPIRED);
    expect(await first.logOn(ALICE[0], 'a new secret')).toBe(Status.SUCCESS);
    expect(await first.treeConnect('data')).toBe(Status.SUCCESS);
  });
});
