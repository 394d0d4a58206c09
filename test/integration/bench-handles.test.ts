import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { run } from '../cluster/shell.ts';

const BENCH = join(import.meta.dirname, '../../bench/run.ts');
const RUNNING_MS = 180_000;

describe('the benchmark of the handle table', () => {
  test(
    'measures every part; the figures are judged by people on a quiet machine',
    async () => {
      const output = await run(process.execPath, [BENCH, 'handles', '--short']);
      process.stdout.write(output);
      for (const line of [
        /^open \+ close, not persistent, .*: [\d,.]+ \/s/m,
        /^open \+ close, persistent, .*: [\d,.]+ \/s/m,
        /^memory of Redis, .*: [\d,.]+ bytes/m,
        /^open \+ close with 2,000 handles held, .*: [\d.]+ /m,
        /^300 handles moved to two other servers: [\d.]+ s/m,
        /^a dead process' handle is at another server: [\d,.]+ ms/m,
      ]) {
        expect(output).toMatch(line);
      }
    },
    RUNNING_MS,
  );
});
