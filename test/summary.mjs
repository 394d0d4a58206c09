// Adds up the outcomes of the suites (one JSON file each, as jest writes them) into the line that ends a run.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2] ?? 'out/tests';
let passed = 0;
let failed = 0;
for (const name of readdirSync(folder)
  .filter((file) => file.endsWith('.json'))
  .sort()) {
  const suite = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  passed += suite.numPassedTests;
  failed += suite.numFailedTests + (suite.numRuntimeErrorTestSuites ?? 0);
  console.log(`${name.replace('.json', '')}: ${suite.numPassedTests} passed, ${suite.numFailedTests} failed`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
