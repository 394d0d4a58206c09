import { describe, expect, test } from '@jest/globals';
import { longestGapMs } from './results.ts';

describe('the longest pause of a step', () => {
  test('lies between two acknowledgements within it', () => {
    expect(longestGapMs([0, 10, 20, 120, 130, 140], 15, 140)).toBe(100);
  });

  test('counts from the step when it began before, and up to its end when nothing follows', () => {
    expect(longestGapMs([0, 10], 50, 400)).toBe(390);
    expect(longestGapMs([], 50, 400)).toBe(350);
  });

  test('leaves out what lies after the step', () => {
    expect(longestGapMs([0, 10, 20, 900], 0, 30)).toBe(10);
  });
});
