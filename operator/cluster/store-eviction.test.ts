import { expect, test } from '@jest/globals';
import { pod } from '../testing/fixtures.ts';
import { storeMayBeEvicted } from './store-eviction.ts';

const redis = pod('media-redis-0', { node: 'node1', nodeLeaving: true });

test('Redis leaves a node that is about to go after the file servers there', () => {
  expect(storeMayBeEvicted([redis], [pod('a', { node: 'node1' }), pod('b', { node: 'node2' })])).toBe(false);
  expect(storeMayBeEvicted([redis], [pod('a', { node: 'node1', terminating: true })])).toBe(false);
  expect(storeMayBeEvicted([redis], [pod('a', { node: 'node1', ended: true }), pod('b', { node: 'node2' })])).toBe(
    true,
  );
  expect(storeMayBeEvicted([redis], [])).toBe(true);
});

test('it stays where its node does', () => {
  expect(storeMayBeEvicted([{ ...redis, nodeLeaving: false }], [])).toBe(false);
  expect(storeMayBeEvicted([], [])).toBe(false);
});
