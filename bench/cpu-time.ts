import { readdirSync, readFileSync } from 'node:fs';

/** The clock tick of /proc/PID/stat (USER_HZ), which is 100 a second on every Linux that Node runs on. */
const TICK_US = 10_000;

interface ProcessStat {
  parent: number;
  name: string;
  cpuUs: number;
}

/** CPU time that a process has used so far, all its threads together, and that of the children it has waited for, in microseconds; 0 when it is gone. */
export function cpuTimeUs(pid: number): number {
  return statOf(pid)?.cpuUs ?? 0;
}

/** Processes with this name that were started, directly or not, by `root`. */
export function descendantsNamed(root: number, name: string): number[] {
  const all = new Map<number, ProcessStat>();
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    const stat = Number.isInteger(pid) ? statOf(pid) : undefined;
    if (stat) all.set(pid, stat);
  }
  const descends = (pid: number): boolean => {
    const parent = all.get(pid)?.parent;
    return parent !== undefined && (parent === root || descends(parent));
  };
  return [...all].filter(([pid, stat]) => stat.name === name && descends(pid)).map(([pid]) => pid);
}

/** Fields 2, 4 and 14 to 17 of /proc/PID/stat (proc(5)). The name may contain spaces and brackets. */
function statOf(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const nameEnd = text.lastIndexOf(')');
  const fields = text.slice(nameEnd + 2).split(' ');
  return {
    parent: Number(fields[1]),
    name: text.slice(text.indexOf('(') + 1, nameEnd),
    cpuUs: fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_US,
  };
}
