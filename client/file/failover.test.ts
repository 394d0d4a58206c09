import { afterEach, describe, expect, test } from '@jest/globals';
import { Command, Flags } from '../../smb/constants.ts';
import { fileAllInformation } from '../../smb/fscc/file-info.ts';
import { Status } from '../../smb/status.ts';
import { encodeCloseResponse } from '../../smb/wire/close.ts';
import { decodeCreateRequest, encodeCreateResponse } from '../../smb/wire/create.ts';
import {
  CreateContextName,
  decodeDH2C,
  decodeDH2QRequest,
  encodeDH2QResponse,
  findCreateContext,
} from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { decodeLockRequest, encodeLockResponse } from '../../smb/wire/lock.ts';
import { encodeQueryInfoResponse } from '../../smb/wire/query-info.ts';
import { decodeReadRequest, encodeReadResponse } from '../../smb/wire/read.ts';
import { decodeWriteRequest, encodeWriteResponse } from '../../smb/wire/write.ts';
import { FAKE_PASSWORD, FAKE_USER, type FakeAnswer, type FakeHandler, FakeServer } from '../testing/fake-server.ts';
import { Client, type ClientOptions } from './client.ts';
import type { FailoverEvents } from './failover.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const FILE_ID: FileId = { persistent: 77n, volatile: 1n };

function created(fileId: FileId = FILE_ID, persistent = true, timeoutMs = 60_000): Buffer {
  const data = encodeDH2QResponse({ timeoutMs, flags: persistent ? 2 : 0 });
  return encodeCreateResponse({
    oplockLevel: 0,
    flags: 0,
    createAction: 1,
    creationTime: 0n,
    lastAccessTime: 0n,
    lastWriteTime: 0n,
    changeTime: 0n,
    allocationSize: 0,
    endOfFile: 0,
    fileAttributes: 0x80,
    fileId,
    createContexts: [{ name: CreateContextName.DURABLE_HANDLE_REQUEST_V2, data }],
  });
}

function allInformation(fileName: string): Buffer {
  const time = 0n;
  return fileAllInformation.encode({
    basic: { creationTime: time, lastAccessTime: time, lastWriteTime: time, changeTime: time, fileAttributes: 0x80 },
    standard: { allocationSize: 0, endOfFile: 0, numberOfLinks: 1, deletePending: false, directory: false },
    internal: { indexNumber: 1n },
    ea: { eaSize: 0 },
    access: { accessFlags: 0 },
    position: { currentByteOffset: 0 },
    mode: { mode: 0 },
    alignment: { alignmentRequirement: 0 },
    name: { fileName },
  });
}

const HANDLERS: Partial<Record<number, FakeHandler>> = {
  [Command.CREATE]: () => ({ body: created() }),
  [Command.CLOSE]: () => ({ body: encodeCloseResponse() }),
  [Command.WRITE]: ({ message }) => ({ body: encodeWriteResponse({ count: decodeWriteRequest(message).data.length }) }),
  [Command.READ]: () => ({ body: encodeReadResponse({ data: Buffer.from('content'), dataRemaining: 0, flags: 0 }) }),
  [Command.LOCK]: () => ({ body: encodeLockResponse() }),
};

async function start(handlers: Partial<Record<number, FakeHandler>> = {}, options = {}): Promise<FakeServer> {
  const fake = await FakeServer.start({ handlers: { ...HANDLERS, ...handlers }, ...options });
  cleanups.push(() => fake.stop());
  return fake;
}

async function connect(servers: FakeServer[], options: Partial<ClientOptions> = {}): Promise<Client> {
  const client = await Client.connect({
    addresses: servers.map((server) => server.address),
    user: FAKE_USER,
    password: FAKE_PASSWORD,
    share: 'share',
    operationTimeoutMs: 5000,
    ...options,
  });
  cleanups.push(() => client.close());
  return client;
}

