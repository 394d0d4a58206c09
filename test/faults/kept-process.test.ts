import { expect, test } from '@jest/globals';
import type { LogLine } from '../serving.ts';
import { KeptProcess } from './kept-process.ts';

test('killed while it is being killed it is started once for each, and none is left when it has ended', async () => {
  const log: LogLine[] = [];
  const kept = new KeptProcess({ name: 'kept', command: ['sleep', 'infinity'], log });

  await Promise.all([kept.kill(() => undefined), kept.kill(() => undefined)]);
  await kept.end('SIGKILL');

  const pids = log.flatMap(({ childPid }) => childPid ?? []);
  expect(pids).toHaveLength(3);
  expect(pids.filter(isThere)).toEqual([]);
});

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
