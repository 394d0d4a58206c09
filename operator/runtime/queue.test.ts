import { describe, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { WorkQueue } from './queue.ts';

/** What can be taken without waiting. */
async function takeNow(queue: WorkQueue): Promise<string | undefined> {
  const key = queue.depth > 0 ? await queue.take() : undefined;
  return key;
}

describe('WorkQueue', () => {
  test('holds a key once', async () => {
    const queue = new WorkQueue();
    queue.add('a');
    queue.add('a');
    expect(await takeNow(queue)).toBe('a');
    expect(queue.depth).toBe(0);
  });

  test('gives a key to one worker at a time, and again when it was added meanwhile', async () => {
    const queue = new WorkQueue();
    queue.add('a');
    await queue.take();
    queue.add('a');
    queue.add('a');
    expect(queue.depth).toBe(0);
    queue.done('a');
    expect(await takeNow(queue)).toBe('a');
    queue.done('a');
    expect(queue.depth).toBe(0);
  });

  test('wakes a worker that waits', async () => {
    const queue = new WorkQueue();
    const taken = queue.take();
    queue.add('a');
    expect(await taken).toBe('a');
  });

  test('adds later, and the earlier of two times counts', async () => {
    const queue = new WorkQueue();
    queue.addAfter('a', 60_000);
    queue.addAfter('a', 5);
    const [taken, late] = [queue.take(), new AbortController()];
    expect(await Promise.race([taken, delay(5000, late.signal).catch(() => 'late')])).toBe('a');
    late.abort();
    queue.close();
  });

  test('waits longer after each failure, until it is forgotten', () => {
    const queue = new WorkQueue();
    const waits = [queue.addRateLimited('a'), queue.addRateLimited('a'), queue.addRateLimited('a')];
    expect(waits).toEqual([250, 500, 1000]);
    queue.forget('a');
    expect(queue.addRateLimited('a')).toBe(250);
    queue.close();
  });

  test('lets workers go when it is closed', async () => {
    const queue = new WorkQueue();
    const taken = queue.take();
    queue.close();
    expect(await taken).toBeUndefined();
    expect(await queue.take()).toBeUndefined();
  });
});
