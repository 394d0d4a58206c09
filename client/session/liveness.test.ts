import { expect, test } from '@jest/globals';
import { nextStep } from './liveness.ts';

const OPTIONS = { probeAfterMs: 500, probeIdleMs: 10_000, probeTimeoutMs: 1000 };

test.each([
  ['waits while answers come', { nowMs: 1400, lastReceivedMs: 1000, outstanding: 3, probedAtMs: undefined }, 'wait'],
  [
    'asks when requests stay without an answer',
    { nowMs: 1500, lastReceivedMs: 1000, outstanding: 1, probedAtMs: undefined },
    'probe',
  ],
  ['lets an idle server be', { nowMs: 9000, lastReceivedMs: 0, outstanding: 0, probedAtMs: undefined }, 'wait'],
  [
    'asks an idle server now and then',
    { nowMs: 10_000, lastReceivedMs: 0, outstanding: 0, probedAtMs: undefined },
    'probe',
  ],
  [
    'gives the server time for its ECHO',
    { nowMs: 2400, lastReceivedMs: 1000, outstanding: 2, probedAtMs: 1500 },
    'wait',
  ],
  [
    'calls a server dead that did not answer ECHO',
    { nowMs: 2500, lastReceivedMs: 1000, outstanding: 2, probedAtMs: 1500 },
    'dead',
  ],
  [
    'takes any byte for a sign of life',
    { nowMs: 2500, lastReceivedMs: 2100, outstanding: 2, probedAtMs: 1500 },
    'wait',
  ],
  ['asks again after a sign of life', { nowMs: 2700, lastReceivedMs: 2100, outstanding: 2, probedAtMs: 1500 }, 'probe'],
] as const)('%s', (_, state, step) => {
  expect(nextStep(state, OPTIONS)).toBe(step);
});
