import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { KubeConfig } from '@kubernetes/client-node';
import { pino } from 'pino';
import { delay, monotonicMs } from '../../common/time.ts';
import { KubernetesApi } from './api.ts';
import { Informer } from './informer.ts';
import type { KubernetesObject, Resource } from './objects.ts';

const THINGS: Resource = { apiVersion: 'v1', kind: 'Thing', plural: 'things', namespaced: true };

/** An API server that lists what it is told to, and sends what a test writes into its watches. */
class Script {
  items: KubernetesObject[] = [];
  version = 1;
  /** The next watch is answered with this status. */
  refusal: { status: number; headers?: Record<string, string> } | undefined;
  refusedMs = 0;
  readonly lists: string[] = [];
  readonly watches: { from: string; response: ServerResponse }[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? '', 'http://x');
      const isWatch = url.searchParams.has('watch');
      if (isWatch && this.refusal) {
        const { status, headers } = this.refusal;
        this.refusal = undefined;
        this.refusedMs = monotonicMs();
        response.writeHead(status, { 'content-type': 'application/json', ...headers });
        response.end(JSON.stringify({ code: status, message: 'refused' }));
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json' });
      if (isWatch) {
        response.flushHeaders();
        this.watches.push({ from: url.searchParams.get('resourceVersion') ?? '', response });
        return;
      }
      this.lists.push(url.search);
      response.end(JSON.stringify({ metadata: { resourceVersion: String(this.version) }, items: this.items }));
    });
  }

  async listen(): Promise<KubernetesApi> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const config = new KubeConfig();
    config.loadFromClusterAndUser(
      { name: 'x', server: `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`, skipTLSVerify: true },
      { name: 'x' },
    );
    return new KubernetesApi(config);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

const thing = (name: string, version: number, uid = name): KubernetesObject => ({
  metadata: { namespace: 'n', name, uid, resourceVersion: String(version) },
});

async function until(condition: () => boolean, withinMs = 5000): Promise<void> {
  const deadlineMs = monotonicMs() + withinMs;
  while (!condition()) {
    if (monotonicMs() > deadlineMs) throw new Error(`the condition did not come true within ${withinMs} ms`);
    await delay(5);
  }
}

