// Sessions with several connections, on a real sidecar: what a session has does not hang on the connection that it came by.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { RawClient } from '../../fileserver/testing/raw-client.ts';
import {
  Command,
  CreateDisposition,
  CreateOptions,
  FileAccess,
  ImpersonationLevel,
  LockFlags,
  OplockLevel,
  ShareAccess,
} from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { type CreateResponse, decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeLockRequest } from '../../smb/wire/lock.ts';
import { decodeOplockBreakResponse, encodeOplockBreakRequest } from '../../smb/wire/oplock-break.ts';
import { encodeWriteRequest } from '../../smb/wire/write.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const SHARE_ALL = ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE;

describe('a session with two connections', () => {
  let serving: Serving;
  let port: number;
  const clients: RawClient[] = [];

  beforeAll(async () => {
    serving = await Serving.start();
    port = parseAddress(serving.addresses[0] ?? '').port;
  });
  afterAll(() => serving.stop());
  afterEach(() => {
    for (const client of clients.splice(0)) client.end();
  });

  const mounted = async (): Promise<RawClient> => {
    const client = await RawClient.loggedOn(port, USER, PASSWORD);
    clients.push(client);
    expect(await client.treeConnect('share')).toBe(Status.SUCCESS);
    return client;
  };
  const boundTo = async (first: RawClient): Promise<RawClient> => {
    const client = await RawClient.connect(port);
    clients.push(client);
    await client.negotiate();
    expect(await client.bind(first, USER, PASSWORD)).toBe(Status.SUCCESS);
    return client;
  };
  const lost = async (client: RawClient): Promise<void> => {
    client.socket.destroy();
    await client.closed();
  };
  const create = (client: RawClient, name: string, oplock: number, shareAccess: number) =>
    client.request(
      Command.CREATE,
      encodeCreateRequest({
        requestedOplockLevel: oplock,
        impersonationLevel: ImpersonationLevel.IMPERSONATION,
        desiredAccess: FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE,
        fileAttributes: 0,
        shareAccess,
        createDisposition: CreateDisposition.OPEN_IF,
        createOptions: CreateOptions.NON_DIRECTORY_FILE,
        name,
        createContexts: [],
      }),
    );
  const opened = async (
    client: RawClient,
    name: string,
    oplock: number,
    shareAccess: number,
  ): Promise<CreateResponse> => {
    const { header, message } = await create(client, name, oplock, shareAccess);
    expect(header.status).toBe(Status.SUCCESS);
    return decodeCreateResponse(message);
  };
  const lock = async (client: RawClient, fileId: FileId): Promise<number> => {
    const flags = LockFlags.EXCLUSIVE_LOCK | LockFlags.FAIL_IMMEDIATELY;
    const locks = [{ offset: 0n, length: 10n, flags }];
    const body = encodeLockRequest({ fileId, lockSequenceIndex: 0, lockSequenceNumber: 0, locks });
    return (await client.request(Command.LOCK, body)).header.status;
  };
  const write = async (client: RawClient, fileId: FileId): Promise<number> => {
    const data = Buffer.from('by way of another connection');
    const body = encodeWriteRequest({
      fileId,
      offset: 0,
      data,
      flags: 0,
      remainingBytes: 0,
      channel: 0,
      channelInfo: Buffer.alloc(0),
    });
    return (await client.request(Command.WRITE, body)).header.status;
  };

  test('keeps opens and locks as long as one of them is there', async () => {
    const first = await mounted();
    const { fileId } = await opened(first, 'kept', OplockLevel.NONE, SHARE_ALL);
    expect(await lock(first, fileId)).toBe(Status.SUCCESS);
    const second = await boundTo(first);
    expect(await write(second, fileId)).toBe(Status.SUCCESS);
    await lost(first);
    const other = await mounted();
    const theirs = await opened(other, 'kept', OplockLevel.NONE, SHARE_ALL);
    expect(await write(other, theirs.fileId)).toBe(Status.FILE_LOCK_CONFLICT);
    expect(await write(second, fileId)).toBe(Status.SUCCESS);
    expect((await second.request(Command.CLOSE, encodeCloseRequest({ flags: 0, fileId }))).header.status).toBe(
      Status.SUCCESS,
    );
    expect(await lock(other, theirs.fileId)).toBe(Status.SUCCESS);
  });

  test('loses them with the last', async () => {
    const first = await mounted();
    await opened(first, 'alone', OplockLevel.NONE, 0);
    const second = await boundTo(first);
    const other = await mounted();
    await lost(first);
    expect((await create(other, 'alone', OplockLevel.NONE, SHARE_ALL)).header.status).toBe(Status.SHARING_VIOLATION);
    await lost(second);
    const giveUpAtMs = performance.now() + 5000;
    while ((await create(other, 'alone', OplockLevel.NONE, SHARE_ALL)).header.status !== Status.SUCCESS) {
      if (performance.now() > giveUpAtMs) throw new Error('the open of a session without connections stays');
    }
  });

  test('is told of a broken oplock by the connection that is left, and acknowledges it there', async () => {
    const first = await mounted();
    const { fileId, oplockLevel } = await opened(first, 'cached', OplockLevel.BATCH, SHARE_ALL);
    expect(oplockLevel).toBe(OplockLevel.BATCH);
    const second = await boundTo(first);
    await lost(first);
    const other = await mounted();
    const answer = create(other, 'cached', OplockLevel.NONE, SHARE_ALL);
    const { header, message } = await second.receive();
    expect(header.command).toBe(Command.OPLOCK_BREAK);
    expect(decodeOplockBreakResponse(message)).toMatchObject({ kind: 'oplock', fileId });
    const ack = encodeOplockBreakRequest({ kind: 'oplock', oplockLevel: OplockLevel.LEVEL_II, fileId });
    expect((await second.request(Command.OPLOCK_BREAK, ack)).header.status).toBe(Status.SUCCESS);
    const { status } = (await answer).header;
    const last = status === Status.PENDING ? (await other.receive()).header.status : status;
    expect(last).toBe(Status.SUCCESS);
  });
});
