import { type ChildProcess, spawn } from 'node:child_process';

export interface CommandOptions {
  input?: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** The command is killed when it takes longer. */
  timeoutMs?: number;
  /** Called with each line of standard output and error as it comes. */
  onLine?: (line: string) => void;
}

export class CommandError extends Error {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;

  constructor(command: string, code: number | null, stdout: string, stderr: string) {
    super(`"${command}" ended with ${code ?? 'a signal'}: ${(stderr || stdout).trim().slice(-2000)}`);
    this.name = 'CommandError';
    this.code = code;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/** Runs a program to its end and gives its standard output. Throws CommandError when it fails. */
export async function run(command: string, args: string[], options: CommandOptions = {}): Promise<string> {
  const child = spawn(command, args, {
    env: options.env ?? process.env,
    cwd: options.cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const timer =
    options.timeoutMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), options.timeoutMs);
  const stdout = collect(child.stdout, options.onLine);
  const stderr = collect(child.stderr, options.onLine);
  child.stdin.on('error', () => {}); // a program that does not read its input closes it
  child.stdin.end(options.input ?? '');
  const code = await ended(child);
  clearTimeout(timer);
  if (code !== 0) throw new CommandError([command, ...args].join(' ').slice(0, 300), code, stdout(), stderr());
  return stdout();
}

/** Resolves with the exit status (null: ended by a signal). Rejects when the program could not be started. */
export function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
}

function collect(stream: NodeJS.ReadableStream, onLine?: (line: string) => void): () => string {
  let text = '';
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text += chunk;
    if (!onLine) return;
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  return () => text;
}

/** Asks until the answer is not undefined. Throws with the last reason when the time is up. */
export async function eventually<T>(
  what: string,
  withinMs: number,
  ask: () => Promise<T | undefined> | T | undefined,
  everyMs = 200,
): Promise<T> {
  const until = performance.now() + withinMs;
  let reason = 'it is not so yet';
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > until) throw new Error(`waited ${Math.round(withinMs / 1000)} s for: ${what}; ${reason}`);
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}
