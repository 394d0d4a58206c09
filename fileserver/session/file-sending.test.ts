import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { OpenReply, Outcome } from '../../proto/generated/handles.ts';
import { Command } from '../../smb/constants.ts';
import { decodeCreateResponse } from '../../smb/wire/create.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { decodeReadResponse, encodeReadRequest } from '../../smb/wire/read.ts';
import { createOf } from '../testing/create-of.ts';
import type { RawClient } from '../testing/raw-client.ts';
import { ALICE, TestServer } from '../testing/test-server.ts';
import { Posix } from '../volume/posix.ts';
import { ThreadSlots } from '../volume/slots.ts';
import { SENT_FROM, sendWithFile } from './file-sending.ts';

const MIB = 1024 * 1024;
/** Before that Linux does not say what is cached. */
const [major = 0, minor = 0] = release().split('.').map(Number);
const IS_TOLD = major > 6 || (major === 6 && minor >= 5);

describe('a frame that ends with a part of a file', () => {
  const gate = { mayServe: () => true, reopened: () => Promise.resolve() };
  const posix = new Posix({ blocking: false, slots: new ThreadSlots(4).forVolume(), gate });
  const content = randomBytes(24 * MIB + 5);
  const head = Buffer.from('the frame begins');
  let folder: string;
  let fd: number;
  let socket: Socket;
  let client: Socket;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-sending-'));
    writeFileSync(join(folder, 'file'), content);
    fd = openSync(join(folder, 'file'), 'r+');
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    client = connect(typeof address === 'object' && address ? address.port : 0, '127.0.0.1').pause();
    [socket] = (await once(server, 'connection')) as [Socket];
    server.close();
  });
  afterEach(() => {
    client.destroy();
    socket.destroy();
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  const received = async (size: number) => {
    const chunks: Buffer[] = [];
    let count = 0;
    for await (const chunk of client as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      count += chunk.length;
      if (count >= size) break;
    }
    return Buffer.concat(chunks);
  };

  test('arrives as it is in the file, without a rest where the socket has room', async () => {
    const sent = sendWithFile(socket, head, { posix, fd, offset: 4097, length: 100_000 });
    expect(sent).toEqual({ bytes: head.length + 100_000, rest: undefined });
    const expected = Buffer.concat([head, content.subarray(4097, 104_097)]);
    expect((await received(expected.length)).equals(expected)).toBe(true);
  });

  test('arrives whole at a client that reads later: what the socket does not take is left to be sent', async () => {
    const sent = sendWithFile(socket, head, { posix, fd, offset: 5, length: content.length - 5 });
    expect(sent?.bytes).toBeGreaterThan(head.length);
    expect(sent?.rest).toHaveLength(head.length + content.length - 5 - (sent?.bytes ?? 0));
    socket.write(sent?.rest ?? '');
    // The socket takes nothing at all now.
    const next = sendWithFile(socket, head, { posix, fd, offset: 0, length: 4096 });
    expect(next?.bytes).toBe(0);
    socket.write(next?.rest ?? '');
    const expected = Buffer.concat([head, content.subarray(5), head, content.subarray(0, 4096)]);
    expect((await received(expected.length)).equals(expected)).toBe(true);
  });

  test('cannot be sent where the file is shorter', () => {
    ftruncateSync(fd, 10_000);
    expect(sendWithFile(socket, head, { posix, fd, offset: 0, length: 10_001 })).toBeUndefined();
  });

  test('is cached only where all of it is there, and read', () => {
    expect(posix.isCached(fd, 1, content.length - 1)).toBe(IS_TOLD);
    expect(posix.isCached(fd, content.length - 1, 1)).toBe(IS_TOLD);
    expect(posix.isCached(fd, 1, content.length)).toBe(false);
    ftruncateSync(fd, content.length + MIB);
    expect(posix.isCached(fd, content.length - MIB, 2 * MIB)).toBe(false);
    const beyondNetwork = new Posix({ blocking: true, slots: new ThreadSlots(4).forVolume(), gate });
    expect(beyondNetwork.isCached(fd, 0, MIB)).toBe(false);
  });
});

