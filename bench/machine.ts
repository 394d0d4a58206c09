import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';

/** Where figures come from: without it they mean nothing. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  kernel: string;
  system: string;
  node: string;
  redis: string;
  samba: string;
  /** Commit of the code that was measured, with "+" when the tree had changes of its own. */
  commit: string;
  /** Load of the last minute before the run: others were busy when it is far from 0. */
  loadBefore: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    system: /PRETTY_NAME="(.*)"/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    node: process.version,
    redis: /v=(\S+)/.exec(output('redis-server', ['--version']))?.[1] ?? 'none',
    samba: /Version (\S+)/.exec(output('smbd', ['--version']))?.[1] ?? 'none',
    commit: commit(),
    loadBefore: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  };
}

export function machineText(machine: Machine): string {
  const { cpu, cores, memoryGiB, system, node, redis, samba, commit } = machine;
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}, Node ${node}, Redis ${redis}, Samba ${samba}, commit ${commit}`;
}

function commit(): string {
  const root = join(import.meta.dirname, '..');
  const hash = output('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).trim();
  const changed =
    output('git', [
      '-C',
      root,
      'status',
      '--porcelain',
      '--untracked-files=no',
      '--',
      '.',
      ':!bench/results',
      ':!docs',
    ]).trim() !== '';
  return hash === '' ? 'unknown' : `${hash}${changed ? '+' : ''}`;
}

function output(command: string, args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return '';
  }
}
