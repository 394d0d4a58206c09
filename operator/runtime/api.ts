import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https';
import { createInterface } from 'node:readline';
import type { KubeConfig } from '@kubernetes/client-node';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import { delay } from '../../common/time.ts';

/** What the API server answered instead of the object. `status` is the HTTP status, `reason` Kubernetes' word for it. */
export class ApiError extends HoldfastError {
  readonly status: number;
  readonly reason: string;
  /** The answer's Retry-After. */
  readonly retryAfterMs: number | undefined;
  /** Kubernetes' words for what else is the matter. */
  readonly causes: readonly string[];

  constructor(status: number, reason: string, message: string, retryAfterMs?: number, causes: readonly string[] = []) {
    super('KUBERNETES_API', message);
    this.name = 'ApiError';
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
    this.causes = causes;
  }
}

/** Nobody answered, or not to the end. */
export class UnreachableError extends HoldfastError {
  constructor(message: string, cause: unknown) {
    super('KUBERNETES_UNREACHABLE', message, { cause });
  }
}

export const isNotFound = (error: unknown): boolean => error instanceof ApiError && error.status === 404;
export const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status === 409;
export const isForbidden = (error: unknown): boolean => error instanceof ApiError && error.status === 403;

/** Nothing can be made in a namespace that is being deleted. */
export const isNamespaceEnding = (error: unknown): boolean =>
  error instanceof ApiError && error.status === 403 && error.causes.includes('NamespaceTerminating');

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Query = Record<string, string | number | boolean | undefined>;

export interface RequestInput {
  query?: Query;
  body?: unknown;
  /** default application/json */
  contentType?: string;
  signal?: AbortSignal;
  /** default 30 s; the answer must be complete by then */
  timeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 30_000;
/** Answers that say that nothing was done, for want of capacity. */
const TOO_MUCH = [429, 503];
/** However long a server asks to be left alone. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * The Kubernetes API as plain JSON over HTTPS: what is read is what the server sent, timestamps as text. Credentials come from the
 * kubeconfig anew at each request, so that rotated tokens are picked up.
 */
export class KubernetesApi {
  readonly #config: KubeConfig;
  readonly #server: URL;
  readonly #https = new HttpsAgent({ keepAlive: true });
  readonly #http = new HttpAgent({ keepAlive: true });
  /** Told of each request: its method, or WATCH. */
  onRequest: (verb: Method | 'WATCH') => void = () => undefined;

  constructor(config: KubeConfig) {
    const cluster = config.getCurrentCluster();
    if (!cluster) throw new HoldfastError('KUBECONFIG', 'the kubeconfig names no cluster: set its current-context');
    this.#config = config;
    this.#server = new URL(cluster.server);
  }

  /** Sends one request, again where the server asks for that. @throws ApiError for every other answer that is not a success */
  async request<T>(method: Method, path: string, input: RequestInput = {}): Promise<T> {
    const timeout = AbortSignal.timeout(input.timeoutMs ?? REQUEST_TIMEOUT_MS);
    const signal = input.signal ? AbortSignal.any([input.signal, timeout]) : timeout;
    for (;;) {
      this.onRequest(method);
      const response = await this.#send(method, path, input, signal);
      const text = await readText(response, signal).catch((error: unknown) => {
        throw new UnreachableError(`${method} ${path}: ${reasonOf(error)}`, error);
      });
      if ((response.statusCode ?? 0) < 300) return (text === '' ? {} : JSON.parse(text)) as T;
      const error = toApiError(method, path, response, text);
      // It was not done, and we are told when to ask again: as long as there is time for that.
      if (!TOO_MUCH.includes(error.status) || error.retryAfterMs === undefined) throw error;
      await delay(error.retryAfterMs, signal).catch(() => {
        throw error;
      });
    }
  }

  /**
   * The lines of an answer that has no end (a watch), parsed. Ends when the server ends it, or throws.
   * @param silenceMs when it says nothing for so long it is taken to be dead
   */
  async *stream(path: string, query: Query, signal: AbortSignal, silenceMs: number): AsyncGenerator<unknown> {
    const connect = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
    this.onRequest('WATCH');
    const response = await this.#send('GET', path, { query }, connect);
    if (response.statusCode !== 200) {
      throw toApiError('GET', path, response, await readText(response, connect));
    }
    const stop = () => response.destroy(new Error('the watch was stopped'));
    signal.addEventListener('abort', stop, { once: true });
    response.setTimeout(silenceMs, () => response.destroy(new Error('the watch fell silent')));
    try {
      const lines = createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY });
      let failure: Error | undefined;
      response.once('error', (error) => {
        failure = error;
        lines.close();
      });
      for await (const line of lines) if (line !== '') yield JSON.parse(line);
      if (failure) throw failure;
    } finally {
      signal.removeEventListener('abort', stop);
      response.destroy();
    }
  }

  close(): void {
    this.#https.destroy();
    this.#http.destroy();
  }

  async #send(method: Method, path: string, input: RequestInput, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(this.#server.pathname.replace(/\/$/, '') + path, this.#server);
    for (const [key, value] of Object.entries(input.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    const secure = url.protocol === 'https:';
    const options: RequestOptions = { headers: {} };
    if (secure) await this.#config.applyToHTTPSOptions(options);
    // The kubeconfig's agent is wanted for proxies only; ours keeps connections open.
    if (!this.#config.getCurrentCluster()?.proxyUrl) options.agent = secure ? this.#https : this.#http;
    const body = input.body === undefined ? undefined : Buffer.from(JSON.stringify(input.body));
    return new Promise((resolve, reject) => {
      const send = secure ? httpsRequest : httpRequest;
      const request = send(
        url,
        {
          ...options,
          method,
          headers: {
            ...options.headers,
            accept: 'application/json',
            'user-agent': 'holdfast-operator',
            ...(body ? { 'content-type': input.contentType ?? 'application/json', 'content-length': body.length } : {}),
          },
        },
        (response) => {
          signal.removeEventListener('abort', abort);
          resolve(response);
        },
      );
      const abort = () => request.destroy(new Error(`no answer from the API server: ${reasonOf(signal.reason)}`));
      if (signal.aborted) abort();
      else signal.addEventListener('abort', abort, { once: true });
      request.once('error', (error) => {
        signal.removeEventListener('abort', abort);
        reject(new UnreachableError(`${method} ${path}: ${error.message}`, error));
      });
      request.end(body);
    });
  }
}

async function readText(response: IncomingMessage, signal: AbortSignal): Promise<string> {
  const stop = () => response.destroy(new Error(`the answer was cut off: ${reasonOf(signal.reason)}`));
  signal.addEventListener('abort', stop, { once: true });
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function toApiError(method: Method, path: string, response: IncomingMessage, text: string): ApiError {
  const status = response.statusCode ?? 0;
  const seconds = Number(response.headers['retry-after'] ?? Number.NaN); // Kubernetes sends seconds, never a date
  const retryAfterMs = seconds >= 0 ? Math.min(Math.max(seconds * 1000, 100), MAX_RETRY_AFTER_MS) : undefined;
  try {
    const answer = JSON.parse(text) as {
      message?: string;
      reason?: string;
      details?: { causes?: { reason?: string }[] };
    };
    const message = answer.message ?? `${method} ${path}: status ${status}`;
    const causes = (answer.details?.causes ?? []).map((cause) => cause.reason ?? '');
    return new ApiError(status, answer.reason ?? '', message, retryAfterMs, causes);
  } catch {
    return new ApiError(status, '', `${method} ${path}: status ${status}: ${text.slice(0, 200)}`, retryAfterMs);
  }
}
