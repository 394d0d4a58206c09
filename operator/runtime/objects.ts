import type { V1ObjectMeta } from '@kubernetes/client-node';
import type { KubernetesApi, Method, Query, RequestInput } from './api.ts';

/** Any object of the Kubernetes API. */
export interface KubernetesObject {
  apiVersion?: string;
  kind?: string;
  metadata?: V1ObjectMeta;
}

/** A kind of object, with what is needed to address it. */
export interface Resource {
  apiVersion: string;
  kind: string;
  plural: string;
  namespaced: boolean;
}

/** The name that every write of this operator is recorded under (server-side apply). */
export const FIELD_MANAGER = 'holdfast-operator';

export function pathOf(resource: Resource, namespace?: string, name?: string, subresource?: string): string {
  const parts = [resource.apiVersion.includes('/') ? `/apis/${resource.apiVersion}` : `/api/${resource.apiVersion}`];
  if (resource.namespaced && namespace !== undefined) parts.push('namespaces', encodeURIComponent(namespace));
  parts.push(resource.plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join('/');
}

/** "namespace/name", the key of an object in queues and caches. */
export function keyOf(object: KubernetesObject): string {
  return `${object.metadata?.namespace ?? ''}/${object.metadata?.name ?? ''}`;
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** Kubernetes' timestamps are text in what the API sends, whatever the client library's types say. @returns ms since 1970 */
export function timeMs(value: Date | string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = new Date(value).getTime();
  return Number.isNaN(ms) ? undefined : ms;
}

export interface ObjectsOptions {
  /** Asked before each write: what may act no more throws. */
  mayWrite?: () => void;
  /** Told what a change of an object answered: the object as it is now. */
  onWritten?: (resource: Resource, object: KubernetesObject) => void;
  /** How long an answer may take; the API's default when left out. */
  timeoutMs?: number;
}

/** Reads and writes objects of any kind. */
export class Objects {
  readonly #api: KubernetesApi;
  readonly #options: ObjectsOptions;

  constructor(api: KubernetesApi, options: ObjectsOptions = {}) {
    this.#api = api;
    this.#options = options;
  }

  get<T extends KubernetesObject>(resource: Resource, namespace: string, name: string): Promise<T> {
    const { timeoutMs } = this.#options;
    return this.#api.request<T>('GET', pathOf(resource, namespace, name), { timeoutMs });
  }

  async list<T extends KubernetesObject>(resource: Resource, namespace: string, query: Query = {}): Promise<T[]> {
    const answer = await this.#api.request<{ items: T[] }>('GET', pathOf(resource, namespace), { query });
    return answer.items;
  }

  create<T extends KubernetesObject>(resource: Resource, object: T): Promise<T> {
    return this.#write<T>('POST', pathOf(resource, object.metadata?.namespace), {
      query: { fieldManager: FIELD_MANAGER },
      body: { apiVersion: resource.apiVersion, kind: resource.kind, ...object },
    });
  }

  /**
   * Server-side apply: the fields of `object` become ours, fields that we gave up disappear, those of others stay.
   * @param subresource "status" to apply the status
   */
  apply<T extends KubernetesObject>(resource: Resource, object: T, subresource?: string): Promise<T> {
    const { namespace, name } = object.metadata ?? {};
    return this.#change<T>(resource, 'PATCH', pathOf(resource, namespace, name, subresource), {
      query: { fieldManager: FIELD_MANAGER, force: true },
      contentType: 'application/apply-patch+yaml',
      body: { apiVersion: resource.apiVersion, kind: resource.kind, ...object },
    });
  }

  /** A JSON merge patch. With `metadata.resourceVersion` in it, it fails (409) if the object changed since. */
  patch<T extends KubernetesObject>(
    resource: Resource,
    namespace: string,
    name: string,
    patch: unknown,
    subresource?: string,
  ): Promise<T> {
    return this.#change<T>(resource, 'PATCH', pathOf(resource, namespace, name, subresource), {
      query: { fieldManager: FIELD_MANAGER },
      contentType: 'application/merge-patch+json',
      body: patch,
    });
  }

  /** Replaces it; fails (409) if it changed since it was read. */
  replace<T extends KubernetesObject>(resource: Resource, object: T): Promise<T> {
    const { namespace, name } = object.metadata ?? {};
    return this.#change<T>(resource, 'PUT', pathOf(resource, namespace, name), {
      query: { fieldManager: FIELD_MANAGER },
      body: object,
    });
  }

  /** Deletes it; with a UID only if it still is that very object. */
  async delete(resource: Resource, namespace: string, name: string, uid?: string): Promise<void> {
    await this.#write('DELETE', pathOf(resource, namespace, name), {
      body: {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        propagationPolicy: 'Background',
        ...(uid === undefined ? {} : { preconditions: { uid } }),
      },
    });
  }

  /** A write whose answer is the object as it is now. */
  async #change<T extends KubernetesObject>(
    resource: Resource,
    method: Method,
    path: string,
    input: RequestInput,
  ): Promise<T> {
    const object = await this.#write<T>(method, path, input);
    this.#options.onWritten?.(resource, object);
    return object;
  }

  async #write<T>(method: Method, path: string, input: RequestInput): Promise<T> {
    this.#options.mayWrite?.();
    return this.#api.request<T>(method, path, { timeoutMs: this.#options.timeoutMs, ...input });
  }
}