describe('READ of much that is cached', () => {
  const ROUNDS = 120;
  const OUTSTANDING = 24;
  const content = randomBytes(8 * MIB);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const asked = jest.spyOn(Posix.prototype, 'isCached');
  let under: TestServer;
  let client: RawClient;
  let fileId: { persistent: bigint; volatile: bigint };

  const start = async (signing: string) => {
    under = await TestServer.start({ security: { signing } });
    writeFileSync(join(under.folder, 'volume', 'file'), content);
    under.sidecar.decide = ({ id, body }) => {
      if (body?.$case !== 'open') return { outcome: Outcome.GRANTED };
      const record = body.value.record && { ...body.value.record, openId: id };
      return { body: { $case: 'open', value: OpenReply.fromPartial({ record }) } };
    };
    client = await under.loggedOn(...ALICE);
    await client.treeConnect('data');
    const { message } = await client.request(Command.CREATE, createOf('file'));
    ({ fileId } = decodeCreateResponse(message));
    asked.mockClear();
  };
  afterEach(() => under.stop());

  const readOf = (offset: number, length: number) =>
    encodeReadRequest({
      flags: 0,
      length,
      offset,
      fileId,
      minimumCount: 0,
      channel: 0,
      remainingBytes: 0,
      channelInfo: Buffer.alloc(0),
    });
  const ask = (offset: number, length: number) => {
    const creditCharge = Math.ceil(length / 65_536);
    const message = client.message(Command.READ, readOf(offset, length), { creditCharge, credits: 256 });
    client.nextMessageId += creditCharge - 1;
    client.sendFrame(message);
  };
  const data = async () => {
    const { header, message } = await client.receive();
    expect([header.command, header.status]).toEqual([Command.READ, 0]);
    return decodeReadResponse(message).data;
  };

  test('brings what is in the file, in order with other answers, to a client that reads slowly', async () => {
    await start('Desired');
    for (let i = 0; i < 8; i++) {
      // Credits for what comes.
      client.sendFrame(client.message(Command.ECHO, encodeEchoRequest(), { credits: 256 }));
      expect((await client.receive()).header.command).toBe(Command.ECHO);
    }
    const outstanding: number[] = [];
    const asking = async () => {
      for (let i = 0; i < ROUNDS; i++) {
        while (outstanding.length >= OUTSTANDING) await turn();
        if (i % OUTSTANDING === 0) {
          client.socket.pause();
          setTimeout(() => client.socket.resume(), 30);
        }
        ask((i % 8) * MIB + 1, MIB - 1);
        client.sendFrame(client.message(Command.ECHO, encodeEchoRequest()));
        outstanding.push(i);
        await turn();
      }
    };
    const allAsked = asking();
    for (let i = 0; i < ROUNDS; i++) {
      const at = (i % 8) * MIB;
      expect((await data()).equals(content.subarray(at + 1, at + MIB))).toBe(true);
      expect((await client.receive()).header.command).toBe(Command.ECHO);
      outstanding.shift();
    }
    await allAsked;
    expect(asked.mock.results[0]?.value).toBe(IS_TOLD);
  });

  test('copies what is short, or ends with the file', async () => {
    await start('Desired');
    ask(0, SENT_FROM - 1);
    expect((await data()).equals(content.subarray(0, SENT_FROM - 1))).toBe(true);
    expect(asked).not.toHaveBeenCalled();
    ask(8 * MIB - 1000, SENT_FROM);
    expect((await data()).equals(content.subarray(8 * MIB - 1000))).toBe(true);
    expect(asked.mock.results[0]?.value).toBe(false);
    asked.mockClear();
  });

  test('signs where it has to', async () => {
    await start('Required');
    const { signer } = client;
    const { message } = await client.request(Command.READ, readOf(0, SENT_FROM), { creditCharge: 4, credits: 256 });
    expect(signer?.verify(message)).toBe(true);
    expect(decodeReadResponse(message).data.equals(content.subarray(0, SENT_FROM))).toBe(true);
    expect(asked).not.toHaveBeenCalled();
  });
});
