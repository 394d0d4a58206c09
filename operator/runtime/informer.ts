import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { ApiError, type KubernetesApi, type Query } from './api.ts';
import { type KubernetesObject, keyOf, pathOf, type Resource } from './objects.ts';

export type ChangeHandler<T> = (object: T, change: 'added' | 'changed' | 'deleted') => void;

export interface InformerOptions<T = KubernetesObject> {
  /** One namespace; all of them when left out. */
  namespace?: string;
  labelSelector?: string;
  /** How long a watch is asked to last at least, in seconds: so soon one that has fallen silent is noticed. Default 60. */
  watchSeconds?: number;
  /** What is kept of an object, its metadata at least; of ten thousand pods the whole is a lot. Default: all of it. */
  keep?: (object: T) => T;
}

interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  object: T & { code?: number; message?: string; reason?: string };
}

interface List<T> {
  metadata?: { resourceVersion?: string; continue?: string };
  items: T[];
}

const PAGE_SIZE = 500;
const MIN_BACKOFF_MS = 200;
/** Without watches the operator is blind: an API server that is back is noticed soon. */
const MAX_BACKOFF_MS = 5000;
/** Answers of an API server that has too much to do, or whose parts are away: they say nothing about our position. */
const BUSY = [429, 500, 502, 503];
const WATCH_SECONDS = 60;
/** Watches of many kinds that began together do not end together: up to so much longer than asked for. */
const WATCH_SPREAD = 1 / 3;
/** One that lasted for so much of what was asked for was ended because its time was over. */
const WATCH_COMPLETE = 0.9;
/** A watch that says nothing for so much longer than it was to last is dead. */
const WATCH_OVERDUE = 1.2;

/**
 * A copy of all objects of one kind, kept up to date: a list in pages, then a watch from there; after 410 Gone a list again, whose
 * differences become changes. What this process wrote is in it at once (`learn`), however late the watch is. An object that is
 * handed out must not be modified.
 */
export class Informer<T extends KubernetesObject> {
  readonly resource: Resource;
  readonly #api: KubernetesApi;
  readonly #options: InformerOptions<T>;
  readonly #log: Logger;
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, { keysOf: (object: T) => string[]; entries: Map<string, Map<string, T>> }>();
  readonly #handlers: ChangeHandler<T>[] = [];
  #resourceVersion = '';
  #synced = false;
  #failure: string | undefined;
  /** Ends what is under way in order to list anew. */
  #anew = new AbortController();
  #lists = 0;
  /** How far lists and watches have come. */
  #position = 0n;

  constructor(api: KubernetesApi, resource: Resource, options: InformerOptions<T>, log: Logger) {
    this.#api = api;
    this.resource = resource;
    this.#options = options;
    this.#log = log.child({ watch: resource.plural, namespace: options.namespace });
  }

  /** Called for each change, synchronously, after the copy has it. */
  onChange(handler: ChangeHandler<T>): void {
    this.#handlers.push(handler);
  }

  /** Keeps an index; add it before run(). @param keysOf the index keys of an object */
  addIndex(name: string, keysOf: (object: T) => string[]): void {
    this.#indexes.set(name, { keysOf, entries: new Map() });
  }

  get(namespace: string, name: string): T | undefined {
    return this.#objects.get(`${namespace}/${name}`);
  }

