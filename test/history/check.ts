import { EMPTY, type HistoryEvent, type Hold, type Move, type Read, type Stop, TORN, type Write } from './history.ts';
import { LateMoves, lateOnes } from './late.ts';

/** What a history shows that must not be. */
export interface Violation {
  what: 'lost' | 'torn' | 'unexplained' | 'held twice' | 'handle lost' | 'caller error' | 'bad history';
  text: string;
}

/**
 * Checks a history: every place is a linearizable register (so acknowledged writes are there, and no older one comes back), nothing
 * exclusive was held twice at once, no handle was lost, no caller saw an error. Empty: all is well.
 */
export function check(events: readonly HistoryEvent[]): Violation[] {
  const violations: Violation[] = [];
  const places = new Map<string, { writes: Write[]; reads: Read[] }>();
  const holds = new Map<string, Hold[]>();
  const stops: Stop[] = [];
  const moves: Move[] = [];
  for (const event of events) {
    if (event.kind === 'write' || event.kind === 'read') {
      const place = places.get(event.place) ?? { writes: [], reads: [] };
      places.set(event.place, place);
      if (event.kind === 'write') place.writes.push(event);
      else place.reads.push(event);
    } else if (event.kind === 'hold') {
      holds.set(event.resource, [...(holds.get(event.resource) ?? []), event]);
    } else if (event.kind === 'move') {
      moves.push(event);
    } else if (event.kind === 'stopped') {
      stops.push(event);
    } else if (event.kind === 'lost') {
      violations.push({ what: 'handle lost', text: `${event.client}: ${event.path}: ${event.reason}` });
    } else {
      violations.push({ what: 'caller error', text: `${event.client}: ${event.doing}: ${event.reason}` });
    }
  }
  for (const [place, { writes, reads }] of places) {
    const late = lateCopies(writes, reads, stops);
    violations.push(...checkPlace(place, [...writes, ...late.copies], late.reads));
  }
  const late = new LateMoves(moves, stops);
  for (const [resource, all] of holds) violations.push(...checkHolds(resource, all, late));
  return violations;
}

/**
 * A write that was under way when a server was stopped may come a second time when it goes on: a write of its own that nobody was answered,
 * and who reads its value from then on may have read that. Of several servers that went on it is the last.
 */
function lateCopies(writes: Write[], reads: Read[], stops: Stop[]): { copies: Write[]; reads: Read[] } {
  const copies = new Map<string, Write[]>();
  for (const [i, { change, fromMs }] of lateOnes(writes, stops).entries()) {
    const { returnedMs: _, ...write } = change;
    const copy: Write = { ...write, value: `${write.value}, late (${i})`, calledMs: fromMs };
    copies.set(
      write.value,
      [...(copies.get(write.value) ?? []), copy].sort((a, b) => a.calledMs - b.calledMs),
    );
  }
  const seen = reads.map((read) => {
    const copy = copies.get(read.value)?.findLast(({ calledMs }) => calledMs <= read.returnedMs);
    return copy ? { ...read, value: copy.value } : read;
  });
  return { copies: [...copies.values()].flat(), reads: seen };
}

/** A write with all reads of its value, as a register sees them. */
interface Cluster {
  value: string;
  /** Some operation of it returned by then, so its value was current at some moment before. */
  firstReturnMs: number;
  /** Some operation of it was called then, so its value was current at some moment after. */
  lastCallMs: number;
}

/**
 * Gibbons and Korach, "Testing shared memories" (1997), for a register whose writes all differ: with Z the time between
 * firstReturn and lastCall of each value, there is an order exactly if no value is read before its write was called, no
 * two Z that run forward overlap, and none that runs backward lies within one that runs forward.
 */
