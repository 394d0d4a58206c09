// Adds up the outcomes of the suites (one JSON file each, as jest writes them) into the line that ends a run.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

/** What is a check and no suite: leaves no file, and is counted only where it fails. */
const CHECKS = ['lint', 'cluster-down'];
/** Of what a test that failed said: the rest stands far above, where it failed. */
const SHOWN_LINES = 12;
const SHOWN_CHARACTERS = 300;
/** Of the tests that failed in one suite. */
const SHOWN_FAILURES = 10;

/**
 * What a suite came to. One that ended with an error, left no outcome (it crashed, or was killed), or ran no test at all counts as
 * one failure where it does not say of any itself. What was not run, here or this time (skipped, or not to be had on this machine), is
 * neither.
 *
 * @param {string} folder where the outcomes lie
 * @param {string} suite the make target, e.g. test-unit
 * @param {boolean} ended whether it ended without an error
 * @returns {{ passed: number, failed: number, notRun: number, note: string, failures: string[] }}
 */
export function outcomeOf(folder, suite, ended) {
  if (CHECKS.includes(suite))
    return { passed: 0, failed: ended ? 0 : 1, notRun: 0, note: ended ? '' : 'ended with an error', failures: [] };
  let passed = 0;
  let failed = 0;
  let notRun = 0;
  let failures = [];
  let note = ended ? '' : 'ended with an error';
  try {
    const outcome = JSON.parse(readFileSync(join(folder, `${suite.replace(/^test-/, '')}.json`), 'utf8'));
    passed = numberIn(outcome, 'numPassedTests');
    // A file of tests that could not be run has no test that failed.
    failed = numberIn(outcome, 'numFailedTests') + (outcome.numRuntimeErrorTestSuites ?? 0);
    notRun = outcome.numPendingTests ?? 0;
    failures = failuresIn(outcome);
    if (passed + failed === 0) note = 'ran no test';
  } catch (error) {
    note = `left no outcome: ${error.message}`;
  }
  if (note !== '' && failed === 0) failed = 1;
  return { passed, failed, notRun, note, failures };
}

/** Each test that failed, and each file that could not be run, with the beginning of what it said. */
function failuresIn(outcome) {
  return (outcome.testResults ?? []).flatMap((file) => {
    const tests = (file.assertionResults ?? []).filter((test) => test.status === 'failed');
    if (tests.length === 0) return file.status === 'failed' ? [failure(basename(file.name), file.message)] : [];
    return tests.map((test) => failure(`${basename(file.name)}: ${test.fullName}`, test.failureMessages?.[0]));
  });
}

function failure(what, message) {
  const lines = stripVTControlCharacters(message ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('at '));
  return [what, ...lines.slice(0, SHOWN_LINES).map((line) => `    ${line.slice(0, SHOWN_CHARACTERS)}`)].join('\n');
}

function numberIn(outcome, field) {
  if (!Number.isInteger(outcome[field])) throw new Error(`it has no ${field}`);
  return outcome[field];
}

//   summary.mjs FOLDER SUITE=ok|failed...   prints what failed and the sums; exit status 1 where anything failed, or nothing passed
if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [folder = 'out/tests', ...suites] = process.argv.slice(2);
  const outcomes = suites.map((given) => {
    const [suite = '', how] = given.split('=');
    return { suite, ...outcomeOf(folder, suite, how === 'ok') };
  });
  for (const { suite, failures } of outcomes) {
    for (const one of failures.slice(0, SHOWN_FAILURES)) console.log(`${suite} failed: ${one}`);
    if (failures.length > SHOWN_FAILURES) console.log(`${suite} failed: ${failures.length - SHOWN_FAILURES} more`);
  }
  const sum = { passed: 0, failed: 0 };
  for (const { suite, passed, failed, notRun, note } of outcomes) {
    const rest = notRun > 0 ? `, ${notRun} not run` : '';
    console.log(`${suite}: ${passed} passed, ${failed} failed${rest}${note === '' ? '' : ` (${note})`}`);
    sum.passed += passed;
    sum.failed += failed;
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed`);
  process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
}
