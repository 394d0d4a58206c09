import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { AskedTraces } from './asked-traces.ts';
import { Tracer } from './tracing.ts';

const TRACE = '0f8fad5bd9cb469fa16570867728950e';
const collectors: Server[] = [];
afterEach(() => {
  for (const collector of collectors.splice(0)) {
    collector.closeAllConnections();
    collector.close();
  }
});

async function collecting(): Promise<{ endpoint: string; bodies: string[] }> {
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    bodies.push(body);
    response.end('{}');
  });
  collectors.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

const traces = () =>
  new AskedTraces('holdfast-sidecar', 'media-0', (error) => {
    throw error;
  });

test('a span is part of that of who asked, and what is asked on its behalf part of it', async () => {
  const { endpoint, bodies } = await collecting();
  const operator = new Tracer('holdfast-operator', endpoint);
  const asking = operator.start('move', TRACE);
  const own = traces();
  const span = own.start('hand over', operator.request(asking));
  await own.during('hand a session over', span.request, async () => span.event('half of it'));
  span.end({ moved: 2 });
  await own.flush();
  const { resource, scopeSpans } = JSON.parse(bodies[0] ?? '').resourceSpans[0];
  expect(resource.attributes).toContainEqual({ key: 'service.instance.id', value: { stringValue: 'media-0' } });
  const [inner, outer] = scopeSpans[0].spans;
  expect(outer).toMatchObject({ name: 'hand over', traceId: TRACE, parentSpanId: asking.spanId });
  expect(outer.events).toMatchObject([{ name: 'half of it' }]);
  expect(inner).toMatchObject({ name: 'hand a session over', traceId: TRACE, parentSpanId: outer.spanId });
});

test('what nobody asked for is a trace of its own, where there is a collector for such', async () => {
  const { endpoint, bodies } = await collecting();
  const own = traces();
  expect(own.begin('drain').request).toBeUndefined();
  own.collector = endpoint;
  const span = own.begin('drain');
  own.start('hand over', span.request).end();
  span.end({ moved: 1 });
  await own.flush();
  const [part, whole] = JSON.parse(bodies[0] ?? '').resourceSpans[0].scopeSpans[0].spans;
  expect(whole.traceId).toMatch(/^[0-9a-f]{32}$/);
  expect(whole.parentSpanId).toBeUndefined();
  expect(part).toMatchObject({ traceId: whole.traceId, parentSpanId: whole.spanId });
});

test('what failed says so, and fails', async () => {
  const { endpoint, bodies } = await collecting();
  const own = traces();
  const request = { endpoint, traceId: TRACE, parentSpanId: '0123456789abcdef' };
  await expect(own.during('quiesce', request, () => Promise.reject(new Error('gone')))).rejects.toThrow('gone');
  await own.flush();
  expect(bodies[0]).toContain('"status":{"code":2,"message":"Error: gone"}');
});

test('another collector that is asked for gets what follows; the first what there was', async () => {
  const [first, second] = [await collecting(), await collecting()];
  const own = traces();
  for (const { endpoint } of [first, second])
    own.start('quiesce', { endpoint, traceId: TRACE, parentSpanId: '0123456789abcdef' }).end();
  await own.flush();
  for (const deadline = Date.now() + 60_000; first.bodies.length === 0 && Date.now() < deadline; )
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect([first.bodies.length, second.bodies.length]).toEqual([1, 1]);
});

test.each([
  ['nobody', undefined],
  ['an address that is none', { endpoint: 'collector', traceId: TRACE, parentSpanId: '0123456789abcdef' }],
  ['a file', { endpoint: 'file:///etc/passwd', traceId: TRACE, parentSpanId: '0123456789abcdef' }],
  ['a trace without an id', { endpoint: 'http://127.0.0.1:1', traceId: '', parentSpanId: '0123456789abcdef' }],
  ['a parent that is none', { endpoint: 'http://127.0.0.1:1', traceId: TRACE, parentSpanId: 'x' }],
])('asked for by %s there is no span', async (_, request) => {
  const own = traces();
  const span = own.start('quiesce', request);
  span.end();
  expect(span.request).toBeUndefined();
  await own.flush();
});
