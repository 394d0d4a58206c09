import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pod } from '../testing/fixtures.ts';
import type { PodFacts } from './pods.ts';
import { planRollout, type RolloutInput } from './rollout.ts';

function plan(pods: PodFacts[], change: Partial<RolloutInput> = {}) {
  const count = (template: string) => pods.filter((p) => p.member && p.template === template && !p.terminating).length;
  const input: RolloutInput = {
    replicas: 3,
    newest: 'new',
    pods,
    moved: new Set(),
    replicaSets: [
      { name: 'set-old', template: 'old', replicas: count('old') },
      { name: 'set-new', template: 'new', replicas: count('new') },
    ],
    handles: new Map(),
    maxConcurrent: 1,
    otherMigrations: 0,
    onCordon: true,
    ...change,
  };
  const result = planRollout(input);
  const leave = result.leave.map(({ pod: { name }, reason, takeOut }) => `${name} ${reason}${takeOut ? ' out' : ''}`);
  return { ...result, leave };
}

const old = (name: string, change: Partial<PodFacts> = {}) => pod(name, { template: 'old', ...change });

const leaver = (name: string, change: Partial<PodFacts> = {}) => pod(name, { leaving: true, ...change });
const out = (name: string, change: Partial<PodFacts> = {}) => leaver(name, { member: false, ...change });