describe('Informer', () => {
  let script: Script;
  let api: KubernetesApi;
  let stop: AbortController;
  let informer: Informer<KubernetesObject>;
  let changes: string[];

  beforeEach(async () => {
    script = new Script();
    api = await script.listen();
    stop = new AbortController();
    changes = [];
    informer = new Informer(api, THINGS, {}, pino({ level: 'silent' }));
    informer.onChange((object, change) => changes.push(`${change} ${object.metadata?.name}`));
    script.items = [thing('a', 1), thing('b', 1)];
    void informer.run(stop.signal);
    await until(() => script.watches.length === 1);
  });

  afterEach(() => {
    stop.abort();
    api.close();
    script.close();
  });

  const send = (event: unknown) => script.watches.at(-1)?.response.write(`${JSON.stringify(event)}\n`);

  test('lists, then watches from there', async () => {
    expect(informer.synced).toBe(true);
    expect(script.watches[0]?.from).toBe('1');
    send({ type: 'MODIFIED', object: thing('a', 2) });
    send({ type: 'DELETED', object: thing('b', 3) });
    await until(() => changes.length === 4);
    expect(changes).toEqual(['added a', 'added b', 'changed a', 'deleted b']);
    expect(informer.list()).toHaveLength(1);
  });

  test('goes on from the last bookmark when a watch ends, without another list', async () => {
    send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '9' } } });
    script.watches[0]?.response.end();
    await until(() => script.watches.length === 2);
    expect(script.watches[1]?.from).toBe('9');
    expect(script.lists).toHaveLength(1);
  });

  test('goes on when a watch is torn', async () => {
    script.watches[0]?.response.destroy();
    await until(() => script.watches.length === 2);
    expect(script.lists).toHaveLength(1);
  });

  test('keeps of an object what it is told to, from lists and watches', async () => {
    stop.abort();
    stop = new AbortController();
    const keep = ({ metadata }: KubernetesObject): KubernetesObject => ({ ...(metadata ? { metadata } : {}) });
    informer = new Informer(api, THINGS, { keep }, pino({ level: 'silent' }));
    script.items = [{ ...thing('a', 1), data: 'much' } as KubernetesObject];
    void informer.run(stop.signal);
    await until(() => script.watches.length === 2);
    send({ type: 'ADDED', object: { ...thing('b', 2), data: 'much' } });
    await until(() => informer.size === 2);
    expect(informer.list()).toEqual([thing('a', 1), thing('b', 2)]);
  });

  test('gives a watch up that says nothing for longer than it was to last, and goes on from there', async () => {
    stop.abort();
    stop = new AbortController();
    informer = new Informer(api, THINGS, { watchSeconds: 1 }, pino({ level: 'silent' }));
    void informer.run(stop.signal);
    await until(() => script.watches.length === 2);
    const beganMs = monotonicMs();
    send({ type: 'MODIFIED', object: thing('a', 5) });
    await until(() => script.watches.length === 3, 60_000);
    expect(monotonicMs() - beganMs).toBeGreaterThanOrEqual(1200);
    expect(script.watches[2]?.from).toBe('5');
    expect(script.lists).toHaveLength(2);
  }, 70_000);

  test('however often nothing happened until a watch was over, the next one follows soon', async () => {
    stop.abort();
    stop = new AbortController();
    informer = new Informer(api, THINGS, { watchSeconds: 1 }, pino({ level: 'silent' }));
    void informer.run(stop.signal);
    let beganMs = 0;
    for (let watches = 2; watches <= 6; watches++) {
      await until(() => script.watches.length === watches, 60_000);
      const gapMs = monotonicMs() - beganMs;
      if (watches > 2) expect(gapMs).toBeLessThan(2000); // 200 to 400 ms; 3.2 to 6.4 s when each had waited for twice as long
      await delay(1000);
      script.watches.at(-1)?.response.end();
      beganMs = monotonicMs();
    }
  }, 70_000);

  test('after 410 Gone, the differences of the next list become changes', async () => {
    script.items = [thing('a', 1), thing('c', 7)];
    script.version = 8;
    send({ type: 'ERROR', object: { code: 410, reason: 'Expired', message: 'too old' } });
    await until(() => script.watches.length === 2);
    expect(changes.slice(2)).toEqual(['added c', 'deleted b']);
    expect(script.watches[1]?.from).toBe('8');
  });

  test('an object that was replaced by one of the same name while nobody watched is deleted, and added', async () => {
    script.items = [thing('a', 5, 'another'), thing('b', 1)];
    send({ type: 'ERROR', object: { code: 410 } });
    await until(() => script.watches.length === 2);
    expect(changes.slice(2)).toEqual(['deleted a', 'added a']);
  });

  describe('what was written by this process', () => {
    test('counts at once; what a watch that is behind still tells of the time before does not', async () => {
      informer.learn(thing('a', 5));
      expect(informer.get('n', 'a')?.metadata?.resourceVersion).toBe('5');
      expect(changes.slice(2)).toEqual(['changed a']);
      send({ type: 'MODIFIED', object: thing('a', 3) });
      send({ type: 'MODIFIED', object: thing('a', 5) });
      send({ type: 'MODIFIED', object: thing('b', 6) });
      await until(() => changes.length === 4);
      expect(informer.get('n', 'a')?.metadata?.resourceVersion).toBe('5');
      expect(changes.slice(3)).toEqual(['changed b']);
    });

    test('does not bring back what has gone meanwhile, nor an earlier state', async () => {
      send({ type: 'MODIFIED', object: thing('a', 7) });
      send({ type: 'DELETED', object: thing('b', 8) });
      await until(() => changes.length === 4);
      informer.learn(thing('a', 6));
      informer.learn(thing('a', 9, 'another'));
      informer.learn(thing('b', 7));
      expect(informer.list().map((object) => object.metadata?.resourceVersion)).toEqual(['7']);
      expect(changes).toHaveLength(4);
    });
  });

  test('410 Gone as the answer to a watch is the same as in it: a list again', async () => {
    script.version = 8;
    script.refusal = { status: 410 };
    script.watches[0]?.response.end();
    await until(() => script.watches.length === 2);
    expect([script.watches[1]?.from, script.lists.length]).toEqual(['8', 2]);
  });

  test('a busy server is left alone for as long as it asks, and its watch goes on from where it was', async () => {
    script.refusal = { status: 429, headers: { 'retry-after': '1' } };
    script.watches[0]?.response.end();
    await until(() => script.watches.length === 2);
    expect(monotonicMs() - script.refusedMs).toBeGreaterThanOrEqual(990);
    expect([script.watches[1]?.from, script.lists.length]).toEqual(['1', 1]);
  });

  test('lists anew when asked to, however silent the watch is', async () => {
    script.items = [thing('a', 1), thing('b', 4)];
    script.version = 8;
    await informer.refresh(stop.signal);
    expect(changes.slice(2)).toEqual(['changed b']);
    await until(() => script.watches.length === 2);
    expect(script.watches[1]?.from).toBe('8');
  });

  test('a list of another history (etcd was restored) is believed', async () => {
    send({ type: 'MODIFIED', object: thing('a', 50) });
    await until(() => changes.length === 3);
    script.items = [thing('a', 20)];
    script.version = 30;
    await informer.refresh(stop.signal);
    expect(informer.get('n', 'a')?.metadata?.resourceVersion).toBe('20');
  });
});
