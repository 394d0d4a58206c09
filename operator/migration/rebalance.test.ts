import { describe, expect, test } from '@jest/globals';
import { migration, pod } from '../testing/fixtures.ts';
import { planRebalance, type RebalanceInput, rebalanceName } from './rebalance.ts';

const HOUR = 3_600_000;
const plan = (handles: Record<string, number>, change: Partial<RebalanceInput> = {}) =>
  planRebalance({
    replicas: Object.keys(handles).length,
    newest: 'new',
    pods: Object.keys(handles).map((name, i) => pod(name, { createdMs: i })),
    migrations: [],
    handles: new Map(Object.entries(handles)),
    nowMs: HOUR,
    ...change,
  });
const ended = (name: string, endTime: number) =>
  migration(name, { reason: 'Rebalance' }, { phase: 'Succeeded', endTime: new Date(endTime).toISOString() });

describe('rebalancing', () => {
  test('moves to a new server what is above the mean at the fullest, and no more than the new one lacks', () => {
    expect(plan({ a: 100, b: 90, c: 0 })).toEqual({ source: 'a', target: 'c', maxHandles: 36 });
    expect(plan({ a: 400, b: 10, c: 100, d: 0 })).toEqual({ source: 'a', target: 'd', maxHandles: 127 });
  });

  test('leaves alone what is spread well enough, or too little to disturb anybody for', () => {
    expect(plan({ a: 100, b: 90, c: 60 })).toBeUndefined();
    expect(plan({ a: 20, b: 10, c: 0 })).toBeUndefined();
    expect(plan({ a: 100 })).toBeUndefined();
  });

  test('goes on with the next server after a pause, and never tries a pair twice', () => {
    const first = ended(rebalanceName('a', 'c'), HOUR - 31_000);
    expect(plan({ a: 64, b: 90, c: 36 }, { migrations: [first] })).toBeUndefined();
    expect(plan({ a: 64, b: 120, c: 20 }, { migrations: [first] })).toMatchObject({ source: 'b', target: 'c' });
    expect(plan({ a: 150, b: 60, c: 0 }, { migrations: [first] })).toBeUndefined();
    const recent = ended(rebalanceName('a', 'c'), HOUR - 29_000);
    expect(plan({ a: 64, b: 120, c: 20 }, { migrations: [recent] })).toBeUndefined();
  });

  test('a server that lost its clients is not filled from one that came after it', () => {
    expect(plan({ a: 0, b: 100 })).toBeUndefined();
  });

  test.each([
    ['a migration runs', { migrations: [migration('m', {}, { phase: 'Transferring' })] }],
    ['a server is missing', { replicas: 4 }],
    ['a server is of an older template', { newest: 'other' }],
    ['nothing is known of a server', { handles: new Map([['a', 100]]) }],
  ])('waits while %s', (_what, change) => {
    expect(plan({ a: 100, b: 90, c: 0 }, change)).toBeUndefined();
  });

  test.each([{ leaving: true }, { ready: false }, { terminating: true }, { nodeLeaving: true }])(
    'waits while a server is %p',
    (change) => {
      const pods = [pod('a'), pod('b', { createdMs: 1 }), pod('c', { createdMs: 2, ...change })];
      expect(plan({ a: 100, b: 90, c: 0 }, { pods })).toBeUndefined();
    },
  );
});
