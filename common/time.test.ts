import { describe, expect, test } from '@jest/globals';
import { delay, parseDurationMs } from './time.ts';

describe('durations', () => {
  test.each([
    ['500ms', 500],
    ['5s', 5000],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1m30s', 90_000],
  ])('%s is %d ms', (text, ms) => expect(parseDurationMs(text)).toBe(ms));

  test.each(['', '5', 's', '5 s', '5sx', '-5s', '1d'])('"%s" is none', (text) => {
    expect(() => parseDurationMs(text)).toThrow(RangeError);
  });
});

describe('delay', () => {
  test('ends with the reason of its signal, at once', async () => {
    const stop = new AbortController();
    const waiting = delay(60_000, stop.signal);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(delay(60_000, stop.signal)).rejects.toThrow('enough');
  });
});
