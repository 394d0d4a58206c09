import { expect, test } from '@jest/globals';
import type { PodFacts } from './pods.ts';
import { planSlots } from './slots.ts';

const pod = (name: string, slots: number[] = [], facts: Partial<PodFacts> = {}) =>
  ({ name, slots, ready: true, serving: true, leaving: false, terminating: false, ...facts }) as PodFacts;
const plan = (count: number, pods: PodFacts[], handles: Record<string, number> = {}) =>
  Object.fromEntries(planSlots(count, pods, new Map(Object.entries(handles))).map((c) => [c.pod.name, c.slots]));

test('each server gets one, and keeps it', () => {
  expect(plan(3, [pod('a'), pod('b'), pod('c')])).toEqual({ a: [0], b: [1], c: [2] });
  expect(plan(3, [pod('a', [2]), pod('b', [0]), pod('c', [1])])).toEqual({});
});

test('the slot of one that leaves goes to who took most of its handles, and from there to its successor', () => {
  const leaving = pod('a', [0], { leaving: true, serving: false });
  expect(plan(3, [leaving, pod('b', [1]), pod('c', [2])], { b: 3, c: 7 })).toEqual({ a: [], c: [0, 2] });
  expect(plan(3, [pod('b', [1]), pod('c', [0, 2]), pod('d')])).toEqual({ c: [0], d: [2] });
});

test('a successor that is ready when the other leaves gets the slot at once', () => {
  const leaving = pod('a', [0], { leaving: true, serving: false });
  expect(plan(3, [leaving, pod('b', [1]), pod('c', [2]), pod('d')], { c: 7 })).toEqual({ a: [], d: [0] });
});

test('one that leaves keeps its slot while it serves: the address of nobody else moves', () => {
  const leaving = pod('a', [0], { leaving: true });
  expect(plan(3, [leaving, pod('b', [1]), pod('c', [2])])).toEqual({});
  expect(plan(3, [leaving, pod('b', [1]), pod('c', [2]), pod('d')])).toEqual({});
});

test('one that is not ready, or is not offered, has none', () => {
  const pods = [pod('a', [0], { ready: false }), pod('b', [1], { serving: false }), pod('c', [2])];
  expect(plan(3, pods)).toEqual({ a: [], b: [], c: [0, 1, 2] });
});

test('while nobody serves, addresses stay where they are', () => {
  expect(plan(2, [pod('a', [0], { ready: false }), pod('b', [1], { ready: false })])).toEqual({});
});

test('slots that are too many, or not wanted any more, are given up', () => {
  expect(plan(1, [pod('a', [0]), pod('b', [1])])).toEqual({ b: [] });
  expect(plan(0, [pod('a', [0]), pod('b', [1], { ready: false })])).toEqual({ a: [], b: [] });
});