describe('planRollout', () => {
  test('starts as many as are asked for', () => {
    expect(plan([])).toMatchObject({ leave: [], newestReplicas: 3 });
  });

  test('leaves alone what is as it should be', () => {
    expect(plan([pod('a'), pod('b'), pod('c')])).toMatchObject({ leave: [], newestReplicas: 3, scale: [] });
  });

  test('upgrades one server: its successor comes first, its own ReplicaSet goes on counting it', () => {
    expect(plan([old('a'), old('b'), old('c')])).toMatchObject({ leave: ['a Upgrade'], newestReplicas: 1, scale: [] });
  });

  test('waits with the next one while the first is leaving', () => {
    expect(plan([leaver('a', { template: 'old' }), old('b'), old('c'), pod('d')])).toMatchObject({
      leave: [],
      newestReplicas: 1,
      scale: [],
    });
  });

  test('when its handles have moved, its ReplicaSet counts one less, and the next one leaves', () => {
    const pods = [leaver('a', { template: 'old' }), old('b'), old('c'), pod('d')];
    expect(plan(pods, { moved: new Set(['a']), maxConcurrent: 2 })).toMatchObject({
      leave: ['b Upgrade'],
      newestReplicas: 2,
      scale: [{ name: 'set-old', replicas: 2 }],
    });
  });

  test('does not go on with a template whose servers do not become ready', () => {
    expect(plan([old('b'), old('c'), pod('d', { ready: false })]).leave).toEqual([]);
  });

  test('a repaired template replaces the broken one without waiting for its turn', () => {
    // given: one server is leaving for a template that never worked, and a third template repairs it
    const pods = [leaver('a', { template: 'old' }), old('b'), old('c'), pod('d', { template: 'broken', ready: false })];
    expect(plan(pods)).toMatchObject({ leave: ['d Upgrade'], newestReplicas: 1 });
  });

  test('takes the server of a cordoned node out of its ReplicaSet, which makes the successor', () => {
    expect(plan([pod('a'), pod('b', { nodeLeaving: true }), pod('c')])).toMatchObject({
      leave: ['b Cordon out'],
      newestReplicas: 3,
    });
    expect(plan([pod('a'), out('b'), pod('c')])).toMatchObject({ leave: [], newestReplicas: 3 });
  });

  test('on a cordoned node, a server of an old template gets a successor of the newest', () => {
    expect(plan([old('a', { nodeLeaving: true }), old('b'), old('c')])).toMatchObject({
      leave: ['a Cordon'],
      newestReplicas: 1,
      scale: [],
    });
  });

  test('does not look at nodes when onCordon is off', () => {
    expect(plan([pod('a', { nodeLeaving: true })], { onCordon: false }).leave).toEqual([]);
  });

  test('scales down by the server with the fewest handles, which its ReplicaSet counts until they have moved', () => {
    const handles = new Map([
      ['a', 5],
      ['b', 1],
      ['c', 9],
    ]);
    expect(plan([pod('a'), pod('b'), pod('c')], { replicas: 2, handles })).toMatchObject({
      leave: ['b ScaleDown'],
      newestReplicas: 3,
    });
    expect(plan([pod('a'), leaver('b'), pod('c')], { replicas: 2 })).toMatchObject({ leave: [], newestReplicas: 3 });
    const moved = new Set(['b']);
    expect(plan([pod('a'), leaver('b'), pod('c')], { replicas: 2, moved })).toMatchObject({
      leave: [],
      newestReplicas: 2,
    });
  });

  test('as many at a time as maxConcurrent says; other migrations count too', () => {
    const pods = [old('a'), old('b'), old('c')];
    expect(plan(pods, { maxConcurrent: 2 }).leave).toHaveLength(2);
    expect(plan(pods, { maxConcurrent: 2, otherMigrations: 1 }).leave).toHaveLength(1);
  });

  test('pods that end do not use up the budget: nobody can hold them back', () => {
    expect(plan([old('a', { terminating: true }), old('b'), old('c'), pod('d')]).leave).toEqual(['b Upgrade']);
  });

  test('removes a ReplicaSet that has nothing left', () => {
    expect(plan([pod('a'), pod('b'), pod('c')]).remove).toEqual(['set-old']);
    expect(plan([old('z', { terminating: true }), pod('b'), pod('c')]).remove).toEqual([]);
  });

  test('never has a ReplicaSet end a server that has not moved its handles, nor too few of them run', () => {
    const anyPod = fc.record({
      template: fc.constantFrom('new', 'old', 'older'),
      ready: fc.boolean(),
      terminating: fc.boolean(),
      nodeLeaving: fc.boolean(),
      state: fc.constantFrom('stays', 'leaving', 'out', 'moved'),
    });
    fc.assert(
      fc.property(
        fc.array(anyPod, { maxLength: 8 }),
        fc.nat(5),
        fc.integer({ min: 1, max: 3 }),
        (facts, replicas, most) => {
          const pods = facts.map(({ state, ...fact }, i) =>
            pod(`p${i}`, { ...fact, leaving: state !== 'stays', member: state !== 'out' }),
          );
          const moved = new Set(pods.filter((_, i) => facts[i]?.state === 'moved').map((each) => each.name));
          const members = (template: string) =>
            pods.filter((p) => p.member && !p.terminating && p.template === template);
          const templates = ['new', 'old', 'older'];
          const result = planRollout({
            replicas,
            newest: 'new',
            pods,
            moved,
            replicaSets: templates.map((t) => ({ name: t, template: t, replicas: members(t).length })),
            handles: new Map(),
            maxConcurrent: most,
            otherMigrations: 0,
            onCordon: true,
          });
          const takenOut = new Set(result.leave.filter((each) => each.takeOut).map((each) => each.pod.name));
          const countOf = (t: string) =>
            t === 'new'
              ? result.newestReplicas
              : (result.scale.find((s) => s.name === t)?.replicas ?? members(t).length);
          for (const t of templates) {
            const keep = members(t).filter((p) => !moved.has(p.name) && !takenOut.has(p.name)).length;
            expect(countOf(t)).toBeGreaterThanOrEqual(keep);
          }
          const leaving = new Set(result.leave.map((each) => each.pod.name));
          const stays = pods.filter((p) => !p.terminating && !p.leaving && !leaving.has(p.name));
          const born = Math.max(
            0,
            result.newestReplicas - members('new').filter((p) => !moved.has(p.name) && !takenOut.has(p.name)).length,
          );
          expect(stays.length + born).toBeGreaterThanOrEqual(replicas);
          const before = pods.filter((p) => p.leaving && !p.terminating).length;
          expect(result.leave.filter((each) => each.pod.ready).length).toBeLessThanOrEqual(Math.max(0, most - before));
        },
      ),
    );
  });
});
