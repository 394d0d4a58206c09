// What the commands ask of the API server. `holdfast check` makes HandleMigrations; nothing else is ever written.
import { existsSync } from 'node:fs';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { type RequestOptions, request as requestHttps } from 'node:https';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { KubeConfig, V1Pod } from '@kubernetes/client-node';
import { reasonOf } from '../../../common/errors.ts';
import type { HandleMigration } from '../../../crds/generated/handlemigration.ts';
import { ClusterAccessError } from './errors.ts';

const GROUP = 'holdfast.dev';
const VERSION = 'v1alpha1';
const REQUEST_TIMEOUT_MS = 15_000;
/** Objects of one answer; more are fetched page by page. */
const PAGE = 500;
/** An answer that is longer than any list of PAGE objects is not read to its end. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const IN_CLUSTER_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

export interface Access {
  kubeconfig?: string;
  context?: string;
}

interface Answer {
  status: number;
  text: string;
}

export class ClusterApi {
  readonly #config: KubeConfig;
  readonly #server: URL;

  private constructor(config: KubeConfig, server: URL) {
    this.#config = config;
    this.#server = server;
  }

  /** @throws ClusterAccessError where no API server is named, with what to do */
  static async connect({ kubeconfig, context }: Access): Promise<ClusterApi> {
    // Loaded for these commands only: it takes longer than all else that the client needs.
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    try {
      if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
      else if (isAnythingNamed()) config.loadFromDefault();
      else throw new Error('there is none: KUBECONFIG is not set, and there is no ~/.kube/config');
      if (context !== undefined) {
        if (!config.getContextObject(context)) throw new Error(`it has no context "${context}"`);
        config.setCurrentContext(context);
      }
    } catch (error) {
      throw new ClusterAccessError(
        `cannot use the kubeconfig${kubeconfig === undefined ? '' : ` ${kubeconfig}`}: ${reasonOf(error)}; write --kubeconfig FILE, or set KUBECONFIG`,
        { cause: error },
      );
    }
    const cluster = config.getCurrentCluster();
    if (!cluster) {
      throw new ClusterAccessError(
        'the kubeconfig has no current context: write --context NAME (kubectl config get-contexts lists them)',
      );
    }
    return new ClusterApi(config, new URL(cluster.server));
  }

  /** The namespace that the kubeconfig's context names. */
  get defaultNamespace(): string {
    return this.#config.getContextObject(this.#config.getCurrentContext())?.namespace ?? 'default';
  }

  /** Every object of one of our kinds. @param namespace all namespaces when left out */
  async list<T>(plural: 'fileserverclusters' | 'handlemigrations', namespace?: string): Promise<T[]> {
    const items: T[] = [];
    const within = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
    let next = '';
    do {
      const query = new URLSearchParams({ limit: String(PAGE), ...(next === '' ? {} : { continue: next }) });
      const answer = await this.#get(`/apis/${GROUP}/${VERSION}${within}/${plural}?${query}`);
      if (answer.status !== 200) throw refusal(answer, plural, namespace, this.#server.host);
      const page = JSON.parse(answer.text) as { items: T[]; metadata?: { continue?: string } };
      items.push(...page.items);
      next = page.metadata?.continue ?? '';
    } while (next !== '');
    return items;
  }

  /** What a pod serves at /metrics, through the API server; undefined where that is not permitted or nobody answers. */
  async podMetrics(namespace: string, pod: string, port: number): Promise<string | undefined> {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(pod)}:${port}/proxy/metrics`;
    const answer = await this.#get(path).catch(() => undefined);
    return answer?.status === 200 ? answer.text : undefined;
  }

  /** The file servers' pods of a cluster. */
  async serverPods(namespace: string, cluster: string): Promise<V1Pod[]> {
    const labelSelector = `holdfast.dev/cluster=${cluster},app.kubernetes.io/component=fileserver`;
    const query = new URLSearchParams({ labelSelector, limit: String(PAGE) });
    const answer = await this.#get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?${query}`);
    if (answer.status !== 200) throw refused(answer, `a list of the pods of "${cluster}"`, this.#server.host);
    return (JSON.parse(answer.text) as { items: V1Pod[] }).items;
  }

  /** Asks for a move. @returns the object with the name that it got */
  async createMigration(namespace: string, spec: HandleMigration['spec']): Promise<HandleMigration> {
    const path = migrationsPath(namespace);
    const metadata = { generateName: 'check-', namespace };
    const body = { apiVersion: `${GROUP}/${VERSION}`, kind: 'HandleMigration', metadata, spec };
    const answer = await this.#send('POST', path, JSON.stringify(body));
    if (answer.status !== 201) throw refused(answer, 'a HandleMigration', this.#server.host);
    return JSON.parse(answer.text) as HandleMigration;
  }

  async migration(namespace: string, name: string): Promise<HandleMigration> {
    const answer = await this.#get(`${migrationsPath(namespace)}/${encodeURIComponent(name)}`);
    if (answer.status !== 200) throw refused(answer, `the HandleMigration "${name}"`, this.#server.host);
    return JSON.parse(answer.text) as HandleMigration;
  }

  #get(path: string): Promise<Answer> {
    return this.#send('GET', path);
  }

  async #send(method: 'GET' | 'POST', path: string, body?: string): Promise<Answer> {
    const url = new URL(this.#server.pathname.replace(/\/$/, '') + path, this.#server);
    const headers = { accept: 'application/json', 'user-agent': 'holdfast' };
    const options: RequestOptions = {
      method,
      headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
    };
    try {
      if (url.protocol === 'https:') await this.#config.applyToHTTPSOptions(options);
      return await new Promise<Answer>((resolve, reject) => {
        const start = url.protocol === 'https:' ? requestHttps : requestHttp;
        const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
        const request = start(url, { ...options, signal }, (response) => readAnswer(response).then(resolve, reject));
        request.once('error', reject);
        request.end(body);
      });
    } catch (error) {
      throw new ClusterAccessError(`the API server ${this.#server.host} does not answer: ${reasonOf(error)}`, {
        cause: error,
      });
    }
  }
}

