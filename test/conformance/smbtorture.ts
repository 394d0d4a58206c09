import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type Outcome = 'success' | 'failure' | 'skip' | 'error' | 'timeout';

export interface Result {
  test: string;
  outcome: Outcome;
  seconds: number;
  /** What smbtorture said of a test that did not pass; one line. */
  reason: string;
}

const TEST_TIMEOUT_MS = 60_000;
/** Tests that sleep longer than that, ms: 13 operations under 32 filters, 0.2 s each. */
const slow: Record<string, number> = { 'smb2.notify.mask': 240_000 };

/** Names of the tests that need no hand work, each as one that can be run alone: those that Samba's own server was measured with. */
export function listTests(): string[] {
  const table = readFileSync(join(import.meta.dirname, 'smbd-4.17.tsv'), 'utf8');
  return table.split('\n').flatMap((line) => line.split('\t')[0] || []);
}

export interface Target {
  host: string;
  port: number;
  share: string;
  user: string;
  password: string;
  extra?: string[];
}

/** Runs one test in a process of its own. */
export async function runTest(test: string, target: Target): Promise<Result> {
  const startedAt = performance.now();
  const child = spawn(
    'smbtorture',
    [
      ...[`//${target.host}/${target.share}`, '-p', String(target.port), '-U', `${target.user}%${target.password}`],
      ...['--format=subunit', ...(target.extra ?? []), test],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString('latin1');
    });
  }
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, slow[test] ?? TEST_TIMEOUT_MS);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(timer);
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
  return { test, seconds, ...(timedOut ? { outcome: 'timeout' as const, reason: '' } : judge(output, code)) };
}

/** Reads smbtorture's subunit lines: "success: NAME", "failure: NAME [ reason ]", "skip: ...", "error: ...". */
function judge(output: string, code: number | null): { outcome: Outcome; reason: string } {
  const verdicts = [...output.matchAll(/^(success|failure|skip|error): .*?(?: \[\n?([\s\S]*?)\n?\])?$/gm)];
  const worst =
    verdicts.find((verdict) => verdict[1] === 'error') ??
    verdicts.find((verdict) => verdict[1] === 'failure') ??
    verdicts.find((verdict) => verdict[1] === 'skip') ??
    verdicts[0];
  const reason = (/^(?:failure|error|skip): .* \[\n([\s\S]*?)\n\]/m.exec(output)?.[1] ?? '')
    .replace(/\s+/g, ' ')
    .slice(0, 200);
  if (!worst) return { outcome: 'error', reason: output.trim().replace(/\s+/g, ' ').slice(-200) };
  const outcome = worst[1] as Outcome;
  return { outcome: outcome === 'success' && code !== 0 ? 'failure' : outcome, reason };
}
