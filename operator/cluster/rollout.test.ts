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
  return { ...result, leave: result.leave.map(({ pod: { name }, reason }) => `${name} ${reason}`) };
}

const old = (name: string, change: Partial<PodFacts> = {}) => pod(name, { template: 'old', ...change });

describe('planRollout', () => {
  test('starts as many as are asked for', () => {
    expect(plan([])).toMatchObject({ leave: [], newestReplicas: 3 });
  });

  test('leaves alone what is as it should be', () => {
    expect(plan([pod('a'), pod('b'), pod('c')])).toMatchObject({ leave: [], newestReplicas: 3, scale: [] });
  });

  test('upgrades one server, and starts its successor in the same step', () => {
    expect(plan([old('a'), old('b'), old('c')])).toMatchObject({
      leave: ['a Upgrade'],
      newestReplicas: 1,
      scale: [{ name: 'set-old', replicas: 2 }],
    });
  });

  test('waits with the next one while the first is leaving', () => {
    expect(plan([old('a', { member: false }), old('b'), old('c'), pod('d')])).toMatchObject({
      leave: [],
      newestReplicas: 1,
    });
  });

  test('does not go on with a template whose servers do not become ready', () => {
    expect(plan([old('b'), old('c'), pod('d', { ready: false })]).leave).toEqual([]);
  });

  test('a repaired template replaces the broken one without waiting for its turn', () => {
    // given: one server left for a template that never worked, and a third template repairs it
    const pods = [old('a', { member: false }), old('b'), old('c'), pod('d', { template: 'broken', ready: false })];
    expect(plan(pods)).toMatchObject({ leave: ['d Upgrade'], newestReplicas: 1 });
  });

  test('replaces the servers of a cordoned node, in their own ReplicaSet', () => {
    expect(plan([pod('a'), pod('b', { nodeLeaving: true }), pod('c')])).toMatchObject({
      leave: ['b Cordon'],
      newestReplicas: 3,
    });
  });

  test('does not look at nodes when onCordon is off', () => {
    expect(plan([pod('a', { nodeLeaving: true })], { onCordon: false }).leave).toEqual([]);
  });

  test('scales down by the server with the fewest handles', () => {
    const handles = new Map([
      ['a', 5],
      ['b', 1],
      ['c', 9],
    ]);
    expect(plan([pod('a'), pod('b'), pod('c')], { replicas: 2, handles })).toMatchObject({
      leave: ['b ScaleDown'],
      newestReplicas: 2,
    });
  });

  test('scaling down to nothing ends one after another', () => {
    expect(plan([pod('a'), pod('b'), pod('c')], { replicas: 0 })).toMatchObject({ newestReplicas: 2 });
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

  test('never tells a ReplicaSet to choose a victim itself, nor has fewer servers than asked for', () => {
    const anyPod = fc.record({
      template: fc.constantFrom('new', 'old', 'older'),
      ready: fc.boolean(),
      member: fc.boolean(),
      terminating: fc.boolean(),
      nodeLeaving: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(anyPod, { maxLength: 8 }),
        fc.nat(5),
        fc.integer({ min: 1, max: 3 }),
        (facts, replicas, maxConcurrent) => {
          const pods = facts.map((fact, i) => pod(`p${i}`, fact));
          const templates = ['new', 'old', 'older'];
          const counted = (t: string, gone: Set<string>) =>
            pods.filter((p) => p.member && !p.terminating && p.template === t && !gone.has(p.name)).length;
          const result = planRollout({
            replicas,
            newest: 'new',
            pods,
            replicaSets: templates.map((t) => ({ name: t, template: t, replicas: counted(t, new Set()) })),
            handles: new Map(),
            maxConcurrent,
            otherMigrations: 0,
            onCordon: true,
          });
          const gone = new Set(result.leave.map((leaver) => leaver.pod.name));
          expect(result.newestReplicas).toBeGreaterThanOrEqual(counted('new', gone));
          for (const set of result.scale) expect(set.replicas).toBe(counted(set.name, gone));
          const total = result.newestReplicas + counted('old', gone) + counted('older', gone);
          expect(total).toBeGreaterThanOrEqual(replicas);
          const before = pods.filter((p) => !p.member && !p.terminating).length;
          const ready = result.leave.filter((leaver) => leaver.pod.ready).length;
          expect(ready).toBeLessThanOrEqual(Math.max(0, maxConcurrent - before));
        },
      ),
    );
  });
});
