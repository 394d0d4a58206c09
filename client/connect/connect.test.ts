import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Connection } from '../session/connection.ts';
import { FakeServer } from '../testing/fake-server.ts';
import type { ServerAddress } from './address.ts';
import { raceRounds } from './race.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A TCP server that behaves badly in some way, and counts who is connected. */
async function badServer(behave: (socket: Socket) => void): Promise<{ address: ServerAddress; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.resume();
    behave(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  return { address: { host: '127.0.0.1', port: typeof address === 'object' && address ? address.port : 0 }, sockets };
}

async function goodServer(): Promise<ServerAddress> {
  const fake = await FakeServer.start();
  cleanups.push(() => fake.stop());
  return { host: '127.0.0.1', port: fake.port };
}

async function refusing(): Promise<ServerAddress> {
  const { address } = await badServer(() => undefined);
  await cleanups.pop()?.();
  return address;
}

/** Connects as the client does, to whichever address answers first. */
async function race(addresses: ServerAddress[], timeoutMs = 5000): Promise<Connection> {
  const connection = await raceRounds(
    async () => addresses,
    (address, signal) => Connection.open(address, { clientGuid: randomBytes(16), serverName: 'test' }, signal),
    (late) => late.close(),
    { signal: AbortSignal.timeout(timeoutMs) },
  );
  cleanups.push(() => connection.close());
  return connection;
}

async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + 2000;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error('the condition did not come true within 2 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const silent = () => undefined;
const reset = (socket: Socket) => socket.resetAndDestroy();
const garbage = (socket: Socket) => socket.write('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n');
const halfAnAnswer = (socket: Socket) => socket.write(Buffer.from([0, 0, 0, 200, 0xfe, 0x53, 0x4d]));
const hangUp = (socket: Socket) => socket.end();

describe('parallel connect', () => {
  test.each([
    ['is silent', silent],
    ['resets the connection', reset],
    ['speaks another protocol', garbage],
    ['sends half an answer', halfAnAnswer],
    ['hangs up', hangUp],
  ])('costs little when the first server %s', async (_, behave) => {
    const bad = await badServer(behave);
    const good = await goodServer();
    const startedMs = performance.now();
    const connection = await race([bad.address, good]);
    expect(connection.address).toEqual(good);
    expect(performance.now() - startedMs).toBeLessThan(1000);
    await until(() => bad.sockets.size === 0);
  });

  test('costs little when nothing listens at the first address', async () => {
    const good = await goodServer();
    const connection = await race([await refusing(), good]);
    expect(connection.address).toEqual(good);
  });

  test('finds the one good server among many bad ones, and leaves no socket behind at the others', async () => {
    const bad = await Promise.all([silent, reset, garbage, halfAnAnswer, silent, silent, silent].map(badServer));
    const good = await goodServer();
    const connection = await race([...bad.map((one) => one.address), good]);
    expect(connection.address).toEqual(good);
    await until(() => bad.every((one) => one.sockets.size === 0));
  });

  test('goes round again until a server comes up', async () => {
    const address = await refusing();
    const racing = race([address]);
    const fake = await FakeServer.start();
    cleanups.push(() => fake.stop());
    // The server that comes up takes over the address: a forwarder stands for it.
    const { connect } = await import('node:net');
    const forwarder = createServer((socket) => {
      const onward = connect(fake.port, '127.0.0.1');
      socket.pipe(onward).pipe(socket);
      for (const end of [socket, onward]) end.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => forwarder.listen(address.port, '127.0.0.1', resolve));
    cleanups.push(() => new Promise((resolve) => forwarder.close(resolve)));
    expect((await racing).address).toEqual(address);
  });

  test('ends at its deadline, and says of whom it heard what', async () => {
    const bad = await badServer(reset);
    await expect(race([bad.address], 200)).rejects.toMatchObject({
      code: 'TIMED_OUT',
      message: expect.stringContaining(`127.0.0.1:${bad.address.port}`),
    });
  });
});
