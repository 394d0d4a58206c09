import { expect, test } from '@jest/globals';
import { chunks, inSlices, inTurns } from './slices.ts';

test('a slice begins when the one before is done, and what came of each stands in order', async () => {
  let running = 0;
  let most = 0;
  const begun: number[] = [];
  const doubled = await inSlices([1, 2, 3, 4, 5], 2, async (item) => {
    begun.push(item);
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return 2 * item;
  });
  expect(doubled).toEqual([2, 4, 6, 8, 10]);
  expect(begun).toEqual([1, 2, 3, 4, 5]);
  expect(most).toBe(2);
});

test('no slice begins after one has failed', async () => {
  const begun: number[] = [];
  const failing = inSlices([1, 2, 3, 4], 2, async (item) => {
    begun.push(item);
    if (item === 2) throw new Error('the second');
  });
  await expect(failing).rejects.toThrow('the second');
  expect(begun).toEqual([1, 2]);
});

test('the next one begins when any is done', async () => {
  const held = [1, 2, 3, 4].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const all = inTurns([0, 1, 2, 3], 2, (item) => {
    begun.push(item);
    return held[item]?.promise ?? Promise.reject(new Error('no such item'));
  });
  const soon = () => new Promise((resolve) => setImmediate(resolve));
  for (const done of [1, 2]) {
    held[done]?.resolve();
    await soon();
  }
  expect(begun).toEqual([0, 1, 2, 3]); // the first has not ended yet
  for (const one of held) one.resolve();
  await all;
});

test('none begins after one has failed', async () => {
  const begun: number[] = [];
  const failing = inTurns([1, 2, 3, 4], 2, async (item) => {
    begun.push(item);
    await new Promise((resolve) => setImmediate(resolve));
    if (item === 2) throw new Error('the second');
  });
  await expect(failing).rejects.toThrow('the second');
  await new Promise((resolve) => setImmediate(resolve));
  expect(begun).toEqual([1, 2, 3]);
});

test('a list in pieces', () => {
  expect(chunks([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]);
  expect(chunks([], 2)).toEqual([]);
});
