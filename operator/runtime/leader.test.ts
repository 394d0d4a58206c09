import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { delay } from '../../common/time.ts';
import { ApiError } from './api.ts';
import { LeaderElection } from './leader.ts';
import type { KubernetesObject, Objects } from './objects.ts';

const DURATIONS = { leaseDurationMs: 1000, renewDeadlineMs: 300, retryMs: 30 };

/** One Lease object, as the API server keeps it. */
class OneLease {
  object: (KubernetesObject & { spec?: { holderIdentity?: string } }) | undefined;
  reachable = true;
  /** How often it was read, and written. */
  reads = 0;
  writes = 0;
  /** Writes are done at once, and answered so late. */
  answerDelayMs = 0;
  #version = 0;

  get objects(): Objects {
    const answer = <T>(act: () => T) => {
      if (!this.reachable) throw new ApiError(503, 'ServiceUnavailable', 'the API server is away');
      return act();
    };
    const write = async <T>(act: () => T) => {
      const done = answer(act);
      if (this.answerDelayMs > 0) await delay(this.answerDelayMs);
      return done;
    };
    return {
      get: async () =>
        answer(() => {
          this.reads += 1;
          if (!this.object) throw new ApiError(404, 'NotFound', 'no such lease');
          return structuredClone(this.object);
        }),
      create: async (_: unknown, object: KubernetesObject) =>
        write(() => {
          if (this.object) throw new ApiError(409, 'AlreadyExists', 'there is one');
          return this.#keep(object);
        }),
      replace: async (_: unknown, object: KubernetesObject) =>
        write(() => {
          if (object.metadata?.resourceVersion !== this.object?.metadata?.resourceVersion)
            throw new ApiError(409, 'Conflict', 'it was changed meanwhile');
          return this.#keep(object);
        }),
    } as unknown as Objects;
  }

  get holder(): string | undefined {
    return this.object?.spec?.holderIdentity;
  }

  #keep(object: KubernetesObject): KubernetesObject {
    this.writes += 1;
    this.object = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    return structuredClone(this.object);
  }

  /** Somebody writes it who does not ask whose it is. */
  take(holderIdentity: string): void {
    this.#keep({ ...this.object, spec: { ...this.object?.spec, holderIdentity } } as KubernetesObject);
  }
}

let lease: OneLease;
let over: AbortController;
beforeEach(() => {
  lease = new OneLease();
  over = new AbortController();
});
afterEach(() => over.abort());

const election = (identity: string, durations = DURATIONS) =>
  new LeaderElection(
    lease.objects,
    { namespace: 'system', name: 'operator', identity, ...durations },
    pino({ level: 'silent' }),
  );

test('while one renews, another does not lead, whatever the times in the lease say', async () => {
  const [one, two] = [election('one'), election('two')];
  await one.acquire(over.signal);
  const holding = one.hold(over.signal);
  let second = false;
  two.acquire(over.signal).then(
    () => {
      second = true;
    },
    () => {},
  );
  // Longer than a lease: the clock of the one is far behind.
  for (let i = 0; i < 12; i++) {
    await delay(DURATIONS.leaseDurationMs / 10);
    if (lease.object?.spec) Object.assign(lease.object.spec, { renewTime: '2001-01-01T00:00:00.000000Z' });
    expect([second, lease.holder]).toEqual([false, 'one']);
  }
  over.abort();
  await holding;
});

test('one that leads renews by one request each time, and does not write over what somebody else has written', async () => {
  const one = election('one', { leaseDurationMs: 60_000, renewDeadlineMs: 50_000, retryMs: 30 });
  await one.acquire(over.signal);
  const holding = one.hold(over.signal);
  holding.catch(() => undefined);
  const { writes } = lease;
  const deadlineMs = performance.now() + 60_000;
  while (lease.writes < writes + 6 && performance.now() < deadlineMs) await delay(1);
  // The first after it was made knows no version yet.
  expect(lease.reads).toBeLessThanOrEqual(2);
  lease.take('two');
  await expect(holding).rejects.toThrow('could not be renewed in time');
  expect(lease.holder).toBe('two');
});

test('one that stops lets go, and the other leads at once', async () => {
  const [one, two] = [election('one'), election('two')];
  await one.acquire(over.signal);
  const stop = new AbortController();
  const holding = one.hold(stop.signal);
  const next = two.acquire(over.signal);
  const beganMs = performance.now();
  stop.abort();
  await holding;
  await next;
  expect(lease.holder).toBe('two');
  expect(performance.now() - beganMs).toBeLessThan(DURATIONS.leaseDurationMs);
});

test('one that is silent is followed when its lease has run out, and not before', async () => {
  await election('one').acquire(over.signal);
  const beganMs = performance.now();
  await election('two').acquire(over.signal);
  expect(lease.holder).toBe('two');
  expect(performance.now() - beganMs).toBeGreaterThanOrEqual(DURATIONS.leaseDurationMs - 1);
});

test('one that cannot renew gives up before anybody may follow', async () => {
  const one = election('one');
  await one.acquire(over.signal);
  const beganMs = performance.now();
  lease.reachable = false;
  await expect(one.hold(over.signal)).rejects.toThrow('could not be renewed in time');
  const tookMs = performance.now() - beganMs;
  expect(tookMs).toBeGreaterThanOrEqual(DURATIONS.renewDeadlineMs - 1);
  expect(tookMs).toBeLessThan(DURATIONS.leaseDurationMs);
});

test('one that is answered late counts its lease from when it asked', async () => {
  const one = election('one');
  await one.acquire(over.signal);
  const version = lease.object?.metadata?.resourceVersion;
  lease.answerDelayMs = DURATIONS.renewDeadlineMs - 50;
  const holding = one.hold(over.signal);
  holding.catch(() => undefined);
  while (lease.object?.metadata?.resourceVersion === version) await delay(1);
  const renewedMs = performance.now();
  lease.reachable = false;
  await expect(holding).rejects.toThrow('could not be renewed in time');
  // then: it gives up in time, seen from the renewal that others saw, not from the answer
  expect(performance.now() - renewedMs).toBeLessThan(DURATIONS.renewDeadlineMs + 150);
  expect(one.leads).toBe(false);
});

test('one whose lease is answered only when it may have run out does not lead', async () => {
  const one = election('one');
  lease.answerDelayMs = DURATIONS.renewDeadlineMs + 50;
  const stop = new AbortController();
  const acquiring = one.acquire(stop.signal);
  while (lease.holder !== 'one') await delay(1);
  await delay(lease.answerDelayMs + 20);
  stop.abort(new Error('over'));
  await expect(acquiring).rejects.toThrow('over');
});

test('one that was stopped for longer than its lease does not act when it wakes up, before it has the lease again', async () => {
  const one = election('one');
  await one.acquire(over.signal);
  expect(one.leads).toBe(true);
  const untilMs = performance.now() + DURATIONS.renewDeadlineMs + 20;
  while (performance.now() < untilMs); // nothing else runs
  expect(one.leads).toBe(false);
});

test('of two that begin together one leads', async () => {
  const acquired: string[] = [];
  for (const identity of ['one', 'two'])
    election(identity)
      .acquire(over.signal)
      .then(
        () => acquired.push(identity),
        () => {},
      );
  await delay(DURATIONS.leaseDurationMs / 4);
  expect(acquired).toEqual([lease.holder]);
});
