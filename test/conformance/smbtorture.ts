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

/**
 * A test may take this long, ms, or a multiple of what it takes with smbd where that is more: some wait for time-outs, some make thousands
 * of files.
 */
const LEAST_LIMIT_MS = 300_000;
const TIMES_SMBD = 4;

/** The tests that need no hand work, each as one that can be run alone, with the seconds that Samba's own server took. */
const measured: ReadonlyMap<string, number> = new Map(
  readFileSync(join(import.meta.dirname, 'smbd-4.17.tsv'), 'utf8')
    .split('\n')
    .map((line) => line.split('\t'))
    .flatMap(([test, , seconds]) => (test ? [[test, Number(seconds)] as const] : [])),
);

/** Their names. */
export function listTests(): string[] {
  return [...measured.keys()];
}

/** How long a test took with smbd, on the machine that it was measured on: what it waits for, more than what it computes. */
export function smbdSeconds(test: string): number {
  return measured.get(test) ?? 0;
}

export interface Target {
  host: string;
  port: number;
  share: string;
  user: string;
  password: string;
  extra?: string[];
}

/** What tests want to be told: which file and bytes they work on, and which share they validate NEGOTIATE on. */
const parameters: Record<string, readonly string[]> = {
  'smb2.set-sparse-ioctl': ['--option=torture:filename=sparse.dat'],
  'smb2.zero-data-ioctl': [
    '--option=torture:filename=zero.dat',
    '--option=torture:offset=100',
    '--option=torture:beyond_final_zero=5000',
  ],
  'smb2.ioctl.bug14788.NETWORK_INTERFACE': ['--option=torture:noperm_share=share'],
  'smb2.ioctl.bug14788.VALIDATE_NEGOTIATE': ['--option=torture:noperm_share=share'],
};

/** Runs one test in a process of its own, which is ended when it takes too long. */
export async function runTest(test: string, target: Target): Promise<Result> {
  const startedAt = performance.now();
  const child = spawn(
    'smbtorture',
    [
      ...[`//${target.host}/${target.share}`, '-p', String(target.port), '-U', `${target.user}%${target.password}`],
      ...['--format=subunit', ...(target.extra ?? []), ...(parameters[test] ?? []), test],
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
  const timer = setTimeout(
    () => {
      timedOut = true;
      child.kill('SIGKILL');
    },
    Math.max(LEAST_LIMIT_MS, TIMES_SMBD * smbdSeconds(test) * 1000),
  );
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
