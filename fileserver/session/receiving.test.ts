import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { FrameReader, framePrefix, MAX_FRAME_SIZE } from '../../smb/wire/framing.ts';
import { eventually } from '../testing/eventually.ts';
import { allocateMessage, receiving, releaseMessage } from './receiving.ts';
import { replyBuffers } from './reply-buffers.ts';

const LARGE = 1024 * 1024;
const framed = (message: Buffer) => Buffer.concat([framePrefix(message.length), message]);
const large = (fill: number) => framed(Buffer.alloc(LARGE, fill));

let net: Server;
let client: Socket;
let server: Socket;
let reader: FrameReader;
let received: Buffer[];
let isHeld: boolean;

function take(): void {
  for (let message = isHeld ? undefined : reader.next(); message; message = reader.next()) received.push(message);
}

beforeEach(async () => {
  received = [];
  isHeld = false;
  reader = new FrameReader(MAX_FRAME_SIZE, () => true, allocateMessage);
  net = createServer({ pauseOnConnect: true }, (accepted) => {
    server = receiving(accepted, reader, take);
    net.emit('ready');
  });
  net.listen(0, '127.0.0.1');
  await once(net, 'listening');
  client = connect((net.address() as AddressInfo).port, '127.0.0.1');
  await once(net, 'ready');
});

afterEach(() => {
  client.destroy();
  server.destroy();
  net.close();
});

test('receives small and large messages, whatever order they come in', async () => {
  const messages = ['a', 'b'.repeat(LARGE), 'c', 'd'.repeat(5000), 'e'.repeat(LARGE), 'f'];
  client.write(Buffer.concat(messages.map((text) => framed(Buffer.from(text)))));
  await eventually('all messages are there', () => received.length === messages.length);
  expect(received.map(String)).toEqual(messages);
});

test('goes on after it was held back when a large message had just come', async () => {
  client.write(large(1).subarray(0, 1000));
  await eventually('the message has begun', () => reader.vacancy !== undefined);
  isHeld = true;
  client.write(large(1).subarray(1000));
  await eventually('the message is there', () => reader.buffered === LARGE);
  server.pause();
  client.write(Buffer.concat([framed(Buffer.from('between')), large(2)]));
  isHeld = false;
  server.resume();
  take();
  await eventually('all messages are there', () => received.length === 3);
  expect(received.map((message) => message.length)).toEqual([LARGE, 7, LARGE]);
  expect(received[0]?.every((byte) => byte === 1)).toBe(true);
  expect(received[2]?.every((byte) => byte === 2)).toBe(true);
});

test('a message whose buffer was given back is received into it again', async () => {
  client.write(large(1));
  await eventually('all messages are there', () => received.length === 1);
  const [first] = received;
  if (first) releaseMessage(first);
  client.write(large(2));
  await eventually('all messages are there', () => received.length === 2);
  expect(received[1]?.buffer).toBe(first?.buffer);
  expect(replyBuffers.owns(first ?? Buffer.alloc(0))).toBe(true);
});

test('hears the end of the connection', async () => {
  const closed = once(server, 'close');
  client.end();
  await closed;
});
