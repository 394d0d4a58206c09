import { describe, expect, test } from '@jest/globals';
import { histogram, quantile, spreadOf } from './statistics.ts';

describe('statistics', () => {
  test('a quantile is one of the values, whatever their order', () => {
    const values = [5, 1, 4, 2, 3];
    expect(quantile(values, 0.5)).toBe(3);
    expect(quantile(values, 0.99)).toBe(5);
    expect(quantile([7], 0.5)).toBe(7);
    expect(quantile([], 0.5)).toBeNaN();
  });

  test('of 100 values the 99% quantile leaves one above it', () => {
    const values = Array.from({ length: 100 }, (_, i) => i + 1);
    expect(quantile(values, 0.99)).toBe(99);
  });

  test('the spread is median, least and most', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  });

  test('a histogram counts every value once, those on a limit below it', () => {
    expect(histogram([1, 10, 11, 500], [10, 100])).toEqual([
      { to: 10, count: 2 },
      { to: 100, count: 1 },
      { to: undefined, count: 1 },
    ]);
  });
});
