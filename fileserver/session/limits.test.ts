import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { OpenReply, Outcome, type Request } from '../../proto/generated/handles.ts';
import { Command, CreateDisposition } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeCreateRequest } from '../../smb/wire/create.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { framePrefix } from '../../smb/wire/framing.ts';
import { encodeLogoffRequest } from '../../smb/wire/logoff.ts';
import { encodeTreeDisconnectRequest } from '../../smb/wire/tree-disconnect.ts';
import { eventually } from '../testing/eventually.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, BOB, TestServer } from '../testing/test-server.ts';
import { LOGGED_OFF_TIMEOUT_MS, LOGON_TIMEOUT_MS } from './limits.ts';
import { FAILED_ANSWER_DELAY_MS } from './logon-throttle.ts';

const MIB = 1024 * 1024;

describe('a server with little to give', () => {
  let server: TestServer;
  afterEach(() => server.stop());

  /** The bytes of an ECHO that trails a lot behind it: large, and answered at once. */
  const largeEcho = (client: RawClient, size: number): Buffer => {
    const message = client.message(Command.ECHO, Buffer.concat([encodeEchoRequest(), Buffer.alloc(size)]));
    client.signer?.sign(message);
    return Buffer.concat([framePrefix(message.length), message]);
  };
  /** Sends half of a large message. What is answered came before it in the same bytes: then it has its memory. @returns the rest */
  const begun = async (client: RawClient): Promise<Buffer> => {
    const small = largeEcho(client, 0);
    const large = largeEcho(client, 2 * MIB);
    client.socket.write(Buffer.concat([small, large.subarray(0, MIB)]));
    expect((await client.receive()).header.status).toBe(Status.SUCCESS);
    return large.subarray(MIB);
  };
  const openBody = (name: string) =>
    encodeCreateRequest({
      ...{ requestedOplockLevel: 0, impersonationLevel: 2, desiredAccess: 0x12019f, fileAttributes: 0, shareAccess: 7 },
      ...{ createDisposition: CreateDisposition.OPEN, createOptions: 0, name, createContexts: [] },
    });
  const echo = async (client: RawClient) => (await client.request(Command.ECHO, encodeEchoRequest())).header.status;

  test('refuses a user one session too many, and no other user', async () => {
    server = await TestServer.start({ limits: { perUser: { sessions: 2 } } });
    const first = await server.loggedOn(...ALICE);
    await server.loggedOn(...ALICE);
    const third = await server.negotiated();
    expect(await third.logOn(...ALICE)).toBe(Status.INSUFFICIENT_RESOURCES);
    await server.loggedOn(...BOB);
    await first.request(Command.LOGOFF, encodeLogoffRequest());
    await server.loggedOn(...ALICE);
  });

  test('gives the place of who never logs on to who comes later', async () => {
    server = await TestServer.start({ limits: { connectionsBeforeLogon: 2 } });
    const user = await server.loggedOn(...ALICE);
    const oldest = await server.negotiated();
    const older = await server.connected();
    const latest = await server.negotiated();
    await oldest.closed();
    expect(await latest.logOn(...BOB)).toBe(Status.SUCCESS);
    expect(older.isClosed).toBe(false);
    expect(await echo(user)).toBe(Status.SUCCESS);
  });

  test('resets connections beyond the most that it has', async () => {
    server = await TestServer.start({ limits: { connections: 2 } });
    const [one] = [await server.loggedOn(...ALICE), await server.loggedOn(...ALICE)];
    const third = await server.connected().catch(() => undefined);
    await third?.closed();
    expect(await echo(one)).toBe(Status.SUCCESS);
  });

  test('takes memory for large messages only when there is room', async () => {
    server = await TestServer.start({ limits: { bytesInFlight: MIB } });
    const [alice, bob] = [await server.loggedOn(...ALICE), await server.loggedOn(...BOB)];
    const rest = await begun(alice);
    bob.socket.write(largeEcho(bob, MIB));
    await expect(bob.receive(300)).rejects.toThrow('no response');
    alice.socket.write(rest);
    expect((await alice.receive()).header.status).toBe(Status.SUCCESS);
    expect((await bob.receive()).header.status).toBe(Status.SUCCESS);
  });

  test('gives back what a message held whose connection is lost', async () => {
    server = await TestServer.start({ limits: { bytesInFlight: MIB } });
    const [alice, bob] = [await server.loggedOn(...ALICE), await server.loggedOn(...BOB)];
    await begun(alice);
    bob.socket.write(largeEcho(bob, MIB));
    await expect(bob.receive(300)).rejects.toThrow('no response');
    alice.socket.destroy();
    expect((await bob.receive()).header.status).toBe(Status.SUCCESS);
  });

  test('lets one user go on where another has all that one may have', async () => {
    server = await TestServer.start({ limits: { perUser: { bytesInFlight: MIB } } });
    const [alice, again, bob] = [
      await server.loggedOn(...ALICE),
      await server.loggedOn(...ALICE),
      await server.loggedOn(...BOB),
    ];
    await begun(alice);
    bob.socket.write(largeEcho(bob, 2 * MIB));
    expect((await bob.receive()).header.status).toBe(Status.SUCCESS);
    // Who has nothing in flight gets one at a time.
    expect(await echo(again)).toBe(Status.SUCCESS);
  });

  test('counts tree connects and pipes, and those of a session that ends no more', async () => {
    server = await TestServer.start();
    const inUse = () => server.server.inUse;
    const client = await server.loggedOn(...ALICE);
    await client.treeConnect('data');
    await client.treeConnect('IPC$');
    for (const name of ['srvsvc', 'lsarpc']) {
      expect((await client.request(Command.CREATE, openBody(name))).header.status).toBe(Status.SUCCESS);
    }
    expect(inUse()).toMatchObject({ trees: 2, pipes: 2 });
    await client.request(Command.TREE_DISCONNECT, encodeTreeDisconnectRequest());
    expect(inUse()).toMatchObject({ trees: 1, pipes: 0 });
    await client.treeConnect('IPC$');
    await client.request(Command.CREATE, openBody('wkssvc'));
    client.end();
    await eventually('nothing is in use', () => inUse().sessions === 0);
    expect(inUse()).toMatchObject({ trees: 0, pipes: 0 });
  });

  test('has no more opens than it may, however many are asked for at a time, and gives the place of what came to nothing', async () => {
    server = await TestServer.start({ limits: { opens: 3, perUser: { opens: 2 } } });
    const { sidecar } = server;
    const [alice, bob] = [await server.loggedOn(...ALICE), await server.loggedOn(...BOB)];
    for (const client of [alice, bob]) await client.treeConnect('data');
    const asked: Request[] = [];
    sidecar.decide = (request) => {
      if (request.body?.$case !== 'open') return { outcome: Outcome.GRANTED };
      asked.push(request);
      return undefined; // is decided later
    };
    const grant = ({ id, body }: Request) => {
      const record = body?.$case === 'open' ? { ...body.value.record, openId: id } : undefined;
      sidecar.reply({ id, body: { $case: 'open', value: OpenReply.fromPartial({ record }) } });
    };
    const statuses = async (client: RawClient, answers: number) => {
      const got: number[] = [];
      for (let i = 0; i < answers; i++) got.push((await client.receive()).header.status);
      return got;
    };
    const { INSUFFICIENT_RESOURCES, SHARING_VIOLATION, SUCCESS } = Status;
    const ask = (client: RawClient) => client.send(Command.CREATE, openBody(''));
    for (let i = 0; i < 4; i++) ask(alice);
    expect(await statuses(alice, 2)).toEqual([INSUFFICIENT_RESOURCES, INSUFFICIENT_RESOURCES]);
    await eventually('what one may have is asked for', () => asked.length === 2);
    ask(bob);
    ask(bob);
    expect(await statuses(bob, 1)).toEqual([INSUFFICIENT_RESOURCES]);
    await eventually('all that may be are asked for', () => asked.length === 3);

    const [first, second, third] = asked.splice(0) as [Request, Request, Request];
    grant(first);
    expect(await statuses(alice, 1)).toEqual([SUCCESS]);
    ask(alice);
    expect(await statuses(alice, 1)).toEqual([INSUFFICIENT_RESOURCES]);
    sidecar.reply({ id: second.id, outcome: Outcome.SHARING_VIOLATION });
    expect(await statuses(alice, 1)).toEqual([SHARING_VIOLATION]);
    ask(alice);
    await eventually('the place is taken again', () => asked.length === 1);
    grant(third);
    grant(asked[0] as Request);
    expect([await statuses(bob, 1), await statuses(alice, 1)]).toEqual([[SUCCESS], [SUCCESS]]);
    ask(bob);
    expect(await statuses(bob, 1)).toEqual([INSUFFICIENT_RESOURCES]);
    expect(server.server.inUse.creates).toBe(0);
  });

  describe('and a clock that is put forward', () => {
    afterEach(() => {
      jest.useRealTimers();
    });
    /** Timeouts alone: everything else goes on as it is. */
    const holdTime = () =>
      jest.useFakeTimers({
        doNotFake: ['Date', 'hrtime', 'nextTick', 'performance', 'queueMicrotask', 'setImmediate', 'setInterval'],
      });

    test('disconnects who has not logged on within 30 s, and nobody else', async () => {
      server = await TestServer.start();
      const user = await server.loggedOn(...ALICE);
      holdTime();
      const silent = await server.connected();
      const half = await server.connected();
      half.socket.write(Buffer.from([0, 0, 1]));
      const negotiated = await server.negotiated();
      const strangers = [silent, half, negotiated];
      jest.advanceTimersByTime(LOGON_TIMEOUT_MS - 1);
      expect(await echo(user)).toBe(Status.SUCCESS);
      expect(strangers.map(({ isClosed }) => isClosed)).toEqual([false, false, false]);
      jest.advanceTimersByTime(1);
      for (const client of strangers) await client.closed();
      expect(await echo(user)).toBe(Status.SUCCESS);
    });

    test('disconnects a connection 5 min after its last session ended', async () => {
      server = await TestServer.start();
      const client = await server.loggedOn(...ALICE);
      holdTime();
      await client.request(Command.LOGOFF, encodeLogoffRequest());
      jest.advanceTimersByTime(LOGGED_OFF_TIMEOUT_MS - 1);
      await new Promise((resolve) => setImmediate(resolve));
      expect(client.isClosed).toBe(false);
      jest.advanceTimersByTime(1);
      await client.closed();
    });
  });

  test('answers a wrong password later than a right one', async () => {
    server = await TestServer.start();
    const beganMs = performance.now();
    expect(await (await server.negotiated()).logOn(ALICE[0], 'wrong')).toBe(Status.LOGON_FAILURE);
    expect(performance.now() - beganMs).toBeGreaterThanOrEqual(FAILED_ANSWER_DELAY_MS);
  });
});
