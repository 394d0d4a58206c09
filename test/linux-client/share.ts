import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { run } from '../cluster/shell.ts';

/** Programs of this machine that the small one gets along. */
const PROGRAMS = ['git', 'rsync', 'sqlite3'];
/** Compiled for it, of programs/. */
const COMPILED = ['random-io', 'locks', 'steady-writer'];
const FILES_A_FOLDER = 100;

/** What the small machine takes from the share before it begins. */
export const TOOLS = 'tools.tar';
export const INPUTS = 'inputs.tar';

/** Puts onto the share the programs, and (inputs.tar) a tree of files and a repository of it, each in an archive. @param work an empty folder */
export async function prepareShare(work: string, share: string, files: number): Promise<void> {
  const tools = join(work, 'tools');
  const paths = PROGRAMS.map((name) => realpathSync(execFileSync('which', [name], { encoding: 'utf8' }).trim()));
  copyBelow(tools, new Set(paths.flatMap(withLibraries)));
  mkdirSync(join(tools, 'usr/lib/git-core'), { recursive: true });
  for (const alias of ['git', 'git-upload-pack']) {
    execFileSync('ln', ['-s', '/usr/bin/git', join(tools, 'usr/lib/git-core', alias)]);
  }
  mkdirSync(join(tools, 'bin'), { recursive: true });
  for (const name of COMPILED) {
    const source = join(import.meta.dirname, 'programs', `${name}.c`);
    await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-static', '-o', join(tools, 'bin', name), source]);
  }
  await run('tar', ['cf', join(share, TOOLS), '-C', tools, '.']);

  const tree = join(work, 'tree');
  for (let i = 0; i < files; i++) {
    const folder = join(tree, `module${Math.floor(i / FILES_A_FOLDER)}`, `part${i % 7}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file${i}.c`), `/* file ${i} */\n`.repeat((i * 13) % 500));
  }
  await run('tar', ['cf', join(work, 'tree.tar'), '-C', work, basename(tree)]);
  const git = (...args: string[]) => run('git', ['-C', tree, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args]);
  await git('init', '--quiet');
  await git('add', '.');
  await git('commit', '--quiet', '-m', 'all');
  await run('git', ['clone', '--quiet', '--bare', tree, join(work, 'source.git')]);
  await run('tar', ['cf', join(work, 'source.tar'), '-C', work, 'source.git']);
  await run('tar', ['cf', join(share, INPUTS), '-C', work, 'tree.tar', 'source.tar']);
}

/** A program with the libraries that it needs, as paths of this machine. */
function withLibraries(program: string): string[] {
  const libraries = execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  return [program, ...Array.from(libraries, ([, path = '']) => path)];
}

/** Copies files to where they lie here, below a folder. */
function copyBelow(folder: string, paths: Iterable<string>): void {
  for (const path of paths) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), readFileSync(realpathSync(path)), { mode: 0o755 });
  }
}
