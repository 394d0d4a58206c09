// smbtorture against `holdfast serve`, compared with a table of expected outcomes: a test that stops passing fails the run.
//   run.ts              what CI runs: all tests that expected.tsv lists as passing, and of the other variants those that
//                       they can make a difference to
//   run.ts VARIANT      the tests that pass with --plain, --continuously-available, --servers 2, --encrypted, --btrfs, --network
//   run.ts --all        every test; prints what differs       (of one variant; --plain if none is named)
//   run.ts --write      every test; writes the table anew (reasons are kept)
//   run.ts NAME...      the tests whose names begin so
//   --jobs N            tests side by side, each with servers and a share of its own (default 4)
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Expectation, readExpectations, writeExpectations } from './expectations.ts';
import { listTests, type Result, smbdSeconds } from './smbtorture.ts';
import { type Variant, type VariantName, variants } from './variants.ts';
import { type Runner, startRunner, Unavailable } from './within.ts';

const { values: flags, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    plain: { type: 'boolean', default: false },
    'continuously-available': { type: 'boolean', default: false },
    servers: { type: 'string', default: '1' },
    encrypted: { type: 'boolean', default: false },
    btrfs: { type: 'boolean', default: false },
    network: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '4' },
  },
});
const everyTest = flags.all || flags.write || wanted.length > 0;

/** What a run of one variant came to. */
interface Run {
  variant: Variant;
  results: Result[];
  /** Tests that passed before. */
  regressions: Result[];
  /** How many tests were left out, because this machine cannot have what the variant needs. */
  notRun: number;
}

function chosenVariant(): VariantName | undefined {
  if (flags['continuously-available']) return 'continuouslyAvailable';
  if (flags.servers === '2') return 'twoServers';
  if (flags.encrypted) return 'encrypted';
  if (flags.btrfs) return 'btrfs';
  if (flags.network) return 'network';
  return flags.plain || everyTest ? 'plain' : undefined;
}

/** Runs the tests of a variant side by side; what fails but passed before is run once more, with nothing beside it. */
async function runVariant(variantName: VariantName, names: readonly string[]): Promise<Run> {
  const variant: Variant = variants[variantName];
  const expected = readExpectations(variant.expected);
  // The longest first, so that none is left to run alone at the end.
  const queue = names.toSorted((a, b) => smbdSeconds(b) - smbdSeconds(a));
  const results = new Map<string, Result>();
  const repeated: string[] = [];
  const jobs = Math.min(Number(flags.jobs), names.length);
  const startedAt = performance.now();
  const work = async (server: Runner) => {
    for (let test = queue.shift(); test !== undefined; test = queue.shift()) {
      const result = await server.run(test);
      results.set(test, result);
      if (result.outcome !== 'success' && expected.get(test)?.outcome === 'success') repeated.push(test);
      else report(result, expected);
      if (results.size % 100 === 0) console.log(`${variant.name}: ${results.size} of ${names.length} tests`);
    }
  };
  const servers: Runner[] = [];
  try {
    for (let i = 0; i < jobs; i++) servers.push(await startRunner(variantName, variant));
    await Promise.all(servers.map(work));
    for (const test of repeated) {
      const result = (await servers[0]?.run(test)) as Result;
      results.set(test, result);
      report(result, expected);
    }
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    console.log(`smbtorture, ${variant.name}: cannot be had on this machine, ${names.length} tests not run`);
    return { variant, results: [], regressions: [], notRun: names.length };
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  const all = [...results.values()];
  const regressions = all.filter(
    ({ test, outcome }) => outcome !== 'success' && expected.get(test)?.outcome === 'success',
  );
  const passed = all.filter(({ outcome }) => outcome === 'success').length;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(
    `smbtorture, ${variant.name}: ${passed} of ${all.length} pass, ${regressions.length} no longer do (${seconds} s)`,
  );
  if (flags.write && wanted.length === 0) writeExpectations(variant.expected, all, expected);
  return { variant, results: all, regressions, notRun: 0 };
}

function report({ test, outcome, seconds, reason }: Result, expected: Map<string, Expectation>): void {
  const before = expected.get(test)?.outcome;
  if (before === 'success' && outcome !== 'success') console.log(`REGRESSION ${test}: ${outcome} ${reason}`);
  else if (wanted.length > 0 || (before !== 'success' && outcome === 'success')) {
    console.log(`${outcome}\t${test}\t${seconds}\t${reason}`);
  }
}

/** The tests of a variant that this call is about. */
function testsOf(variant: Variant, inCi: boolean): string[] {
  const expected = readExpectations(variant.expected);
  return listTests().filter((test) => {
    if (variant.about && !variant.about.test(test)) return false;
    if (wanted.length > 0) return wanted.some((prefix) => test.startsWith(prefix));
    if (everyTest) return true;
    if (expected.get(test)?.outcome !== 'success') return false;
    return !inCi || variant.inCi(test);
  });
}

const chosen = chosenVariant();
const runs: Run[] = [];
for (const name of chosen ? [chosen] : (Object.keys(variants) as VariantName[])) {
  const tests = testsOf(variants[name], chosen === undefined);
  if (tests.length > 0) runs.push(await runVariant(name, tests));
}

const results = runs.flatMap(({ variant, results }) => results.map((result) => ({ variant: variant.name, ...result })));
const passed = results.filter(({ outcome }) => outcome === 'success').length;
const regressions = runs.flatMap((run) => run.regressions).length;
const notRun = runs.reduce((sum, run) => sum + run.notRun, 0);
mkdirSync('out/tests', { recursive: true });
writeFileSync(
  'out/tests/conformance.json',
  // As jest names them; the summary of all suites says how many were not run.
  JSON.stringify({ numPassedTests: passed, numFailedTests: regressions, numPendingTests: notRun, results }),
);
console.log(
  `smbtorture: ${passed} of ${results.length} pass, ${regressions} no longer do${notRun > 0 ? `, ${notRun} not run` : ''}`,
);
process.exitCode = regressions > 0 && !flags.write ? 1 : 0;
