import { expect, test } from '@jest/globals';
import { cluster } from '../testing/fixtures.ts';
import { PROPAGATION_MS } from './propagation.ts';
import { redisSecret, storePasswordOf } from './redis.ts';
import { nextPassword, type StorePassword } from './store-password.ts';

const stable: StorePassword = { password: 'a', accepted: ['a'] };
const make = () => 'b';

test('a password stays until somebody wants another', () => {
  expect(nextPassword(stable, undefined, 0, make)).toBe(stable);
  const made = { ...stable, madeFor: 'x' };
  expect(nextPassword(made, 'x', 0, make)).toBe(made);
});

test('Redis learns the new one, then clients use it, then the old one is forgotten; no step before every pod has the last', () => {
  const taught = nextPassword(stable, 'x', 1000, make);
  expect(taught).toMatchObject({ password: 'a', accepted: ['a', 'b'], next: 'b' });
  expect(nextPassword(taught, 'x', 1000 + PROPAGATION_MS - 1, make)).toBe(taught);
  const used = nextPassword(taught, 'x', 1000 + PROPAGATION_MS, make);
  expect(used).toMatchObject({ password: 'b', accepted: ['b', 'a'] });
  expect(used.next).toBeUndefined();
  expect(nextPassword(used, 'x', used.sinceMs ?? 0, make)).toBe(used);
  const done = nextPassword(used, 'x', (used.sinceMs ?? 0) + PROPAGATION_MS, make);
  expect(done).toEqual({ password: 'b', accepted: ['b'], madeFor: 'x' });
  expect(nextPassword(done, 'x', 1e12, make)).toBe(done);
});

test('another wish meanwhile waits for its turn', () => {
  const taught = nextPassword(stable, 'x', 0, make);
  expect(nextPassword(taught, 'y', 1, make)).toBe(taught);
  const done = { password: 'b', accepted: ['b'], madeFor: 'x' };
  expect(nextPassword(done, 'y', 2, () => 'c')).toMatchObject({ password: 'b', next: 'c', madeFor: 'y' });
});

test('a clock that was set back holds nothing up', () => {
  const taught = nextPassword(stable, 'x', 5_000_000, make);
  expect(nextPassword(taught, 'x', 1000, make).password).toBe('b');
});

test('all of it stands in the Secret, so that any operator goes on', () => {
  for (const state of [
    stable,
    { password: 'a', accepted: ['a', 'b'], next: 'b', sinceMs: 1_800_000_000_000, madeFor: 'x' },
    { password: 'b', accepted: ['b', 'a'], sinceMs: 1_800_000_000_000, madeFor: 'x' },
  ]) {
    expect(storePasswordOf(redisSecret(cluster(), state))).toEqual({
      ...{ next: undefined, sinceMs: undefined, madeFor: undefined },
      ...state,
    });
  }
  expect(storePasswordOf({ data: {} })).toBeUndefined();
});
