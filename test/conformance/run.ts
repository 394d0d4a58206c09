// smbtorture against `holdfast serve`, compared with expected.tsv: a test that stops passing fails the run.
//   run.ts              the tests that expected.tsv lists as passing
//   run.ts --all        every test; prints what differs
//   run.ts --write      every test; writes expected.tsv anew (reasons are kept)
//   run.ts NAME...      the tests whose names begin so
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { listTests, type Outcome, type Result, runTest } from './smbtorture.ts';

const EXPECTED = join(import.meta.dirname, 'expected.tsv');
const IN_PARALLEL = 2;

interface Expectation {
  outcome: Outcome;
  reason: string;
}

/** A second run settles what noise may have decided. */
async function settled(test: string, serving: Serving): Promise<Result> {
  const [host = '', port] = (serving.addresses[0] ?? '').split(':');
  const target = { host, port: Number(port), share: 'share', user: USER, password: PASSWORD };
  const first = await runTest(test, target);
  if (first.outcome === 'success') return first;
  return expected.get(test)?.outcome === 'success' ? runTest(test, target) : first;
}

function readExpected(): Map<string, Expectation> {
  const rows = new Map<string, Expectation>();
  if (!existsSync(EXPECTED)) return rows;
  for (const line of readFileSync(EXPECTED, 'utf8').split('\n')) {
    const [test, outcome, reason] = line.split('\t');
    if (test && outcome) rows.set(test, { outcome: outcome as Outcome, reason: reason ?? '' });
  }
  return rows;
}

const expected = readExpected();
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const writes = process.argv.includes('--write');
const all = writes || process.argv.includes('--all') || wanted.length > 0;
const names = listTests().filter(
  (name) =>
    (wanted.length === 0 || wanted.some((prefix) => name.startsWith(prefix))) &&
    (all || expected.get(name)?.outcome === 'success'),
);

const serving = await Serving.start({ flags: ['--min-dialect', '2.0.2', '--signing', 'Desired'] });
const results: Result[] = [];
let regressions = 0;
try {
  // Tests of one suite use the same files: they run one after another, suites side by side.
  const suites = Object.values(Object.groupBy(names, (name) => name.split('.', 2).join('.')));
  const work = async () => {
    for (let suite = suites.shift(); suite !== undefined; suite = suites.shift()) {
      for (const test of suite) await one(test);
    }
  };
  const one = async (test: string) => {
    const result = await settled(test, serving);
    results.push(result);
    const before = expected.get(test)?.outcome;
    if (before === 'success' && result.outcome !== 'success') {
      regressions++;
      console.log(`REGRESSION ${test}: ${result.outcome} ${result.reason}`);
    } else if (all && (wanted.length > 0 || (before !== 'success' && result.outcome === 'success'))) {
      console.log(`${result.outcome}\t${test}\t${result.seconds}\t${result.reason}`);
    }
    if (results.length % 50 === 0) console.log(`${results.length} of ${names.length} tests`);
  };
  await Promise.all(Array.from({ length: IN_PARALLEL }, work));
} finally {
  await serving.stop();
}

const passed = results.filter((result) => result.outcome === 'success').length;
if (writes) {
  const rows = results
    .sort((a, b) => (a.test < b.test ? -1 : 1))
    .map(
      ({ test, outcome, reason }) =>
        `${test}\t${outcome}\t${outcome === 'success' ? '' : expected.get(test)?.reason || reason}`,
    );
  writeFileSync(EXPECTED, `${rows.join('\n')}\n`);
}
mkdirSync('out/tests', { recursive: true });
writeFileSync(
  'out/tests/conformance.json',
  JSON.stringify({ numPassedTests: passed, numFailedTests: all ? 0 : regressions, results }),
);
console.log(`smbtorture: ${passed} of ${results.length} pass${all ? '' : `, ${regressions} no longer do`}`);
process.exitCode = regressions > 0 && !writes ? 1 : 0;
