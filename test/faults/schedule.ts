import type { Wire } from './network.ts';
import type { Part } from './pods.ts';
import { Random } from './random.ts';

/** What goes wrong, when (ms after the start), and for how long. `pod` counts from 0. */
export type Fault = { atMs: number } & (
  | { kind: 'kill'; pod: number; parts: Part[] }
  | { kind: 'freeze'; pod: number; parts: Part[]; forMs: number }
  | { kind: 'cut'; pod: number; wires: Wire[]; forMs: number }
  | { kind: 'kill store'; isEmptied: boolean }
  | { kind: 'freeze store'; forMs: number }
  | { kind: 'migrate'; pod: number }
  | { kind: 'join' }
);

export interface Schedule {
  seed: number;
  faults: Fault[];
}

const FAULTS = { least: 1, most: 4 };
/** Faults begin within this time. */
const SPAN_MS = 1500;
/** Most faults follow close on one another: that is where things go wrong. */
const CLOSE_MS = 250;

const PARTS: Part[][] = [['fileserver'], ['sidecar'], ['fileserver', 'sidecar']];
const CUTS: Wire[][] = [['store'], ['peers'], ['clients'], ['store', 'peers'], ['store', 'peers', 'clients']];

/** The faults that a seed stands for. @param pods how many there are @param leaseMs what counts as long */
export function schedule(seed: number, pods: number, leaseMs: number): Schedule {
  const random = new Random(seed);
  const faults: Fault[] = [];
  let atMs = random.between(0, SPAN_MS / 3);
  for (let left = random.between(FAULTS.least, FAULTS.most); left > 0; left--) {
    faults.push(fault(random, atMs, pods, leaseMs));
    atMs = Math.min(SPAN_MS, atMs + random.between(0, random.pick([CLOSE_MS, CLOSE_MS, SPAN_MS])));
  }
  return { seed, faults: faults.some(losesStore) ? faults.map((one) => sparing(one, leaseMs)) : faults };
}

const losesStore = (fault: Fault): boolean => fault.kind === 'kill store' && fault.isEmptied;

/** What a store had that lost everything is put back by those that own it: nobody promises that for a server that is lost at the same time. */
function sparing(fault: Fault, leaseMs: number): Fault {
  const { atMs } = fault;
  if (fault.kind === 'kill') return { atMs, kind: 'migrate', pod: fault.pod };
  return 'forMs' in fault ? { ...fault, forMs: Math.min(fault.forMs, Math.round(leaseMs / 4)) } : fault;
}

function fault(random: Random, atMs: number, pods: number, leaseMs: number): Fault {
  const pod = random.between(0, pods - 1);
  // Shorter than the lease, about as long, and clearly longer.
  const least = random.pick([0.2, 0.8, 1.3]) * leaseMs;
  const forMs = random.between(least, least + 0.5 * leaseMs);
  const kinds = [
    'kill',
    'kill',
    'freeze',
    'freeze',
    'cut',
    'cut',
    'cut',
    'store',
    'migrate',
    'migrate',
    'join',
  ] as const;
  switch (random.pick(kinds)) {
    case 'kill':
      return { atMs, kind: 'kill', pod, parts: random.pick(PARTS) };
    case 'freeze':
      return { atMs, kind: 'freeze', pod, parts: random.pick(PARTS), forMs };
    case 'cut':
      return { atMs, kind: 'cut', pod, wires: random.pick(CUTS), forMs };
    case 'store':
      return random.pick<Fault>([
        { atMs, kind: 'kill store', isEmptied: false },
        { atMs, kind: 'kill store', isEmptied: true },
        { atMs, kind: 'freeze store', forMs },
      ]);
    case 'migrate':
      return { atMs, kind: 'migrate', pod };
    case 'join':
      return { atMs, kind: 'join' };
  }
}

/** Says a fault in a few words. */
export function textOf(fault: Fault): string {
  const { atMs } = fault;
  const lasts = 'forMs' in fault ? ` for ${fault.forMs} ms` : '';
  const what = () => {
    switch (fault.kind) {
      case 'kill':
        return `kill ${fault.parts.join('+')}-${fault.pod}`;
      case 'freeze':
        return `stop ${fault.parts.join('+')}-${fault.pod}`;
      case 'cut':
        return `cut pod ${fault.pod} from ${fault.wires.join('+')}`;
      case 'kill store':
        return fault.isEmptied ? 'kill the store, it comes back empty' : 'kill the store';
      case 'freeze store':
        return 'stop the store';
      case 'migrate':
        return `migrate pod ${fault.pod}`;
      case 'join':
        return 'a pod joins';
    }
  };
  return `${atMs} ms: ${what()}${lasts}`;
}
