import { expect, test } from '@jest/globals';
import { shardsForget, turnOf } from './forgetting.ts';
import type { ServerRecord } from './registry.ts';

const server = (serverId: string, epoch: number, fields: Partial<ServerRecord> = {}) =>
  ({ serverId, epoch, state: 'active', understands: 1, ...fields }) as ServerRecord;

test('shards forget nobody while a server is there whose sidecar takes an owner without an entry for one that lives', () => {
  const [a, b] = [server('a', 1), server('b', 2, { state: 'draining' })];
  expect(shardsForget([a, b])).toBe(true);
  for (const state of ['active', 'draining', 'fencing'] as const) {
    expect([state, shardsForget([a, b, server('old', 3, { state, understands: 0 })])]).toEqual([state, false]);
  }
  expect(shardsForget([a, b, server('old', 3, { state: 'fenced', understands: 0 })])).toBe(true);
});

test('those that may forget take turns, the longest known first', () => {
  const servers = [server('c', 9), server('a', 1, { state: 'fenced' }), server('b', 5), server('d', 7)];
  const turn = (...ours: string[]) => turnOf(servers, ({ serverId }) => ours.includes(serverId));
  expect([turn('b'), turn('d'), turn('c'), turn('c', 'd')]).toEqual([0, 1, 2, 1]);
  expect(turn('a')).toBe(-1);
  expect(turn()).toBe(-1);
});
