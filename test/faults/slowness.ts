import { availableParallelism, loadavg } from 'node:os';

const MOST = 4;

/**
 * How many times longer than on a quiet machine everything may take, a whole number from 1 to 4: where more wants to run than there are cores, a server
 * misses its lease without any fault, and random faults show nothing but that. Leases, and with them faults, are as long then as on a
 * quiet machine in proportion.
 */
export function slowness(): number {
  const [lastMinute = 0] = loadavg();
  return Math.min(MOST, Math.max(1, Math.round(lastMinute / (2 * availableParallelism()))));
}
