import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { Tracer, traceIdOf } from './tracing.ts';

let collector: Server | undefined;
afterEach(() => {
  collector?.closeAllConnections();
  collector?.close();
});

/** A collector that keeps the bodies it got. */
async function collecting(status = 200): Promise<{ endpoint: string; bodies: { path: string; body: string }[] }> {
  const bodies: { path: string; body: string }[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    bodies.push({ path: request.url ?? '', body });
    response.writeHead(status).end('{}');
  });
  collector = server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, bodies };
}

test('the trace of a migration follows from its UID, of each of its tries', () => {
  const uid = '0f8fad5b-d9cb-469f-a165-70867728950e';
  expect(traceIdOf(uid)).toBe('0f8fad5bd9cb469fa16570867728950e');
  expect(traceIdOf(`${uid}/2`)).toBe(traceIdOf(uid));
  expect(traceIdOf('by hand')).toMatch(/^[0-9a-f]{32}$/);
  expect(traceIdOf('by hand')).not.toBe(traceIdOf('by hand 2'));
});

test('spans are sent with their parent, times and outcome', async () => {
  const { endpoint, bodies } = await collecting();
  const tracer = new Tracer('holdfast-operator', endpoint);
  const whole = tracer.start('migration', traceIdOf('m'));
  const part = tracer.start('move', whole.traceId, whole);
  part.event('Transferring', { moved: 3 });
  part.end({}, 'the source went');
  whole.end({ reason: 'Drain' });
  await tracer.flush();
  expect(bodies.map(({ path }) => path)).toEqual(['/v1/traces']);
  const { resourceSpans } = JSON.parse(bodies[0]?.body ?? '');
  expect(resourceSpans[0].resource.attributes).toEqual([
    { key: 'service.name', value: { stringValue: 'holdfast-operator' } },
  ]);
  const [move, migration] = resourceSpans[0].scopeSpans[0].spans;
  expect(move).toMatchObject({
    name: 'move',
    parentSpanId: migration.spanId,
    status: { code: 2, message: 'the source went' },
  });
  expect(move.events).toMatchObject([{ name: 'Transferring' }]);
  expect(migration).toMatchObject({ name: 'migration', traceId: move.traceId, status: { code: 1 } });
  expect(BigInt(migration.endTimeUnixNano) >= BigInt(migration.startTimeUnixNano)).toBe(true);
  expect(Math.abs(Number(BigInt(migration.startTimeUnixNano) / 1_000_000n) - Date.now())).toBeLessThan(60_000);
});

test('nothing is sent without an endpoint, and a collector that refuses is told of and forgotten', async () => {
  const silent = new Tracer('x', undefined);
  silent.start('a', traceIdOf('a')).end();
  await silent.flush();
  const { endpoint, bodies } = await collecting(503);
  const failures: unknown[] = [];
  const refused = new Tracer('x', endpoint, (error) => failures.push(error));
  refused.start('a', traceIdOf('a')).end();
  await refused.flush();
  await refused.flush();
  expect(bodies).toHaveLength(1);
  expect(String(failures[0])).toMatch(/answered 503/);
});

test('a collector that is away costs no memory', async () => {
  const tracer = new Tracer('x', 'http://127.0.0.1:1');
  for (let i = 0; i < 3000; i++) tracer.start('a', traceIdOf('a')).end();
  const { endpoint, bodies } = await collecting();
  const other = new Tracer('x', endpoint);
  for (let i = 0; i < 3000; i++) other.start('a', traceIdOf('a')).end();
  await Promise.all([tracer.flush(), other.flush()]);
  expect(JSON.parse(bodies[0]?.body ?? '').resourceSpans[0].scopeSpans[0].spans).toHaveLength(2048);
});
