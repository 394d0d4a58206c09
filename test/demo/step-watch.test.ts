import { describe, expect, test } from '@jest/globals';
import { type Line, StepWatch } from './step-watch.ts';

/** @param pausesMs one for each handle */
const line = (pausesMs: number[], sums: Partial<Line> = {}): Line => ({
  callerErrors: 0,
  reclaimed: 0,
  perHandle: pausesMs.map((pauseMs) => ({ ackedBlocks: 7, pauseMs })),
  ...sums,
});

describe('what the writers saw of a step', () => {
  test('is the longest pause of each handle, and what was reclaimed and went wrong, since it began', () => {
    const watch = new StepWatch();
    watch.line('a', line([10, 20]));
    watch.line('a', line([900, 20], { reclaimed: 2, callerErrors: 1 }));
    watch.line('b', line([30]));
    watch.begin();
    watch.line('a', line([100, 20], { reclaimed: 2, callerErrors: 1 }));
    watch.line('a', line([1100, 30], { reclaimed: 4, callerErrors: 2 })); // a pause that went on, and all of it
    watch.line('b', line([40], { reclaimed: 1 }));
    watch.line('b', line([10], { reclaimed: 1, callerErrors: 3 }));
    expect(watch.seen).toEqual({ handles: 3, reclaimed: 3, pauseMs: { p50: 40, max: 1100 }, callerErrors: 4 });
  });

  test('counts a writer that is heard of for the first time from there on', () => {
    const watch = new StepWatch();
    watch.begin();
    watch.line('a', line([50, 60], { reclaimed: 5 }));
    watch.line('a', line([70, 10], { reclaimed: 6 }));
    expect(watch.seen).toEqual({ handles: 2, reclaimed: 1, pauseMs: { p50: 70, max: 70 }, callerErrors: 0 });
    expect(watch.blocks()).toEqual([7, 7]);
  });
});
