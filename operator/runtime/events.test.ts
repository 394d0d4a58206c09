import { beforeEach, expect, test } from '@jest/globals';
import type { CoreV1Event } from '@kubernetes/client-node';
import { pino } from 'pino';
import { ApiError } from './api.ts';
import { EventRecorder } from './events.ts';
import type { Objects, Resource } from './objects.ts';

/** The Events of a namespace, as the API server keeps them. */
class Kept {
  readonly events = new Map<string, CoreV1Event>();
  /** What happens to the next write: it is refused, or carried out and not answered. */
  next: 'refused' | 'unanswered' | undefined;
  readonly #objects = {
    create: (_: Resource, event: CoreV1Event) =>
      this.#write(() => {
        const { name = '' } = event.metadata;
        if (this.events.has(name)) throw new ApiError(409, 'AlreadyExists', 'there is one');
        this.events.set(name, event);
      }),
    patch: (_: Resource, __: string, name: string, change: Partial<CoreV1Event>) =>
      this.#write(() => {
        const event = this.events.get(name);
        if (!event) throw new ApiError(404, 'NotFound', 'no such Event');
        Object.assign(event, change);
      }),
  };

  get objects(): Objects {
    return this.#objects as unknown as Objects;
  }

  get counts(): (number | undefined)[] {
    return [...this.events.values()].map(({ count }) => count);
  }

  async #write(act: () => void): Promise<void> {
    const { next } = this;
    this.next = undefined;
    if (next === 'refused') throw new ApiError(500, 'InternalError', 'etcd is away');
    act();
    if (next === 'unanswered') throw new ApiError(504, 'Timeout', 'no answer');
  }
}

let kept: Kept;
let recorder: EventRecorder;
beforeEach(() => {
  kept = new Kept();
  recorder = new EventRecorder(kept.objects, pino({ level: 'silent' }));
});

const cluster = { kind: 'FileServerCluster', metadata: { namespace: 'files', name: 'media', uid: 'u' } };
async function tell(message = 'the claim is missing'): Promise<void> {
  recorder.warning(cluster, 'ClaimMissing', message);
  await new Promise(setImmediate);
}

test('what is told again is counted', async () => {
  await tell();
  await tell();
  await tell('another claim is missing');
  expect(kept.counts).toEqual([2, 1]);
});

test('what could not be written is written when it is told again', async () => {
  kept.next = 'refused';
  await tell();
  expect(kept.counts).toEqual([]);
  await tell();
  expect(kept.counts).toEqual([2]);
});

test('what was written without an answer is not there twice', async () => {
  kept.next = 'unanswered';
  await tell();
  await tell();
  expect(kept.counts).toEqual([2]);
});

test('what somebody deleted is written when it is told again', async () => {
  await tell();
  kept.events.clear();
  await tell();
  expect(kept.counts).toEqual([2]);
});
