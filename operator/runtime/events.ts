import { randomBytes } from 'node:crypto';
import type { CoreV1Event } from '@kubernetes/client-node';
import type { Logger } from '../../common/logging.ts';
import { monotonicMs } from '../../common/time.ts';
import { isConflict, isNamespaceEnding, isNotFound } from './api.ts';
import type { KubernetesObject, Objects, Resource } from './objects.ts';

export const EVENTS: Resource = { apiVersion: 'v1', kind: 'Event', plural: 'events', namespaced: true };
/** The same event of the same object is counted instead of repeated for so long. */
const AGGREGATION_MS = 10 * 60_000;
const REMEMBERED = 2000;

interface Sent {
  name: string;
  count: number;
  firstTimestamp: string;
  atMs: number;
  /** Ends when it was written, and says whether it is there: it is counted only then. */
  written: Promise<boolean>;
}

/** Writes Events, which people see in `kubectl describe`. Losing one is logged and nothing more. */
export class EventRecorder {
  readonly #objects: Objects;
  readonly #log: Logger;
  readonly #sent = new Map<string, Sent>();

  constructor(objects: Objects, log: Logger) {
    this.#objects = objects;
    this.#log = log;
  }

  normal(about: KubernetesObject, reason: string, message: string): void {
    void this.#record(about, 'Normal', reason, message);
  }

  warning(about: KubernetesObject, reason: string, message: string): void {
    void this.#record(about, 'Warning', reason, message);
  }

  async #record(about: KubernetesObject, type: string, reason: string, message: string): Promise<void> {
    const { namespace = 'default', name = '', uid } = about.metadata ?? {};
    const key = [about.kind, namespace, name, uid, type, reason, message].join('\n');
    const now = new Date().toISOString();
    const before = this.#sent.get(key);
    const repeated = before !== undefined && monotonicMs() - before.atMs < AGGREGATION_MS;
    const sent = repeated
      ? { ...before, count: before.count + 1 }
      : { name: `${name}.${randomBytes(8).toString('hex')}`, count: 1, firstTimestamp: now, atMs: monotonicMs() };
    const event = {
      metadata: { name: sent.name, namespace },
      involvedObject: { apiVersion: about.apiVersion, kind: about.kind, namespace, name, uid },
      type,
      reason,
      message: message.slice(0, 1024),
      source: { component: 'holdfast-operator' },
      reportingComponent: 'holdfast-operator',
      reportingInstance: process.env.POD_NAME ?? 'holdfast-operator',
      firstTimestamp: sent.firstTimestamp,
      lastTimestamp: now,
      count: sent.count,
    } as unknown as CoreV1Event; // the client library's types have timestamps as Date; on the wire they are text
    const writing = repeated
      ? before.written.then((isThere) => (isThere ? this.#count(event) : this.#create(event)))
      : this.#create(event);
    const written = writing.then(
      () => true,
      () => false,
    );
    this.#remember(key, { ...sent, written });
    try {
      await writing;
    } catch (error) {
      if (isNamespaceEnding(error)) return; // nobody will read it
      this.#log.warn({ err: error, reason, object: `${namespace}/${name}` }, 'cannot write an Event');
    }
  }

  /** One whose creation was carried out although no answer came is counted. */
  async #create(event: CoreV1Event): Promise<void> {
    try {
      await this.#objects.create(EVENTS, event);
    } catch (error) {
      if (!isConflict(error)) throw error;
      await this.#objects.patch(EVENTS, event.metadata.namespace ?? '', event.metadata.name ?? '', counted(event));
    }
  }

  /** One that somebody has deleted is made again. */
  async #count(event: CoreV1Event): Promise<void> {
    try {
      await this.#objects.patch(EVENTS, event.metadata.namespace ?? '', event.metadata.name ?? '', counted(event));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      await this.#objects.create(EVENTS, event);
    }
  }

  #remember(key: string, sent: Sent): void {
    this.#sent.delete(key);
    this.#sent.set(key, sent);
    if (this.#sent.size > REMEMBERED) {
      const oldest = this.#sent.keys().next().value;
      if (oldest !== undefined) this.#sent.delete(oldest);
    }
  }
}

const counted = ({ count, lastTimestamp }: CoreV1Event) => ({ count, lastTimestamp });