function checkPlace(place: string, writes: Write[], reads: Read[]): Violation[] {
  const violations: Violation[] = [];
  const clusters = new Map<string, Cluster>();
  const called = new Map<string, number>();
  // Every place begins empty: a write that returned before all else.
  const always = Number.NEGATIVE_INFINITY;
  clusters.set(EMPTY, { value: EMPTY, firstReturnMs: always, lastCallMs: always });
  called.set(EMPTY, always);
  for (const { value, calledMs, returnedMs = Number.POSITIVE_INFINITY } of writes) {
    if (clusters.has(value)) {
      violations.push({ what: 'bad history', text: `${place}: two writes of ${value}` });
      continue;
    }
    clusters.set(value, { value, firstReturnMs: returnedMs, lastCallMs: calledMs });
    called.set(value, calledMs);
  }
  for (const read of reads) {
    const { value, client, calledMs, returnedMs } = read;
    if (value === TORN) {
      // Volumes do not make a read and a write of other processes exclude each other: half of a write that runs is no fault.
      const overlaps = (write: Write) => write.calledMs < returnedMs && (write.returnedMs ?? Infinity) > calledMs;
      if (!writes.some(overlaps)) violations.push({ what: 'torn', text: `${place}: ${client} read no whole block` });
      continue;
    }
    const cluster = clusters.get(value);
    if (!cluster || returnedMs < (called.get(value) ?? 0)) {
      const why = cluster ? 'before it was written' : 'which nobody wrote';
      violations.push({ what: 'unexplained', text: `${place}: ${client} read ${value} ${why}` });
      continue;
    }
    cluster.firstReturnMs = Math.min(cluster.firstReturnMs, returnedMs);
    cluster.lastCallMs = Math.max(cluster.lastCallMs, calledMs);
  }
  violations.push(...checkOrder(place, [...clusters.values()], writes, reads));
  return violations;
}

function checkOrder(place: string, clusters: Cluster[], writes: Write[], reads: Read[]): Violation[] {
  // A write that never returned and that nobody saw may never have happened.
  const known = clusters.filter((cluster) => cluster.firstReturnMs !== Number.POSITIVE_INFINITY);
  const forward = known
    .filter((cluster) => cluster.firstReturnMs < cluster.lastCallMs)
    .sort((a, b) => a.firstReturnMs - b.firstReturnMs);
  const violations: Violation[] = [];
  const say = (a: Cluster, b: Cluster) => violations.push(explain(place, a, b, writes, reads));
  for (let i = 1; i < forward.length; i++) {
    const [one, next] = [forward[i - 1], forward[i]] as [Cluster, Cluster];
    if (next.firstReturnMs < one.lastCallMs) {
      say(one, next);
      if (one.lastCallMs > next.lastCallMs) forward[i] = one; // the longer one goes on to be compared
    }
  }
  for (const inner of known) {
    if (inner.firstReturnMs < inner.lastCallMs) continue;
    const outer = around(forward, inner);
    if (outer) say(outer, inner);
  }
  return violations;
}

/** The forward zone, if any, that a backward one lies within. They are sorted and do not overlap (else that was reported). */
function around(forward: Cluster[], inner: Cluster): Cluster | undefined {
  let low = 0;
  let high = forward.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((forward[middle]?.firstReturnMs ?? 0) < inner.lastCallMs) low = middle + 1;
    else high = middle;
  }
  const outer = forward[low - 1];
  return outer && inner.firstReturnMs < outer.lastCallMs ? outer : undefined;
}

/** Says it the way a person would: the acknowledged write that is gone, or the value that came back. */
function explain(place: string, a: Cluster, b: Cluster, writes: Write[], reads: Read[]): Violation {
  for (const [older, newer] of [
    [a, b],
    [b, a],
  ] as const) {
    const write = writes.find(({ value }) => value === newer.value);
    const began = writes.find(({ value }) => value === older.value);
    if (write?.returnedMs === undefined) continue;
    // The later write was acknowledged, began when the earlier had ended, and then somebody reads the earlier.
    const stale = reads.find((read) => read.value === older.value && read.calledMs > (write.returnedMs ?? 0));
    const after = older.value === EMPTY || (began?.returnedMs ?? Infinity) < write.calledMs;
    if (stale && after) {
      const text = `${place}: ${newer.value} was acknowledged at ${write.returnedMs}, and at ${stale.calledMs} ${stale.client} reads ${older.value}`;
      return { what: 'lost', text };
    }
  }
  return {
    what: 'unexplained',
    text: `${place}: no order of the writes explains what was read of ${a.value} and ${b.value}`,
  };
}

function checkHolds(resource: string, holds: Hold[], late: LateMoves): Violation[] {
  const violations: Violation[] = [];
  const sorted = [...holds].sort((a, b) => a.fromMs - b.fromMs);
  let current: Hold[] = [];
  for (const hold of sorted) {
    current = current.filter((other) => (other.untilMs ?? Infinity) > hold.fromMs);
    for (const other of current) {
      if (!hold.exclusive && !other.exclusive) continue;
      if (late.undid(other, hold.fromMs)) continue;
      const text = `${resource}: ${hold.client} was granted it at ${hold.fromMs} while ${other.client} held it`;
      violations.push({ what: 'held twice', text });
    }
    current.push(hold);
  }
  return violations;
}