const migrationsPath = (namespace: string) =>
  `/apis/${GROUP}/${VERSION}/namespaces/${encodeURIComponent(namespace)}/handlemigrations`;

function refused({ status, text }: Answer, what: string, host: string): ClusterAccessError {
  return new ClusterAccessError(`the API server ${host} answered ${status} when asked for ${what}: ${messageOf(text)}`);
}

/** The message of a Status, or the beginning of whatever it is. */
function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === 'string') return message.slice(0, 500);
  } catch {
    // not JSON: shown as it is
  }
  return text.slice(0, 300);
}

function isAnythingNamed(): boolean {
  return Boolean(process.env.KUBECONFIG) || existsSync(join(homedir(), '.kube/config')) || existsSync(IN_CLUSTER_TOKEN);
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') };
}

function refusal({ status, text }: Answer, plural: string, namespace: string | undefined, host: string): Error {
  const where = namespace === undefined ? 'in all namespaces' : `in the namespace "${namespace}"`;
  if (status === 401) {
    return new ClusterAccessError(`the API server ${host} does not know you: log on again, or use another --context`);
  }
  if (status === 403) {
    const flag = namespace === undefined ? '-A' : `-n ${namespace}`;
    const other = namespace === undefined ? '; with -n NAMESPACE a Role is enough' : '';
    return new ClusterAccessError(
      `you may not list ${plural} ${where}: ask for the verb "list" on ${plural}.${GROUP} (kubectl auth can-i list ${plural}.${GROUP} ${flag})${other}`,
    );
  }
  if (status === 404) {
    return new ClusterAccessError(
      `the API server ${host} knows no ${plural}.${GROUP}: Holdfast is not installed there (helm install holdfast ...), or this is another cluster than you meant`,
    );
  }
  return refused({ status, text }, `a list of ${plural}`, host);
}
