import { describe, expect, test } from '@jest/globals';
import { type HandleReport, TimeLine, type WriterReport } from '../../client/cli/report.ts';
import { longestGapMs, summarise } from './results.ts';

describe('the longest pause of a step', () => {
  test('lies between two acknowledgements within it', () => {
    expect(longestGapMs([0, 10, 20, 120, 130, 140], 15, 140)).toBe(100);
  });

  test('counts from the step when it began before, and up to its end when nothing follows', () => {
    expect(longestGapMs([0, 10], 50, 400)).toBe(390);
    expect(longestGapMs([], 50, 400)).toBe(350);
  });

  test('leaves out what lies after the step', () => {
    expect(longestGapMs([0, 10, 20, 900], 0, 30)).toBe(10);
  });
});

describe('what a step did to the writers', () => {
  const START = '2026-01-01T00:00:00.000Z';
  const at = (ms: number) => Date.parse(START) + ms;
  const error = (atMs: number) => ({ atMs, code: 'HANDLE_LOST', message: '' });
  function handle(times: number[], errors: { atMs: number; code: string; message: string }[] = []): HandleReport {
    const line = new TimeLine();
    for (const ms of times) line.add(ms);
    return { ackTimes: line.toString(), errors } as HandleReport;
  }
  const writer = (handles: HandleReport[], failovers: { atMs: number; reclaimed: number }[] = []) =>
    ({ startedAt: START, handles, failovers }) as WriterReport;

  test('sums up the handles of all writers: pauses, errors and reclaims that fall into it, and no others', () => {
    const reports = [
      writer(
        [handle([0, 100, 400, 500]), handle([0, 480, 500], [error(50), error(300), error(900)])],
        [
          { atMs: 200, reclaimed: 2 },
          { atMs: 900, reclaimed: 7 },
        ],
      ),
      writer([handle([0, 150, 200, 500], [error(250)])], [{ atMs: 210, reclaimed: 1 }]),
    ];
    expect(summarise('a kill', reports, at(100), at(500))).toEqual({
      name: 'a kill',
      handles: 3,
      reclaimed: 3,
      pauseMs: { p50: 300, max: 480 },
      callerErrors: 2,
    });
  });
});