function once<E extends keyof FailoverEvents>(client: Client, event: E): Promise<FailoverEvents[E][0]> {
  return new Promise((resolve) => {
    client.once(event as 'failed', ((value: unknown) => resolve(value as FailoverEvents[E][0])) as never);
  });
}

/** Answers once with nothing, and cuts the connection off, as a server that dies before it answers. */
function diesOnce(then: FakeHandler): FakeHandler {
  let died = false;
  return (request): FakeAnswer | Promise<FakeAnswer> => {
    if (died) return then(request);
    died = true;
    request.connection.socket.resetAndDestroy();
    return undefined;
  };
}

const handler = (command: number): FakeHandler => HANDLERS[command] ?? (() => undefined);

describe('failover', () => {
  test('replays an unanswered write on another server, through the reclaimed handle', async () => {
    const first = await start({ [Command.WRITE]: diesOnce(handler(Command.WRITE)) });
    const second = await start({
      [Command.CREATE]: () => ({ body: created({ persistent: 77n, volatile: 9n }) }),
    });
    const client = await connect([first, second]);
    const file = await client.open('a.txt', { access: 'readwrite' });
    const ended = once(client, 'failoverEnded');

    await file.write(4096, Buffer.from('data'));

    expect(await ended).toMatchObject({ from: first.address, to: second.address, reclaimed: 1, lost: 0 });
    const opened = decodeCreateRequest(first.requestsOf(Command.CREATE)[0]?.message ?? Buffer.alloc(0));
    const asked = decodeDH2QRequest(
      findCreateContext(opened.createContexts, CreateContextName.DURABLE_HANDLE_REQUEST_V2) ?? Buffer.alloc(0),
    );
    expect(asked.flags).toBe(2);
    const reclaim = decodeCreateRequest(second.requestsOf(Command.CREATE)[0]?.message ?? Buffer.alloc(0));
    const held = decodeDH2C(
      findCreateContext(reclaim.createContexts, CreateContextName.DURABLE_HANDLE_RECONNECT_V2) ?? Buffer.alloc(0),
    );
    expect(held).toMatchObject({ fileId: FILE_ID, flags: 2, createGuid: asked.createGuid });
    const [replay] = second.requestsOf(Command.WRITE);
    expect(replay?.header.flags).toBe((replay?.header.flags ?? 0) | Flags.REPLAY_OPERATION);
    expect(replay?.header.channelSequence).toBe(1);
    expect(decodeWriteRequest(replay?.message ?? Buffer.alloc(0))).toMatchObject({
      offset: 4096,
      fileId: { persistent: 77n, volatile: 9n },
      data: Buffer.from('data'),
    });
    expect([...second.connections][0]?.previousSessionId).not.toBe(0n);
  });

  test('goes on to another server where one has no room for a handle', async () => {
    const first = await start({ [Command.WRITE]: diesOnce(handler(Command.WRITE)) });
    const full = await start({ [Command.CREATE]: () => ({ status: Status.INSUFFICIENT_RESOURCES }) });
    const client = await connect([first, full]);
    const file = await client.open('a.txt', { access: 'readwrite' });
    const ended = once(client, 'failoverEnded');

    await file.write(0, Buffer.from('data'));

    expect(await ended).toMatchObject({ from: first.address, to: first.address, reclaimed: 1, lost: 0 });
    expect(full.requestsOf(Command.CREATE)).toHaveLength(1);
  });

  test('loses a handle that no server has room for until its time is over', async () => {
    let opened = false;
    const server = await start({
      [Command.CREATE]: () => {
        if (opened) return { status: Status.INSUFFICIENT_RESOURCES };
        opened = true;
        return { body: created(FILE_ID, true, 300) };
      },
      [Command.WRITE]: diesOnce(handler(Command.WRITE)),
    });
    const client = await connect([server]);
    const file = await client.open('a.txt', { access: 'readwrite' });

    await expect(file.write(0, Buffer.from('data'))).rejects.toMatchObject({ code: 'HANDLE_LOST' });

    // Once was not enough.
    expect(server.requestsOf(Command.CREATE).length).toBeGreaterThan(2);
  });

  test('replays an unanswered CREATE with the same CreateGuid and the replay flag', async () => {
    const guids: string[] = [];
    const record: FakeHandler = ({ message }) => {
      const { createContexts } = decodeCreateRequest(message);
      const data = findCreateContext(createContexts, CreateContextName.DURABLE_HANDLE_REQUEST_V2);
      guids.push(data ? decodeDH2QRequest(data).createGuid.toString('hex') : 'reclaim');
      return { body: created() };
    };
    const dies = diesOnce(record);
    const server = await start({
      [Command.CREATE]: (request) => {
        if (server.requestsOf(Command.CREATE).length === 1) record(request);
        return dies(request);
      },
    });
    const client = await connect([server]);
    const file = await client.open('a.txt');
    expect(file.durability).toBe('persistent');
    expect(guids.length).toBe(2);
    expect(guids[0]).toBe(guids[1]);
    const [, second] = server.requestsOf(Command.CREATE);
    expect((second?.header.flags ?? 0) & Flags.REPLAY_OPERATION).not.toBe(0);
  });

  test('asks for its own open by CreateGuid when a replayed CREATE meets it', async () => {
    const server = await start({
      [Command.CREATE]: diesOnce(({ message }) => {
        const { createContexts } = decodeCreateRequest(message);
        const reclaim = findCreateContext(createContexts, CreateContextName.DURABLE_HANDLE_RECONNECT_V2);
        return reclaim ? { body: created() } : { status: Status.DUPLICATE_OBJECTID };
      }),
    });
    const client = await connect([server]);
    const file = await client.open('a.txt');
    expect(file.durability).toBe('persistent');
  });

  test('opens anew when what its first CREATE had opened too late is taken back before it can ask for it', async () => {
    let refusals = 1;
    const server = await start({
      [Command.CREATE]: diesOnce(({ message }) => {
        const { createContexts } = decodeCreateRequest(message);
        if (findCreateContext(createContexts, CreateContextName.DURABLE_HANDLE_RECONNECT_V2)) {
          return { status: Status.OBJECT_NAME_NOT_FOUND };
        }
        return refusals-- > 0 ? { status: Status.DUPLICATE_OBJECTID } : { body: created() };
      }),
    });
    const client = await connect([server]);
    const file = await client.open('a.txt');
    expect(file.durability).toBe('persistent');
    expect(server.requestsOf(Command.CREATE).length).toBe(4); // unanswered, refused, asked for, anew
  });

  test('repeats a LOCK with the same lock sequence, and uses another one for the next lock', async () => {
    const sequences: string[] = [];
    const record: FakeHandler = ({ message }) => {
      const { lockSequenceIndex, lockSequenceNumber } = decodeLockRequest(message);
      sequences.push(`${lockSequenceIndex}/${lockSequenceNumber}`);
      return { body: encodeLockResponse() };
    };
    let died = false;
    const server = await start({
      [Command.LOCK]: (request) => {
        const answer = record(request);
        if (died) return answer;
        died = true;
        request.connection.socket.resetAndDestroy();
        return undefined;
      },
    });
    const client = await connect([server]);
    const file = await client.open('a.txt', { access: 'readwrite' });
    await file.lock(0, 10);
    await file.unlock(0, 10);
    expect(sequences).toEqual(['1/0', '1/0', '1/1']);
  });

  test('knows its own rename again when the replay finds the new name taken', async () => {
    const server = await start({
      [Command.SET_INFO]: diesOnce(() => ({ status: Status.OBJECT_NAME_COLLISION })),
      [Command.QUERY_INFO]: () => ({ body: encodeQueryInfoResponse({ output: allInformation('\\New.txt') }) }),
    });
    const client = await connect([server]);
    const file = await client.open('a.txt', { access: 'readwrite' });
    await file.rename('new.txt');
    await expect(file.rename('other.txt')).rejects.toMatchObject({ code: 'STATUS_OBJECT_NAME_COLLISION' });
  });

  test('waits and asks again while the server says that the file is not available', async () => {
    let refusals = 3;
    const server = await start({
      [Command.WRITE]: (request) =>
        refusals-- > 0 ? { status: Status.FILE_NOT_AVAILABLE } : handler(Command.WRITE)(request),
    });
    const client = await connect([server]);
    const file = await client.open('a.txt', { access: 'readwrite' });
    await file.write(0, Buffer.from('data'));
    expect(server.requestsOf(Command.WRITE).length).toBe(4);
  });

  test('reclaims again and again while the handle is not available yet', async () => {
    const first = await start({ [Command.WRITE]: diesOnce(handler(Command.WRITE)) });
    let refusals = 3;
    const second = await start({
      [Command.CREATE]: () => (refusals-- > 0 ? { status: Status.FILE_NOT_AVAILABLE } : { body: created() }),
    });
    const client = await connect([first, second]);
    const file = await client.open('a.txt', { access: 'readwrite' });
    await file.write(0, Buffer.from('data'));
    expect(second.requestsOf(Command.CREATE).length).toBe(4);
  });

  test('takes a deleted session for a lost connection', async () => {
    let once = true;
    const server = await start({
      [Command.READ]: (request) => {
        if (!once) return handler(Command.READ)(request);
        once = false;
        return { status: Status.USER_SESSION_DELETED };
      },
    });
    const client = await connect([server]);
    const file = await client.open('a.txt');
    expect((await file.read(0, 7)).toString()).toBe('content');
    expect(server.requestsOf(Command.TREE_CONNECT).length).toBe(2);
  });

  // A server that has no such session has no key to sign with, nor to encrypt (MS-SMB2 3.3.5.2.9).
  test.each(['none', 'wrong'] as const)(
    'takes a deleted session for a lost connection where the signature is %s, and believes nothing else that is said so',
    async (signature) => {
      let status: number | undefined = Status.USER_SESSION_DELETED;
      const server = await start({
        [Command.READ]: (request) => {
          if (status === undefined) return handler(Command.READ)(request);
          const answer = { status, signature };
          status = undefined;
          return answer;
        },
      });
      const client = await connect([server]);
      const reasons: string[] = [];
      client.on('failoverStarted', ({ reason }) => reasons.push(`${reason.code}: ${reason.message}`));
      const file = await client.open('a.txt');
      expect((await file.read(0, 7)).toString()).toBe('content');
      status = Status.END_OF_FILE;
      expect((await file.read(0, 7)).toString()).toBe('content');
      expect(reasons).toEqual([
        expect.stringMatching(/^CONNECTION_LOST: .*the server has no such session/),
        expect.stringMatching(/^PROTOCOL_VIOLATION: .*(not signed|wrong signature)/),
      ]);
      expect(server.requestsOf(Command.TREE_CONNECT).length).toBe(3);
    },
  );

  test('notices a server that has gone silent by an unanswered ECHO, and goes on elsewhere', async () => {
    const first = await start();
    const second = await start();
    const client = await connect([first, second], { liveness: { probeAfterMs: 100, probeTimeoutMs: 200 } });
    const file = await client.open('a.txt');
    first.silent = true;
    const startedMs = performance.now();
    expect((await file.read(0, 7)).toString()).toBe('content');
    expect(performance.now() - startedMs).toBeLessThan(2000);
    expect(first.requestsOf(Command.ECHO).length).toBeGreaterThan(0);
    expect(second.requestsOf(Command.READ).length).toBe(1);
  });

  test('leaves a slow operation alone as long as the server answers ECHO', async () => {
    const server = await start({
      [Command.READ]: (request) =>
        new Promise((resolve) => setTimeout(() => resolve(handler(Command.READ)(request)), 800)),
    });
    const client = await connect([server], { liveness: { probeAfterMs: 100, probeTimeoutMs: 200 } });
    const file = await client.open('a.txt');
    await file.read(0, 7);
    expect(server.requestsOf(Command.READ).length).toBe(1);
    expect(server.requestsOf(Command.ECHO).length).toBeGreaterThan(1);
  });

  test('tells the caller, and only about that handle, when the server has given a handle up', async () => {
    const server = await start({
      [Command.CREATE]: ({ message }) => {
        const { createContexts, name } = decodeCreateRequest(message);
        const reclaim = findCreateContext(createContexts, CreateContextName.DURABLE_HANDLE_RECONNECT_V2);
        if (reclaim && name === 'gone') return { status: Status.OBJECT_NAME_NOT_FOUND };
        return { body: created({ persistent: name === 'gone' ? 5n : 6n, volatile: 1n }) };
      },
    });
    const client = await connect([server]);
    const gone = await client.open('gone');
    const kept = await client.open('kept');
    const ended = once(client, 'failoverEnded');
    server.reset();
    expect(await ended).toMatchObject({ reclaimed: 1, lost: 1 });
    await expect(gone.read(0, 7)).rejects.toMatchObject({ code: 'HANDLE_LOST', status: Status.OBJECT_NAME_NOT_FOUND });
    expect((await kept.read(0, 7)).toString()).toBe('content');
  });

  test('ends an operation at its deadline when no server is left', async () => {
    const server = await start();
    const client = await connect([server], { operationTimeoutMs: 300 });
    const file = await client.open('a.txt');
    await server.stop();
    await expect(file.read(0, 7)).rejects.toMatchObject({ code: 'TIMED_OUT' });
  });

  test('ends an operation with its signal, and cancels it at the server', async () => {
    const server = await start({ [Command.READ]: () => undefined });
    const client = await connect([server]);
    const file = await client.open('a.txt');
    const controller = new AbortController();
    const reading = file.read(0, 7, { signal: controller.signal });
    while (server.requestsOf(Command.READ).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' });
    while (server.requestsOf(Command.CANCEL).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const [read] = server.requestsOf(Command.READ);
    expect(server.requestsOf(Command.CANCEL)[0]?.header.messageId).toBe(read?.header.messageId);
  });

  test('keeps within the credits that it was granted', async () => {
    let running = 0;
    let most = 0;
    const server = await start(
      {
        [Command.READ]: async ({ message }) => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setTimeout(resolve, 10));
          running--;
          const { length } = decodeReadRequest(message);
          return { body: encodeReadResponse({ data: Buffer.alloc(length), dataRemaining: 0, flags: 0 }), credits: 1 };
        },
      },
      { credits: 1 },
    );
    const client = await connect([server]);
    const file = await client.open('a.txt');
    await Promise.all(Array.from({ length: 50 }, (_, i) => file.read(i * 10, 10)));
    // 8 of each of the two SESSION_SETUP responses, 1 of NEGOTIATE; one is kept back for ECHO.
    expect(most).toBeLessThanOrEqual(16);
    expect(most).toBeGreaterThan(4);
  });
});

describe('connecting', () => {
  test('says at once that the password is wrong', async () => {
    const server = await start();
    await expect(connect([server], { password: 'wrong' })).rejects.toMatchObject({ code: 'STATUS_LOGON_FAILURE' });
  });

  test('goes to another server when one cannot serve yet', async () => {
    const notReady = await start({ [Command.TREE_CONNECT]: () => ({ status: Status.SERVER_UNAVAILABLE }) });
    const ready = await start();
    const client = await connect([notReady, ready]);
    expect(client.address).toBe(ready.address);
  });
});
