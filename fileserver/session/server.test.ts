import { execFileSync } from 'node:child_process';
import { closeSync, constants, existsSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { Durability, OpenReply, Outcome } from '../../proto/generated/handles.ts';
import { Command, Dialect, Flags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { framePrefix } from '../../smb/wire/framing.ts';
import { joinCompound } from '../../smb/wire/header.ts';
import { encodeLogoffRequest } from '../../smb/wire/logoff.ts';
import type { FileServer } from '../file-server.ts';
import { Opens } from '../opens/opens.ts';
import { createOf } from '../testing/create-of.ts';
import { eventually } from '../testing/eventually.ts';
import { RawClient, RELATED } from '../testing/raw-client.ts';
import type { ScriptedSidecar } from '../testing/scripted-sidecar.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';

const [USER, PASSWORD] = ALICE;
const WRITE_THROUGH = 0x2;

describe('a server', () => {
  let under: TestServer;
  let server: FileServer;
  let sidecar: ScriptedSidecar;
  let port: number;

  beforeEach(async () => {
    const share = { volume: 'v', path: '/', access: [{ principal: USER, permission: 'Full' }] };
    under = await TestServer.start({
      shares: [
        { ...share, name: 'data' },
        { ...share, name: 'closed', access: [{ principal: 'bob', permission: 'Full' }] },
        { ...share, name: 'encrypted', encryption: 'Required' },
      ],
    });
    ({ server, sidecar, port } = under);
  });

  afterEach(() => under.stop());

  const connected = () => under.connected();
  const loggedOn = async () => {
    return under.keep(await RawClient.loggedOn(port, USER, PASSWORD));
  };
  const echo = async (client: RawClient) => (await client.request(Command.ECHO, encodeEchoRequest())).header.status;

  describe('before logon', () => {
    test('closes the connection for what is no message, and others notice nothing', async () => {
      const other = await loggedOn();
      const bad = [
        Buffer.from('GET / HTTP/1.1\r\n\r\n'),
        Buffer.concat([framePrefix(4), Buffer.from('\xfeSMC', 'latin1')]),
        Buffer.concat([framePrefix(64), Buffer.from('\xfeSMB', 'latin1'), Buffer.alloc(60)]),
        framePrefix(65 * 1024),
        Buffer.concat([framePrefix(52), Buffer.from('\xfdSMB', 'latin1'), Buffer.alloc(48)]),
      ];
      for (const bytes of bad) {
        const client = await connected();
        client.socket.write(bytes);
        await client.closed();
      }
      expect(await echo(other)).toBe(Status.SUCCESS);
    });

    test('closes the connection for a command before NEGOTIATE and for a second NEGOTIATE', async () => {
      const first = await connected();
      first.sendFrame(first.message(Command.ECHO, encodeEchoRequest()));
      await first.closed();
      const second = await connected();
      await second.negotiate();
      await expect(second.negotiate()).rejects.toThrow('closed');
    });

    test.each([
      ['is too old', Dialect.SMB_2_1],
      ['it does not know', 0x0999],
    ])('refuses a dialect that %s', async (_what, dialect) => {
      const client = await connected();
      expect((await client.negotiate([], dialect)).header.status).toBe(Status.NOT_SUPPORTED);
    });

    test('refuses a wrong password and an unknown user with the same status', async () => {
      const one = await connected();
      await one.negotiate();
      expect(await one.logOn(USER, 'wrong')).toBe(Status.LOGON_FAILURE);
      expect(await one.logOn('nobody', PASSWORD)).toBe(Status.USER_SESSION_DELETED);
      const two = await connected();
      await two.negotiate();
      expect(await two.logOn('nobody', PASSWORD)).toBe(Status.LOGON_FAILURE);
    });

    test('closes the connection for a MessageId that was not granted', async () => {
      const client = await connected();
      await client.negotiate();
      client.nextMessageId = 100_000;
      client.sendFrame(client.message(Command.ECHO, encodeEchoRequest()));
      await client.closed();
    });
  });

  describe('of a session', () => {
    test('refuses what is not signed, and what is signed wrongly', async () => {
      const client = await loggedOn();
      client.sendFrame(client.message(Command.LOGOFF, encodeLogoffRequest()));
      expect((await client.receive()).header.status).toBe(Status.ACCESS_DENIED);
      const forged = client.message(Command.LOGOFF, encodeLogoffRequest(), { flags: Flags.SIGNED });
      client.sendFrame(forged);
      expect((await client.receive()).header.status).toBe(Status.ACCESS_DENIED);
      expect(await echo(client)).toBe(Status.SUCCESS);
    });

    test.each(['TREE_CONNECT', 'CREATE', 'QUERY_INFO', 'ECHO', 'IOCTL'] as const)(
      'answers a malformed %s with the status for that, and goes on',
      async (command) => {
        const client = await loggedOn();
        await client.treeConnect('data');
        const { header } = await client.request(Command[command], Buffer.alloc(60, 0xff));
        expect(header.status).toBe(Status.INVALID_PARAMETER);
        expect(await echo(client)).toBe(Status.SUCCESS);
      },
    );

    test('signs its answers', async () => {
      const client = await loggedOn();
      const { message } = await client.request(Command.ECHO, encodeEchoRequest());
      expect(client.signer?.verify(message)).toBe(true);
    });

    test('knows no session that was logged off, nor one of another connection', async () => {
      const one = await loggedOn();
      const two = await loggedOn();
      const other = await two.request(Command.LOGOFF, encodeLogoffRequest(), { sessionId: one.sessionId });
      expect(other.header.status).toBe(Status.USER_SESSION_DELETED);
      expect((await one.request(Command.LOGOFF, encodeLogoffRequest())).header.status).toBe(Status.SUCCESS);
      expect((await one.request(Command.LOGOFF, encodeLogoffRequest())).header.status).toBe(
        Status.USER_SESSION_DELETED,
      );
    });

    test('stores the session before it is established, and ends the one that it follows', async () => {
      const before = await loggedOn();
      const after = await connected();
      await after.negotiate();
      expect(await after.logOn(USER, PASSWORD, before.sessionId)).toBe(Status.SUCCESS);
      const kinds = sidecar.requests.map(({ body }) => body?.$case);
      expect(kinds.filter((kind) => kind === 'storeSession')).toHaveLength(2);
      expect(kinds.indexOf('endSession')).toBeLessThan(kinds.lastIndexOf('storeSession'));
      expect((await before.request(Command.LOGOFF, encodeLogoffRequest())).header.status).toBe(
        Status.USER_SESSION_DELETED,
      );
    });

    test('is not established where it could not be stored', async () => {
      const client = await under.negotiated();
      sidecar.decide = ({ body }) => ({
        outcome: body?.$case === 'storeSession' ? Outcome.STORE_UNAVAILABLE : Outcome.GRANTED,
      });
      expect(await client.logOn(USER, PASSWORD)).toBe(Status.SERVER_UNAVAILABLE);
      expect(await client.treeConnect('data')).toBe(Status.USER_SESSION_DELETED);
    });

    test('asks for a previous session that lives elsewhere, and is not established while the store is away', async () => {
      sidecar.decide = ({ body }) => ({
        outcome: body?.$case === 'claimSession' ? Outcome.STORE_UNAVAILABLE : Outcome.GRANTED,
      });
      const client = await connected();
      await client.negotiate();
      expect(await client.logOn(USER, PASSWORD, 0x77n)).toBe(Status.SERVER_UNAVAILABLE);
      const claim = sidecar.requests.find(({ body }) => body?.$case === 'claimSession')?.body;
      expect(claim?.$case === 'claimSession' && claim.value.previousSessionId).toBe(0x77n);
    });
  });

  test('connects to the shares that the user may see, by their name in any case', async () => {
    const client = await loggedOn();
    expect(await client.treeConnect('DATA')).toBe(Status.SUCCESS);
    expect(await client.treeConnect('IPC$')).toBe(Status.SUCCESS);
    expect(await client.treeConnect('nothing')).toBe(Status.BAD_NETWORK_NAME);
    expect(await client.treeConnect('closed')).toBe(Status.ACCESS_DENIED);
    expect(await client.treeConnect('encrypted')).toBe(Status.ACCESS_DENIED);
  });

  test('a related request fails with the one before it, and takes its ids', async () => {
    const client = await loggedOn();
    await client.treeConnect('data');
    const allOnes = { persistent: 0xffff_ffff_ffff_ffffn, volatile: 0xffff_ffff_ffff_ffffn };
    const create = client.message(Command.CREATE, createOf('missing'));
    const close = client.message(Command.CLOSE, encodeCloseRequest({ flags: 0, fileId: allOnes }), {
      ...RELATED,
      sessionId: 0xffff_ffff_ffff_ffffn,
      treeId: 0xffff_ffff,
    });
    const { message, parts } = joinCompound([create, close]);
    for (const part of parts) client.signer?.sign(part);
    client.sendFrame(message);
    const [first, second] = [await client.receive(), await client.receive()];
    expect(first.header.status).toBe(Status.OBJECT_NAME_NOT_FOUND);
    expect(second.header.status).toBe(Status.OBJECT_NAME_NOT_FOUND);
    expect(second.header.sessionId).toBe(client.sessionId);
    expect(client.signer?.verify(second.message)).toBe(true);
  });

  test('looks a name up again when the sidecar says that a directory above it was being renamed', async () => {
    const client = await loggedOn();
    await client.treeConnect('data');
    const directory = join(under.folder, 'volume', 'directory');
    mkdirSync(directory);
    writeFileSync(join(directory, 'file'), '');
    sidecar.decide = ({ body }) => {
      if (body?.$case !== 'open') return { outcome: Outcome.GRANTED };
      renameSync(directory, `${directory}-renamed`);
      return { outcome: Outcome.NAME_BUSY };
    };
    const { header } = await client.request(Command.CREATE, createOf('directory\\file'));
    expect(header.status).toBe(Status.OBJECT_PATH_NOT_FOUND);
    expect(sidecar.requests.filter(({ body }) => body?.$case === 'open')).toHaveLength(1);
  });

  describe('past its deadline', () => {
    test('answers nothing until it is renewed, and goes on then', async () => {
      const client = await loggedOn();
      sidecar.isRenewing = false;
      await eventually('the deadline passed', () => !server.mayServe);
      client.send(Command.ECHO, encodeEchoRequest());
      await expect(client.receive(200)).rejects.toThrow('no response');
      sidecar.renew();
      expect((await client.receive()).header.status).toBe(Status.SUCCESS);
    });

    test('carries out nothing of what comes then', async () => {
      const client = await loggedOn();
      sidecar.isRenewing = false;
      await eventually('the deadline passed', () => !server.mayServe);
      const before = sidecar.requests.length;
      client.send(Command.LOGOFF, encodeLogoffRequest());
      await expect(client.receive(200)).rejects.toThrow('no response');
      const asked = sidecar.requests.slice(before).map(({ body }) => body?.$case);
      expect(asked).not.toContain('endSession');
      sidecar.renew();
      expect((await client.receive()).header.status).toBe(Status.SUCCESS);
    });

    test('answers nothing of what came before', async () => {
      const client = await loggedOn();
      await client.treeConnect('data');
      // given: a request that is being decided
      let decides: bigint | undefined;
      sidecar.decide = ({ id, body }) => {
        if (body?.$case !== 'reserve') return { outcome: Outcome.GRANTED };
        decides = id;
        return undefined;
      };
      client.send(Command.CREATE, createOf('new', { createDisposition: 2, desiredAccess: 0x12_019f }));
      await eventually('it is being decided', () => decides !== undefined);
      // when: the decision comes past the deadline
      sidecar.isRenewing = false;
      await eventually('the deadline passed', () => !server.mayServe);
      sidecar.reply({ id: decides ?? 0n, outcome: Outcome.ACCESS_DENIED });
      await expect(client.receive(300)).rejects.toThrow('no response');
      sidecar.isRenewing = true;
      expect((await client.receive()).header.status).not.toBe(Status.SUCCESS);
    });

    test('resets its connections when it was fenced, and serves under a new epoch', async () => {
      const client = await loggedOn();
      const idle = await loggedOn();
      sidecar.isRenewing = false;
      await eventually('the deadline passed', () => !server.mayServe);
      client.send(Command.ECHO, encodeEchoRequest());
      sidecar.epoch = 2n;
      sidecar.send({ $case: 'fenced', value: { reason: 'test' } });
      await client.closed();
      await idle.closed();
      sidecar.isRenewing = true;
      await eventually('serving again', () => server.mayServe);
      const again = await loggedOn();
      expect(again.sessionId >> 36n).toBe(2n);
    });

    test('takes no new epoch before it has ended what was begun under the one that was fenced', async () => {
      const sent = (kind: string) => sidecar.requests.filter(({ body }) => body?.$case === kind);
      const client = await loggedOn();
      await client.treeConnect('data');
      // given: a CREATE that has made its file, and waits for the disk
      const pool = await BusyPool.of(under.folder);
      client.send(Command.CREATE, createOf('new', { createDisposition: 2, createOptions: WRITE_THROUGH }));
      await eventually('its file is there', () => existsSync(join(under.folder, 'volume', 'new')));
      // when: the server is fenced, and the disk takes its time
      sidecar.epoch = 2n;
      sidecar.send({ $case: 'fenced', value: { reason: 'test' } });
      await client.closed();
      await delay(300);
      const hellos = sent('hello').length;
      await pool.free();
      await eventually('it has a new epoch', () => sent('hello').length === 2);
      // then: nothing of it was asked for under the new one, and its client may have the file elsewhere
      await loggedOn();
      expect(hellos).toBe(1);
      expect(sent('open')).toEqual([]);
      expect(existsSync(join(under.folder, 'volume', 'new'))).toBe(true);
    });
  });

  describe('in a handoff', () => {
    /** Everything that the sidecar has said so far was heard, and what was answered to that has come. */
    const heard = () => sidecar.command({ $case: 'warmUp', value: { opens: [] } });

    test('leaves requests of a quiesced session unread, and serves them when it is resumed', async () => {
      const client = await loggedOn();
      const answer = await sidecar.command({ $case: 'quiesce', value: { sessionIds: [], timeoutMs: 1000 } });
      expect(answer.body).toEqual({
        $case: 'quiesce',
        value: { unfinishedOpenIds: [], sessionIds: [client.sessionId] },
      });
      client.send(Command.ECHO, encodeEchoRequest());
      await expect(client.receive(200)).rejects.toThrow('no response');
      await sidecar.command({ $case: 'resume', value: { sessionIds: [] } });
      expect((await client.receive()).header.status).toBe(Status.SUCCESS);
    });

    test('leaves a request that waited for a renewal when it was quiesced', async () => {
      const client = await loggedOn();
      sidecar.isRenewing = false;
      await eventually('the deadline passed', () => !server.mayServe);
      client.send(Command.ECHO, encodeEchoRequest());
      await expect(client.receive(200)).rejects.toThrow('no response');
      const quiesced = sidecar.command({ $case: 'quiesce', value: { sessionIds: [], timeoutMs: 1000 } });
      sidecar.isRenewing = true;
      await quiesced;
      await eventually('renewed', () => server.mayServe);
      await expect(client.receive(200)).rejects.toThrow('no response');
      await sidecar.command({ $case: 'resume', value: { sessionIds: [] } });
      expect((await client.receive()).header.status).toBe(Status.SUCCESS);
    });

    test('begins no other part of a compound until it is resumed', async () => {
      const client = await loggedOn();
      await client.treeConnect('data');
      // given: the sidecar decides on the first of two parts
      const asked: bigint[] = [];
      sidecar.decide = ({ id, body }) => {
        if (body?.$case !== 'reserve') return { outcome: Outcome.GRANTED };
        asked.push(id);
        return asked.length === 1 ? undefined : { outcome: Outcome.ACCESS_DENIED };
      };
      const creates = ['one', 'two'].map((name) =>
        client.message(Command.CREATE, createOf(name, { createDisposition: 2, desiredAccess: 0x12_019f })),
      );
      const { message, parts } = joinCompound(creates);
      for (const part of parts) client.signer?.sign(part);
      client.sendFrame(message);
      await eventually('the first part is being decided', () => asked.length === 1);
      const quiesced = sidecar.command({ $case: 'quiesce', value: { sessionIds: [], timeoutMs: 20_000 } });
      await heard();
      // when: it is decided
      sidecar.reply({ id: asked[0] ?? 0n, outcome: Outcome.ACCESS_DENIED });
      await quiesced;
      await heard();
      expect(asked).toHaveLength(1);
      await sidecar.command({ $case: 'resume', value: { sessionIds: [] } });
      for (let i = 0; i < 2; i++) expect((await client.receive()).header.status).not.toBe(Status.SUCCESS);
      expect(asked).toHaveLength(2);
    });

    test('ends the connections of released sessions, and says nothing of them to the sidecar', async () => {
      const client = await loggedOn();
      await sidecar.command({ $case: 'quiesce', value: { sessionIds: [client.sessionId], timeoutMs: 1000 } });
      client.send(Command.ECHO, encodeEchoRequest());
      const { sessionId } = client;
      await sidecar.command({ $case: 'release', value: { openIds: [], sessionIds: [sessionId] } });
      await client.closed();
      expect(sidecar.requests.some(({ body }) => body?.$case === 'endSession')).toBe(false);
    });

    test('gives requests of a released session that wait for somebody no answer: their client repeats them elsewhere', async () => {
      const client = await loggedOn();
      await client.treeConnect('data');
      sidecar.decide = ({ body }) => (body?.$case === 'reserve' ? undefined : { outcome: Outcome.GRANTED });
      client.send(Command.CREATE, createOf('one', { createDisposition: 2, desiredAccess: 0x12_019f }));
      const reserving = () => sidecar.requests.find(({ body }) => body?.$case === 'reserve');
      await eventually('it waits for a decision', () => reserving() !== undefined);
      const { sessionId } = client;
      await sidecar.command({ $case: 'quiesce', value: { sessionIds: [sessionId], timeoutMs: 100 } });
      // What the session has open takes a while to be let go.
      const held = Promise.withResolvers<void>();
      const drop = jest.spyOn(Opens.prototype, 'drop').mockReturnValue(held.promise);
      const released = sidecar.command({ $case: 'release', value: { openIds: [1n], sessionIds: [sessionId] } });
      sidecar.reply({ id: reserving()?.id ?? 0n, outcome: Outcome.ACCESS_DENIED });
      const answered = client.receive().then(
        () => true,
        () => false,
      );
      await heard();
      held.resolve();
      drop.mockRestore();
      await released;
      expect(await answered).toBe(false);
    });

    test('lets what a released session is granted all the same wait for its client', async () => {
      const client = await loggedOn();
      await client.treeConnect('data');
      sidecar.decide = ({ body }) => (body?.$case === 'open' ? undefined : { outcome: Outcome.GRANTED });
      client.send(Command.CREATE, createOf('one', { createDisposition: 2, desiredAccess: 0x12_019f }));
      const opening = () => sidecar.requests.find(({ body }) => body?.$case === 'open');
      await eventually('it waits for a decision', () => opening() !== undefined);
      const { id, body } = opening() ?? {};
      const asked = body?.$case === 'open' ? body.value.record : undefined;
      if (id === undefined || !asked) throw new Error('no open was asked for');
      const { sessionId } = client;
      await sidecar.command({ $case: 'quiesce', value: { sessionIds: [sessionId], timeoutMs: 100 } });
      await sidecar.command({ $case: 'release', value: { openIds: [], sessionIds: [sessionId] } });
      // It was decided before anybody heard that the request is cancelled.
      const record = { ...asked, openId: 5n, durability: Durability.PERSISTENT };
      const value = OpenReply.create({ record, fileState: { fileId: asked.fileId } });
      sidecar.reply({ id, outcome: Outcome.GRANTED, body: { $case: 'open', value } });
      const waits = () => sidecar.requests.find(({ body }) => body?.$case === 'disconnect');
      await eventually('it waits for its client', () => waits() !== undefined);
      expect(waits()?.body).toMatchObject({ value: { openId: 5n } });
    });

    test('takes what the client of a released session is still sending, so that no write fails half-way', async () => {
      const client = await loggedOn();
      const failures: Error[] = [];
      client.socket.on('error', (error) => failures.push(error));
      let ended = false;
      client.socket.on('end', () => {
        ended = true;
      });
      const { sessionId } = client;
      await sidecar.command({ $case: 'quiesce', value: { sessionIds: [sessionId], timeoutMs: 1000 } });
      // Unread when the session goes: closing now would reset the connection.
      client.socket.write(Buffer.alloc(4 * 1024 * 1024));
      await sidecar.command({ $case: 'release', value: { openIds: [], sessionIds: [sessionId] } });
      await client.closed();
      expect(ended).toBe(true);
      expect(failures).toEqual([]);
    });

    test('resets new connections on its way out', async () => {
      const there = await loggedOn();
      await sidecar.command({ $case: 'stopAccepting', value: {} });
      const late = await connected().catch(() => undefined);
      await late?.closed();
      expect(await echo(there)).toBe(Status.SUCCESS);
    });

    test('ends a session that its client has taken to another server', async () => {
      const client = await loggedOn();
      const { ok } = await sidecar.command({ $case: 'dropSession', value: { sessionId: client.sessionId } });
      expect(ok).toBe(true);
      expect(await echo(client)).toBe(Status.USER_SESSION_DELETED);
      expect(sidecar.requests.some(({ body }) => body?.$case === 'endSession')).toBe(true);
    });
  });
});

/** The thread pool of this process, which calls that wait for a disk are made in, with nothing free. */
class BusyPool {
  readonly #fifos: readonly string[];
  readonly #opening: Promise<FileHandle>[];

  private constructor(fifos: readonly string[]) {
    this.#fifos = fifos;
    this.#opening = fifos.map((fifo) => open(fifo, 'r')); // waits for who writes
  }

  static async of(folder: string): Promise<BusyPool> {
    const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
    const fifos = Array.from({ length: threads }, (_, i) => join(folder, `fifo-${i}`));
    execFileSync('mkfifo', fifos);
    return new BusyPool(fifos);
  }

  async free(): Promise<void> {
    for (const fifo of this.#fifos) closeSync(openSync(fifo, constants.O_RDWR));
    for (const handle of await Promise.all(this.#opening)) await handle.close();
  }
}
