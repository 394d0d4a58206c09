// What a step did to the writers, from their own reports.
import { decodeTimeLine, type WriterReport } from '../../client/cli/report.ts';

export interface StepResult {
  name: string;
  /** Handles that were writing. */
  handles: number;
  moved: number;
  reclaimed: number;
  expired: number;
  /** Of the longest gap that each writer saw between two acknowledgements. */
  pauseMs: { p50: number; max: number };
  callerErrors: number;
}

/** The longest gap of each handle within a time, and what the callers saw. */
export function summarise(
  name: string,
  reports: WriterReport[],
  fromUnixMs: number,
  toUnixMs: number,
): Omit<StepResult, 'moved' | 'expired'> {
  const longest: number[] = [];
  let callerErrors = 0;
  let reclaimed = 0;
  for (const report of reports) {
    const startMs = Date.parse(report.startedAt);
    const within = (atMs: number) => startMs + atMs >= fromUnixMs && startMs + atMs <= toUnixMs;
    reclaimed += report.failovers.filter((one) => within(one.atMs)).reduce((sum, one) => sum + one.reclaimed, 0);
    for (const handle of report.handles) {
      longest.push(longestGapMs(decodeTimeLine(handle.ackTimes), fromUnixMs - startMs, toUnixMs - startMs));
      callerErrors += handle.errors.filter((error) => within(error.atMs)).length;
    }
  }
  return {
    name,
    handles: longest.length,
    reclaimed,
    pauseMs: medianAndMax(longest),
    callerErrors,
  };
}

/** Rounded; 0 of none. */
export function medianAndMax(values: number[]): { p50: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  return { p50: Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0), max: Math.round(sorted.at(-1) ?? 0) };
}

/** @param times sorted; a gap counts when it reaches into the time, and one that is open at its end counts up to there */
export function longestGapMs(times: number[], fromMs: number, toMs: number): number {
  let longest = 0;
  let last = fromMs;
  for (const at of times) {
    if (at < fromMs) {
      last = at;
      continue;
    }
    longest = Math.max(longest, Math.min(at, toMs) - last);
    last = at;
    if (at > toMs) return longest;
  }
  return Math.max(longest, toMs - last);
}

export function tableOf(steps: StepResult[]): string[][] {
  return [
    ['step', 'handles', 'moved', 'reclaimed', 'expired', 'pause p50', 'pause max', 'errors'],
    ...steps.map((step) => [
      step.name,
      ...[step.handles, step.moved, step.reclaimed, step.expired].map(String),
      `${step.pauseMs.p50} ms`,
      `${step.pauseMs.max} ms`,
      String(step.callerErrors),
    ]),
  ];
}
