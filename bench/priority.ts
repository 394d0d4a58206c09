import { readFileSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';

let wanted: number | undefined;

/**
 * Gives this process, and what it starts from now on, a share of the processors as `nice` says (-20 to 19, below 0 as root only):
 * on a machine that others use, too, so that less of them is measured. Linux weighs whole sessions where autogroups are on,
 * which the terminal's other processes then share.
 */
export function raisePriority(nice: number): void {
  wanted = nice;
  setPriority(nice);
  setAutogroup('self', nice);
  process.on('exit', () => setAutogroup('self', 0));
}

/** The same for a process that has a session of its own. */
export function raisePriorityOf(pid: number): void {
  if (wanted !== undefined) setAutogroup(String(pid), wanted);
}

/** sched(7), the autogroup feature: /proc/PID/autogroup takes the nice value of the whole session. */
function setAutogroup(process_: string, nice: number): void {
  try {
    const path = `/proc/${process_}/autogroup`;
    readFileSync(path); // is there only where the kernel has autogroups
    writeFileSync(path, String(nice));
  } catch {
    // The plain nice value is all there is.
  }
}
