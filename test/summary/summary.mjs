// Adds up the outcomes of the suites (one JSON file each, as jest writes them) into the line that ends a run.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** What is a check and no suite: leaves no file, and is counted only where it fails. */
const CHECKS = ['lint', 'cluster-down'];

/**
 * What a suite came to. One that ended with an error, left no outcome (it crashed, or was killed), or ran no test at all counts as
 * one failure where it does not say of any itself. What was not run, here or this time (skipped, or not to be had on this machine), is
 * neither.
 *
 * @param {string} folder where the outcomes lie
 * @param {string} suite the make target, e.g. test-unit
 * @param {boolean} ended whether it ended without an error
 * @returns {{ passed: number, failed: number, notRun: number, note: string }}
 */
export function outcomeOf(folder, suite, ended) {
  if (CHECKS.includes(suite))
    return { passed: 0, failed: ended ? 0 : 1, notRun: 0, note: ended ? '' : 'ended with an error' };
  let passed = 0;
  let failed = 0;
  let notRun = 0;
  let note = ended ? '' : 'ended with an error';
  try {
    const outcome = JSON.parse(readFileSync(join(folder, `${suite.replace(/^test-/, '')}.json`), 'utf8'));
    passed = numberIn(outcome, 'numPassedTests');
    // A file of tests that could not be run has no test that failed.
    failed = numberIn(outcome, 'numFailedTests') + (outcome.numRuntimeErrorTestSuites ?? 0);
    notRun = outcome.numPendingTests ?? 0;
    if (passed + failed === 0) note = 'ran no test';
  } catch (error) {
    note = `left no outcome: ${error.message}`;
  }
  if (note !== '' && failed === 0) failed = 1;
  return { passed, failed, notRun, note };
}

function numberIn(outcome, field) {
  if (!Number.isInteger(outcome[field])) throw new Error(`it has no ${field}`);
  return outcome[field];
}

//   summary.mjs FOLDER SUITE=ok|failed...   prints the sums; exit status 1 where anything failed, or nothing passed
if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [folder = 'out/tests', ...suites] = process.argv.slice(2);
  const sum = { passed: 0, failed: 0 };
  for (const given of suites) {
    const [suite = '', how] = given.split('=');
    const { passed, failed, notRun, note } = outcomeOf(folder, suite, how === 'ok');
    const rest = notRun > 0 ? `, ${notRun} not run` : '';
    console.log(`${suite}: ${passed} passed, ${failed} failed${rest}${note === '' ? '' : ` (${note})`}`);
    sum.passed += passed;
    sum.failed += failed;
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed`);
  process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
}
