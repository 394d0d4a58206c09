import { describe, expect, test } from '@jest/globals';
import { migration, pod } from '../testing/fixtures.ts';
import { chooseTargets, missingMigrations, refusal, successorReady, surplusMigrations } from './plan.ts';

describe('chooseTargets', () => {
  test('servers of the newest template, those with the fewest handles first', () => {
    const pods = [pod('a'), pod('b'), pod('c'), pod('d', { template: 'old' })];
    expect(chooseTargets('a', pods, 'new', new Map([['b', 7]]))).toEqual(['c', 'b']);
  });

  test.each([
    ['is not ready', { ready: false }],
    ['ends', { terminating: true }],
    ['is being replaced', { leaving: true }],
    ['is cut from routing', { serving: false }],
    ['is on a node that goes', { nodeLeaving: true }],
  ])('not one that %s', (_what, change) => {
    expect(chooseTargets('a', [pod('a'), pod('b', change), pod('c')], 'new', new Map())).toEqual(['c']);
  });

  test('servers of an older template while there is no other', () => {
    expect(chooseTargets('a', [pod('a'), pod('b', { template: 'old' })], 'new', new Map())).toEqual(['b']);
  });
});

describe('successorReady', () => {
  test('when as many serve without the source as are asked for', () => {
    const source = pod('a', { leaving: true });
    expect(successorReady([source, pod('b'), pod('c')], 'new', 3)).toBe(false);
    expect(successorReady([source, pod('b'), pod('c'), pod('d', { ready: false })], 'new', 3)).toBe(false);
    expect(successorReady([source, pod('b'), pod('c'), pod('d')], 'new', 3)).toBe(true);
  });

  test('others on the same cordoned node count: they wait for their turn', () => {
    const pods = [pod('a', { leaving: true }), pod('b', { nodeLeaving: true }), pod('c'), pod('d')];
    expect(successorReady(pods, 'new', 3)).toBe(true);
    expect(successorReady([pod('b', { nodeLeaving: true })], 'new', 1)).toBe(false);
  });

  test('one of them is of the newest template', () => {
    expect(successorReady([pod('b', { template: 'old' }), pod('c', { template: 'old' })], 'new', 2)).toBe(false);
  });
});

describe('missingMigrations', () => {
  test('for servers that leave, with the reason why they do, and for pods that Kubernetes ends', () => {
    const pods = [pod('a', { leaving: true, leavingReason: 'Cordon' }), pod('b', { terminating: true }), pod('c')];
    expect(missingMigrations(pods, [])).toEqual([
      { source: 'a', reason: 'Cordon' },
      { source: 'b', reason: 'Drain' },
    ]);
  });

  test('one is enough: a server that left and is then deleted gets no second', () => {
    const pods = [pod('a', { leaving: true, terminating: true })];
    expect(missingMigrations(pods, [migration('a-upgrade', { source: 'a', reason: 'Upgrade' })])).toEqual([]);
  });

  test('a person’s migration does not stand in for it', () => {
    const pods = [pod('a', { terminating: true })];
    expect(missingMigrations(pods, [migration('m', { source: 'a', reason: 'Manual' })])).toHaveLength(1);
  });

  test('none for pods that ended, or never started', () => {
    const pods = [pod('a', { terminating: true, ended: true }), pod('b', { terminating: true, started: false })];
    expect(missingMigrations(pods, [])).toEqual([]);
  });
});

describe('surplusMigrations', () => {
  test('those that ended first, beyond 50; what runs is never among them', () => {
    const ended = Array.from({ length: 52 }, (_, i) =>
      migration(`m${i}`, {}, { phase: 'Succeeded', endTime: new Date(i * 1000).toISOString() }),
    );
    const surplus = surplusMigrations([migration('running', {}, { phase: 'Transferring' }), ...ended.reverse()]);
    expect(surplus.map((hm) => hm.metadata.name)).toEqual(['m0', 'm1']);
  });
});

describe('a migration by hand is refused', () => {
  const byHand = (targets?: string[]) => migration('m', { source: 'a', ...(targets ? { targets } : {}) });
  test.each([
    ['when the source is the only server', byHand(), [pod('a')], 1, /set spec\.replicas of media to 2 or more/],
    ['when the target is no pod of the cluster', byHand(['x']), [pod('a'), pod('b')], 2, /no pod "x"/],
    ['when the target is going away', byHand(['b']), [pod('a'), pod('b', { leaving: true })], 2, /b is going away/],
    [
      'when the source is being replaced',
      byHand(),
      [pod('a', { leaving: true }), pod('b')],
      2,
      /its handles move anyway/,
    ],
  ])('%s', (_when, given, pods, replicas, message) => {
    expect(refusal(given, pods, replicas)).toMatch(message);
  });

  test.each([
    ['while another server starts', byHand(), [pod('a')], 2],
    ['while its target is not ready', byHand(['b']), [pod('a'), pod('b', { ready: false })], 2],
    ['when one of its targets is there', byHand(['x', 'b']), [pod('a'), pod('b')], 2],
  ])('and not %s', (_when, given, pods, replicas) => {
    expect(refusal(given, pods, replicas)).toBeUndefined();
  });

  test('one that ends its server never is: it has to move', () => {
    expect(refusal(migration('m', { source: 'a', reason: 'Cordon' }), [pod('a')], 1)).toBeUndefined();
  });
});
