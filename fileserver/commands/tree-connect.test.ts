// What NEGOTIATE and TREE_CONNECT say of a server and its shares, and that it is so: what may be cached where.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { OpenReply, Outcome } from '../../proto/generated/handles.ts';
import {
  Command,
  CreateDisposition,
  Dialect,
  ImpersonationLevel,
  LeaseState,
  OplockLevel,
  ShareCapabilities,
  ShareFlags,
} from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import {
  type CreateContext,
  CreateContextName,
  decodeRqLs,
  encodeRqLs,
  findCreateContext,
} from '../../smb/wire/create-contexts.ts';
import { decodeNegotiateResponse } from '../../smb/wire/negotiate.ts';
import { decodeTreeConnectResponse, encodeTreeConnectRequest } from '../../smb/wire/tree-connect.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';

const { CLUSTER, CONTINUOUS_AVAILABILITY, SCALEOUT } = ShareCapabilities;
const { READ_CACHING, WRITE_CACHING, HANDLE_CACHING } = LeaseState;
const ALL = READ_CACHING | WRITE_CACHING | HANDLE_CACHING;
const share = { volume: 'v', path: '/', access: [{ principal: '*', permission: 'Full' }] };

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start({
    shares: [
      { ...share, name: 'plain' },
      { ...share, name: 'available', continuouslyAvailable: true },
      { ...share, name: 'scaled', continuouslyAvailable: true, scaleOut: true },
      { ...share, name: 'discreet', accessBasedEnumeration: true },
    ],
  });
  writeFileSync(join(server.folder, 'volume', 'file'), 'content');
  server.sidecar.decide = ({ body }) =>
    body?.$case === 'open'
      ? { outcome: Outcome.GRANTED, body: { $case: 'open', value: OpenReply.create({ record: body.value.record }) } }
      : { outcome: Outcome.GRANTED };
});
afterEach(() => server.stop());

async function connectTo(client: RawClient, name: string) {
  const request = encodeTreeConnectRequest({ flags: 0, path: `\\\\server\\${name}` });
  const { header, message } = await client.request(Command.TREE_CONNECT, request);
  client.treeId = header.treeId;
  return decodeTreeConnectResponse(message);
}

const capabilitiesOf = async (client: RawClient, name: string) => (await connectTo(client, name)).capabilities;

test('a share says what is true of it', async () => {
  const client = await server.connected();
  await client.negotiate([], Dialect.SMB_3_0);
  await client.logOn(...ALICE);
  expect(await capabilitiesOf(client, 'plain')).toBe(CLUSTER);
  expect(await capabilitiesOf(client, 'available')).toBe(CLUSTER | CONTINUOUS_AVAILABILITY);
  expect(await capabilitiesOf(client, 'scaled')).toBe(CLUSTER | CONTINUOUS_AVAILABILITY | SCALEOUT);
  expect(await capabilitiesOf(client, 'IPC$')).toBe(0);
  const { ACCESS_BASED_DIRECTORY_ENUM } = ShareFlags;
  expect((await connectTo(client, 'discreet')).shareFlags).toBe(ACCESS_BASED_DIRECTORY_ENUM);
  expect((await connectTo(client, 'plain')).shareFlags).toBe(0);
});

test('each server has an id of its own', async () => {
  const other = await TestServer.start();
  try {
    const ids = await Promise.all(
      [server, server, other].map(async (one) => {
        const client = await one.connected();
        return decodeNegotiateResponse((await client.negotiate()).message).serverGuid.toString('hex');
      }),
    );
    expect(ids[0]).toBe(ids[1]);
    expect(ids[0]).not.toBe(ids[2]);
  } finally {
    await other.stop();
  }
});

describe('what may be cached', () => {
  /** Opens the file; gives what the client may cache of it. */
  async function granted(name: string, requestedOplockLevel: number, createContexts: CreateContext[]) {
    const client = await server.loggedOn(...ALICE);
    await client.treeConnect(name);
    const { header, message } = await client.request(
      Command.CREATE,
      encodeCreateRequest({
        ...{ requestedOplockLevel, impersonationLevel: ImpersonationLevel.IMPERSONATION, desiredAccess: 0x12_019f },
        ...{ fileAttributes: 0, shareAccess: 7, createDisposition: CreateDisposition.OPEN, createOptions: 0 },
        ...{ name: 'file', createContexts },
      }),
    );
    expect(header.status).toBe(Status.SUCCESS);
    const opened = decodeCreateResponse(message);
    const lease = findCreateContext(opened.createContexts, CreateContextName.REQUEST_LEASE);
    return { level: opened.oplockLevel, state: lease && decodeRqLs(lease).leaseState };
  }
  const lease = [
    {
      name: CreateContextName.REQUEST_LEASE,
      data: encodeRqLs({ version: 1, leaseKey: Buffer.alloc(16, 5), leaseState: ALL, flags: 0 }),
    },
  ];

  test.each([
    ['plain', OplockLevel.BATCH, ALL],
    ['available', OplockLevel.BATCH, ALL],
    ['scaled', OplockLevel.LEVEL_II, READ_CACHING],
  ])('on the %s share', async (name, level, state) => {
    expect(await granted(name, OplockLevel.BATCH, [])).toEqual({ level, state: undefined });
    expect(await granted(name, OplockLevel.LEASE, lease)).toEqual({ level: OplockLevel.LEASE, state });
  });
});
