import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { listTests } from './smbtorture.ts';
import { type Variant, variants } from './variants.ts';

interface Row {
  test: string;
  outcome: string;
  reason: string;
  fields: number;
}

/** The lines of a table as they stand there: `readExpectations` forgives what is wrong with them. */
function rowsOf(file: string): Row[] {
  const lines = readFileSync(join(import.meta.dirname, file), 'utf8').split('\n');
  // The end of the last line.
  if (lines.at(-1) === '') lines.pop();
  return lines.map((line) => {
    const { length, 0: test = '', 1: outcome = '', 2: reason = '' } = line.split('\t');
    return { test, outcome, reason, fields: length };
  });
}

/** What smbtorture prints of itself: its files with their lines, or its assertions. */
const RAW_OUTPUT = /source4\/torture|\.c:\d+|Expression `|Incorrect (status|value)/;
const WINDOWS = /; Windows (passes|fails|not known)\b[^;]*$/;

describe.each(Object.values(variants).map((variant: Variant) => [variant.expected, variant] as const))(
  '%s',
  (file, variant) => {
    const rows = rowsOf(file);

    test('has three columns', () => {
      expect(rows.filter(({ fields }) => fields !== 3)).toEqual([]);
    });

    test('has a line for each test of its variant, and no other', () => {
      const expected = listTests().filter((name) => variant.about?.test(name) ?? true);
      expect(rows.map((row) => row.test).toSorted()).toEqual(expected.toSorted());
    });

    test('knows every outcome', () => {
      const known = ['success', 'failure', 'skip', 'error', 'timeout'];
      expect(rows.filter(({ outcome }) => !known.includes(outcome))).toEqual([]);
      expect(rows.filter(({ outcome, reason }) => outcome === 'success' && reason !== '')).toEqual([]);
    });

    const failing = rows.filter(({ outcome }) => outcome !== 'success');

    test('says of each test that does not pass why, in words that are not smbtorture’s', () => {
      expect(failing.filter(({ reason }) => reason.replace(WINDOWS, '').length < 10)).toEqual([]);
      expect(failing.filter(({ reason }) => RAW_OUTPUT.test(reason))).toEqual([]);
    });

    test('ends each reason with whether Windows passes', () => {
      expect(failing.filter(({ reason }) => !WINDOWS.test(reason))).toEqual([]);
    });
  },
);
