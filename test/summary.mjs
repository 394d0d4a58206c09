// Adds up the outcomes of the suites (one JSON file each, as jest writes them) into the line that ends a run.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

//   summary.mjs FOLDER [SUITE...]   the suites named failed as a whole; one that left no file counts as one failure
const [folder = 'out/tests', ...failedSuites] = process.argv.slice(2);
let passed = 0;
let failed = 0;
const reported = new Set();
for (const name of readdirSync(folder)
  .filter((file) => file.endsWith('.json'))
  .sort()) {
  const suite = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  if (suite.numFailedTests > 0) reported.add(`test-${name.replace('.json', '')}`);
  passed += suite.numPassedTests;
  failed += suite.numFailedTests + (suite.numRuntimeErrorTestSuites ?? 0);
  console.log(`${name.replace('.json', '')}: ${suite.numPassedTests} passed, ${suite.numFailedTests} failed`);
}
failed += failedSuites.filter((suite) => !reported.has(suite)).length;
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
