// What a connection makes of a client's messages before a command sees them: credits, charges, compounds, NEGOTIATE repeated.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Outcome } from '../../proto/generated/handles.ts';
import { ALL_ONES_FILE_ID, Command, CreateDisposition, Dialect, Fsctl, IoctlFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { encodeCreateRequest } from '../../smb/wire/create.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { joinCompound } from '../../smb/wire/header.ts';
import { decodeIoctlResponse, encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import {
  decodeValidateNegotiateInfoResponse,
  encodeValidateNegotiateInfoRequest,
  type ValidateNegotiateInfoRequest,
} from '../../smb/wire/ioctl-payloads.ts';
import { type RawClient, RELATED } from '../testing/raw-client.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';

const [USER, PASSWORD] = ALICE;

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.stop());

const echo = (client: RawClient, header = {}) => client.request(Command.ECHO, encodeEchoRequest(), header);

describe('credits', () => {
  test('are granted as they are asked for, and what was granted may be used at once', async () => {
    const client = await server.loggedOn(USER, PASSWORD);
    const { header } = await echo(client, { credits: 40 });
    expect(header.credits).toBe(40);
    for (let i = 0; i < 40; i++) client.send(Command.ECHO, encodeEchoRequest(), { credits: 1 });
    for (let i = 0; i < 40; i++) expect((await client.receive()).header.status).toBe(Status.SUCCESS);
  });

  test('are used up by as many as a request is charged', async () => {
    const client = await server.loggedOn(USER, PASSWORD);
    const first = client.nextMessageId;
    await echo(client, { messageId: first, creditCharge: 4 });
    expect((await echo(client, { messageId: first + 4 })).header.status).toBe(Status.SUCCESS);
    client.send(Command.ECHO, encodeEchoRequest(), { messageId: first + 3 });
    await client.closed();
  });

  test.each([
    [65_536, 1, 'pays for', Status.FS_DRIVER_REQUIRED],
    [65_537, 1, 'does not pay for', Status.INVALID_PARAMETER],
    [65_537, 2, 'pays for', Status.FS_DRIVER_REQUIRED],
  ])('an answer of %i bytes: a charge of %i %s it', async (most, creditCharge, _pays, status) => {
    const client = await server.loggedOn(USER, PASSWORD);
    await client.treeConnect('data');
    const { header } = await client.request(Command.IOCTL, ioctlOf(Fsctl.DFS_GET_REFERRALS, most), { creditCharge });
    expect(header.status).toBe(status);
  });
});

describe('a related request', () => {
  test('is about the open that the one before made, whatever FileId it names', async () => {
    const client = await server.loggedOn(USER, PASSWORD);
    await client.treeConnect('IPC$');
    const parts = [
      client.message(Command.CREATE, createOf('srvsvc', CreateDisposition.OPEN)),
      client.message(Command.CLOSE, encodeCloseRequest({ flags: 0, fileId: ALL_ONES_FILE_ID }), RELATED),
      client.message(Command.CLOSE, encodeCloseRequest({ flags: 0, fileId: ALL_ONES_FILE_ID }), RELATED),
    ];
    expect(await statusesOf(client, parts)).toEqual([Status.SUCCESS, Status.SUCCESS, Status.FILE_CLOSED]);
  });

  test('that comes first is about nothing, and those behind it are done', async () => {
    const client = await server.loggedOn(USER, PASSWORD);
    const parts = [
      client.message(Command.ECHO, encodeEchoRequest(), RELATED),
      client.message(Command.ECHO, encodeEchoRequest()),
    ];
    expect(await statusesOf(client, parts)).toEqual([Status.INVALID_PARAMETER, Status.SUCCESS]);
  });

  test('may be a control that its pipe does not know, which is refused', async () => {
    const client = await server.loggedOn(USER, PASSWORD);
    await client.treeConnect('IPC$');
    const parts = [
      client.message(Command.CREATE, createOf('srvsvc', CreateDisposition.OPEN)),
      client.message(Command.IOCTL, ioctlOf(0x1234_5678, 1024), RELATED),
      client.message(Command.IOCTL, ioctlOf(Fsctl.PIPE_TRANSCEIVE, 1024), RELATED),
    ];
    const [opened, unknown, known] = await statusesOf(client, parts);
    expect([opened, unknown]).toEqual([Status.SUCCESS, Status.INVALID_DEVICE_REQUEST]);
    expect(known).not.toBe(Status.INVALID_DEVICE_REQUEST);
  });

  test('whose header is malformed ends the connection, also where it waited for the one before', async () => {
    const client = await server.loggedOn(USER, PASSWORD);
    await client.treeConnect('data');
    server.sidecar.decide = ({ body }) => ({
      outcome: body?.$case === 'reserve' ? Outcome.ACCESS_DENIED : Outcome.GRANTED,
    });
    const parts = [
      client.message(Command.CREATE, createOf('new', CreateDisposition.CREATE)),
      client.message(Command.ECHO, encodeEchoRequest()),
    ];
    const compound = joinCompound(parts);
    compound.parts[1]?.writeUInt16LE(63, 4);
    for (const part of compound.parts) client.signer?.sign(part);
    client.sendFrame(compound.message);
    await client.closed();
  });
});

describe('VALIDATE_NEGOTIATE_INFO', () => {
  const connected = async (dialect: number) => {
    const client = await server.connected();
    await client.negotiate([], dialect);
    expect(await client.logOn(USER, PASSWORD)).toBe(Status.SUCCESS);
    await client.treeConnect('data');
    return client;
  };
  const said = ({ clientGuid }: RawClient): ValidateNegotiateInfoRequest => ({
    ...{ capabilities: 0, clientGuid, securityMode: 1, dialects: [Dialect.SMB_3_0_2] },
  });
  const body = (input: ValidateNegotiateInfoRequest, room = 24) =>
    ioctlOf(Fsctl.VALIDATE_NEGOTIATE_INFO, room, encodeValidateNegotiateInfoRequest(input));

  test('repeats what was agreed on', async () => {
    const client = await connected(Dialect.SMB_3_0_2);
    const { header, message } = await client.request(Command.IOCTL, body(said(client)));
    expect(header.status).toBe(Status.SUCCESS);
    const answer = decodeValidateNegotiateInfoResponse(decodeIoctlResponse(message).output);
    expect(answer.dialect).toBe(Dialect.SMB_3_0_2);
  });

  test.each([
    ['dialects', { dialects: [Dialect.SMB_3_0, Dialect.SMB_3_0_2, Dialect.SMB_3_1_1] }],
    ['dialects, of which the same is chosen,', { dialects: [Dialect.SMB_3_0, Dialect.SMB_3_0_2] }],
    ['capabilities', { capabilities: 0x7f }],
    ['security mode', { securityMode: 2 }],
    ['client', { clientGuid: Buffer.alloc(16, 1) }],
  ])('ends the connection of a client that had sent other %s than came', async (_what, change) => {
    const client = await connected(Dialect.SMB_3_0_2);
    client.send(Command.IOCTL, body({ ...said(client), ...change }));
    await client.closed();
  });

  test('ends the connection of a client that has no room for the answer', async () => {
    const client = await connected(Dialect.SMB_3_0_2);
    client.send(Command.IOCTL, body(said(client), 23));
    await client.closed();
  });

  test('ends the connection of a client that asks for it in 3.1.1', async () => {
    const client = await connected(Dialect.SMB_3_1_1);
    client.send(Command.IOCTL, body({ ...said(client), dialects: [Dialect.SMB_3_1_1] }));
    await client.closed();
  });
});

/** Sends messages as one compound. @returns the statuses of their answers, in order */
async function statusesOf(client: RawClient, messages: Buffer[]): Promise<number[]> {
  const compound = joinCompound(messages);
  for (const part of compound.parts) client.signer?.sign(part);
  client.sendFrame(compound.message);
  const statuses: number[] = [];
  while (statuses.length < messages.length) statuses.push((await client.receive()).header.status);
  return statuses;
}

/** A control that is about no open, or about that of its compound. @param most bytes of the answer */
function ioctlOf(ctlCode: number, most: number, input: Buffer = Buffer.alloc(0)): Buffer {
  return encodeIoctlRequest({
    ...{ ctlCode, fileId: ALL_ONES_FILE_ID, input, maxInputResponse: 0, maxOutputResponse: most },
    ...{ flags: IoctlFlags.IS_FSCTL, output: Buffer.alloc(0) },
  });
}

function createOf(name: string, createDisposition: number): Buffer {
  return encodeCreateRequest({
    ...{ requestedOplockLevel: 0, impersonationLevel: 2, desiredAccess: 0x12_019f, fileAttributes: 0, shareAccess: 7 },
    ...{ createDisposition, createOptions: 0, name, createContexts: [] },
  });
}
