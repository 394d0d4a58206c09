import { describe, expect, test } from '@jest/globals';
import type { ServerRecord } from '../fencing/registry.ts';
import { Assignment, pickTargets } from './targets.ts';

const OWN = new Set(['uid-a/0']);
const server = (name: string, node: string, more: Partial<ServerRecord> = {}): ServerRecord =>
  ({
    serverId: `uid-${name}/0`,
    epoch: 1,
    pod: name,
    node,
    address: `${name}:1`,
    state: 'active',
    ...more,
  }) as ServerRecord;
const picked = (servers: ServerRecord[], wanted: string[], leaving: boolean) =>
  pickTargets(servers, OWN, wanted, leaving).map(({ pod }) => pod);

describe('who may take the handles', () => {
  const servers = [
    server('a', 'node1'),
    server('beside', 'node1'),
    server('away', 'node2'),
    server('far', 'node3'),
    server('goes', 'node2', { leaving: true }),
    server('gone', 'node2', { state: 'fenced' }),
  ];

  test('whoever is active, stays, and is another pod', () => {
    expect(picked(servers, [], false)).toEqual(['beside', 'away', 'far']);
  });

  test('of one that leaves: rather pods of other nodes, whose node is not the one that may be drained', () => {
    expect(picked(servers, [], true)).toEqual(['away', 'far']);
    expect(picked(servers.slice(0, 2), [], true)).toEqual(['beside']);
  });

  test('the pods that are named, in that order, wherever they are', () => {
    expect(picked(servers, ['far', 'beside', 'goes', 'a'], true)).toEqual(['far', 'beside']);
    expect(picked(servers, ['gone'], false)).toEqual(['beside', 'away', 'far']);
  });

  test('an unknown node is no neighbour', () => {
    expect(picked([server('a', ''), server('b', '')], [], true)).toEqual(['b']);
  });
});

test('sessions take turns at the targets, and stay with theirs while it is there', () => {
  const targets = pickTargets([server('b', ''), server('c', '')], OWN, [], false);
  const assignment = new Assignment();
  const of = (sessionId: bigint, among = targets) => assignment.targetOf(sessionId, among)?.pod;
  expect([of(1n), of(2n), of(3n), of(1n)]).toEqual(['b', 'c', 'b', 'b']);
  expect(of(1n, targets.slice(1))).toBe('c');
  expect(of(4n, [])).toBeUndefined();
});
