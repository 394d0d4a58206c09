// The tables of outcomes: a test a line, with its outcome and, where it does not pass, the reason.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Outcome, Result } from './smbtorture.ts';

export interface Expectation {
  outcome: Outcome;
  /** Why it does not pass, ending with "; Windows passes", "; Windows fails" or "; Windows not known"; empty for a success. */
  reason: string;
}

/** Reads a table of this folder; one that is not there is empty. */
export function readExpectations(file: string): Map<string, Expectation> {
  const rows = new Map<string, Expectation>();
  const path = join(import.meta.dirname, file);
  if (!existsSync(path)) return rows;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [test, outcome, reason] = line.split('\t');
    if (test && outcome) rows.set(test, { outcome: outcome as Outcome, reason: reason ?? '' });
  }
  return rows;
}

/** Writes a table anew. A reason that was written down stays; what smbtorture said stands in for one that was not. */
export function writeExpectations(file: string, results: readonly Result[], before: Map<string, Expectation>): void {
  const rows = results
    .toSorted((a, b) => (a.test < b.test ? -1 : 1))
    .map(
      ({ test, outcome, reason }) =>
        `${test}\t${outcome}\t${outcome === 'success' ? '' : before.get(test)?.reason || reason}`,
    );
  writeFileSync(join(import.meta.dirname, file), `${rows.join('\n')}\n`);
}
