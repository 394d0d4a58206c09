import { describe, expect, test } from '@jest/globals';
import { LogonThrottle } from './logon-throttle.ts';

const HERE = '10.0.0.1';
const THERE = '10.0.0.2';
const MINUTE_MS = 60_000;

function throttleAt(): { throttle: LogonThrottle; pass: (ms: number) => void } {
  let nowMs = 0;
  return {
    throttle: new LogonThrottle(() => nowMs),
    pass: (ms) => {
      nowMs += ms;
    },
  };
}

const fail = (throttle: LogonThrottle, user: string, address: string, times: number) => {
  for (let i = 0; i < times; i++) throttle.failed(user, address);
};

describe('a throttle of logons', () => {
  test('lets everybody try at once while few have failed', () => {
    const { throttle } = throttleAt();
    fail(throttle, 'alice', HERE, 4);
    expect(throttle.delayBefore('alice', HERE)).toBe(0);
    expect(throttle.delayBefore('bob', THERE)).toBe(0);
  });

  test('looks at one guess a second, however many connections make them, and at last at none', () => {
    const { throttle } = throttleAt();
    fail(throttle, 'alice', HERE, 5);
    const delays = Array.from({ length: 22 }, () => throttle.delayBefore('alice', HERE));
    expect(delays.slice(0, 3)).toEqual([0, 1000, 2000]);
    expect(delays.at(-1)).toBeUndefined();
  });

  test('slows the name wherever it is tried, and the address whichever name it tries', () => {
    const { throttle } = throttleAt();
    fail(throttle, 'Alice', HERE, 5);
    throttle.delayBefore('alice', HERE);
    expect(throttle.delayBefore('ALICE', THERE)).toBeGreaterThan(0);
    expect(throttle.delayBefore('carol', HERE)).toBeGreaterThan(0);
    expect(throttle.delayBefore('carol', THERE)).toBe(0);
  });

  test('does not hold up who logged on from there before, unless it is he who fails', () => {
    const { throttle } = throttleAt();
    throttle.succeeded('alice', HERE);
    fail(throttle, 'bob', HERE, 50);
    fail(throttle, 'alice', THERE, 50);
    throttle.delayBefore('bob', HERE);
    throttle.delayBefore('alice', THERE);
    expect(throttle.delayBefore('alice', HERE)).toBe(0);
    fail(throttle, 'alice', HERE, 5);
    expect(throttle.delayBefore('alice', HERE)).toBeGreaterThan(0);
  });

  test('forgets', () => {
    const { throttle, pass } = throttleAt();
    fail(throttle, 'alice', HERE, 50);
    throttle.delayBefore('alice', HERE);
    expect(throttle.delayBefore('alice', HERE)).toBeGreaterThan(0);
    pass(16 * MINUTE_MS);
    expect(throttle.delayBefore('alice', HERE)).toBe(0);
    throttle.failed('alice', HERE);
    expect(throttle.delayBefore('alice', HERE)).toBe(0);
  });

  test('remembers a limited number of names', () => {
    const { throttle } = throttleAt();
    fail(throttle, 'alice', HERE, 5);
    for (let i = 0; i < 30_000; i++) throttle.failed(`nobody${i}`, `10.1.${i >> 8}.${i & 255}`);
    expect(throttle.delayBefore('alice', HERE)).toBe(0);
    expect(throttle.remembered).toBeLessThanOrEqual(10_000);
  });
});
