import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Break, type Lease, OpenRecord, OpenReply, OplockLevel, Outcome } from '../../proto/generated/handles.ts';
import { Command, CreateDisposition, ImpersonationLevel, LeaseState } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import { CreateContextName, encodeRqLs } from '../../smb/wire/create-contexts.ts';
import { decodeOplockBreakResponse } from '../../smb/wire/oplock-break.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';
import { EarlyBreaks } from './early-breaks.ts';

const CLIENT = Buffer.alloc(16, 1);
const KEY = Buffer.alloc(16, 2);
const NOTHING = Buffer.alloc(0);
const { READ_CACHING, HANDLE_CACHING, WRITE_CACHING } = LeaseState;
const ALL = READ_CACHING | HANDLE_CACHING | WRITE_CACHING;

const leaseAt = (epoch: number, breaking = false): Lease => ({
  ...{ key: KEY, state: ALL, epoch, version: 2, parentKey: NOTHING, breaking },
});
const breakAt = (epoch: number): Break =>
  Break.create({ clientGuid: CLIENT, ackRequired: true, fromState: ALL, lease: { ...leaseAt(epoch), state: 3 } });
const granted = (lease: Lease): OpenRecord => OpenRecord.create({ clientGuid: CLIENT, lease });

describe('breaks of what is just being granted', () => {
  test.each([
    ['was granted before the break began', leaseAt(6), true],
    ['was granted while the break is under way', leaseAt(7, true), true],
    ['was granted after the break', leaseAt(7), false],
    ['was granted long after the break', leaseAt(9, true), false],
  ])('of a lease that %s', (_, lease, isTold) => {
    const early = new EarlyBreaks(1000);
    early.keep(breakAt(7));
    expect(early.take(granted(lease)) !== undefined).toBe(isTold);
    expect(early.size).toBe(0);
  });

  test('an epoch that begins anew is ahead of the last', () => {
    const early = new EarlyBreaks(1000);
    early.keep(breakAt(0));
    expect(early.take(granted(leaseAt(0xffff)))?.lease?.epoch).toBe(0);
  });

  test('only the newest of a lease counts, and none for ever', () => {
    const early = new EarlyBreaks(1000);
    for (const epoch of [7, 8]) early.keep(breakAt(epoch));
    expect(early.size).toBe(1);
    expect(early.take(granted(leaseAt(6)))?.lease?.epoch).toBe(8);
    const late = new EarlyBreaks(0);
    late.keep(breakAt(7));
    expect(late.take(granted(leaseAt(6)))).toBeUndefined();
  });

  test('of an oplock that was granted', () => {
    const early = new EarlyBreaks(1000);
    const wanted = Break.create({ openId: 5n, toLevel: OplockLevel.OPLOCK_LEVEL_II, ackRequired: true });
    early.keep(wanted);
    expect(early.take(OpenRecord.create({ openId: 6n, oplock: OplockLevel.OPLOCK_BATCH }))).toBeUndefined();
    expect(early.take(OpenRecord.create({ openId: 5n, oplock: OplockLevel.OPLOCK_BATCH }))).toBe(wanted);
  });
});

describe('a break that is there before the answer of the table', () => {
  let server: TestServer;
  let client: RawClient;

  beforeEach(async () => {
    server = await TestServer.start();
    client = await server.loggedOn(...ALICE);
    await client.treeConnect('data');
  });
  afterEach(() => server.stop());

  test('is told to the client once it has its open', async () => {
    server.sidecar.decide = ({ id, body }) => {
      if (body?.$case !== 'open' || !body.value.record) return { outcome: Outcome.GRANTED };
      const record = { ...body.value.record, openId: 9n, lease: leaseAt(1) };
      const { clientGuid } = record;
      const value = { ...breakAt(2), clientGuid };
      const open = OpenReply.create({ record });
      void server.sidecar
        .command({ $case: 'break', value })
        .then(() => server.sidecar.reply({ id, outcome: Outcome.GRANTED, body: { $case: 'open', value: open } }));
      return undefined;
    };
    const data = encodeRqLs({
      ...{ version: 2, leaseKey: KEY, leaseState: ALL, flags: 0, parentLeaseKey: Buffer.alloc(16), epoch: 0 },
    });
    const created = await client.request(
      Command.CREATE,
      encodeCreateRequest({
        requestedOplockLevel: 0xff,
        impersonationLevel: ImpersonationLevel.IMPERSONATION,
        desiredAccess: 0x12019f,
        fileAttributes: 0,
        shareAccess: 7,
        createDisposition: CreateDisposition.OPEN_IF,
        createOptions: 0,
        name: 'file',
        createContexts: [{ name: CreateContextName.REQUEST_LEASE, data }],
      }),
    );
    expect(created.header.status).toBe(Status.SUCCESS);
    expect(decodeCreateResponse(created.message).oplockLevel).toBe(0xff);
    const { message } = await client.receive();
    expect(decodeOplockBreakResponse(message)).toMatchObject({ kind: 'lease-break', newEpoch: 2, newLeaseState: 3 });
  });
});
