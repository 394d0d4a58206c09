import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

const PROGRAM = join(import.meta.dirname, 'summary.mjs');
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-summary-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const left = (suite: string, outcome: object | string) =>
  writeFileSync(join(folder, `${suite}.json`), typeof outcome === 'string' ? outcome : JSON.stringify(outcome));
const jest = (numPassedTests: number, numFailedTests = 0, numRuntimeErrorTestSuites = 0) => ({
  numPassedTests,
  numFailedTests,
  numRuntimeErrorTestSuites,
});

/** All lines, and the exit status. */
function printed(...suites: string[]): Promise<{ lines: string[]; code: number }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [PROGRAM, folder, ...suites], (error, stdout) =>
      resolve({ lines: stdout.trimEnd().split('\n'), code: error ? Number(error.code) : 0 }),
    ),
  );
}

/** The last line, and the exit status. */
async function summary(...suites: string[]): Promise<{ line: string; code: number }> {
  const { lines, code } = await printed(...suites);
  return { line: lines.at(-1) ?? '', code };
}

describe('the line that ends a run', () => {
  test('adds up what the suites say', async () => {
    left('unit', jest(10));
    left('faults', jest(3));
    expect(await summary('lint=ok', 'test-unit=ok', 'test-faults=ok')).toEqual({
      line: '13 passed, 0 failed',
      code: 0,
    });
    left('faults', jest(1, 2));
    expect(await summary('test-unit=ok', 'test-faults=failed')).toEqual({ line: '11 passed, 2 failed', code: 1 });
  });

  test('counts a file of tests that could not be run once', async () => {
    left('unit', jest(10, 0, 1));
    expect(await summary('test-unit=failed')).toEqual({ line: '10 passed, 1 failed', code: 1 });
  });

  test.each([
    ['crashed before it wrote its outcome', undefined, 'failed'],
    ['left nothing and says that it went well', undefined, 'ok'],
    ['was killed while it wrote', '{"numPassedTests": 5, "numFai', 'failed'],
    ['says nothing that can be added', {}, 'ok'],
    ['ran no test', jest(0), 'ok'],
    ['passed all tests and ended with an error', jest(5), 'failed'],
  ])('counts as a failure a suite that %s', async (_what, outcome, how) => {
    left('unit', jest(10));
    if (outcome !== undefined) left('e2e', outcome);
    const { line, code } = await summary('test-unit=ok', `test-e2e=${how}`);
    expect(line).toMatch(/^1[05] passed, 1 failed$/);
    expect(code).toBe(1);
  });

  test('says of each suite how many of its tests were not run, and counts them neither way', async () => {
    left('unit', jest(10));
    left('conformance', { ...jest(3), numPendingTests: 26 });
    expect(await printed('test-unit=ok', 'test-conformance=ok')).toEqual({
      lines: [
        'test-unit: 10 passed, 0 failed',
        'test-conformance: 3 passed, 0 failed, 26 not run',
        '13 passed, 0 failed',
      ],
      code: 0,
    });
  });

  test('names the tests that failed, with the beginning of what they said', async () => {
    const failing = (fullName: string) => ({
      status: 'failed',
      fullName,
      failureMessages: [`Error: \u001b[31m${fullName}\u001b[39m\n${'and on\n'.repeat(20)}    at f (x.ts:1:1)`],
    });
    left('e2e', {
      ...jest(1, 12, 1),
      testResults: [
        {
          name: '/x/operator.test.ts',
          status: 'failed',
          assertionResults: [
            { status: 'passed', fullName: 'good' },
            ...Array.from({ length: 12 }, (_, i) => failing(`bad ${i}`)),
          ],
        },
        { name: '/x/broken.test.ts', status: 'failed', assertionResults: [], message: 'SyntaxError: no' },
      ],
    });
    const { lines } = await printed('test-e2e=failed');
    expect(lines.slice(0, 3)).toEqual(['test-e2e failed: operator.test.ts: bad 0', '    Error: bad 0', '    and on']);
    expect(lines).toContain('test-e2e failed: 3 more');
    expect(lines.slice(-2)).toEqual(['test-e2e: 1 passed, 13 failed (ended with an error)', '1 passed, 13 failed']);
    expect(lines.length).toBeLessThan(140);
    left('e2e', {
      ...jest(1, 0, 1),
      testResults: [{ name: '/x/broken.test.ts', status: 'failed', assertionResults: [], message: 'SyntaxError: no' }],
    });
    expect((await printed('test-e2e=failed')).lines.slice(0, 2)).toEqual([
      'test-e2e failed: broken.test.ts',
      '    SyntaxError: no',
    ]);
  });

  test('is a failure where nothing was run', async () => {
    left('conformance', { ...jest(0), numPendingTests: 26 });
    expect(await summary('test-conformance=ok')).toEqual({ line: '0 passed, 1 failed', code: 1 });
  });

  test.each(['lint', 'cluster-down'])('counts %s where it fails, and nothing where it does not', async (check) => {
    left('unit', jest(10));
    expect(await summary('test-unit=ok', `${check}=ok`)).toEqual({ line: '10 passed, 0 failed', code: 0 });
    expect(await summary('test-unit=ok', `${check}=failed`)).toEqual({ line: '10 passed, 1 failed', code: 1 });
  });

  test('is a failure where nothing passed', async () => {
    expect(await summary('lint=ok')).toEqual({ line: '0 passed, 0 failed', code: 1 });
    expect(await summary('lint=failed')).toEqual({ line: '0 passed, 1 failed', code: 1 });
  });
});
