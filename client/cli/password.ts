import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { UsageError } from './errors.ts';

/**
 * Where the password comes from: --password-file, else the file that HOLDFAST_PASSWORD_FILE names, else a question on the
 * terminal. Never from the command line or the environment themselves, where other processes can see it.
 */
export async function passwordSource(passwordFile: string | undefined, user: string): Promise<() => Promise<string>> {
  const file = passwordFile ?? process.env.HOLDFAST_PASSWORD_FILE;
  if (file !== undefined) {
    await readPassword(file);
    return () => readPassword(file);
  }
  if (!process.stdin.isTTY) {
    throw new UsageError('no password: give --password-file FILE, or set HOLDFAST_PASSWORD_FILE to the name of a file');
  }
  const password = await ask(`Password of ${user}: `);
  return () => Promise.resolve(password);
}

async function readPassword(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).split(/\r?\n/)[0] ?? '';
  } catch (error) {
    throw new UsageError(`the password file cannot be read: ${(error as Error).message}`);
  }
}

/** Asks without showing what is typed. */
function ask(question: string): Promise<string> {
  process.stderr.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  return new Promise((resolve, reject) => {
    terminal.question('', (answer) => {
      terminal.close();
      process.stderr.write('\n');
      resolve(answer);
    });
    terminal.on('SIGINT', () => {
      terminal.close();
      reject(new UsageError('no password was given'));
    });
  });
}
