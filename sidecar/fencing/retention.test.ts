import { expect, test } from '@jest/globals';
import type { ServerRecord, ServerState } from './registry.ts';
import { Retention } from './retention.ts';

const HOUR_MS = 3_600_000;
const server = (serverId: string, state: ServerState, epoch = 1) => ({ serverId, state, epoch }) as ServerRecord;
const names = (due: ServerRecord[]) => due.map(({ serverId }) => serverId);

test('a server that is over is forgotten an hour after that was seen, a live one never', () => {
  const retention = new Retention();
  const servers = [server('a', 'active'), server('b', 'fenced'), server('c', 'draining'), server('d', 'fencing')];
  expect(retention.due(servers, 1000)).toEqual([]);
  expect(retention.due([...servers, server('e', 'gone')], HOUR_MS)).toEqual([]);
  expect(names(retention.due([...servers, server('e', 'gone')], HOUR_MS + 1000))).toEqual(['b']);
  expect(names(retention.due([server('e', 'gone')], 2 * HOUR_MS))).toEqual(['e']);
});

test('one that registered anew meanwhile has another epoch, and its own hour', () => {
  const retention = new Retention();
  retention.due([server('a', 'fenced', 1)], 0);
  retention.due([server('a', 'active', 2)], 1000);
  retention.due([server('a', 'fenced', 2)], 2000);
  expect(retention.due([server('a', 'fenced', 2)], HOUR_MS + 1000)).toEqual([]);
  expect(names(retention.due([server('a', 'fenced', 2)], HOUR_MS + 2000))).toEqual(['a']);
});

test('few are forgotten at a time', () => {
  const retention = new Retention();
  const many = Array.from({ length: 100 }, (_, i) => server(`s${i}`, 'fenced'));
  retention.due(many, 0);
  expect(retention.due(many, HOUR_MS)).toHaveLength(16);
});

test('one may be kept longer than others, and for as long as it is said to be', () => {
  const retention = new Retention(1000);
  const servers = [server('a', 'fenced'), server('b', 'fenced'), server('c', 'fenced')];
  const longerMs = ({ serverId }: ServerRecord) => ({ a: Number.POSITIVE_INFINITY, b: 500 })[serverId] ?? 0;
  retention.due(servers, 0, longerMs);
  expect(names(retention.due(servers, 1000, longerMs))).toEqual(['c']);
  expect(names(retention.due(servers, 1500, longerMs))).toEqual(['b', 'c']);
  expect(names(retention.due(servers, 1500))).toEqual(['a', 'b', 'c']);
});
