import { chunks } from '../../common/slices.ts';
import { delay } from '../../common/time.ts';
import { abortedError, SmbError } from '../errors.ts';
import { ATTEMPT_TIMEOUT_MS, ROUND_BACKOFF_MAX_MS, ROUND_BACKOFF_MIN_MS, WAVE_MS, WAVE_SIZE } from './constants.ts';

export interface RaceOptions {
  /** Ends the race; its reason is thrown as SmbError. Without one the race goes on for ever. */
  signal?: AbortSignal;
  waveMs?: number;
  waveSize?: number;
  attemptTimeoutMs?: number;
  /** Told of every attempt that failed; the race goes on. */
  onFailure?: (candidate: unknown, error: unknown) => void;
  /** In [0, 1). */
  random?: () => number;
}

/**
 * Tries candidates until one succeeds. A round starts with the first; when that has not answered within `waveMs`, or has
 * failed, a random few (`waveSize`) of the others join it, and so on in waves until all are in the race. The first success
 * wins, all others are aborted. When all of a round have failed, the next round begins after a pause that doubles, with
 * jitter; `candidatesOf` is asked anew each round, as names may resolve differently by then.
 *
 * @param attempt must let go of everything it holds when its signal is aborted; what it resolves to after that is given to `discard`
 * @throws SmbError TIMED_OUT or ABORTED as the signal says, with the last failure as cause
 */
export async function raceRounds<C, T>(
  candidatesOf: () => Promise<readonly C[]>,
  attempt: (candidate: C, signal: AbortSignal) => Promise<T>,
  discard: (late: T) => void,
  options: RaceOptions = {},
): Promise<T> {
  const random = options.random ?? Math.random;
  let pauseMs = ROUND_BACKOFF_MIN_MS;
  let lastFailure: unknown;
  const note = (candidate: unknown, error: unknown) => {
    lastFailure = error;
    options.onFailure?.(candidate, error);
  };
  for (;;) {
    try {
      const candidates = await candidatesOf();
      const winner = await raceOnce(candidates, attempt, discard, { ...options, onFailure: note });
      if (winner) return winner.value;
    } catch (error) {
      if (options.signal?.aborted) throw raceAborted(options.signal, lastFailure);
      note(undefined, error);
    }
    try {
      await delay(pauseMs * (0.5 + random() / 2), options.signal);
    } catch {
      throw raceAborted(options.signal, lastFailure);
    }
    pauseMs = Math.min(pauseMs * 2, ROUND_BACKOFF_MAX_MS);
  }
}

function raceAborted(signal: AbortSignal | undefined, lastFailure: unknown): SmbError {
  const error = signal ? abortedError(signal, 'connecting') : new SmbError('ABORTED', 'connecting was aborted');
  if (lastFailure === undefined) return error;
  const why = lastFailure instanceof Error ? lastFailure.message : String(lastFailure);
  return new SmbError(error.code, `${error.message}; the last failure was: ${why}`, { cause: lastFailure });
}

/** One round. Undefined when every candidate failed; throws only when the signal is aborted. */
export async function raceOnce<C, T>(
  candidates: readonly C[],
  attempt: (candidate: C, signal: AbortSignal) => Promise<T>,
  discard: (late: T) => void,
  options: RaceOptions = {},
): Promise<{ value: T } | undefined> {
  const { signal, waveMs = WAVE_MS, waveSize = WAVE_SIZE, attemptTimeoutMs = ATTEMPT_TIMEOUT_MS } = options;
  signal?.throwIfAborted();
  const waves = wavesOf(candidates, waveSize, options.random ?? Math.random);
  const running = new Set<AbortController>();
  return new Promise((resolve, reject) => {
    let over = false;
    let waveTimer: NodeJS.Timeout | undefined;

    const finish = (settle: () => void) => {
      if (over) return;
      over = true;
      clearTimeout(waveTimer);
      signal?.removeEventListener('abort', onAbort);
      for (const controller of running) controller.abort();
      settle();
    };
    const onAbort = () => finish(() => reject(signal?.reason));
    signal?.addEventListener('abort', onAbort, { once: true });

    const startWave = () => {
      clearTimeout(waveTimer);
      const wave = waves.shift();
      if (wave) {
        for (const candidate of wave) start(candidate);
        if (waves.length > 0) waveTimer = setTimeout(startWave, waveMs);
      } else if (running.size === 0) {
        finish(() => resolve(undefined));
      }
    };

    const start = (candidate: C) => {
      const controller = new AbortController();
      running.add(controller);
      const limit = setTimeout(() => {
        controller.abort(new SmbError('TIMED_OUT', `no complete NEGOTIATE within ${attemptTimeoutMs} ms`));
      }, attemptTimeoutMs);
      const ended = () => {
        clearTimeout(limit);
        running.delete(controller);
      };
      attempt(candidate, controller.signal).then(
        (value) => {
          ended();
          if (over) discard(value);
          else finish(() => resolve({ value }));
        },
        (error: unknown) => {
          ended();
          if (over) return;
          options.onFailure?.(candidate, error);
          if (running.size === 0) startWave();
        },
      );
    };

    startWave();
  });
}

/** The first candidate alone, then the others in random order, `size` at a time. */
function wavesOf<C>(candidates: readonly C[], size: number, random: () => number): C[][] {
  const [first, ...others] = candidates;
  if (first === undefined) return [];
  for (let i = others.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const swapped = others[i] as C;
    others[i] = others[j] as C;
    others[j] = swapped;
  }
  return [[first], ...chunks(others, size)];
}
