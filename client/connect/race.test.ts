import { describe, expect, test } from '@jest/globals';
import { raceOnce, raceRounds } from './race.ts';

/** An attempt that never ends by itself, and notes that it was cancelled. */
function never(cancelled: string[]): (name: string, signal: AbortSignal) => Promise<string> {
  return (name, signal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        cancelled.push(name);
        reject(signal.reason);
      });
    });
}

const ignore = () => undefined;

describe('raceOnce', () => {
  test('asks nobody else when the first candidate answers quickly', async () => {
    const asked: string[] = [];
    const won = await raceOnce(
      ['a', 'b', 'c'],
      async (name) => {
        asked.push(name);
        return name;
      },
      ignore,
    );
    expect(won).toEqual({ value: 'a' });
    expect(asked).toEqual(['a']);
  });

  test('lets a silent first candidate keep its place, and cancels it when another one wins', async () => {
    const cancelled: string[] = [];
    const silent = never(cancelled);
    const won = await raceOnce(
      ['silent', 'b'],
      (name, signal) => (name === 'silent' ? silent(name, signal) : Promise.resolve(name)),
      ignore,
      { waveMs: 5 },
    );
    expect(won).toEqual({ value: 'b' });
    expect(cancelled).toEqual(['silent']);
  });

  test('does not wait for the wave to end when all that run have failed', async () => {
    const startedMs = performance.now();
    const won = await raceOnce(
      ['refused', 'b'],
      (name) => (name === 'refused' ? Promise.reject(new Error('refused')) : Promise.resolve(name)),
      ignore,
      { waveMs: 10_000 },
    );
    expect(won).toEqual({ value: 'b' });
    expect(performance.now() - startedMs).toBeLessThan(1000);
  });

  test('starts at most a wave of others side by side, wave after wave, until one answers', async () => {
    const cancelled: string[] = [];
    const silent = never(cancelled);
    const starts: { name: string; atMs: number }[] = [];
    const candidates = Array.from({ length: 11 }, (_, i) => `s${i}`);
    const won = await raceOnce(
      [...candidates, 'good'],
      (name, signal) => {
        starts.push({ name, atMs: performance.now() });
        return name === 'good' ? Promise.resolve(name) : silent(name, signal);
      },
      ignore,
      // The order is not shuffled with this "random" number.
      { waveMs: 20, waveSize: 3, random: () => 0.999_999 },
    );
    expect(won).toEqual({ value: 'good' });
    expect(starts.length).toBe(12);
    expect((starts[1]?.atMs ?? 0) - (starts[0]?.atMs ?? 0)).toBeGreaterThanOrEqual(15);
    expect((starts[3]?.atMs ?? 0) - (starts[1]?.atMs ?? 0)).toBeLessThan(15);
    expect(cancelled.length).toBe(11);
  });

  test('gives up on a candidate that takes too long', async () => {
    const cancelled: string[] = [];
    const won = await raceOnce(['silent'], never(cancelled), ignore, { attemptTimeoutMs: 10 });
    expect(won).toBeUndefined();
    expect(cancelled).toEqual(['silent']);
  });

  test('throws away what is won after the race is over', async () => {
    const discarded: string[] = [];
    let finishLate: (value: string) => void = ignore;
    const won = await raceOnce(
      ['late', 'b'],
      (name) =>
        name === 'b'
          ? Promise.resolve(name)
          : new Promise<string>((resolve) => {
              finishLate = resolve;
            }),
      (value) => discarded.push(value),
      { waveMs: 5 },
    );
    expect(won).toEqual({ value: 'b' });
    finishLate('late');
    await new Promise(setImmediate);
    expect(discarded).toEqual(['late']);
  });
});

describe('raceRounds', () => {
  test('goes round again after all have failed, asking anew who the candidates are', async () => {
    let rounds = 0;
    const won = await raceRounds(
      async () => {
        rounds++;
        return rounds < 3 ? ['down'] : ['up'];
      },
      (name) => (name === 'up' ? Promise.resolve(name) : Promise.reject(new Error('down'))),
      ignore,
    );
    expect(won).toBe('up');
    expect(rounds).toBe(3);
  });

  test('ends at its deadline and says what failed last', async () => {
    const attempt = () => Promise.reject(new Error('connection refused'));
    await expect(
      raceRounds(async () => ['down'], attempt, ignore, { signal: AbortSignal.timeout(60) }),
    ).rejects.toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('connection refused') });
  });

  test('ends at once when it is aborted, cancelling what runs', async () => {
    const cancelled: string[] = [];
    const controller = new AbortController();
    const race = raceRounds(async () => ['a'], never(cancelled), ignore, { signal: controller.signal });
    controller.abort();
    await expect(race).rejects.toMatchObject({ code: 'ABORTED' });
    await new Promise(setImmediate);
    expect(cancelled.length).toBeLessThanOrEqual(1);
  });
});
