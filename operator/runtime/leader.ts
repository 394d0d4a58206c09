import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { isConflict, isNotFound } from './api.ts';
import type { KubernetesObject, Objects, Resource } from './objects.ts';

const LEASES: Resource = {
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
};

/** A Lease as the API sends it (timestamps as text). */
interface Lease extends KubernetesObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export interface LeaderOptions {
  namespace: string;
  name: string;
  /** Unique for each process, such as the pod's name and a random suffix. */
  identity: string;
  /** Others may take over when the lease was not renewed for so long. */
  leaseDurationMs?: number;
  /** The leader gives up when it could not renew for so long; shorter than leaseDurationMs. */
  renewDeadlineMs?: number;
  retryMs?: number;
}

/**
 * Leader election through a Lease object, as Kubernetes' own components do it. Whether a lease has run out is judged by this
 * process' monotonic clock since it last saw the lease change, never by the timestamps in it.
 */
export class LeaderElection {
  readonly #objects: Objects;
  readonly #options: Required<LeaderOptions>;
  readonly #log: Logger;
  #observed: { version: string; atMs: number } | undefined;
  /** As this process wrote it last; undefined where it may be another by now. */
  #own: Lease | undefined;
  /** When the newest write was sent by which this process has the lease: nobody can have seen it earlier, so others wait from then. */
  #renewedMs = Number.NEGATIVE_INFINITY;

  constructor(objects: Objects, options: LeaderOptions, log: Logger) {
    this.#objects = objects;
    this.#options = { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2000, ...options };
    this.#log = log.child({ lease: `${options.namespace}/${options.name}`, identity: options.identity });
  }

  /**
   * Whether this process may act now. To be asked before every write: timers of a process that was stopped for a while go off only
   * after what was due before them.
   */
  get leads(): boolean {
    return monotonicMs() - this.#renewedMs < this.#options.renewDeadlineMs;
  }

  /** Waits until this process leads. Rejects with the signal's reason. */
  async acquire(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      // An answer that was long under way may be of a lease that others have taken since.
      if ((await this.#tryOnce()) && this.leads) {
        this.#log.info('this process leads now');
        return;
      }
      await delay(this.#options.retryMs * (0.75 + Math.random() / 2), signal);
    }
  }

  /** Renews until the signal is aborted (then lets go of the lease), or rejects as soon as this process may lead no more. */
  async hold(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#withinLease(delay(this.#options.retryMs, signal).catch(() => undefined));
      if (!signal.aborted) await this.#withinLease(this.#tryOnce());
      if (!this.leads) throw new Error('the leader lease could not be renewed in time');
    }
    await this.#release();
  }

  /** Waits for it, but not longer than this process may lead. */
  async #withinLease(work: Promise<unknown>): Promise<void> {
    const over = new AbortController();
    const leftMs = Math.max(0, this.#renewedMs + this.#options.renewDeadlineMs - monotonicMs());
    await Promise.race([work, delay(leftMs, over.signal).catch(() => undefined)]);
    over.abort();
  }

  /** @returns whether this process holds the lease after this try */
  async #tryOnce(): Promise<boolean> {
    const { namespace, name, identity, leaseDurationMs } = this.#options;
    const now = new Date().toISOString().replace('Z', '000Z'); // MicroTime
    const mine = { holderIdentity: identity, leaseDurationSeconds: Math.ceil(leaseDurationMs / 1000), renewTime: now };
    const own = this.#own;
    this.#own = undefined;
    try {
      // Nobody else has it: one request instead of two. The version that it names makes sure of that.
      if (own && this.leads && (await this.#replace({ ...own, spec: { ...own.spec, ...mine } }))) return true;
      const lease = await this.#objects.get<Lease>(LEASES, namespace, name);
      const version = lease.metadata?.resourceVersion ?? '';
      if (this.#observed?.version !== version) this.#observed = { version, atMs: monotonicMs() };
      const holder = lease.spec?.holderIdentity ?? '';
      const held = holder !== '' && holder !== identity;
      const durationMs = (lease.spec?.leaseDurationSeconds ?? leaseDurationMs / 1000) * 1000;
      if (held) this.#renewedMs = Number.NEGATIVE_INFINITY;
      if (held && monotonicMs() - this.#observed.atMs < durationMs) return false;
      const changed = holder !== identity;
      return await this.#replace({
        ...lease,
        spec: {
          ...lease.spec,
          ...mine,
          ...(changed ? { acquireTime: now, leaseTransitions: (lease.spec?.leaseTransitions ?? 0) + 1 } : {}),
        },
      });
    } catch (error) {
      if (isNotFound(error)) return this.#create({ ...mine, acquireTime: now, leaseTransitions: 0 });
      this.#log.warn({ err: error }, 'cannot reach the leader lease');
      return false;
    }
  }

  /** @returns false where it is another by now than the one that this was made from */
  async #replace(lease: Lease): Promise<boolean> {
    const sentMs = monotonicMs();
    try {
      this.#own = await this.#objects.replace<Lease>(LEASES, lease);
    } catch (error) {
      if (isConflict(error)) return false;
      throw error;
    }
    this.#renewedMs = sentMs;
    return true;
  }

  async #create(spec: Lease['spec']): Promise<boolean> {
    const { namespace, name } = this.#options;
    const sentMs = monotonicMs();
    try {
      await this.#objects.create<Lease>(LEASES, { metadata: { namespace, name }, spec });
      this.#renewedMs = sentMs;
      return true;
    } catch (error) {
      if (!isConflict(error)) this.#log.warn({ err: error }, 'cannot create the leader lease');
      return false;
    }
  }

  async #release(): Promise<void> {
    const { namespace, name, identity } = this.#options;
    this.#renewedMs = Number.NEGATIVE_INFINITY;
    try {
      const lease = await this.#objects.get<Lease>(LEASES, namespace, name);
      if (lease.spec?.holderIdentity !== identity) return;
      await this.#objects.replace<Lease>(LEASES, { ...lease, spec: { ...lease.spec, holderIdentity: '' } });
    } catch (error) {
      this.#log.warn({ err: error }, 'cannot let go of the leader lease; another process waits until it runs out');
    }
  }
}
