import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { DeadlineClock } from './deadline-clock.ts';
import { FencedError } from './deadline-gate.ts';

const inMs = (ms: number) => process.hrtime.bigint() + BigInt(ms) * 1_000_000n;

describe('the deadline of a server', () => {
  const events: string[] = [];
  const listener = {
    closed: () => events.push('closed'),
    reopened: () => events.push('reopened'),
    expired: () => events.push('expired'),
  };
  beforeEach(() => {
    events.length = 0;
    jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'nextTick'] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('is closed before the first renewal, and what waits is refused', async () => {
    const clock = new DeadlineClock(listener);
    expect(clock.mayServe()).toBe(false);
    await expect(clock.reopened()).rejects.toThrow(FencedError);
  });

  test('lets serve until it passes, holds then, and goes on when renewed', async () => {
    const clock = new DeadlineClock(listener);
    clock.renew(inMs(1000));
    expect(clock.mayServe()).toBe(true);

    jest.advanceTimersByTime(1001);
    expect(clock.mayServe()).toBe(false);
    expect(events).toEqual(['closed']);
    const held = clock.reopened();

    clock.renew(inMs(1000));
    await held;
    expect(clock.mayServe()).toBe(true);
    expect(events).toEqual(['closed', 'reopened']);
  });

  test('refuses what waits when the server was fenced, and opens again for the next epoch', async () => {
    const clock = new DeadlineClock(listener);
    clock.renew(inMs(1000));
    jest.advanceTimersByTime(1001);
    const held = clock.reopened();
    clock.fence();
    await expect(held).rejects.toThrow(FencedError);
    clock.renew(inMs(1000));
    expect(clock.mayServe()).toBe(true);
  });

  test('gives up when no renewal comes for too long', () => {
    const clock = new DeadlineClock(listener, 5000);
    clock.renew(inMs(1000));
    jest.advanceTimersByTime(1001);
    expect(events).toEqual(['closed']);
    jest.advanceTimersByTime(5001);
    expect(events).toEqual(['closed', 'expired']);
  });

  test('an older renewal that comes late moves nothing', () => {
    const clock = new DeadlineClock(listener);
    clock.renew(inMs(5000));
    clock.renew(inMs(1000));
    jest.advanceTimersByTime(2000);
    expect(clock.mayServe()).toBe(true);
  });
});
