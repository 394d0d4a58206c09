import { PROBE_AFTER_MS, PROBE_IDLE_MS, PROBE_INTERVAL_MS, PROBE_TIMEOUT_MS, PROBE_TOLERANCE_MS } from './constants.ts';

export interface LivenessOptions {
  /** With requests outstanding and nothing received for this long, an ECHO is sent. */
  probeAfterMs?: number;
  /** The same with nothing outstanding. */
  probeIdleMs?: number;
  /** Without a byte for this long after an ECHO, the server counts as dead. */
  probeTimeoutMs?: number;
}

/** What Liveness watches and tells. */
export interface LivenessTarget {
  /** performance.now() at which bytes last arrived. */
  lastReceivedMs(): number;
  /** Requests without an answer. */
  outstanding(): number;
  /** Sends an ECHO; false when it could not. */
  probe(): boolean;
  dead(silentMs: number): void;
}

/** What is to be done now: pure, so that it can be tested without a clock. */
export function nextStep(
  state: { nowMs: number; lastReceivedMs: number; probedAtMs: number | undefined; outstanding: number },
  options: Required<LivenessOptions>,
): 'wait' | 'probe' | 'dead' {
  const { nowMs, lastReceivedMs, probedAtMs, outstanding } = state;
  if (probedAtMs !== undefined && lastReceivedMs < probedAtMs) {
    return nowMs - probedAtMs >= options.probeTimeoutMs ? 'dead' : 'wait';
  }
  const limitMs = outstanding > 0 ? options.probeAfterMs : options.probeIdleMs;
  return nowMs - lastReceivedMs >= limitMs ? 'probe' : 'wait';
}

/** Finds out that a server is dead although its socket is not: an ECHO that goes unanswered, and nothing else either. */
export class Liveness {
  readonly #target: LivenessTarget;
  readonly #options: Required<LivenessOptions>;
  readonly #timer: NodeJS.Timeout;
  #probedAtMs: number | undefined;
  #tickedAtMs = performance.now();

  constructor(target: LivenessTarget, options: LivenessOptions = {}) {
    this.#target = target;
    this.#options = {
      probeAfterMs: options.probeAfterMs ?? PROBE_AFTER_MS,
      probeIdleMs: options.probeIdleMs ?? PROBE_IDLE_MS,
      probeTimeoutMs: options.probeTimeoutMs ?? PROBE_TIMEOUT_MS,
    };
    // Not unref'ed: callers that wait for an answer rely on it.
    this.#timer = setInterval(() => this.#tick(), PROBE_INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const nowMs = performance.now();
    const lateMs = nowMs - this.#tickedAtMs - PROBE_INTERVAL_MS;
    this.#tickedAtMs = nowMs;
    // This process slept or was busy: the time says nothing about the server, whose answer may wait in the socket.
    if (lateMs > PROBE_TOLERANCE_MS && this.#probedAtMs !== undefined) this.#probedAtMs += lateMs;
    const lastReceivedMs = this.#target.lastReceivedMs();
    const step = nextStep(
      { nowMs, lastReceivedMs, probedAtMs: this.#probedAtMs, outstanding: this.#target.outstanding() },
      this.#options,
    );
    if (step === 'probe') {
      if (this.#target.probe()) this.#probedAtMs = nowMs;
    } else if (step === 'dead') {
      this.stop();
      this.#target.dead(nowMs - lastReceivedMs);
    }
  }
}
