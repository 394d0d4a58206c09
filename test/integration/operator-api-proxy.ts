import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Agent, type RequestOptions, request as send } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { delay, monotonicMs } from '../../common/time.ts';
import type { ApiServer } from './operator-api-server.ts';

/** A request as it came. */
export interface Asked {
  method: string;
  /** With its query. */
  path: string;
  body: string;
  atMs: number;
}

/**
 * What is answered instead of asking the API server; nothing at all where the connection is to be torn, and nothing either where it
 * shall arrive when the operator has long given it up.
 */
export type Instead = { status: number; retryAfterS?: number; reason?: string } | 'torn' | Late;

/** Passed on when `when` resolves; `answered` is then told the status. */
export interface Late {
  when: Promise<unknown>;
  answered: (status: number) => void;
}

interface Watch {
  path: string;
  response: ServerResponse;
  /** Nothing is passed on any more, and nobody is told. */
  silent: boolean;
}

/**
 * Stands between an operator and the API server: can be cut, stalled, answer by itself and slow watches down. Speaks HTTP to the
 * operator; everything that passes is answered by the real API server.
 */
export class ApiProxy {
  /** All but what only reads, in the order in which it came, also what was not passed on. */
  readonly writes: Asked[] = [];
  /** Requests that were torn or refused, or wait. */
  troubled = 0;
  /** Decides about a request before it is passed on. */
  before: (asked: Asked) => Instead | undefined | Promise<Instead | undefined> = () => undefined;
  /** Runs when the API server has done it, before it is answered. */
  after: (asked: Asked) => void | Promise<void> = () => undefined;
  /** How late the events of a watch are. */
  watchLagMs: (path: string) => number = () => 0;
  readonly kubeconfig: string;
  readonly #upstream: ApiServer;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #server: Server;
  readonly #watches = new Set<Watch>();
  #cut = false;
  #stalled = Promise.resolve();
  #goOn: () => void = () => undefined;

  private constructor(upstream: ApiServer, server: Server, kubeconfig: string) {
    this.#upstream = upstream;
    this.#server = server;
    this.kubeconfig = kubeconfig;
  }

  static async start(upstream: ApiServer, name: string): Promise<ApiProxy> {
    const server = createServer({ keepAliveTimeout: 60_000 });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const kubeconfig = join(upstream.folder, `kubeconfig-${name}`);
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const settings = {
      clusters: [{ name: 'test', cluster: { server: url } }],
      users: [{ name: 'admin', user: {} }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
      'current-context': 'test',
    };
    writeFileSync(kubeconfig, JSON.stringify({ apiVersion: 'v1', kind: 'Config', ...settings }));
    const proxy = new ApiProxy(upstream, server, kubeconfig);
    server.on('request', (request, response) => {
      proxy.#serve(request, response).catch(() => response.destroy());
    });
    return proxy;
  }

  /** Everything passes again, as at the beginning. */
  reset(): void {
    this.before = () => undefined;
    this.after = () => undefined;
    this.watchLagMs = () => 0;
    this.writes.length = 0;
    this.troubled = 0;
    this.restore();
  }

  /** Tears all connections, and each that is made from now on. */
  cut(): void {
    this.#cut = true;
    this.#server.closeAllConnections();
  }

  /** Nothing passes, in either direction, and no connection ends. */
  stall(): void {
    this.#stalled = new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  restore(): void {
    this.#cut = false;
    this.#goOn();
    this.#stalled = Promise.resolve();
  }

  /** The watches that are open now never say anything again. */
  silenceWatches(): void {
    for (const watch of this.#watches) watch.silent = true;
  }

  /** Sends an event into all watches, and ends them. */
  endWatches(event: object): void {
    for (const { response } of this.#watches) response.end(`${JSON.stringify(event)}\n`);
  }

  /** Paths of what is watched now. */
  get watched(): string[] {
    return [...this.#watches].map(({ path }) => path.split('?')[0] ?? '');
  }

  get watches(): number {
    return this.#watches.size;
  }

  close(): void {
    this.restore();
    this.#server.closeAllConnections();
    this.#server.close();
    this.#agent.destroy();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const asked: Asked = {
      ...{ method: request.method ?? '', path: request.url ?? '', atMs: monotonicMs() },
      body: Buffer.concat(chunks).toString('utf8'),
    };
    if (asked.method !== 'GET') this.writes.push(asked);
    const instead = this.#cut ? 'torn' : await this.before(asked);
    if (instead) {
      this.troubled += 1;
      if (instead === 'torn' || 'when' in instead) response.destroy();
      else refuse(response, instead);
      if (instead !== 'torn' && 'when' in instead) {
        await instead.when;
        const answer = await this.#ask(asked, request, response);
        answer.resume();
        instead.answered(answer.statusCode ?? 0);
      }
      return;
    }
    await this.#pass();
    const answer = await this.#ask(asked, request, response);
    if (asked.path.includes('watch=true') && answer.statusCode === 200) return this.#watch(asked, answer, response);
    const parts: Buffer[] = [];
    for await (const part of answer) parts.push(part as Buffer);
    await this.after(asked);
    await this.#pass();
    response.writeHead(answer.statusCode ?? 500, { 'content-type': answer.headers['content-type'] ?? 'text/plain' });
    response.end(Buffer.concat(parts));
  }

  async #pass(): Promise<void> {
    this.troubled += 1;
    await this.#stalled;
    this.troubled -= 1;
  }

  async #ask(asked: Asked, request: IncomingMessage, response: ServerResponse): Promise<IncomingMessage> {
    const options: RequestOptions = { headers: {} };
    await this.#upstream.config.applyToHTTPSOptions(options);
    return new Promise((resolve, reject) => {
      const { accept, 'content-type': contentType } = request.headers;
      // Node leaves the length of a DELETE's body out: the server would take the body for the next request.
      const ofBody = asked.body === '' ? {} : { 'content-length': Buffer.byteLength(asked.body) };
      const upstream = send(
        new URL(asked.path, this.#upstream.url),
        {
          ...options,
          agent: this.#agent,
          method: asked.method,
          headers: { ...options.headers, accept, ...(contentType ? { 'content-type': contentType } : {}), ...ofBody },
        },
        resolve,
      );
      upstream.once('error', reject);
      response.once('close', () => upstream.destroy());
      upstream.end(asked.body === '' ? undefined : asked.body);
    });
  }

  async #watch(asked: Asked, answer: IncomingMessage, response: ServerResponse): Promise<void> {
    const watch: Watch = { path: asked.path, response, silent: false };
    this.#watches.add(watch);
    response.once('close', () => this.#watches.delete(watch));
    answer.on('error', () => undefined); // torn from the other side
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    let lines = Promise.resolve();
    for await (const line of createInterface({ input: answer })) {
      const dueMs = monotonicMs() + this.watchLagMs(watch.path);
      lines = lines.then(async () => {
        if (monotonicMs() < dueMs) await delay(dueMs - monotonicMs());
        await this.#stalled;
        if (!watch.silent && !response.writableEnded) response.write(`${line}\n`);
      });
    }
    await lines;
    if (!watch.silent) response.end();
  }
}

function refuse(response: ServerResponse, { status, retryAfterS, reason }: Exclude<Instead, 'torn' | Late>): void {
  const headers = retryAfterS === undefined ? {} : { 'retry-after': String(retryAfterS) };
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(
    JSON.stringify({
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      code: status,
      reason,
      message: 'on purpose',
    }),
  );
}
