// What a step did to the writers, from their own reports.
import type { WriterReport } from './writers.ts';

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
): Pick<StepResult, 'name' | 'handles' | 'pauseMs' | 'callerErrors'> {
  const handles = reports.flatMap((report) => report.handles);
  const longest = handles
    .map((handle) => longestGapMs(handle.acknowledgedAtUnixMs, fromUnixMs, toUnixMs))
    .sort((a, b) => a - b);
  return {
    name,
    handles: handles.length,
    pauseMs: { p50: longest[Math.floor(longest.length / 2)] ?? 0, max: longest.at(-1) ?? 0 },
    callerErrors: handles.reduce((sum, handle) => sum + handle.errors, 0),
  };
}

/** @param times sorted; a gap counts when it reaches into the time, and one that is open at its end counts up to there */
export function longestGapMs(times: number[], fromUnixMs: number, toUnixMs: number): number {
  let longest = 0;
  let last = fromUnixMs;
  for (const at of times) {
    if (at < fromUnixMs) {
      last = at;
      continue;
    }
    longest = Math.max(longest, Math.min(at, toUnixMs) - last);
    last = at;
    if (at > toUnixMs) return longest;
  }
  return Math.max(longest, toUnixMs - last);
}

/** Handles that were reconnected within a time. */
export function reclaimed(reports: WriterReport[], fromUnixMs: number, toUnixMs: number): number {
  return reports
    .flatMap((report) => report.handles)
    .filter((handle) => handle.reconnects.some((at) => at >= fromUnixMs && at <= toUnixMs)).length;
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
