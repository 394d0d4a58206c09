import { expect, test } from '@jest/globals';
import { Portions } from './portions.ts';

const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));

test('things are done in order, so many a turn', async () => {
  const done: number[] = [];
  const portions = new Portions<number>(2, (item) => done.push(item));
  portions.push([1, 2, 3]);
  expect(done).toEqual([1, 2]);
  portions.push([4, 5]); // behind what waits
  expect(done).toEqual([1, 2]);
  await turn();
  expect(done).toEqual([1, 2, 3, 4]);
  await turn();
  expect(done).toEqual([1, 2, 3, 4, 5]);
  portions.push([6]);
  expect(done).toEqual([1, 2, 3, 4, 5, 6]);
});

test('what is cleared is not done', async () => {
  const done: number[] = [];
  const portions = new Portions<number>(1, (item) => done.push(item));
  portions.push([1, 2]);
  portions.clear();
  await turn();
  expect(done).toEqual([1]);
});
