import { expect, test } from '@jest/globals';
import { mergeConditions } from './conditions.ts';

test('the transition time changes with the status, and with nothing else', () => {
  const first = mergeConditions([], [{ type: 'A', status: 'True', reason: 'X', message: 'x' }], 1, 'early');
  const same = mergeConditions(first, [{ type: 'A', status: 'True', reason: 'Y', message: 'y' }], 2, 'late');
  expect(same).toEqual([
    { type: 'A', status: 'True', reason: 'Y', message: 'y', observedGeneration: 2, lastTransitionTime: 'early' },
  ]);
  const other = mergeConditions(same, [{ type: 'A', status: 'False', reason: 'Y', message: 'y' }], 2, 'late');
  expect(other[0]?.lastTransitionTime).toBe('late');
});
