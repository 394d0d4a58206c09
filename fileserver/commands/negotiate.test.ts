// Clients that may also speak SMB1 begin with its NEGOTIATE (MS-SMB2 3.3.5.3); nothing else of SMB1 is taken.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Command, Dialect } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { decodeNegotiateResponse } from '../../smb/wire/negotiate.ts';
import { encodeSmb1Negotiate, Smb1Dialect } from '../../smb/wire/smb1-negotiate.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';

const { SMB_2_0_2, SMB_2_WILDCARD } = Smb1Dialect;
const NT_LM = 'NT LM 0.12';

let server: TestServer;
afterEach(() => server.stop());

async function offered(...dialects: string[]): Promise<RawClient> {
  const client = await server.connected();
  client.sendFrame(encodeSmb1Negotiate({ dialects }));
  return client;
}

async function dialectOf(client: RawClient): Promise<number> {
  const { header, message } = await client.receive();
  expect([header.command, header.messageId, header.status]).toEqual([Command.NEGOTIATE, 0, Status.SUCCESS]);
  return decodeNegotiateResponse(message).dialectRevision;
}

describe('a NEGOTIATE of SMB1', () => {
  beforeEach(async () => {
    server = await TestServer.start();
  });

  test('that leaves the dialect open leads to one of SMB2, and on to a session', async () => {
    const client = await offered(NT_LM, SMB_2_0_2, SMB_2_WILDCARD);
    expect(await dialectOf(client)).toBe(Dialect.SMB_2_WILDCARD);
    client.nextMessageId = 1;
    const { header, message } = await client.negotiate();
    expect([header.status, decodeNegotiateResponse(message).dialectRevision]).toEqual([
      Status.SUCCESS,
      Dialect.SMB_3_1_1,
    ]);
    expect(await client.logOn(...ALICE)).toBe(Status.SUCCESS);
    expect((await client.request(Command.ECHO, encodeEchoRequest())).header.status).toBe(Status.SUCCESS);
  });

  test.each([
    ['offers no SMB2', [NT_LM]],
    ['offers nothing', []],
    ['offers what is not let in', [NT_LM, SMB_2_0_2]],
  ])('that %s ends the connection', async (_what, dialects) => {
    await (await offered(...dialects)).closed();
  });

  test('that comes twice, or after one of SMB2, ends the connection', async () => {
    const twice = await offered(SMB_2_WILDCARD);
    await dialectOf(twice);
    twice.sendFrame(encodeSmb1Negotiate({ dialects: [SMB_2_WILDCARD] }));
    await twice.closed();
    const late = await server.negotiated();
    late.sendFrame(encodeSmb1Negotiate({ dialects: [SMB_2_WILDCARD] }));
    await late.closed();
  });

  test.each([
    ['is another command of SMB1', 4, 0x73],
    ['has parameters', 32, 1],
    ['is shorter than it says', 33, 0xff],
    ['has a list of something else', 35, 4],
  ])('that %s ends the connection', async (_what, at, value) => {
    const client = await server.connected();
    const message = encodeSmb1Negotiate({ dialects: [SMB_2_WILDCARD] });
    message.writeUInt8(value, at);
    client.sendFrame(message);
    await client.closed();
  });
});

test('a NEGOTIATE of SMB1 that knows 2.0.2 alone is answered with it where it is let in', async () => {
  server = await TestServer.start({ security: { minDialect: '2.0.2' } });
  expect(await dialectOf(await offered(NT_LM, SMB_2_0_2))).toBe(Dialect.SMB_2_0_2);
});