  get size(): number {
    return this.#objects.size;
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  byIndex(name: string, key: string): T[] {
    return [...(this.#indexes.get(name)?.entries.get(key)?.values() ?? [])];
  }

  /** Whether the first list is complete. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Why the last list or watch failed; undefined while all is well. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * Takes over what a change of an object answered, where the watch has not shown it yet. It only makes an object newer that is known:
   * whether one came or went is told by the watch alone, which may be ahead.
   */
  learn(object: T): void {
    const before = this.#objects.get(keyOf(object));
    if (before && before.metadata?.uid === object.metadata?.uid && versionOf(object) > versionOf(before)) {
      this.#store(object);
    }
  }

  /** Lists anew, whatever the watch says, and resolves when the copy is as the API server was after this call, or when aborted. */
  async refresh(signal: AbortSignal): Promise<void> {
    this.#anew.abort(new Error('listing anew'));
    const lists = this.#lists;
    while (this.#lists === lists && !signal.aborted) await delay(10, signal).catch(() => undefined);
  }

  /** Follows the objects until the signal is aborted; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    let backoffMs = MIN_BACKOFF_MS;
    while (!signal.aborted) {
      if (this.#anew.signal.aborted) {
        this.#resourceVersion = '';
        this.#anew = new AbortController();
      }
      const either = AbortSignal.any([signal, this.#anew.signal]);
      try {
        if (this.#resourceVersion === '') await this.#relist(either);
        this.#failure = undefined;
        await this.#watch(either, () => {
          backoffMs = MIN_BACKOFF_MS;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (this.#anew.signal.aborted) continue;
        const gone = error instanceof ApiError && (error.status === 410 || error.reason === 'Expired');
        // Errors other than a lost connection or a busy server may come from the position itself: begin anew.
        if (error instanceof ApiError && !BUSY.includes(error.status)) this.#resourceVersion = '';
        this.#failure = error instanceof Error ? error.message : String(error);
        this.#log[gone ? 'info' : 'warn']({ err: error, backoffMs }, 'watch interrupted');
        if (error instanceof ApiError) backoffMs = Math.max(backoffMs, error.retryAfterMs ?? 0);
      }
      const waitMs = backoffMs * (1 + Math.random());
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
      await delay(waitMs, either).catch(() => undefined);
    }
  }

  #query(extra: Query): Query {
    return { labelSelector: this.#options.labelSelector, ...extra };
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const path = pathOf(this.resource, this.#options.namespace);
    const seen = new Set<string>();
    let next: string | undefined;
    let version = '';
    do {
      const page: List<T> = await this.#api.request('GET', path, {
        query: this.#query({ limit: PAGE_SIZE, continue: next }),
        signal,
      });
      signal.throwIfAborted();
      next = page.metadata?.continue || undefined;
      version = page.metadata?.resourceVersion ?? '';
      // A write of ours may have been answered since this list was made; unless all of history is another one (etcd was restored).
      const since = numberOf(version) >= this.#position ? numberOf(version) : undefined;
      for (const object of page.items) {
        seen.add(keyOf(object));
        if (since === undefined || !this.#isOld(object, since)) this.#store(object);
      }
    } while (next !== undefined);
    for (const [key, object] of [...this.#objects]) if (!seen.has(key)) this.#remove(object);
    this.#resourceVersion = version;
    this.#position = numberOf(version);
    this.#synced = true;
    this.#lists += 1;
  }

  async #watch(signal: AbortSignal, alive: () => void): Promise<void> {
    const path = pathOf(this.resource, this.#options.namespace);
    const { watchSeconds = WATCH_SECONDS } = this.#options;
    // Short, because a quiet watch cannot be told from a dead one; going on from the last version costs little.
    const timeoutSeconds = Math.floor(watchSeconds * (1 + Math.random() * WATCH_SPREAD));
    const query = this.#query({
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: this.#resourceVersion,
      timeoutSeconds,
    });
    const silenceMs = timeoutSeconds * 1000 * WATCH_OVERDUE;
    const beganMs = monotonicMs();
    for await (const line of this.#api.stream(path, query, signal, silenceMs)) {
      const event = line as WatchEvent<T>;
      if (event.type === 'ERROR') {
        throw new ApiError(event.object.code ?? 500, event.object.reason ?? '', event.object.message ?? 'watch error');
      }
      alive();
      if (event.type === 'DELETED') this.#remove(event.object);
      else if (event.type !== 'BOOKMARK' && !this.#isOld(event.object)) this.#store(event.object);
      this.#resourceVersion = event.object.metadata?.resourceVersion ?? this.#resourceVersion;
      this.#position = numberOf(this.#resourceVersion);
    }
    // Nothing happened all the while: the next one follows at once all the same.
    if (monotonicMs() - beganMs > timeoutSeconds * 1000 * WATCH_COMPLETE) alive();
  }

  /**
   * Whether it is an earlier state of an object than what is known, which a write of ours has answered.
   * @param since only what is known from after this version counts
   */
  #isOld(object: T, since = 0n): boolean {
    const before = this.#objects.get(keyOf(object));
    if (!before || before.metadata?.uid !== object.metadata?.uid) return false;
    return versionOf(object) < versionOf(before) && versionOf(before) > since;
  }

  #store(whole: T): void {
    const key = keyOf(whole);
    let before = this.#objects.get(key);
    if (before && before.metadata?.resourceVersion === whole.metadata?.resourceVersion) return;
    if (whole.metadata) delete whole.metadata.managedFields; // the larger half of many objects, and of no use here
    const object = this.#options.keep?.(whole) ?? whole;
    // One name, another object: the first was deleted while nobody watched.
    if (before && before.metadata?.uid !== object.metadata?.uid) {
      this.#remove(before);
      before = undefined;
    } else if (before) this.#unindex(key, before);
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) {
      for (const at of index.keysOf(object)) {
        const entry = index.entries.get(at);
        if (entry) entry.set(key, object);
        else index.entries.set(at, new Map([[key, object]]));
      }
    }
    this.#notify(object, before ? 'changed' : 'added');
  }

  /** @param object its last state */
  #remove(object: T): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    if (!before) return;
    this.#unindex(key, before);
    this.#objects.delete(key);
    this.#notify(object, 'deleted');
  }

  #unindex(key: string, object: T): void {
    for (const index of this.#indexes.values()) {
      for (const at of index.keysOf(object)) {
        const entry = index.entries.get(at);
        entry?.delete(key);
        if (entry?.size === 0) index.entries.delete(at);
      }
    }
  }

  #notify(object: T, change: 'added' | 'changed' | 'deleted'): void {
    for (const handler of this.#handlers) {
      try {
        handler(object, change);
      } catch (error) {
        this.#log.error({ err: error, object: keyOf(object) }, 'a change handler failed');
      }
    }
  }
}

/** Versions grow, and may be compared (Kubernetes 1.35 promises what etcd always did). */
function numberOf(version: string): bigint {
  return /^\d+$/.test(version) ? BigInt(version) : 0n;
}

function versionOf(object: KubernetesObject): bigint {
  return numberOf(object.metadata?.resourceVersion ?? '');
}
